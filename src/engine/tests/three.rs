//! Three parties, of whom one hands another on to the third.

use std::time::Duration;

use super::World;
use super::world::{accounts, settings};
use crate::engine::Settings;
use crate::engine::store::Loaded;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);

/// Alice's desk talks with Bob's; Carol's is there too.
pub(super) struct Three {
    pub(super) world: World,
    pub(super) alice: usize,
    pub(super) bob: usize,
    pub(super) carol: usize,
}

impl Three {
    #[track_caller]
    pub(super) fn talking(seed: u64) -> Self {
        Self::talking_in(seed, settings())
    }

    #[track_caller]
    pub(super) fn talking_in(seed: u64, settings: Settings) -> Self {
        let mut world = World::with(seed, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default());
        let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
        let carol = world.phone("carol", "desk");
        world.phones[alice].dial("bob");
        world.run(SECOND);
        assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
        Self { world, alice, bob, carol }
    }

    pub(super) fn refer(&mut self, by: usize, to: &str) {
        self.world.phones[by].request(0, &Method::Refer, &[("Refer-To", to)], b"");
        self.world.run(SECOND);
    }

    /// Alice consults Carol.
    pub(super) fn consult(&mut self) -> String {
        self.world.phones[self.alice].reinvite(0, "sendonly");
        self.world.run(SECOND);
        let line = self.world.phones[self.alice].dial("carol");
        self.world.run(SECOND);
        let dialog = &self.world.phones[self.alice].lines[line].dialog;
        let (id, ours, theirs) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag);
        format!("<sip:carol@example.org?Replaces={id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}>")
    }

    pub(super) fn told(&self, phone: usize) -> Vec<&str> {
        self.world.phones[phone].lines[0].referred.iter().map(|text| &text[8..11]).collect()
    }

    pub(super) fn refer_status(&self, phone: usize) -> Option<u16> {
        let mut refers = self.world.phones[phone].finals.iter().filter(|found| found.0 == "REFER");
        refers.next_back().map(|found| found.1)
    }

    /// Bob and Carol talk, and nobody else does.
    #[track_caller]
    pub(super) fn joined(&self) {
        let world = &self.world;
        assert_eq!(world.heard_by("bob*desk"), ["carol*desk"], "{}", world.tail());
        assert_eq!(world.heard_by("carol*desk"), ["bob*desk"], "{}", world.tail());
        assert_eq!(world.engine.core().calls.len(), 1);
        world.check();
    }

    /// Alice and Bob talk as before, and can hold and resume.
    #[track_caller]
    pub(super) fn untouched(&mut self) {
        for direction in ["sendonly", "sendrecv"] {
            self.world.phones[self.alice].reinvite(0, direction);
            self.world.run(SECOND);
            let status = self.world.phones[self.alice].lines[0].status;
            assert_eq!(status, Some(200), "{}", self.world.tail());
        }
        assert!(self.world.heard_by("alice*desk").contains(&"bob*desk".to_owned()), "{}", self.world.tail());
        assert_eq!(self.world.heard_by("bob*desk"), ["alice*desk"]);
        assert!(!self.world.phones[self.alice].lines[0].is_over);
        self.world.check();
    }

    pub(super) fn end(mut self) {
        for phone in [self.bob, self.carol, self.alice] {
            for line in 0..self.world.phones[phone].lines.len() {
                if self.world.phones[phone].lines[line].is_up && !self.world.phones[phone].lines[line].is_over
                {
                    self.world.phones[phone].bye(line);
                    self.world.run(SECOND);
                }
            }
        }
        self.world.run(TWO_MINUTES);
        self.world.check_idle();
    }
}
