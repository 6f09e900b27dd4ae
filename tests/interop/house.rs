//! A node with alice's two handsets and bob's one, registered, and a call between them.

use std::time::{Duration, Instant};

use segue::shell::phone::{Answering, Call, Dial, MediaReport, Options, Phone};

use crate::node::{DOMAIN, Node, PASSWORD, Settings};

/// Anything on loopback that takes longer is a failure.
pub(crate) const SOON: Duration = Duration::from_secs(8);
/// What each handset says.
pub(crate) const DESK_HZ: u32 = 400;
pub(crate) const MOBILE_HZ: u32 = 600;
pub(crate) const BOB_HZ: u32 = 1000;

pub(crate) struct House {
    zero: Instant,
    pub(crate) node: Node,
    pub(crate) desk: Phone,
    pub(crate) mobile: Phone,
    pub(crate) bob: Phone,
}

/// A call from alice's desk to bob.
pub(crate) struct Talk {
    pub(crate) desk: Call,
    pub(crate) bob: Call,
}

/// Options of a device of the test accounts.
pub(crate) fn device(node: &Node, user: &str, device: &str, hz: u32) -> Options {
    let options = Options::new(user, DOMAIN, node.sip).named(&format!("{user}-{device}"));
    options.login(&format!("{user}-{device}"), PASSWORD).tone(hz)
}

/// Starts and registers a phone.
pub(crate) async fn phone(options: Options) -> Phone {
    let phone = Phone::start(options).await.expect("a phone");
    phone.register(120).await.expect("registered");
    phone
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(&Settings::default()).await
    }

    pub(crate) async fn with(settings: &Settings) -> Self {
        Self::furnished(settings, |options| options).await
    }

    /// `change` sees the options of every phone before it is started.
    pub(crate) async fn furnished(settings: &Settings, change: impl Fn(Options) -> Options) -> Self {
        let node = Node::start(settings).await;
        let desk = phone(change(device(&node, "alice", "desk", DESK_HZ).answering(Answering::ByHand))).await;
        let mobile =
            phone(change(device(&node, "alice", "mobile", MOBILE_HZ).answering(Answering::ByHand))).await;
        let bob = phone(change(device(&node, "bob", "desk", BOB_HZ))).await;
        Self { zero: Instant::now(), node, desk, mobile, bob }
    }

    /// Desk calls bob; both hear each other.
    pub(crate) async fn talk(&self) -> Talk {
        let desk = self.desk.call("bob").await.expect("an answer");
        let bob = self.bob.answered(SOON).await.expect("a call for bob");
        desk.hears(BOB_HZ, SOON).await.expect("desk hears bob");
        bob.hears(DESK_HZ, SOON).await.expect("bob hears desk");
        Talk { desk, bob }
    }

    /// Mobile pulls by the star code, after bob has heard a little of the desk; bob hears it, desk is released.
    pub(crate) async fn pull(&self, talk: &Talk) -> Call {
        let from_here = talk.bob.media().mark();
        talk.bob.heard(from_here, DESK_HZ, 5, SOON).await.expect("bob hears desk before the move");
        let call = self.mobile.call("*11").await.expect("the star code is answered");
        self.settled(talk, &call).await;
        call
    }

    /// The call is on mobile: both directions, and the desk has its BYE.
    pub(crate) async fn settled(&self, talk: &Talk, mobile: &Call) {
        talk.bob.hears(MOBILE_HZ, SOON).await.expect("bob hears mobile");
        mobile.hears(BOB_HZ, SOON).await.expect("mobile hears bob");
        let ending = talk.desk.ended(SOON).await.expect("the old handset is released");
        let reason = ending.reason.unwrap_or_default();
        assert!(
            reason.contains("cause=200") && reason.contains("Call moved"),
            "Reason of the BYE: {reason:?}"
        );
    }

    /// The call is where it was: both hear each other, and nothing was hung up.
    pub(crate) async fn untouched(&self, talk: &Talk) {
        assert!(!talk.desk.has_ended() && !talk.bob.has_ended());
        talk.bob.hears(DESK_HZ, SOON).await.expect("bob still hears desk");
        talk.desk.hears(BOB_HZ, SOON).await.expect("desk still hears bob");
    }

    /// No phone saw a message that it could not read.
    pub(crate) fn clean(&self) {
        for phone in [&self.desk, &self.mobile, &self.bob] {
            assert_eq!(phone.log().faults(), Vec::<String>::new(), "{}", phone.name());
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let phones = [&self.desk, &self.mobile, &self.bob];
        let mut lines: Vec<_> = phones.iter().flat_map(|phone| phone.log().ladder(self.zero)).collect();
        lines.sort();
        eprintln!("--- what the phones said");
        lines.iter().for_each(|(at, line)| eprintln!("{:8.3} {line}", at.as_secs_f64()));
    }
}

/// The status of a call that must not be answered.
pub(crate) async fn refusal(phone: &Phone, dial: Dial) -> segue::shell::phone::Message {
    match phone.dial(dial).await.expect("sent").answered(SOON).await {
        Ok(_) => panic!("{}: a call that must be refused was answered", phone.name()),
        Err(error) => error.response().unwrap_or_else(|| panic!("{error}")).clone(),
    }
}

/// 403 with Retry-After in `1..=seconds`.
pub(crate) fn held_off(response: &segue::shell::phone::Message, seconds: u32) {
    assert_eq!(response.status(), Some(403), "{}", response.summary());
    let wait = response.retry_after().unwrap_or_else(|| panic!("no Retry-After in {}", response.summary()));
    assert!((1..=seconds).contains(&wait), "Retry-After {wait}");
    assert!(response.header("Reason").is_some(), "no Reason in {}", response.summary());
}

/// What bob must not notice of a move: nothing lost, one stream, no steps.
pub(crate) fn seamless(report: &MediaReport) {
    assert!(report.is_seamless(), "{report}\nsteps: {:?}", report.timestamp_steps);
}
