//! What the engine asks, done between two packets.

use smallvec::SmallVec;

use super::keys::Presser;
use super::pace::Pace;
use super::route::{Awaited, Outgoing};
use super::sound::Player;
use super::{MediaCommand, MediaEvent, Outlet, PortId, Relay, Sink, Timer, reporter};
use crate::base::Timestamp;

/// A leg is heard by one other; while a move is pending, by two.
const MAX_SINKS: usize = 2;

impl Relay {
    /// Carries out a command. Commands for other threads and for slots that do not exist change nothing;
    /// `OpenPorts` is the shell's own.
    pub fn handle_command(&mut self, now: Timestamp, command: MediaCommand, out: &mut impl Outlet) {
        if command.thread() != self.thread {
            return;
        }
        match command {
            MediaCommand::OpenPorts { .. } => {}
            MediaCommand::Configure { port, ingress } => {
                let Some(route) = self.routes.get_mut(port.slot as usize) else { return };
                if !route.open {
                    let first = now + reporter::interval(&mut self.random);
                    self.timers.push(first, Timer::Report(port.slot, route.life));
                }
                route.configure(now, &ingress, &mut self.random);
                if let Some(timeout) = route.expected.timeout {
                    self.timers.push(now + timeout, Timer::Quiet(port.slot, route.generation));
                }
                self.configure_web(now, port.slot, &ingress.security, out);
            }
            MediaCommand::SetSinks { port, sinks } => self.redirect(port, sinks),
            MediaCommand::Swap { far, old, new, to_far, to_new } => {
                self.swap([far, old, new], to_far, to_new, out);
            }
            MediaCommand::Echo { port } => self.redirect(port, SmallVec::from_elem(Sink::plain(port), 1)),
            MediaCommand::Play { port, sound, voice } => {
                let Some(route) = self.open(port) else { return };
                let generation = route.play(Player::new(now, sound, voice));
                self.timers.push(now, Timer::Sound(port.slot, generation));
            }
            MediaCommand::Press { port, event, payload, clock_rate } => {
                let Some(route) = self.open(port) else { return };
                let (life, is_idle) = (route.life, route.presser.is_none());
                let new = || Box::new(Presser::new(now, payload, clock_rate));
                route.presser.get_or_insert_with(new).press(event);
                if is_idle {
                    self.timers.push(now, Timer::Keys(port.slot, life));
                }
            }
            MediaCommand::Stop { port } => {
                let Some(route) = self.open(port) else { return };
                (route.player, route.presser) = (None, None);
                route.sinks.retain(|sink| sink.to != port.slot);
            }
            MediaCommand::Report { port } => {
                if let Some(route) = self.routes.get(port.slot as usize) {
                    out.event(MediaEvent::Stats { port, stats: Box::new(route.stats()) });
                }
            }
            MediaCommand::Release { port } => self.release(now, port, out),
        }
    }

    /// Other sinks than those of a swap: an old device that is still heard by this port is its party again, if it is among
    /// them, and is cut if not.
    fn redirect(&mut self, port: PortId, sinks: SmallVec<[Sink; 2]>) {
        let before = self.open(port).and_then(|route| route.awaited.as_mut()?.before.take());
        self.set_sinks(port, sinks);
        let is_sink = |sink: &Outgoing| before == Some((sink.to, sink.life));
        if let Some(before) = before
            && !self.open(port).is_some_and(|route| route.sinks.iter().any(is_sink))
        {
            self.cut(port.slot, before);
        }
    }

    /// Who becomes a sink anew joins the stream anew: what it did not get before was not lost on the way. So does what
    /// was converted, and is no more or in another way.
    fn set_sinks(&mut self, port: PortId, sinks: SmallVec<[Sink; 2]>) {
        let mut outgoing = SmallVec::<[Outgoing; MAX_SINKS]>::new();
        for sink in sinks.into_iter().filter(|s| s.to.thread == port.thread).take(MAX_SINKS) {
            let Some(life) = self.routes.get(sink.to.slot as usize).map(|route| route.life) else { continue };
            let transcoder = self.transcoder_for(port, &sink, life);
            // What is to be converted goes nowhere as it is, even if it cannot be converted.
            let map = if sink.conversion.is_some() { Some(Box::new([u8::MAX; 128])) } else { sink.map };
            outgoing.push(Outgoing { to: sink.to.slot, life, map, transcoder, pace: Pace::default() });
        }
        let Some(route) = self.open(port) else { return };
        route.moved &= outgoing.is_empty();
        let before = std::mem::replace(&mut route.sinks, outgoing);
        let now: SmallVec<[u32; MAX_SINKS]> = route.sinks.iter().map(|s| s.to).collect();
        for slot in now {
            // One that was converted and goes on in the same way has given its transcoder away.
            let goes_on = |sink: &Outgoing| sink.to == slot && sink.transcoder.is_none();
            if !before.iter().any(goes_on)
                && let Some(route) = self.routes.get_mut(slot as usize)
            {
                route.egress.part_from(port.slot);
            }
        }
    }

    /// The far leg goes on hearing the old device, and is heard there, until the first packet of the new one leaves for it:
    /// a browser has to find its way and agree on keys first, and a phone may be slow. Who is not heard by the far leg (a
    /// device that was to get the call, and from which it is taken back) has nothing to end.
    fn swap(
        &mut self,
        [far, old, new]: [PortId; 3],
        to_far: Sink,
        to_new: Option<Sink>,
        out: &mut impl Outlet,
    ) {
        if let Some(port) = [far, new].into_iter().find(|port| self.open(*port).is_none()) {
            out.event(MediaEvent::Failed { port });
            return;
        }
        let is_fed = self.open(far).is_some_and(|route| route.egress.is_fed_from(old.slot));
        let before = self.open(old).and_then(|route| {
            route.player = None;
            let goes_on = is_fed && route.sinks.iter().any(|sink| sink.to == far.slot);
            goes_on.then_some((old.slot, route.life))
        });
        let to_old = self.open(far).and_then(|route| {
            let at = route.sinks.iter().position(|sink| before == Some((sink.to, sink.life)))?;
            Some(route.sinks.remove(at))
        });
        self.set_sinks(new, SmallVec::from_elem(to_far, 1));
        self.set_sinks(far, to_new.into_iter().collect());
        if let Some(route) = self.open(far) {
            route.sinks.extend(to_old);
            route.awaited = Some(Awaited { slot: new.slot, before });
        }
        if before.is_none()
            && let Some(life) = self.open(old).map(|route| route.life)
        {
            self.cut(far.slot, (old.slot, life));
        }
    }

    /// A device is neither heard by the far leg any more nor hears it.
    pub(super) fn cut(&mut self, far: u32, (slot, life): (u32, u32)) {
        if let Some(route) = self.routes.get_mut(far as usize) {
            route.sinks.retain(|sink| (sink.to, sink.life) != (slot, life));
        }
        if let Some(route) = self.routes.get_mut(slot as usize).filter(|route| route.life == life) {
            route.sinks.retain(|sink| sink.to != far);
            route.moved |= route.sinks.is_empty();
        }
    }

    fn release(&mut self, now: Timestamp, port: PortId, out: &mut impl Outlet) {
        let Some(route) = self.routes.get(port.slot as usize) else { return };
        let here = (port.slot, route.life);
        let heard: SmallVec<[u32; MAX_SINKS]> = route.sinks.iter().map(|sink| sink.to).collect();
        for far in heard {
            let Some(awaited) = self.routes.get_mut(far as usize).and_then(|far| far.awaited.as_mut()) else {
                continue;
            };
            if awaited.before.take_if(|before| *before == here).is_some() {
                self.cut(far, here);
            }
        }
        let Some(route) = self.routes.get_mut(port.slot as usize) else { return };
        let stats = route.release();
        self.release_web(now, port.slot, out);
        self.totals.lost += stats.lost.max(0).cast_unsigned();
        out.event(MediaEvent::Stats { port, stats: Box::new(stats) });
    }
}
