//! Every event in every state that can be reached, against a model of the three legs; then the stories.
//!
//! The model knows nothing of stages. It carries out the actions, refuses those that make no sense, and after
//! every step asks whether somebody was left alone, touched too early, or answered twice.

use std::collections::{BTreeMap, VecDeque};

mod granted;

use granted::{Granted, grant};

use super::*;

/// Every way, with what is granted.
const WAYS: [(Way, Granted); 13] = [
    (Way::Pull(Need::Keep), Granted::Move),
    (Way::Pull(Need::Reoffer), Granted::Move),
    (Way::PullOfferless, Granted::Move),
    (Way::Push, Granted::Move),
    (Way::Refer, Granted::Move),
    (Way::Pickup, Granted::Move),
    (Way::Pull(Need::Keep), Granted::Repair),
    (Way::Pull(Need::Reoffer), Granted::Repair),
    (Way::PullOfferless, Granted::Repair),
    (Way::Pull(Need::Keep), Granted::Rescue),
    (Way::Pull(Need::Reoffer), Granted::Rescue),
    (Way::PullOfferless, Granted::Rescue),
    (Way::Push, Granted::Rescue),
];

const EVENTS: [Event; 30] = [
    Event::Stored,
    Event::StoreFailed,
    Event::NewRinging,
    Event::NewAnswered(Need::Keep),
    Event::NewAnswered(Need::Reoffer),
    Event::NewRefused,
    Event::NewAcked(Need::Keep),
    Event::NewAcked(Need::Reoffer),
    Event::BindingGone,
    Event::NewUnusable,
    Event::NewUnacked,
    Event::NewGone,
    Event::NewHeard,
    Event::NewSilent,
    Event::BothSilent,
    Event::FarAnswered,
    Event::FarUnusable,
    Event::FarRefused,
    Event::FarBridged,
    Event::FarSilent,
    Event::FarGone,
    Event::OldGone,
    Event::OldLost,
    Event::OldFound,
    Event::OldAnswered,
    Event::Undo,
    Event::Late,
    Event::NewCame(Way::Pull(Need::Keep)),
    Event::NewCame(Way::Pull(Need::Reoffer)),
    Event::NewCame(Way::PullOfferless),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NewLeg {
    Nothing,
    /// Its INVITE is unanswered.
    Asking,
    /// Our INVITE is unanswered.
    Rung,
    /// It was asked to call.
    Referred,
    /// We cancelled it; the last word is its.
    CancelSent,
    /// It has our 200.
    Answered,
    /// It sent its 200, and waits for our ACK.
    HasAnswered,
    Stands,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FarLeg {
    /// As it was before the move.
    AsBefore,
    /// A re-offer is open.
    Asked,
    /// It may believe the new media.
    Changed,
    /// It is being brought back.
    Restoring,
    Gone,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OldLeg {
    Stands,
    /// It died, and its place is kept.
    Lost,
    /// Pickup: it got the call.
    Won,
    HungUp,
    Released,
}

/// The three legs and the route, as the world sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct World {
    way: Way,
    granted: Granted,
    stored: bool,
    new: NewLeg,
    far: FarLeg,
    old: OldLeg,
    swapped: bool,
    held_off: bool,
    answers: u8,
    offers: u8,
    committed: bool,
    failed_back: bool,
    announced: bool,
}

impl World {
    fn new((way, granted): (Way, Granted)) -> Self {
        let new = if matches!(way, Way::Push | Way::Refer) { NewLeg::Nothing } else { NewLeg::Asking };
        Self {
            way,
            granted,
            stored: false,
            new,
            far: FarLeg::AsBefore,
            old: if granted == Granted::Rescue { OldLeg::Lost } else { OldLeg::Stands },
            swapped: false,
            held_off: false,
            answers: 0,
            offers: 0,
            committed: false,
            failed_back: false,
            announced: false,
        }
    }

    /// Whether the event can happen in this world, and what it does to it.
    fn suffer(&mut self, event: Event) -> bool {
        use NewLeg::*;
        match event {
            Event::Stored => !std::mem::replace(&mut self.stored, true),
            Event::StoreFailed => !self.stored,
            Event::NewRinging => matches!(self.new, Rung),
            Event::NewAnswered(_) | Event::NewUnusable | Event::BindingGone
                if matches!(self.new, Rung | CancelSent) =>
            {
                self.new = HasAnswered;
                true
            }
            Event::NewRefused if matches!(self.new, Rung | CancelSent | Referred) => {
                self.new = Ended;
                true
            }
            // Its INVITE was turned down before the machine heard of it.
            Event::NewUnusable | Event::BindingGone if self.new == Referred => {
                self.new = Ended;
                true
            }
            Event::NewCame(way) if self.new == Referred => {
                (self.way, self.new) = (way, Asking);
                true
            }
            Event::NewAcked(_) | Event::BindingGone | Event::NewUnusable if self.new == Answered => {
                self.new = Stands;
                true
            }
            // In place of the far side's answer.
            Event::BindingGone if matches!(self.new, Asking | Stands) && self.far == FarLeg::Asked => {
                self.far = FarLeg::Changed;
                true
            }
            Event::NewAnswered(_)
            | Event::NewAcked(_)
            | Event::NewUnusable
            | Event::BindingGone
            | Event::NewCame(_)
            | Event::NewRefused => false,
            Event::NewUnacked => self.new == Answered,
            Event::NewGone => match self.new {
                Asking => true,
                // Before it rings, its flow may break.
                Nothing | Rung | Referred | CancelSent | Answered | Stands => {
                    self.new = Ended;
                    true
                }
                HasAnswered | Ended => false,
            },
            Event::NewHeard | Event::NewSilent | Event::BothSilent => self.swapped,
            Event::FarAnswered | Event::FarUnusable | Event::FarSilent if self.far == FarLeg::Asked => {
                self.far = FarLeg::Changed;
                true
            }
            Event::FarRefused | Event::FarBridged if self.far == FarLeg::Asked => {
                self.far = FarLeg::AsBefore;
                true
            }
            Event::FarAnswered
            | Event::FarUnusable
            | Event::FarSilent
            | Event::FarRefused
            | Event::FarBridged => false,
            Event::FarGone if !matches!(self.far, FarLeg::Gone | FarLeg::Ended) => {
                self.far = FarLeg::Gone;
                true
            }
            Event::OldGone if matches!(self.old, OldLeg::Stands | OldLeg::Lost | OldLeg::Won) => {
                self.old = OldLeg::HungUp;
                true
            }
            Event::OldLost if self.old == OldLeg::Stands && self.way != Way::Pickup => {
                self.old = OldLeg::Lost;
                true
            }
            // Once it is released, it is not found any more.
            Event::OldFound if self.old == OldLeg::Lost && !self.swapped => {
                self.old = OldLeg::Stands;
                true
            }
            Event::OldLost | Event::OldFound => false,
            Event::OldAnswered
                if self.way == Way::Pickup
                    && matches!(self.old, OldLeg::Stands | OldLeg::HungUp)
                    && self.far == FarLeg::AsBefore
                    && !self.swapped =>
            {
                self.old = OldLeg::Won;
                true
            }
            Event::FarGone | Event::OldGone | Event::OldAnswered => false,
            Event::Undo | Event::Late => true,
        }
    }

    /// Carries an action out; what makes no sense is a failure of the machine.
    fn carry_out(&mut self, action: Action) {
        use Action::*;
        let touches_nothing = matches!(action, StoreSnapshot | RefuseNew(_) | EndOld | EndFar);
        assert!(self.stored || touches_nothing, "{action:?} before the snapshot");
        match action {
            StoreSnapshot => assert!(!self.stored),
            RingNew => self.turn_new(NewLeg::Nothing, NewLeg::Rung),
            ReferNew => self.turn_new(NewLeg::Nothing, NewLeg::Referred),
            AnswerNew => {
                self.answers += 1;
                self.turn_new(NewLeg::Asking, NewLeg::Answered);
            }
            RefuseNew(_) => {
                self.answers += 1;
                self.turn_new(NewLeg::Asking, NewLeg::Ended);
            }
            AckNew => self.turn_new(NewLeg::HasAnswered, NewLeg::Stands),
            CancelNew => self.turn_new(NewLeg::Rung, NewLeg::CancelSent),
            HangUpNew(_) => {
                assert!(matches!(self.new, NewLeg::Answered | NewLeg::Stands), "hung up {:?}", self.new);
                self.new = NewLeg::Ended;
            }
            ReofferFar => {
                assert_eq!(self.far, FarLeg::AsBefore, "one offer at a time");
                self.offers += 1;
                self.far = FarLeg::Asked;
            }
            RestoreFar => {
                assert!(matches!(self.far, FarLeg::Asked | FarLeg::Changed), "nothing to restore");
                self.far = FarLeg::Restoring;
            }
            AnswerFar => assert!(self.way == Way::Pickup && self.new == NewLeg::Stands),
            HearBoth => assert!(matches!(self.new, NewLeg::Answered | NewLeg::Stands)),
            SwapRoute => {
                assert_eq!(self.new, NewLeg::Stands, "swapped before the new device stood");
                assert!(matches!(self.far, FarLeg::AsBefore | FarLeg::Changed) && !self.swapped);
                (self.swapped, self.committed) = (true, true);
            }
            SwapBack => {
                assert!(self.swapped && self.old == OldLeg::Stands);
                (self.swapped, self.failed_back) = (false, true);
            }
            HoldOffOld => {
                assert!(self.committed && !self.held_off && self.holds_off());
                self.held_off = true;
            }
            LiftHoldOff => assert!(std::mem::take(&mut self.held_off)),
            WatchMedia(_) => assert!(self.swapped && self.old == OldLeg::Stands),
            ReleaseOld => {
                assert!(self.committed && self.swapped, "old released before the swap");
                assert!(matches!(self.old, OldLeg::Stands | OldLeg::Lost));
                self.old = OldLeg::Released;
            }
            EndOld => {
                assert_eq!(self.far, FarLeg::Gone, "old ended while the far side is there");
                assert!(matches!(self.old, OldLeg::Stands | OldLeg::Lost | OldLeg::Won));
                self.old = OldLeg::Released;
            }
            EndFar => {
                assert_eq!(self.old, OldLeg::HungUp, "far ended while the old device is there");
                assert!(!matches!(self.far, FarLeg::Gone | FarLeg::Ended));
                self.far = FarLeg::Ended;
            }
            Announce => assert!(self.swapped && !std::mem::replace(&mut self.announced, true)),
        }
    }

    /// Whether somebody loses the call by this move.
    fn holds_off(&self) -> bool {
        self.way != Way::Pickup && self.granted != Granted::Repair
    }

    fn turn_new(&mut self, from: NewLeg, to: NewLeg) {
        assert_eq!(self.new, from);
        self.new = to;
    }

    /// What must hold after every step.
    fn check(&self, moving: &Move) {
        assert!(self.answers <= 1);
        assert!(self.committed || self.old != OldLeg::Released || self.far == FarLeg::Gone);
        assert!(self.offers <= 1);
        let far_there = !matches!(self.far, FarLeg::Gone | FarLeg::Ended);
        match moving.state() {
            State::Done => {
                assert!(self.swapped && self.announced);
                assert!(matches!(self.old, OldLeg::Released | OldLeg::HungUp), "two devices on the call");
                assert_eq!(self.held_off, self.holds_off());
                assert!(!matches!(self.far, FarLeg::Asked | FarLeg::Restoring));
            }
            State::RolledBack => {
                assert!(self.failed_back && !self.swapped && !self.held_off);
                assert!(!far_there || matches!(self.old, OldLeg::Stands | OldLeg::HungUp));
                assert_eq!(self.new, NewLeg::Ended);
                assert!(!matches!(self.far, FarLeg::Asked | FarLeg::Changed), "far not restored");
            }
            State::Refused => {
                assert!(
                    matches!(
                        self.new,
                        NewLeg::Ended | NewLeg::CancelSent | NewLeg::Nothing | NewLeg::Referred
                    ),
                    "the new device is left standing: {:?}",
                    self.new
                );
                assert!(!matches!(self.far, FarLeg::Asked | FarLeg::Changed), "far not restored");
            }
            State::Authorized => assert!(!self.stored && self.offers == 0 && self.answers == 0),
            State::Requested => panic!("a machine begins with a grant"),
            State::Ringing | State::Negotiating => assert!(!self.swapped && !self.held_off),
            State::Switching => {
                assert!(self.swapped && self.held_off == self.holds_off() && self.old == OldLeg::Stands)
            }
        }
        if moving.is_over() {
            let pulled = !matches!(self.way, Way::Push | Way::Refer);
            assert!(!pulled || self.answers == 1, "a pull without a final answer");
            // Never nobody with a far side that waits.
            let held = match moving.state() {
                State::Done => true,
                _ => self.old != OldLeg::HungUp || self.announced,
            };
            assert!(!far_there || held || self.failed_back, "the far side is left alone");
            assert!(
                far_there
                    || !matches!(self.old, OldLeg::Stands | OldLeg::Lost)
                    || moving.state() != State::Refused
            );
        }
        assert_eq!(moving.poll_timeout().is_some(), !moving.is_over(), "stuck");
    }
}

/// A machine and its world after `path`; `None` where the last event cannot happen, or the move was over before.
fn play(way: (Way, Granted), path: &[Event]) -> Option<(Move, World)> {
    let (mut out, mut world) = (Actions::new(), World::new(way));
    let mut now = Timestamp::from_micros(5_000_000);
    let mut moving = Move::begin(now, grant(way.1), way.0, Limits::default(), &mut out);
    assert_eq!(out.as_slice(), [Action::StoreSnapshot]);
    for (index, event) in path.iter().enumerate() {
        out.clear();
        let was_over = moving.is_over();
        let possible = world.suffer(*event);
        if *event == Event::Late {
            // Nothing happens before the time, and the time always comes.
            if let Some(at) = moving.poll_timeout() {
                let before = moving.stage;
                moving.handle_timeout(Timestamp::from_micros(at.as_micros() - 1), &mut out);
                assert!(out.is_empty() && moving.stage == before);
                now = at;
            }
            moving.handle_timeout(now, &mut out);
        } else {
            moving.handle(now, *event, &mut out);
        }
        if !possible {
            assert!(out.is_empty(), "{event:?} cannot happen, and yet {out:?} after {path:?}");
            assert_eq!(index + 1, path.len());
            return None;
        }
        for action in &out {
            world.carry_out(*action);
        }
        if was_over {
            // The call has left the machine: what ends its legs now is not the machine's doing.
            let late =
                EVENTS[3..6].iter().chain(&[Event::BindingGone, Event::NewUnusable]).collect::<Vec<_>>();
            assert!(out.is_empty() || late.contains(&event), "{path:?}: {out:?}");
            if !late.contains(&event) {
                return None;
            }
        }
        world.check(&moving);
    }
    Some((moving, world))
}

/// All states that any string of events can reach, with a shortest way to each.
fn reachable(way: (Way, Granted)) -> BTreeMap<String, Vec<Event>> {
    let mut seen = BTreeMap::new();
    let mut open = VecDeque::from([Vec::new()]);
    while let Some(path) = open.pop_front() {
        let Some((moving, world)) = play(way, &path) else { continue };
        let state =
            format!("{:?} {:?} {:?} {:?} {world:?}", moving.stage, moving.new, moving.far, moving.old);
        if seen.contains_key(&state) {
            continue;
        }
        open.extend(EVENTS.iter().map(|event| [path.as_slice(), &[*event]].concat()));
        seen.insert(state, path);
    }
    seen
}

#[test]
fn every_string_of_events_of_any_length_keeps_every_promise() {
    for way in WAYS {
        let states = reachable(way);
        let longest = states.values().map(Vec::len).max().unwrap_or(0);
        // Closed under all events, so longer strings add nothing; and it did go somewhere.
        assert!(
            states.len() > 15 && (3..24).contains(&longest),
            "{way:?}: {} states, {longest}",
            states.len()
        );
    }
}

#[test]
fn every_string_of_five_events_again_without_the_argument_about_states() {
    fn longer(way: (Way, Granted), path: &mut Vec<Event>) -> usize {
        let Some((moving, _)) = play(way, path) else { return 0 };
        if path.len() == 5 || moving.is_over() {
            return 1;
        }
        let mut count = 0;
        for event in EVENTS {
            path.push(event);
            count += longer(way, path);
            path.pop();
        }
        count
    }
    for way in WAYS {
        let count = longer(way, &mut Vec::new());
        assert!(count > 20, "{way:?}: {count}");
    }
}

#[test]
fn silence_ends_every_move_from_every_state() {
    for way in WAYS {
        for path in reachable(way).into_values() {
            let quiet = [path.as_slice(), &[Event::Late; 6]].concat();
            // A shorter string may have ended it already; then `play` stops there.
            let ended = (path.len()..=quiet.len())
                .any(|end| play(way, &quiet[..end]).is_none_or(|(m, _)| m.is_over()));
            assert!(ended, "{path:?}");
        }
    }
}

fn story(way: Way, events: &[Event]) -> (Move, Vec<Action>) {
    let (mut out, mut all) = (Actions::new(), Vec::new());
    let mut moving = Move::begin(Timestamp::ZERO, grant(Granted::Move), way, Limits::default(), &mut out);
    for event in events {
        moving.handle(Timestamp::ZERO, *event, &mut out);
    }
    all.extend(out);
    (moving, all)
}

#[test]
fn a_pull_that_keeps_the_media() {
    use Action::*;
    let (moving, actions) =
        story(Way::Pull(Need::Keep), &[Event::Stored, Event::NewAcked(Need::Keep), Event::NewHeard]);
    assert_eq!(moving.state(), State::Done);
    let before = Watch::OldBefore;
    assert_eq!(
        actions,
        [StoreSnapshot, AnswerNew, HearBoth, SwapRoute, HoldOffOld, WatchMedia(before), ReleaseOld, Announce]
    );
}

#[test]
fn a_pull_that_must_ask_and_is_refused_leaves_no_trace() {
    use Action::*;
    let why = Refusal::FarRefused;
    let (moving, actions) = story(Way::Pull(Need::Reoffer), &[Event::Stored, Event::FarRefused]);
    assert_eq!((moving.state(), moving.refusal()), (State::Refused, Some(why)));
    assert_eq!(actions, [StoreSnapshot, ReofferFar, RefuseNew(why)]);
}

#[test]
fn a_far_side_that_never_answers_is_restored() {
    use Action::*;
    let (_, actions) =
        story(Way::Pull(Need::Reoffer), &[Event::Stored, Event::FarSilent, Event::FarAnswered]);
    assert_eq!(actions, [StoreSnapshot, ReofferFar, RefuseNew(Refusal::FarSilent), RestoreFar]);
}

#[test]
fn a_pushed_move_survives_the_old_devices_bye() {
    use Action::*;
    let (moving, actions) =
        story(Way::Push, &[Event::Stored, Event::NewRinging, Event::OldGone, Event::NewAnswered(Need::Keep)]);
    assert_eq!(moving.state(), State::Done);
    assert_eq!(actions, [StoreSnapshot, RingNew, AckNew, HearBoth, SwapRoute, HoldOffOld, Announce]);
}

#[test]
fn a_device_that_was_asked_to_call_pulls() {
    use Action::*;
    let came = Event::NewCame(Way::Pull(Need::Keep));
    let (moving, actions) = story(
        Way::Refer,
        &[Event::Stored, Event::NewAnswered(Need::Keep), came, Event::NewAcked(Need::Keep), Event::NewHeard],
    );
    assert_eq!((moving.state(), moving.way()), (State::Done, Way::Pull(Need::Keep)));
    let before = WatchMedia(Watch::OldBefore);
    assert_eq!(
        actions,
        [StoreSnapshot, ReferNew, AnswerNew, HearBoth, SwapRoute, HoldOffOld, before, ReleaseOld, Announce]
    );
    let (moving, actions) = story(Way::Refer, &[Event::Stored, Event::Late, came]);
    assert_eq!(moving.refusal(), Some(Refusal::TargetSilent));
    assert_eq!(actions, [StoreSnapshot, ReferNew], "who calls too late calls nobody");
    let (moving, actions) = story(Way::Push, &[Event::Stored, came]);
    assert_eq!((moving.state(), actions), (State::Ringing, vec![StoreSnapshot, RingNew]));
}

#[test]
fn a_200_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    use Action::*;
    let (_, actions) = story(Way::Push, &[Event::Stored, Event::Undo, Event::NewAnswered(Need::Keep)]);
    let why = Refusal::Cancelled;
    assert_eq!(actions, [StoreSnapshot, RingNew, CancelNew, AckNew, HangUpNew(why)]);
}

#[test]
fn a_silent_new_device_gives_the_call_back() {
    use Action::*;
    let swap = [Event::Stored, Event::FarAnswered, Event::NewAcked(Need::Reoffer)];
    let (moving, actions) = story(Way::Pull(Need::Reoffer), &[&swap[..], &[Event::NewSilent]].concat());
    assert_eq!((moving.state(), moving.rollback()), (State::RolledBack, Some(Rollback::NewSilent)));
    assert_eq!(actions[7..], [SwapBack, LiftHoldOff, HangUpNew(Refusal::Cancelled), RestoreFar]);
}

#[test]
fn an_answer_in_the_ack_may_need_the_far_side() {
    use Action::*;
    let (moving, actions) = story(
        Way::PullOfferless,
        &[Event::Stored, Event::NewAcked(Need::Reoffer), Event::FarAnswered, Event::BothSilent],
    );
    assert_eq!(moving.state(), State::Done);
    assert_eq!(actions[..5], [StoreSnapshot, AnswerNew, HearBoth, ReofferFar, SwapRoute]);
}

#[test]
fn a_ringing_call_is_picked_up_without_hold_off() {
    use Action::*;
    let (moving, actions) = story(Way::Pickup, &[Event::Stored, Event::NewAcked(Need::Keep)]);
    assert_eq!(moving.state(), State::Done);
    assert_eq!(actions, [StoreSnapshot, AnswerNew, AnswerFar, SwapRoute, ReleaseOld, Announce]);
    let (lost, actions) = story(Way::Pickup, &[Event::Stored, Event::OldAnswered]);
    assert_eq!(lost.refusal(), Some(Refusal::Busy));
    assert_eq!(actions[2..], [HangUpNew(Refusal::Busy)]);
}

#[test]
fn a_device_that_repairs_its_own_leg_is_not_held_off() {
    use Action::*;
    let mut out = Actions::new();
    let way = Way::Pull(Need::Keep);
    let mut moving = Move::begin(Timestamp::ZERO, grant(Granted::Repair), way, Limits::default(), &mut out);
    for event in [Event::Stored, Event::NewAcked(Need::Keep), Event::NewHeard, Event::Undo] {
        moving.handle(Timestamp::ZERO, event, &mut out);
    }
    let before = Watch::OldBefore;
    assert_eq!(
        out.as_slice(),
        [StoreSnapshot, AnswerNew, HearBoth, SwapRoute, WatchMedia(before), ReleaseOld, Announce]
    );
    assert_eq!(moving.state(), State::Done);
}

#[test]
fn a_binding_that_runs_out_before_the_ack_stops_the_move() {
    let (now, gone) = (Timestamp::from_micros(9), Presence::until(Some(Timestamp::from_micros(9))));
    let here = Presence::until(Some(Timestamp::from_micros(10)));
    let acked = Event::NewAcked(Need::Keep);
    assert_eq!(Move::if_registered(now, here, here, acked), acked);
    assert_eq!(Move::if_registered(now, here, gone, acked), Event::BindingGone);
    assert_eq!(Move::if_registered(now, gone, here, acked), Event::BindingGone);
    let (moving, actions) = story(Way::Pull(Need::Keep), &[Event::Stored, Event::BindingGone]);
    assert_eq!(moving.refusal(), Some(Refusal::NotRegistered));
    assert_eq!(actions.last(), Some(&Action::HangUpNew(Refusal::NotRegistered)));
}

#[test]
fn a_finished_move_is_not_undone_by_its_machine() {
    // Taking it back later is a push of its own, with a grant of its own.
    let done = [Event::Stored, Event::NewAcked(Need::Keep), Event::NewHeard];
    let (_, before) = story(Way::Pull(Need::Keep), &done);
    let (moving, after) = story(Way::Pull(Need::Keep), &[&done[..], &[Event::Undo]].concat());
    assert_eq!((moving.state(), after), (State::Done, before));
}

#[test]
fn each_wait_has_its_own_length() {
    let (mut out, limits) = (Actions::new(), Limits::default());
    let t = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
    let mut moving = Move::begin(t(0), grant(Granted::Move), Way::Pull(Need::Reoffer), limits, &mut out);
    assert_eq!(moving.poll_timeout(), Some(t(0) + limits.store));
    moving.handle(t(1), Event::Stored, &mut out);
    assert_eq!(moving.poll_timeout(), Some(t(1) + limits.far));
    moving.handle(t(5), Event::FarAnswered, &mut out);
    assert_eq!(moving.poll_timeout(), Some(t(5) + limits.ack));
    moving.handle(t(6), Event::NewAcked(Need::Keep), &mut out);
    assert_eq!(moving.poll_timeout(), Some(t(6) + limits.rollback));
}
