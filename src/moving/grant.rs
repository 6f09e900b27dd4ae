//! The one function that grants a move. A security review of moving reads this file.
//!
//! The facts come in as types that say what was proved ([`Mover`], [`Presence`], [`Unlocked`]); the grant that goes
//! out has private fields, no `Clone`, and is spent by [`Move::begin`](super::machine::Move::begin).

use std::time::Duration;

use super::directory::{Bar, Directory, LiveLeg, Lock, Movable, Progress};
use super::hold_off::{Access, HoldOffs};
use super::{CallKey, DeviceKey, LegKey, Refusal, Trigger};
use crate::base::Timestamp;

/// At most one move per call in this time, so that two handsets cannot play ping-pong with the far side.
pub const MOVE_INTERVAL: Duration = Duration::from_secs(1);

/// Proof that someone may carry one given leg to one given device. Not `Clone`: spent by use.
#[must_use]
#[derive(Debug)]
pub struct MoveGrant {
    call: CallKey,
    generation: u32,
    old_leg: LegKey,
    old_device: DeviceKey,
    new_device: DeviceKey,
    trigger: Trigger,
    is_rescue: bool,
}

impl MoveGrant {
    /// The call.
    #[must_use]
    pub fn call(&self) -> CallKey {
        self.call
    }
    /// The generation that the call gets with this grant: store it in the call at once. Whoever asks with an older
    /// one has lost.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }
    /// The leg that is taken over.
    #[must_use]
    pub fn old_leg(&self) -> LegKey {
        self.old_leg
    }
    /// The device that loses the call.
    #[must_use]
    pub fn old_device(&self) -> &DeviceKey {
        &self.old_device
    }
    /// The device that gets the call.
    #[must_use]
    pub fn new_device(&self) -> &DeviceKey {
        &self.new_device
    }
    /// The way in.
    #[must_use]
    pub fn trigger(&self) -> Trigger {
        self.trigger
    }
    /// Whether the device that loses the call had died.
    #[must_use]
    pub fn is_rescue(&self) -> bool {
        self.is_rescue
    }
    /// Whether the call stays on its device, which replaces its own leg: only [`Mover::Itself`] is granted that.
    #[must_use]
    pub fn is_repair(&self) -> bool {
        self.old_device == self.new_device
    }
}

/// Who asks, and how that was proved.
#[derive(Clone, Copy, Debug)]
pub enum Mover<'a> {
    /// A device, by its digest credentials in this very request (or its own dialog on its own flow).
    Device(&'a DeviceKey),
    /// A user, by a bearer token of a login.
    Login {
        /// The user's name.
        user: &'a str,
    },
    /// The operator at the control socket.
    Operator,
    /// A device of another user, by its digest credentials, with the users whom the owner of the call lets answer what
    /// rings at the owner's devices (`watchers`). Good for a pickup by that device, and for nothing else.
    Colleague {
        /// The device that asks, and that is to get the call.
        device: &'a DeviceKey,
        /// The owner's list.
        listed: &'a [Box<str>],
    },
    /// The device that has the call, by its digest credentials, with a new dialog for its own leg after it lost its
    /// network. It is no old device: nothing changes hands.
    Itself(&'a DeviceKey),
}

/// Whether a device has a binding, as the registrar knew at the moment of asking.
#[derive(Clone, Copy, Debug)]
pub struct Presence {
    expires: Option<Timestamp>,
}

impl Presence {
    /// Of a device that died in the call, and of which nobody asks whether it is registered.
    pub const EXCUSED: Self = Self::until(Some(Timestamp::NEVER));

    /// From the latest expiry among the device's bindings; `None` where it has none.
    #[must_use]
    pub const fn until(expires: Option<Timestamp>) -> Self {
        Self { expires }
    }

    fn check(self, now: Timestamp) -> Result<(), Refusal> {
        if self.expires.is_some_and(|expires| expires > now) { Ok(()) } else { Err(Refusal::NotRegistered) }
    }
}

/// Proof that a user has given extension and PIN (or signed in) at a shared device.
#[derive(Clone, Debug)]
pub struct Unlocked {
    /// The shared device.
    pub device: DeviceKey,
    /// The user who signed in there.
    pub user: Box<str>,
    /// Until when that holds.
    pub until: Timestamp,
}

/// The new device's standing towards the call's user.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// `trust = "personal"`.
    Personal,
    /// `trust = "shared"`, with its sign-in, if any.
    Shared(Option<&'a Unlocked>),
}

/// Everything that a decision rests on.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Now.
    pub now: Timestamp,
    /// How the move was asked for.
    pub trigger: Trigger,
    /// Who asks.
    pub mover: Mover<'a>,
    /// The leg to be taken over, as the directory has it now.
    pub leg: &'a LiveLeg,
    /// The device that is to get the call.
    pub new_device: &'a DeviceKey,
    /// What kind of device that is.
    pub target: Target<'a>,
    /// Bindings of the old device.
    pub old_presence: Presence,
    /// Bindings of the new device.
    pub new_presence: Presence,
    /// The hold-offs.
    pub hold_offs: &'a HoldOffs,
    /// The call's generation when the request was read.
    pub seen_generation: u32,
    /// The call's generation now.
    pub generation: u32,
    /// When the call was last moved.
    pub last_move: Option<Timestamp>,
}

/// Grants the move or says why not. The order is part of the contract: who is not the owner hears
/// [`Refusal::DialogUnknown`] before anything about the call is looked at.
///
/// # Errors
/// The first reason that applies.
pub fn authorise(facts: &Facts<'_>) -> Result<MoveGrant, Refusal> {
    let leg = facts.leg;
    owner(facts)?;
    held_off(facts)?;
    // A device that repairs its own leg was let in when it got the call, and an emergency call above all is repaired.
    if !matches!(facts.mover, Mover::Itself(_)) {
        if leg.device == *facts.new_device {
            return Err(Refusal::AlreadyThere);
        }
        match Directory::movable(leg, facts.new_device, lock(facts)?, facts.hold_offs, facts.now) {
            // A bar of "busy" is judged by the generation below, so that the loser of a race hears the same as one
            // who comes while a move is under way.
            Movable::Yes | Movable::Busy => {}
            other => other.check()?,
        }
    }
    if leg.bar == Some(Bar::Busy) || facts.seen_generation != facts.generation {
        return Err(Refusal::Busy);
    }
    if let Some(last) = facts.last_move {
        let left = (last + MOVE_INTERVAL).since(facts.now);
        if !left.is_zero() {
            let seconds = u32::try_from(left.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX);
            return Err(Refusal::TooSoon { seconds });
        }
    }
    // Of a device that died nobody expects that it is registered.
    let old_presence = if leg.lost { Presence::EXCUSED } else { facts.old_presence };
    still_registered(facts.now, old_presence, facts.new_presence)?;
    Ok(MoveGrant {
        call: leg.call,
        generation: facts.generation.wrapping_add(1),
        old_leg: leg.leg,
        old_device: leg.device.clone(),
        new_device: facts.new_device.clone(),
        trigger: facts.trigger,
        is_rescue: leg.lost,
    })
}

/// Whether both devices have an unexpired binding: at the grant, and again at the instant of commit.
///
/// # Errors
/// [`Refusal::NotRegistered`].
pub fn still_registered(now: Timestamp, old: Presence, new: Presence) -> Result<(), Refusal> {
    old.check(now)?;
    new.check(now)
}

fn owner(facts: &Facts<'_>) -> Result<(), Refusal> {
    let of_call = &*facts.leg.owner;
    let asks_for_own_call = match facts.mover {
        Mover::Operator => true,
        Mover::Login { user } => user == of_call,
        // A shared device speaks for the user who signed in at it.
        Mover::Device(device) => {
            device.user() == of_call || (device == facts.new_device && unlocked_for(facts, of_call))
        }
        Mover::Colleague { .. } => is_colleague(facts),
        Mover::Itself(device) => {
            device == facts.new_device && *device == facts.leg.device && is_answered(facts.leg)
        }
    };
    let may_get_it =
        facts.new_device.user() == of_call || unlocked_for(facts, of_call) || is_colleague(facts);
    if asks_for_own_call && may_get_it { Ok(()) } else { Err(Refusal::DialogUnknown) }
}

/// A pickup, of what rings, by a device of a user on the owner's list.
fn is_colleague(facts: &Facts<'_>) -> bool {
    let Mover::Colleague { device, listed } = facts.mover else { return false };
    let rings = matches!(facts.leg.progress, Progress::Ringing { .. });
    let is_listed = listed.iter().any(|user| **user == *device.user());
    facts.trigger == Trigger::Pickup && rings && device == facts.new_device && is_listed
}

fn unlocked_for(facts: &Facts<'_>, user: &str) -> bool {
    match facts.target {
        Target::Personal => false,
        Target::Shared(unlocked) => unlocked.is_some_and(|proof| {
            proof.device == *facts.new_device && &*proof.user == user && proof.until > facts.now
        }),
    }
}

fn lock(facts: &Facts<'_>) -> Result<Lock, Refusal> {
    match facts.target {
        Target::Personal => Ok(Lock::Open),
        Target::Shared(_) if unlocked_for(facts, &facts.leg.owner) => Ok(Lock::Open),
        Target::Shared(_) => Err(Refusal::Locked),
    }
}

/// The hold-off binds the device that would get the call, and the device that asks for it.
fn held_off(facts: &Facts<'_>) -> Result<(), Refusal> {
    let access = Access::Call(facts.leg.call);
    facts.hold_offs.look(facts.now, facts.new_device, access)?;
    if let Mover::Device(device) | Mover::Colleague { device, .. } = facts.mover {
        facts.hold_offs.look(facts.now, device, access)?;
    }
    Ok(())
}

/// Whether a leg is answered (a move) or rings (a pickup).
#[must_use]
pub const fn is_answered(leg: &LiveLeg) -> bool {
    matches!(leg.progress, Progress::Answered { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Now, UnixMillis};
    use crate::moving::directory::{Direction, FarParty};
    use crate::moving::hold_off::{Scope, Start};

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }

    /// Everything that a grant rests on, as it is when nothing speaks against it.
    struct Scene {
        now: Timestamp,
        mover: DeviceKey,
        new_device: DeviceKey,
        shared: bool,
        unlocked: Option<Unlocked>,
        leg: LiveLeg,
        old_until: Option<Timestamp>,
        new_until: Option<Timestamp>,
        hold_offs: HoldOffs,
        seen: u32,
        generation: u32,
        last_move: Option<Timestamp>,
    }

    impl Scene {
        fn new() -> Self {
            let leg = LiveLeg {
                leg: LegKey(1),
                call: CallKey(9),
                device: DeviceKey::new("alice", "desk"),
                owner: "alice".into(),
                extension: None,
                far: FarParty::default(),
                direction: Direction::Outgoing,
                progress: Progress::Answered { at: at(0) },
                bar: None,
                lost: false,
                far_device: None,
            };
            Self {
                now: at(10_000),
                mover: DeviceKey::new("alice", "mobile"),
                new_device: DeviceKey::new("alice", "mobile"),
                shared: false,
                unlocked: None,
                leg,
                old_until: Some(at(60_000)),
                new_until: Some(at(60_000)),
                hold_offs: HoldOffs::default(),
                seen: 4,
                generation: 4,
                last_move: None,
            }
        }

        fn shared(user: &str, until: Timestamp) -> Self {
            let room = DeviceKey::new("rooms", "lobby");
            let unlocked = Some(Unlocked { device: room.clone(), user: user.into(), until });
            Self { mover: room.clone(), new_device: room, shared: true, unlocked, ..Self::new() }
        }

        fn hold_off(&mut self, device: &DeviceKey) {
            let now = Now { at: self.now, unix: UnixMillis(0) };
            let length = Duration::from_secs(30);
            let start =
                Start { device, call: self.leg.call, call_id: "c", move_id: "m", scope: Scope::Call, length };
            self.hold_offs.start(now, &start);
        }

        fn ask(&self) -> Result<MoveGrant, Refusal> {
            self.ask_as(Mover::Device(&self.mover))
        }

        fn ask_as(&self, mover: Mover<'_>) -> Result<MoveGrant, Refusal> {
            authorise(&self.facts(mover))
        }

        fn facts<'a>(&'a self, mover: Mover<'a>) -> Facts<'a> {
            let shared = Target::Shared(self.unlocked.as_ref());
            Facts {
                now: self.now,
                trigger: Trigger::StarCode,
                mover,
                leg: &self.leg,
                new_device: &self.new_device,
                target: if self.shared { shared } else { Target::Personal },
                old_presence: Presence::until(self.old_until),
                new_presence: Presence::until(self.new_until),
                hold_offs: &self.hold_offs,
                seen_generation: self.seen,
                generation: self.generation,
                last_move: self.last_move,
            }
        }

        fn refused(&self) -> Refusal {
            self.ask().unwrap_err()
        }
    }

    #[test]
    fn a_grant_names_its_legs_and_raises_the_generation() {
        let grant = Scene::new().ask().unwrap();
        assert_eq!((grant.call(), grant.old_leg(), grant.generation()), (CallKey(9), LegKey(1), 5));
        assert_eq!((grant.old_device().device(), grant.new_device().device()), ("desk", "mobile"));
        assert_eq!(grant.trigger(), Trigger::StarCode);
    }

    #[test]
    fn only_the_owner_is_told_anything() {
        let everything_wrong = |mover: &str| {
            let mut scene = Scene::new();
            scene.mover = DeviceKey::new(mover, "mobile");
            scene.new_device = scene.mover.clone();
            scene.leg.bar = Some(Bar::Emergency);
            (scene.new_until, scene.seen, scene.last_move) = (None, 1, Some(scene.now));
            scene.hold_off(&DeviceKey::new(mover, "mobile"));
            scene.refused()
        };
        assert_eq!(everything_wrong("mallory"), Refusal::DialogUnknown);
        assert_ne!(everything_wrong("alice"), Refusal::DialogUnknown);
        // Neither may the owner's call be sent to a stranger's device, nor a stranger send it to the owner's.
        let mut away = Scene::new();
        away.new_device = DeviceKey::new("mallory", "mobile");
        assert_eq!(away.refused(), Refusal::DialogUnknown);
        assert_eq!(away.ask_as(Mover::Operator).unwrap_err(), Refusal::DialogUnknown);
        let mut steal = Scene::new();
        steal.mover = DeviceKey::new("mallory", "mobile");
        assert_eq!(steal.refused(), Refusal::DialogUnknown);
        assert_eq!(
            Scene::new().ask_as(Mover::Login { user: "mallory" }).unwrap_err(),
            Refusal::DialogUnknown
        );
        assert!(Scene::new().ask_as(Mover::Login { user: "alice" }).is_ok());
        assert!(Scene::new().ask_as(Mover::Operator).is_ok());
    }

    #[test]
    fn a_shared_device_needs_its_user_there_and_in_time() {
        assert!(Scene::shared("alice", at(20_000)).ask().is_ok());
        assert_eq!(Scene::shared("alice", at(10_000)).refused(), Refusal::DialogUnknown);
        assert_eq!(Scene::shared("bob", at(20_000)).refused(), Refusal::DialogUnknown);
        let mut elsewhere = Scene::shared("alice", at(20_000));
        elsewhere.unlocked.as_mut().unwrap().device = DeviceKey::new("rooms", "attic");
        assert_eq!(elsewhere.refused(), Refusal::DialogUnknown);
        // A proof does not help a device that is said to be personal.
        let mut personal = Scene::shared("alice", at(20_000));
        personal.shared = false;
        assert_eq!(personal.refused(), Refusal::DialogUnknown);
        // The user's own shared device is still locked without a PIN; and the owner learns that.
        let mut own = Scene::new();
        own.shared = true;
        assert_eq!(own.refused(), Refusal::Locked);
    }

    #[test]
    fn who_signed_in_at_a_shared_device_takes_the_call_along_again() {
        let lobby = DeviceKey::new("rooms", "lobby");
        let mut there = Scene::new();
        there.leg.device = lobby.clone();
        let grant = there.ask().unwrap();
        assert_eq!((grant.old_device(), grant.new_device().device()), (&lobby, "mobile"));
        // It is no call of the room: nothing else of its account gets it, and it sends it nowhere.
        there.new_device = DeviceKey::new("rooms", "attic");
        assert_eq!(there.ask_as(Mover::Device(&there.new_device)).unwrap_err(), Refusal::DialogUnknown);
        assert_eq!(there.ask_as(Mover::Login { user: "rooms" }).unwrap_err(), Refusal::DialogUnknown);
        there.new_device = DeviceKey::new("alice", "mobile");
        assert_eq!(there.ask_as(Mover::Device(&lobby)).unwrap_err(), Refusal::DialogUnknown);
    }

    #[test]
    fn each_fact_alone_refuses() {
        let mut same = Scene::new();
        same.new_device = same.leg.device.clone();
        assert_eq!(same.refused(), Refusal::AlreadyThere);
        let mut with_itself = Scene::new();
        with_itself.leg.far_device = Some(with_itself.new_device.clone());
        assert_eq!(with_itself.refused(), Refusal::AlreadyThere);

        for (bar, refusal) in [
            (Bar::Emergency, Refusal::Emergency),
            (Bar::NoCommonMedia, Refusal::OfferUnusable),
            (Bar::Busy, Refusal::Busy),
        ] {
            let mut scene = Scene::new();
            scene.leg.bar = Some(bar);
            assert_eq!(scene.refused(), refusal);
            assert!(scene.ask_as(Mover::Operator).is_err());
        }
        let mut unanswered = Scene::new();
        unanswered.leg.progress = Progress::Calling { since: at(0) };
        assert_eq!(unanswered.refused(), Refusal::NoCall);
        unanswered.leg.progress = Progress::Ringing { since: at(0) };
        assert!(unanswered.ask().is_ok());

        for until in [None, Some(at(10_000)), Some(at(0))] {
            let old = Scene { old_until: until, ..Scene::new() };
            let new = Scene { new_until: until, ..Scene::new() };
            assert_eq!((old.refused(), new.refused()), (Refusal::NotRegistered, Refusal::NotRegistered));
        }
    }

    #[test]
    fn a_colleague_answers_what_rings_and_nothing_else() {
        let listed: [Box<str>; 2] = ["carol".into(), "bob".into()];
        let scene = |user: &str| {
            let mut scene = Scene::new();
            scene.new_device = DeviceKey::new(user, "desk");
            scene.leg.progress = Progress::Ringing { since: at(0) };
            scene
        };
        let ask = |scene: &Scene, device: &DeviceKey, trigger| {
            let mut facts = scene.facts(Mover::Colleague { device, listed: &listed });
            facts.trigger = trigger;
            authorise(&facts).map(|grant| grant.new_device().to_string())
        };
        let bob = DeviceKey::new("bob", "desk");
        assert_eq!(ask(&scene("bob"), &bob, Trigger::Pickup), Ok("bob*desk".into()));
        // By no other way, of no answered call, onto no other device, and nobody who is not on the list.
        assert_eq!(ask(&scene("bob"), &bob, Trigger::StarCode), Err(Refusal::DialogUnknown));
        let mut answered = scene("bob");
        answered.leg.progress = Progress::Answered { at: at(0) };
        assert_eq!(ask(&answered, &bob, Trigger::Pickup), Err(Refusal::DialogUnknown));
        assert_eq!(ask(&scene("carol"), &bob, Trigger::Pickup), Err(Refusal::DialogUnknown));
        let mallory = DeviceKey::new("mallory", "desk");
        assert_eq!(ask(&scene("mallory"), &mallory, Trigger::Pickup), Err(Refusal::DialogUnknown));
        let mut held = scene("bob");
        held.hold_off(&bob);
        assert_eq!(ask(&held, &bob, Trigger::Pickup), Err(Refusal::HoldOff { seconds: 30 }));
    }

    #[test]
    fn a_device_repairs_its_own_answered_leg_alone() {
        let desk = DeviceKey::new("alice", "desk");
        let mut own = Scene::new();
        own.new_device = desk.clone();
        let ask = |scene: &Scene, device: &DeviceKey| scene.ask_as(Mover::Itself(device));
        assert!(ask(&own, &desk).unwrap().is_repair());
        assert!(!Scene::new().ask().unwrap().is_repair());
        // An emergency call is not moved, and yet it is repaired.
        own.leg.bar = Some(Bar::Emergency);
        assert!(ask(&own, &desk).is_ok());
        own.leg.bar = Some(Bar::Busy);
        assert_eq!(ask(&own, &desk).unwrap_err(), Refusal::Busy);
        // It opens no way to the leg of another device, even of the same user.
        let mobile = DeviceKey::new("alice", "mobile");
        assert_eq!(ask(&Scene::new(), &mobile).unwrap_err(), Refusal::DialogUnknown);
        assert_eq!(ask(&Scene::new(), &desk).unwrap_err(), Refusal::DialogUnknown);
        let mut stranger = Scene::new();
        (stranger.new_device, stranger.leg.device) = (desk.clone(), DeviceKey::new("bob", "desk"));
        assert_eq!(ask(&stranger, &desk).unwrap_err(), Refusal::DialogUnknown);
        let mut rings = Scene::new();
        rings.new_device = desk.clone();
        rings.leg.progress = Progress::Ringing { since: at(0) };
        assert_eq!(ask(&rings, &desk).unwrap_err(), Refusal::DialogUnknown);
    }

    #[test]
    fn the_loser_of_a_race_hears_busy() {
        let mut scene = Scene::new();
        let won = scene.ask().unwrap();
        scene.generation = won.generation();
        assert_eq!(scene.refused(), Refusal::Busy);
        scene.seen = scene.generation;
        assert!(scene.ask().is_ok());
    }

    #[test]
    fn the_held_off_device_neither_gets_nor_sends_the_call() {
        let mut back = Scene::new();
        back.hold_off(&DeviceKey::new("alice", "mobile"));
        assert_eq!(back.refused(), Refusal::HoldOff { seconds: 30 });
        assert_eq!(
            back.ask_as(Mover::Login { user: "alice" }).unwrap_err(),
            Refusal::HoldOff { seconds: 30 }
        );
        let mut sends = Scene::new();
        sends.mover = DeviceKey::new("alice", "tablet");
        sends.hold_off(&DeviceKey::new("alice", "tablet"));
        assert_eq!(sends.refused(), Refusal::HoldOff { seconds: 30 });
    }

    #[test]
    fn one_move_a_second() {
        let scene = |ago: u64| Scene { last_move: Some(at(10_000 - ago)), ..Scene::new() };
        assert_eq!(scene(0).refused(), Refusal::TooSoon { seconds: 1 });
        assert_eq!(scene(999).refused(), Refusal::TooSoon { seconds: 1 });
        assert!(scene(1000).ask().is_ok());
    }
}
