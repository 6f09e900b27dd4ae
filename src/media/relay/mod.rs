//! The packet path: routes, source learning, rewriting, counters. No lock, allocation or hash per packet.
//!
//! The engine compiles its decisions into flat routes by [`MediaCommand`]; a media thread owns one [`Relay`] and
//! is told in return what happened by [`MediaEvent`]. The relay itself is sans-IO: packets and time go in,
//! packets and events come out through an [`Outlet`].
//!
//! ```text
//!  packet ─► slot ─► opened ─► well formed? ─► source? ─► count, digit ─► for each sink: place ─► sealed ─► send
//!              └ DropReason at every step; nothing is dropped without a name
//! ```

mod alarm;
mod bursts;
mod commands;
mod convert;
mod egress;
pub mod g711;
mod guard;
mod keys;
mod latch;
mod pace;
mod reception;
mod reporter;
mod route;
mod rtcp;
mod sound;
mod stats;
mod types;
mod web;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use bursts::BurstCounts;
use egress::{Arrival, Feed};
use guard::Room;
use keys::Tick;
pub use keys::event_of;
use route::{Admitted, Route};
use rtcp::Crossing;
pub use stats::{DropReason, PortStats, Reported, Totals};
pub use types::{
    Ingress, Kind, Law, Learning, MediaCommand, MediaEvent, PayloadMap, PortId, PortPair, Prompt, Sending,
    Sink, Sound, Voice,
};

use crate::base::{Chunks, Random, TimerHeap, Timestamp};
use crate::media::web::Web;
use crate::wire::rtcp::Writer;
use crate::wire::rtp::{HEADER, Header};

/// No packet that is longer is carried; an Ethernet frame holds less.
pub const MAX_PACKET: usize = 1500;

/// Which socket of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Component {
    /// The even port.
    Rtp,
    /// The odd one.
    Rtcp,
    /// Neither: the socket that the browsers of a thread share.
    Web,
}

/// Where packets and events of a relay go.
pub trait Outlet {
    /// Sends a packet from a socket of `slot`. False if the system refused.
    fn send(&mut self, slot: u32, component: Component, to: SocketAddr, packet: &[u8]) -> bool;
    /// Tells the engine.
    fn event(&mut self, event: MediaEvent);
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It went to so many receivers.
    Forwarded(u8),
    /// It went nowhere. (Where one of two receivers could not have it, that is counted, and this says the other.)
    Dropped(DropReason),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Quiet(u32, u32),
    Sound(u32, u32),
    Keys(u32, u32),
    Report(u32, u32),
}

/// The routes of one media thread.
pub struct Relay {
    thread: u8,
    routes: Chunks<Route>,
    timers: TimerHeap<Timer>,
    random: Random,
    report: Writer,
    room: Box<Room>,
    totals: Totals,
    web: Option<Box<Web>>,
    tells_rtcp: bool,
}

impl Relay {
    /// Without ports yet. `random` mints SSRCs and CNAMEs.
    #[must_use]
    pub fn new(thread: u8, random: Random) -> Self {
        let (routes, timers) = (Chunks::default(), TimerHeap::default());
        let (report, room, totals) = (Writer::default(), Box::default(), Totals::default());
        Self { thread, routes, timers, random, report, room, totals, web: None, tells_rtcp: false }
    }

    /// What comes in by RTCP is told as [`MediaEvent::Rtcp`] from now on.
    #[must_use]
    pub fn tell_rtcp(mut self) -> Self {
        self.tells_rtcp = true;
        self
    }

    /// Makes one more slot, for a pair of sockets that was bound.
    pub fn add_port(&mut self) -> PortId {
        let slot = u32::try_from(self.routes.len()).unwrap_or(u32::MAX);
        self.routes.push(Route::default());
        PortId { thread: self.thread, slot }
    }

    /// Whether a port is in use: configured and not released.
    #[must_use]
    pub fn is_open(&self, port: PortId) -> bool {
        self.routes.get(port.slot as usize).is_some_and(|route| route.open && port.thread == self.thread)
    }

    /// Sums over all ports since the start.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Takes a packet that arrived on a socket of `slot`, and sends it on, rewritten in place. (For that of the browsers
    /// the slot says nothing; the packet tells whose it is.)
    pub fn handle_packet(
        &mut self,
        now: Timestamp,
        slot: u32,
        component: Component,
        src: SocketAddr,
        packet: &mut [u8],
        out: &mut impl Outlet,
    ) -> Verdict {
        let result = match component {
            _ if packet.len() > MAX_PACKET => Err(DropReason::TooLong),
            Component::Rtp => self.handle_rtp(now, slot, src, packet, out),
            Component::Rtcp => self.handle_rtcp(now, slot, src, packet, out),
            Component::Web => return self.handle_web(now, src, packet, out),
        };
        match result {
            Ok(receivers) => Verdict::Forwarded(receivers),
            Err(reason) => {
                self.count(slot, reason);
                Verdict::Dropped(reason)
            }
        }
    }

    fn handle_rtp(
        &mut self,
        now: Timestamp,
        slot: u32,
        src: SocketAddr,
        packet: &mut [u8],
        out: &mut impl Outlet,
    ) -> Result<u8, DropReason> {
        let port = PortId { thread: self.thread, slot };
        let route = self.routes.get_mut(slot as usize).ok_or(DropReason::Unused)?;
        let packet = match &mut route.guard {
            None if route.is_web => return Err(DropReason::NoKeys),
            None => packet,
            // To look at a seal costs more than to look at an address, and what was opened once is not opened again:
            // who is not the other end does not get that far.
            Some(_) if route.latch.refuses(now, src) => return Err(DropReason::WrongSource),
            Some(guard) => {
                let len = guard.open_rtp(packet)?;
                packet.get_mut(..len).unwrap_or_default()
            }
        };
        let admitted = route.admit(now, slot, src, packet)?;
        self.totals.received += 1;
        if admitted.first {
            out.event(MediaEvent::Heard { port });
        }
        if let Some(addr) = admitted.learned {
            out.event(MediaEvent::Latched { port, addr });
        }
        if let Some(digit) = admitted.digit {
            out.event(MediaEvent::Dtmf { port, digit });
        }
        if admitted.event
            && !self.routes.get_mut(slot as usize).is_some_and(|route| route.passes(&admitted.header))
        {
            return Err(DropReason::NoSink);
        }
        self.for_each_sink(slot, |relay, n| relay.forward(now, slot, n, &admitted, packet, out))
    }

    /// Runs `forward` for each sink of a port. The reason of the last failure is the packet's if none had it.
    fn for_each_sink(
        &mut self,
        slot: u32,
        mut forward: impl FnMut(&mut Self, usize) -> Result<(), DropReason>,
    ) -> Result<u8, DropReason> {
        let sinks = self.routes.get(slot as usize).map_or(0, |route| route.sinks.len());
        let (mut receivers, mut refused) = (0, None);
        for n in 0..sinks {
            match (forward(self, n), refused) {
                (Ok(()), _) => receivers += 1,
                (Err(reason), None) => refused = Some(reason),
                (Err(reason), Some(_)) => self.count(slot, reason),
            }
        }
        match (receivers, refused) {
            (0, reason) => Err(reason.unwrap_or(DropReason::NoSink)),
            (_, Some(reason)) => {
                self.count(slot, reason);
                Ok(receivers)
            }
            (_, None) => Ok(receivers),
        }
    }

    /// Sends an admitted packet to sink `n` of its port.
    fn forward(
        &mut self,
        now: Timestamp,
        slot: u32,
        n: usize,
        admitted: &Admitted,
        packet: &mut [u8],
        out: &mut impl Outlet,
    ) -> Result<(), DropReason> {
        let from = self.routes.get(slot as usize).ok_or(DropReason::Unused)?;
        let sink = from.sinks.get(n).ok_or(DropReason::NoSink)?;
        if sink.transcoder.is_some() {
            return self.convert(now, slot, n, admitted, packet, out);
        }
        let payload_type = match &sink.map {
            None => admitted.header.payload_type,
            Some(map) => map
                .get(usize::from(admitted.header.payload_type))
                .copied()
                .filter(|p| *p < 128)
                .ok_or(DropReason::NotAgreed)?,
        };
        let arrival = Arrival {
            event: admitted.event,
            marks: from.expected.kind == Kind::Audio,
            ..Arrival::of(&admitted.header, admitted.feed, admitted.extended, from.expected.clock_rate)
        };
        let (to, life) = (sink.to, sink.life);
        let header = Header { payload_type, ..admitted.header };
        self.depart(now, (slot, to, life), &arrival, header, packet, out)
    }

    /// Places a packet in the stream of the port that it leaves from, and sends it. `slot` is the port that it came to.
    fn depart(
        &mut self,
        now: Timestamp,
        (slot, to, life): (u32, u32, u32),
        arrival: &Arrival,
        mut header: Header,
        packet: &mut [u8],
        out: &mut impl Outlet,
    ) -> Result<(), DropReason> {
        let route = self.routes.get_mut(to as usize).filter(|r| r.open && r.life == life);
        let route = route.ok_or(DropReason::NoSink)?;
        if route.player.is_some() || route.presser.is_some() {
            return Err(DropReason::Covered);
        }
        let target = route.target.ok_or(DropReason::NoRemote)?;
        if !route.may_leave(now) {
            return Err(DropReason::TooFast);
        }
        let before = route.egress.last_at();
        let place = route.egress.place(now, arrival).ok_or(DropReason::Late)?;
        let came = route.awaited.take_if(|awaited| awaited.slot == slot);
        if came.is_some() {
            let gap_us = before.map_or(0, |at| now.since(at).as_micros() as u64);
            let lost = route.egress.packets_in(gap_us);
            out.event(MediaEvent::Swapped { far: PortId { thread: self.thread, slot: to }, gap_us, lost });
        }
        (header.sequence, header.timestamp, header.marker) =
            (place.sequence(), place.timestamp, place.marker);
        // With the marker bit these would look like RTCP (RFC 5761 4).
        header.marker &= !(64..=95).contains(&header.payload_type);
        header.ssrc = route.egress.ssrc();
        header.write(packet);
        let octets = usize::from(header.payload_end - header.payload_at);
        if let Some(before) = came.and_then(|awaited| awaited.before) {
            self.cut(to, before);
        }
        self.emit(to, target, Leaving { packet, extended: place.extended, octets }, out)
    }

    fn emit(
        &mut self,
        slot: u32,
        target: SocketAddr,
        Leaving { packet, extended, octets }: Leaving<'_>,
        out: &mut impl Outlet,
    ) -> Result<(), DropReason> {
        let route = self.routes.get_mut(slot as usize).ok_or(DropReason::Unused)?;
        let packet = match &mut route.guard {
            None => packet,
            Some(guard) => guard.seal_rtp(extended, packet, &mut self.room)?,
        };
        if !out.send(slot, route.socket(Component::Rtp), target, packet) {
            return Err(DropReason::SendFailed);
        }
        route.stats.sent += 1;
        route.stats.sent_bytes += packet.len() as u64;
        route.sent_octets += octets as u64;
        self.totals.sent += 1;
        Ok(())
    }

    fn handle_rtcp(
        &mut self,
        now: Timestamp,
        slot: u32,
        src: SocketAddr,
        bytes: &mut [u8],
        out: &mut impl Outlet,
    ) -> Result<u8, DropReason> {
        let route = self.routes.get_mut(slot as usize).filter(|r| r.open).ok_or(DropReason::Unused)?;
        let len = match &mut route.guard {
            None if route.is_web => return Err(DropReason::NoKeys),
            None => bytes.len(),
            Some(_) if route.latch.refuses_rtcp(src) => return Err(DropReason::WrongSource),
            Some(guard) => guard.open_rtcp(bytes)?,
        };
        let bytes = bytes.get(..len).unwrap_or_default();
        let packets = crate::wire::rtcp::parse(bytes).map_err(|_| DropReason::NotRtcp)?;
        route.admit_rtcp(now, src, &packets)?;
        if self.tells_rtcp && route.may_tell_rtcp(now) {
            let port = PortId { thread: self.thread, slot };
            let on = route.socket(Component::Rtcp);
            out.event(MediaEvent::Rtcp { port, on, peer: src, packet: bytes.into() });
        }
        self.for_each_sink(slot, |relay, n| {
            let from = relay.routes.get(slot as usize).ok_or(DropReason::Unused)?;
            let (to, route) = sink(&relay.routes, from, n)?;
            // What is said of one codec's packets is not true of another's.
            if to == slot || from.sinks.get(n).is_some_and(|sink| sink.transcoder.is_some()) {
                return Err(DropReason::NothingToSay);
            }
            let target = route.rtcp_target.ok_or(DropReason::NoRemote)?;
            let crossing = Crossing {
                from: slot,
                reported: &from.egress,
                reporter: &from.reporter,
                to,
                stream: &route.egress,
                packets: route.stats.sent,
                octets: route.sent_octets,
                cname: &route.cname,
            };
            if !crossing.translate(&packets, &mut relay.report) {
                return Err(DropReason::NothingToSay);
            }
            let route = relay.routes.get_mut(to as usize).ok_or(DropReason::NoSink)?;
            if !route.may_leave(now) {
                return Err(DropReason::TooFast);
            }
            route.reporter.crosses(now, relay.report.bytes());
            let report = match &mut route.guard {
                None => relay.report.bytes(),
                Some(guard) => guard.seal_rtcp(relay.report.bytes(), &mut relay.room)?,
            };
            if !out.send(to, route.socket(Component::Rtcp), target, report) {
                return Err(DropReason::SendFailed);
            }
            route.stats.rtcp_sent += 1;
            Ok(())
        })
    }

    /// When [`Relay::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let web = self.web.as_ref().and_then(|web| web.poll_timeout());
        [self.timers.next(), web].into_iter().flatten().min()
    }

    /// Plays what is due, and tells who has been quiet for too long.
    pub fn handle_timeout(&mut self, now: Timestamp, out: &mut impl Outlet) {
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Quiet(slot, generation) => self.check_quiet(now, slot, generation, out),
                Timer::Sound(slot, generation) => self.play(now, slot, generation, out),
                Timer::Keys(slot, life) => self.press(now, slot, life, out),
                Timer::Report(slot, life) => self.report(now, slot, life, out),
            }
        }
        self.handle_web_timeout(now, out);
    }

    fn check_quiet(&mut self, now: Timestamp, slot: u32, generation: u32, out: &mut impl Outlet) {
        let Some(route) = self.routes.get_mut(slot as usize) else { return };
        let Some(timeout) = route.expected.timeout.filter(|_| route.open && route.generation == generation)
        else {
            return;
        };
        let due = route.last_heard + timeout;
        if due <= now && !route.quiet_told {
            route.quiet_told = true;
            route.hear_anew();
            out.event(MediaEvent::Quiet { port: PortId { thread: self.thread, slot } });
        }
        // While it stays quiet, one look per timeout notices when it no longer is.
        self.timers.push(if due > now { due } else { now + timeout }, Timer::Quiet(slot, generation));
    }

    fn play(&mut self, now: Timestamp, slot: u32, generation: u32, out: &mut impl Outlet) {
        let Some(route) = self.routes.get_mut(slot as usize).filter(|r| r.playing == generation) else {
            return;
        };
        let Some(player) = &mut route.player else { return };
        let mut frame = player.next(now);
        self.timers.push(player.due(), Timer::Sound(slot, generation));
        if frame.finished {
            out.event(MediaEvent::Played { port: PortId { thread: self.thread, slot } });
        }
        let Some(target) = route.target else { return };
        let feed = Feed { slot: u32::MAX, ssrc: 0, run: generation };
        let arrival = Arrival::of(&frame.header, feed, frame.extended, 8000);
        let Some(place) = route.egress.place(now, &arrival) else { return };
        let header = &mut frame.header;
        (header.sequence, header.timestamp, header.marker) =
            (place.sequence(), place.timestamp, place.marker);
        header.ssrc = route.egress.ssrc();
        header.write_new(&mut frame.bytes);
        let octets = frame.bytes.len() - HEADER;
        let leaving = Leaving { packet: &frame.bytes, extended: place.extended, octets };
        if let Err(reason) = self.emit(slot, target, leaving, out) {
            self.count(slot, reason);
        }
    }

    /// Tells the engine of a stream that sounds bad, and the other end what we hear and send, where nobody else's reports
    /// do.
    fn report(&mut self, now: Timestamp, slot: u32, life: u32, out: &mut impl Outlet) {
        let is_meant = |route: &&mut Route| route.open && route.life == life;
        let Some(route) = self.routes.get_mut(slot as usize).filter(is_meant) else { return };
        self.timers.push(now + reporter::interval(&mut self.random), Timer::Report(slot, life));
        if let Some((is_poor, measured)) = route.sounds() {
            let port = PortId { thread: self.thread, slot };
            out.event(MediaEvent::Sounds { port, is_poor, measured });
        }
        let Some(target) = route.rtcp_target.filter(|_| route.report(now, &mut self.report)) else { return };
        let report = match &mut route.guard {
            None if route.is_web => return,
            None => Ok(self.report.bytes()),
            Some(guard) => guard.seal_rtcp(self.report.bytes(), &mut self.room),
        };
        match report {
            Ok(report) if out.send(slot, route.socket(Component::Rtcp), target, report) => {
                route.stats.rtcp_sent += 1
            }
            Ok(_) => self.count(slot, DropReason::SendFailed),
            Err(reason) => self.count(slot, reason),
        }
    }

    fn press(&mut self, now: Timestamp, slot: u32, life: u32, out: &mut impl Outlet) {
        let Some(route) = self.routes.get_mut(slot as usize).filter(|route| route.life == life) else {
            return;
        };
        let Some(presser) = &mut route.presser else { return };
        let tick = presser.next();
        self.timers.push(presser.due(), Timer::Keys(slot, life));
        let mut press = match tick {
            Tick::Packet(press) => press,
            Tick::Pause => return,
            Tick::Over => {
                route.presser = None;
                return;
            }
        };
        let Some(target) = route.target else { return };
        let feed = Feed { slot: u32::MAX, ssrc: 1, run: life };
        let clock_rate = route.expected.clock_rate;
        let arrival = Arrival { event: true, ..Arrival::of(&press.header, feed, press.extended, clock_rate) };
        let Some(place) = route.egress.place(now, &arrival) else { return };
        let header = &mut press.header;
        (header.sequence, header.timestamp) = (place.sequence(), place.timestamp);
        header.ssrc = route.egress.ssrc();
        header.write_new(&mut press.bytes);
        let leaving = Leaving { packet: &press.bytes, extended: place.extended, octets: 4 };
        if let Err(reason) = self.emit(slot, target, leaving, out) {
            self.count(slot, reason);
        }
    }

    /// Takes a port out of service after a fault of ours; its other end falls silent, everybody else goes on.
    pub fn fail(&mut self, slot: u32, out: &mut impl Outlet) {
        if let Some(route) = self.routes.get_mut(slot as usize) {
            route.release();
            if let Some(web) = &mut self.web {
                web.forget(slot);
            }
            out.event(MediaEvent::Failed { port: PortId { thread: self.thread, slot } });
        }
    }

    /// The route of a port of this thread that is open.
    fn open(&mut self, port: PortId) -> Option<&mut Route> {
        if port.thread != self.thread {
            return None;
        }
        self.routes.get_mut(port.slot as usize).filter(|route| route.open)
    }

    #[cold]
    fn count(&mut self, slot: u32, reason: DropReason) {
        if let Some(route) = self.routes.get_mut(slot as usize) {
            route.stats.count(reason);
        }
        self.totals.count(reason);
    }
}

/// A packet on its way out, before it is sealed.
struct Leaving<'a> {
    packet: &'a [u8],
    /// Its sequence number with the rollovers.
    extended: u32,
    /// Bytes of payload.
    octets: usize,
}

/// Sink `n` of a route, if the slot still is in the life that was meant.
fn sink<'a>(routes: &'a Chunks<Route>, from: &Route, n: usize) -> Result<(u32, &'a Route), DropReason> {
    let sink = from.sinks.get(n).ok_or(DropReason::NoSink)?;
    let route = routes.get(sink.to as usize).filter(|r| r.open && r.life == sink.life);
    Ok((sink.to, route.ok_or(DropReason::NoSink)?))
}
