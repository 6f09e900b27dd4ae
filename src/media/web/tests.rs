//! Legs of browsers, with a browser of a few lines: it checks as a controlling agent does, and shakes hands with the
//! library's other end.

pub(in crate::media) mod browser;
mod hostile;
mod legs;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use browser::Browser;

use super::{Arrival, Credentials, Identity, Role, Web, WebEnd};
use crate::base::{Random, Timestamp};
use crate::media::srtp::Keys;

/// Our side, and what it has told.
struct House {
    web: Web,
    origin: Instant,
    now: Timestamp,
    random: Random,
}

/// What one side of a leg has got to.
#[derive(Default, Debug)]
struct Told {
    picked: Option<SocketAddr>,
    keys: Option<Box<Keys>>,
    refused: Option<&'static str>,
}

impl House {
    fn new() -> Self {
        let (origin, identity) = (Instant::now(), Arc::new(Identity::generate().unwrap()));
        let web = Web::new(identity, origin);
        Self { web, origin, now: Timestamp::ZERO, random: Random::from_number(7) }
    }

    fn fingerprint(&self) -> super::Fingerprint {
        self.web.identity.fingerprint().clone()
    }

    /// A leg in `slot` and its browser at `address`.
    fn leg(&mut self, slot: u32, address: &str, role: Role) -> Browser {
        let local = Credentials::from_bytes(&self.random.bytes());
        let browser =
            Browser::new(address.parse().unwrap(), local.clone(), role, self.fingerprint(), self.origin);
        let end = WebEnd {
            local,
            remote: "them".into(),
            fingerprint: browser.fingerprint(),
            role,
            association: 0,
            tls_id: None,
        };
        assert!(self.configure(slot, &end));
        browser
    }

    /// Describes a leg that is to say nothing by that.
    fn configure(&mut self, slot: u32, end: &WebEnd) -> bool {
        self.web.configure(self.now, slot, end, &mut |_, _| panic!("said"))
    }

    /// Gives one datagram to the house; what it answers goes to the browser whose address it is.
    fn deliver(
        &mut self,
        src: SocketAddr,
        datagram: &[u8],
        browser: &mut Browser,
        told: &mut Told,
    ) -> Arrival {
        let mut answers = Vec::new();
        let arrival = self
            .web
            .handle_datagram(self.now, src, datagram, &mut |to, bytes| answers.push((to, bytes.to_vec())));
        match &arrival {
            Arrival::Picked { address, .. } => told.picked = Some(*address),
            Arrival::Secured { keys, .. } => told.keys = Some(keys.clone()),
            Arrival::Refused { why, .. } => told.refused = Some(why),
            _ => {}
        }
        for (to, answer) in answers {
            if to == browser.address {
                browser.receive(self.now, &answer);
            }
        }
        arrival
    }

    /// Lets both sides talk until neither has anything to say.
    fn settle(&mut self, browser: &mut Browser, told: &mut Told) {
        while let Some(datagram) = browser.outgoing.pop_front() {
            let src = browser.address;
            self.deliver(src, &datagram, browser, told);
        }
    }

    /// A browser from its first check to its keys.
    fn connect(&mut self, browser: &mut Browser) -> Told {
        let mut told = Told::default();
        browser.check(browser::Pick::Yes);
        self.settle(browser, &mut told);
        browser.start(self.now);
        self.settle(browser, &mut told);
        told
    }

    /// Lets time pass; gives the slots that nobody has checked for too long.
    fn pass(&mut self, time: Duration, browser: &mut Browser) -> Vec<u32> {
        let (until, mut lost) = (self.now + time, Vec::new());
        while let Some(at) = self.web.poll_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            let mut sent = Vec::new();
            while let Some(slot) =
                self.web.handle_timeout(self.now, &mut |_, bytes| sent.push(bytes.to_vec()))
            {
                lost.push(slot);
            }
            for datagram in sent {
                browser.receive(self.now, &datagram);
            }
        }
        self.now = until;
        lost
    }
}
