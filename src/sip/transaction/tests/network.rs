//! Two layers over a network that loses, doubles and reorders: whatever happens, each side hears of each thing
//! once and nothing is left behind.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::*;

const CALLS: u32 = 6;
const SIDES: [&str; 2] = ["192.0.2.1:5060", "192.0.2.2:5060"];

/// Bytes in flight: when, tie-break, to which side.
type Flight = Reverse<(Timestamp, u64, usize, Vec<u8>)>;

struct Net {
    random: Random,
    loss: u64,
    reliable: bool,
    flying: BinaryHeap<Flight>,
    sequence: u64,
}

impl Net {
    fn throw(&mut self, now: Timestamp, to: usize, bytes: &Bytes) {
        let copies = if self.reliable {
            1
        } else {
            u64::from(self.random.below(100) >= self.loss) + u64::from(self.random.below(100) < 10)
        };
        for _ in 0..copies {
            let delay = if self.reliable { 20 } else { 5 + self.random.below(300) };
            self.sequence += 1;
            self.flying.push(Reverse((now + ms(delay), self.sequence, to, bytes.to_vec())));
        }
    }
}

#[derive(Default, Debug)]
struct Heard {
    ends: BTreeMap<(u32, &'static str), u32>,
    invites: BTreeSet<String>,
    byes: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
    ack_timeouts: u32,
}

struct World {
    net: Net,
    layers: [Transactions<u32>; 2],
    transport: Transport,
    heard: Heard,
    /// How long the caller lets it ring: the layer itself waits for ever (17.1.1).
    patience: Vec<(Timestamp, ClientTx)>,
    /// What the callee does later: answer this transaction with this status.
    later: BTreeMap<(Timestamp, ServerTx), u16>,
    accepted: BTreeMap<String, ServerTx>,
}

impl World {
    fn new(seed: u64, loss: u64, transport: Transport) -> Self {
        let mut random = Random::from_number(seed);
        let layers = [0, 1].map(|_| Transactions::new(Settings::default(), &mut random));
        let reliable = transport.is_reliable();
        Self {
            net: Net { random, loss, reliable, flying: BinaryHeap::new(), sequence: 0 },
            layers,
            transport,
            heard: Heard::default(),
            patience: Vec::new(),
            later: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
    }

    fn flow_to(&self, side: usize) -> Flow {
        Flow { transport: self.transport, peer: SIDES[side].parse().unwrap(), ..tcp(1) }
    }

    fn ask<'a>(&self, call: &'a str, branch: &'a str) -> Ask<'a> {
        Ask { call_id: call, branch, ..ASK }
    }

    fn run(mut self) -> Heard {
        let mut now = T0;
        let mut out = Vec::new();
        for call in 0..CALLS {
            let (id, branch) = (format!("call-{call}"), format!("z9hG4bKinv{call}"));
            let bytes = self.ask(&id, &branch).bytes();
            let flow = self.flow_to(1);
            let tx = self.layers[0].request(now, flow, &Method::Invite, &branch, bytes, call, &mut out);
            self.patience.push((now + Duration::from_secs(60), tx));
        }
        self.carry_out(now, 0, out);
        for _ in 0..100_000 {
            let next = [
                self.net.flying.peek().map(|Reverse((at, ..))| *at),
                self.layers[0].poll_timeout(),
                self.layers[1].poll_timeout(),
                self.later.keys().next().map(|(at, _)| *at),
                self.patience.first().map(|(at, _)| *at),
            ];
            let Some(next) = next.into_iter().flatten().min() else {
                assert!(self.layers.iter().all(Transactions::is_empty), "transactions left behind");
                return self.heard;
            };
            assert!(next >= now, "time goes back");
            now = next;
            self.step(now);
        }
        panic!("never quiet");
    }

    fn step(&mut self, now: Timestamp) {
        let mut outs = [Vec::new(), Vec::new()];
        if self.net.flying.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, side, bytes))) = self.net.flying.pop() else { return };
            let from = self.flow_to(1 - side);
            self.layers[side].receive(now, from, parsed(Bytes::from(bytes)), &mut outs[side]);
        } else if let Some(((at, tx), status)) = self.later.first_key_value().map(|(k, s)| (*k, *s))
            && at <= now
        {
            self.later.pop_first();
            // Unless it was cancelled meanwhile.
            if self.layers[1].server(tx).is_some_and(|view| view.request.is_some()) {
                respond(&mut self.layers[1], now, tx, status, &mut outs[1]);
            }
        } else if self.patience.first().is_some_and(|(at, _)| *at <= now) {
            let (_, tx) = self.patience.remove(0);
            self.layers[0].cancel(now, tx, None, &mut outs[0]);
        } else {
            for (layer, out) in self.layers.iter_mut().zip(&mut outs) {
                layer.handle_timeout(now, out);
            }
        }
        let [caller, callee] = outs;
        self.carry_out(now, 0, caller);
        self.carry_out(now, 1, callee);
    }

    fn carry_out(&mut self, now: Timestamp, side: usize, effects: Vec<Effect<u32>>) {
        let mut out = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { bytes, .. } => self.net.throw(now, 1 - side, &bytes),
                Effect::Request { tx, message, .. } => {
                    self.callee_hears(now, tx, &message, &mut out);
                }
                Effect::Response { tx, owner, message, .. } => {
                    self.caller_hears(now, tx, owner, &message, &mut out);
                }
                Effect::Timeout { owner, .. } => *self.heard.ends.entry((owner, "timeout")).or_default() += 1,
                Effect::Ack { message, .. } => {
                    let call = message.call_id().unwrap();
                    self.layers[1].acknowledge(self.accepted[call]);
                    self.heard.acknowledged.insert(call.to_owned());
                }
                Effect::AckTimeout { answered, .. } => {
                    self.heard.ack_timeouts += u32::from(answered == Answered::Accepted);
                }
                Effect::Cancelled { tx, .. } => respond(&mut self.layers[1], now, tx, 487, &mut out),
                Effect::Stray { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        if !out.is_empty() {
            self.carry_out(now, side, out);
        }
    }

    fn callee_hears(&mut self, now: Timestamp, tx: ServerTx, request: &Message, out: &mut Vec<Effect<u32>>) {
        let call = request.call_id().unwrap().to_owned();
        if *request.method() == Method::Bye {
            assert!(self.heard.byes.insert(call), "BYE heard twice");
            return respond(&mut self.layers[1], now, tx, 200, out);
        }
        assert!(self.heard.invites.insert(call.clone()), "INVITE heard twice");
        respond(&mut self.layers[1], now, tx, 180, out);
        let refuse = self.net.random.below(3) == 0;
        let delay = ms(self.net.random.below(3000));
        self.later.insert((now + delay, tx), if refuse { 486 } else { 200 });
        self.accepted.insert(call, tx);
    }

    fn caller_hears(
        &mut self,
        now: Timestamp,
        tx: ClientTx,
        owner: u32,
        response: &Message,
        out: &mut Vec<Effect<u32>>,
    ) {
        let status = response.status().unwrap();
        if status.is_provisional() {
            return;
        }
        let call = format!("call-{owner}");
        if *response.method() == Method::Bye {
            *self.heard.ends.entry((owner, "bye")).or_default() += 1;
            return;
        }
        *self.heard.ends.entry((owner, "invite")).or_default() += 1;
        if status.is_success() {
            let (ack, bye) = (format!("z9hG4bKack{owner}"), format!("z9hG4bKbye{owner}"));
            let flow = self.flow_to(1);
            let base = self.ask(&call, &ack);
            let ack = Ask { method: Method_::Ack, to_tag: "b1", ..base }.bytes();
            self.layers[0].acked(now, tx, response.to_tag(), flow, ack, out);
            let request = Ask { method: Method_::Bye, to_tag: "b1", cseq: 2, branch: &bye, ..base }.bytes();
            self.layers[0].request(now, flow, &Method::Bye, &bye, request, owner, out);
        }
    }
}

/// An INVITE ends once, and the BYE that may follow it once.
fn check_ends(heard: &Heard, seed: u64) {
    for call in 0..CALLS {
        let ends = |what| heard.ends.get(&(call, what)).copied().unwrap_or_default();
        assert!(ends("invite") <= 1, "{seed}: call {call} answered twice");
        let total = ends("invite") + ends("bye") + ends("timeout");
        assert!((1..=2).contains(&total), "{seed}: call {call} ended {total} times: {heard:?}");
    }
}

#[test]
fn a_bad_network_delays_but_confuses_nobody() {
    for seed in 0..150 {
        let heard = World::new(seed, 30, Transport::Udp).run();
        check_ends(&heard, seed);
    }
}

#[test]
fn a_terrible_network_ends_everything_too() {
    for seed in 0..40 {
        check_ends(&World::new(seed, 85, Transport::Udp).run(), seed);
        check_ends(&World::new(seed, 100, Transport::Udp).run(), seed);
    }
}

#[test]
fn a_good_network_needs_no_repetition_and_loses_nothing() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut world = World::new(1, 0, transport);
        world.net.reliable = true;
        let heard = world.run();
        check_ends(&heard, 1);
        assert_eq!((heard.invites.len(), heard.ack_timeouts), (CALLS as usize, 0));
        assert_eq!(heard.acknowledged.len(), heard.byes.len());
        assert!(
            !heard.byes.is_empty() && heard.byes.len() < CALLS as usize,
            "accepted and refused: {heard:?}"
        );
    }
}
