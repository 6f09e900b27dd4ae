//! Secured legs through the relay: both ways, over moves and wraps, and what strangers send.

use super::*;
use crate::media::srtp::{Keys, MasterKey, Opener, Sealer, Security, Suite};

/// A phone that speaks SRTP: its own contexts, which are not those of the relay.
struct Secured {
    phone: Phone,
    sealer: Sealer,
    opener: Opener,
    extended: u32,
}

fn key(suite: Suite, seed: u64) -> MasterKey {
    MasterKey::generate(suite, &mut Random::from_number(seed))
}

impl World {
    fn secured(&mut self, address: &str, suite: Suite) -> Secured {
        let seed = self.relay.routes.len() as u64;
        let keys = Keys { theirs: key(suite, 100 + seed), ours: key(suite, 200 + seed) };
        let (sealer, opener) = (Sealer::new(&keys.theirs), Opener::new(&keys.ours));
        let phone = self.phone_with(address, |i| i.security = Security::Srtp(Box::new(keys)));
        let extended = u32::from(phone.sequence);
        Secured { phone, sealer, opener, extended }
    }

    /// The next packet of a secured phone.
    fn send_sealed(&mut self, from: &mut Secured, payload: &[u8]) -> Verdict {
        let sealed = from.seal(payload);
        self.receive(from.phone.port, Component::Rtp, from.phone.addr, &sealed)
    }

    /// What a secured phone could open of what was sent to it.
    fn opened_by(&mut self, to: &mut Secured) -> Vec<Sent> {
        let mut heard = self.heard_by(&to.phone);
        for sent in &mut heard {
            let len = to.opener.open_rtp(&mut sent.bytes).expect("sealed for this phone");
            sent.bytes.truncate(len);
        }
        heard
    }
}

impl Secured {
    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let plain = self.phone.packet(0, self.phone.timestamp, payload);
        self.phone.timestamp = self.phone.timestamp.wrapping_add(160);
        let mut sealed = vec![0; plain.len() + 20];
        let len = self.sealer.seal_rtp(self.extended, &plain, &mut sealed).unwrap();
        self.extended += 1;
        sealed.truncate(len);
        sealed
    }
}

#[test]
fn every_pair_of_suites_and_plain_hears_each_other() {
    for a_suite in Suite::ALL {
        for b_suite in Suite::ALL {
            let mut world = World::new();
            let mut a = world.secured("192.0.2.1:4000", a_suite);
            let mut b = world.secured("192.0.2.2:4000", b_suite);
            world.call(&a.phone, &b.phone);
            for n in 0..100u8 {
                assert_eq!(world.send_sealed(&mut a, &[n; 160]), Verdict::Forwarded(1));
                assert_eq!(world.send_sealed(&mut b, &[!n; 160]), Verdict::Forwarded(1));
                world.pass(ms(20));
            }
            let (at_b, at_a) = (world.opened_by(&mut b), world.opened_by(&mut a));
            assert_eq!((at_a.len(), at_b.len()), (100, 100));
            assert!((0..100).all(|n| at_b[n].bytes[12..] == [n as u8; 160]));
            assert!((0..100).all(|n| at_a[n].bytes[12..] == [!(n as u8); 160]));
            assert_continuous(&at_a);
            assert_continuous(&at_b);
        }
    }
}

#[test]
fn plain_and_secured_convert_either_way() {
    let mut world = World::new();
    let mut desk = world.phone("192.0.2.1:4000");
    let mut soft = world.secured("192.0.2.2:4000", Suite::AesCm128HmacSha1Tag80);
    world.call(&desk, &soft.phone);
    for _ in 0..3 {
        assert_eq!(world.send(&mut desk), Verdict::Forwarded(1));
        assert_eq!(world.send_sealed(&mut soft, &[7; 160]), Verdict::Forwarded(1));
        world.pass(ms(20));
    }
    assert!(world.opened_by(&mut soft).iter().all(|sent| sent.bytes[12..] == [0xd5; 160]));
    assert!(world.heard_by(&desk).iter().all(|sent| sent.bytes[12..] == [7; 160]));
}
