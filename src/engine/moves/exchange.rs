//! The routes of a move: both devices hear the far side, one exchange hands it over, one takes it back.

use smallvec::SmallVec;

use super::{MoveKey, Moving};
use crate::call::media::{port_at, sinks_of};
use crate::call::{Core, LegHandle, Purpose, Role};
use crate::engine::Engine;
use crate::media::plan::{self, Bridging};
use crate::media::relay::{MediaCommand, Sink};
use crate::moving::machine::Way;
use crate::moving::timeline::{Heading, Side, What};
use crate::sip::Refusal;
use crate::wire::sip::{Method, StatusCode};

impl Engine {
    /// While the swap is pending, both devices hear the far side (contract: make before break).
    pub(super) fn hear_both(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key) else { return };
        let (far, old, Some(new)) = (moving.far, moving.old, moving.new) else { return };
        let (pairing, old_pairing) = (moving.pairing.clone(), moving.old_pairing.clone());
        let (Some(far_leg), Some(old_leg), Some(new_leg)) =
            (self.core.legs.get(far), self.core.legs.get(old), self.core.legs.get(new))
        else {
            return;
        };
        let (Some(far_media), Some(old_media), Some(new_media)) =
            (&far_leg.media, &old_leg.media, &new_leg.media)
        else {
            return;
        };
        if !new_media.is_agreed() || !far_media.is_agreed() || self.core.service_of(far).is_some() {
            return;
        }
        let mut commands: SmallVec<[MediaCommand; 4]> = SmallVec::new();
        let to_old = plan::streams(far_media, old_media, &old_pairing);
        let (call, streams) = (moving.call, plan::streams(far_media, new_media, &pairing));
        let is_converted = streams.iter().any(|stream| stream.is_converted);
        let may_convert = self.core.bridging(call) == Bridging::Allowed;
        for stream in streams.into_iter().filter(|stream| may_convert || !stream.is_converted) {
            let (Some(far_port), Some(new_port)) =
                (port_at(&far_leg.ports, stream.a.line), port_at(&new_leg.ports, stream.b.line))
            else {
                continue;
            };
            let ingress = self.core.ingress(&new_leg.dialog.flow, &stream.b);
            commands.push(MediaCommand::Configure { port: new_port, ingress });
            let mut sinks: SmallVec<[Sink; 2]> = SmallVec::new();
            if let Some(known) = to_old.iter().find(|known| known.a.line == stream.a.line)
                && let Some(old_port) = port_at(&old_leg.ports, known.b.line)
            {
                sinks.extend(sinks_of(known.a_to_b.clone(), old_port));
            }
            sinks.extend(sinks_of(stream.a_to_b, new_port));
            commands.push(MediaCommand::SetSinks { port: far_port, sinks });
        }
        self.core.media.extend(commands);
        if is_converted && may_convert {
            // It takes its place from here on; whatever comes of the move, the routes that follow say whether it keeps it.
            self.core.note_transcoding(call, true);
        }
    }

    pub(super) fn swap(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key) else { return };
        let (far, old, Some(new), call, side) =
            (moving.far, moving.old, moving.new, moving.call, moving.side)
        else {
            return;
        };
        if moving.machine.way() == Way::Pickup {
            // The route was set with the caller's answer: nobody had the call before.
            return self.track(call);
        }
        let pairing = moving.pairing.clone();
        let (is_repair, from) = (moving.machine.grant().is_repair(), moving.from.clone());
        // Whoever died and left the call, somebody has it now.
        self.core.end_rescue(call);
        self.exchange(far, old, new, &pairing);
        let of = |leg: LegHandle| self.core.legs.get(leg)?.user().map(|account| account.name.clone());
        let of_new = of(new);
        let (now, to, trigger) =
            (self.core.now, moving_to(self.moving(key)), self.moving(key).map(|m| m.trigger));
        if let Some(found) = self.core.calls.get_mut(call) {
            match side {
                crate::call::Side::Caller => found.caller = new,
                crate::call::Side::Callee => found.callee = Some(new),
            }
            found.pairing = pairing;
            found.generation = found.generation.wrapping_add(1);
            found.released.push(old);
            // A device that repaired its leg has the call as before.
            if let Some(to) = to.filter(|_| !is_repair) {
                found.record.end_segment(now.unix, from.user(), from.device());
                let trigger = trigger.map(|trigger| trigger.as_str().to_owned());
                let (device, of) = ((to.user(), to.device()), of_new.as_deref().unwrap_or(to.user()));
                found.record.begin_segment(now.unix, device, of, trigger);
                found.record.moves += 1;
            }
        }
        self.set_role(new, Role::Talking(side));
        self.set_role(old, Role::Released);
        self.moves.last.insert(call, now.at);
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.timeline.push(now.at, What::Swapped);
        }
        self.track(call);
    }

    pub(super) fn swap_back(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key) else { return };
        let (far, old, Some(new), call, side) =
            (moving.far, moving.old, moving.new, moving.call, moving.side)
        else {
            return;
        };
        let (pairing, from, to) = (moving.old_pairing.clone(), moving.from.clone(), moving.to.clone());
        let is_repair = moving.machine.grant().is_repair();
        self.exchange(far, new, old, &pairing);
        let now = self.core.now;
        let of_old = self.core.legs.get(old).and_then(|leg| leg.user()).map(|account| account.name.clone());
        let reason = moving_rollback(self.moving(key));
        if let Some(found) = self.core.calls.get_mut(call) {
            match side {
                crate::call::Side::Caller => found.caller = old,
                crate::call::Side::Callee => found.callee = Some(old),
            }
            found.pairing = pairing;
            found.generation = found.generation.wrapping_add(1);
            found.released.retain(|leg| *leg != old);
            if !is_repair {
                found.record.end_segment(now.unix, to.user(), to.device());
                let (device, of) = ((from.user(), from.device()), of_old.as_deref().unwrap_or(from.user()));
                found.record.begin_segment(now.unix, device, of, Some("rollback".into()));
                found.record.moves = found.record.moves.saturating_sub(1);
            }
        }
        self.set_role(old, Role::Talking(side));
        self.set_role(new, Role::Released);
        if let Some(found) = self.core.calls.get_mut(call) {
            found.released.push(new);
        }
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.timeline.push(now.at, What::RolledBack { reason: reason.to_owned() });
        }
        self.track(call);
    }

    fn set_role(&mut self, leg: LegHandle, role: Role) {
        if let Some(found) = self.core.legs.get_mut(leg) {
            found.role = role;
        }
    }

    /// The far side has none of the new device's codecs: whether speech is to be converted between the two.
    pub(super) fn bridge(&mut self, key: MoveKey, status: StatusCode) -> bool {
        let Some(moving) = self.moving(key).filter(|_| Core::is_of_media(status)) else { return false };
        let (call, far, Some(new)) = (moving.call, moving.far, moving.new) else { return false };
        let media = |leg: LegHandle| self.core.legs.get(leg)?.media.as_deref();
        let (Some(there), Some(here)) = (media(far), media(new)) else { return false };
        if self.core.bridging(call) == Bridging::Never || !plan::bridges(there, here) {
            return false;
        }
        self.note_bridged(key);
        true
    }

    fn note_bridged(&mut self, key: MoveKey) {
        let now = self.core.now.at;
        if let Some(moving) = self.moves.live.get_mut(&key) {
            let text = "no common codec, and the far side takes no other: speech is converted".to_owned();
            moving.timeline.push(now, What::Note { text });
        }
    }

    /// The far side has answered codecs that it does not have not by a refusal but by lines without media (RFC 3264 6), or of
    /// telephone-event alone: it is offered, once, what they can be converted to beside them. False where that is of no use.
    pub(super) fn bridge_unused(&mut self, key: MoveKey) -> bool {
        let Some(moving) = self.moving(key).filter(|moving| !moving.is_bridged) else { return false };
        let (call, far, Some(new)) = (moving.call, moving.far, moving.new) else { return false };
        let media = |leg: LegHandle| self.core.legs.get(leg)?.media.as_deref();
        let (Some(there), Some(here)) = (media(far), media(new)) else { return false };
        if self.core.bridging(call) == Bridging::Never || !plan::is_mute(there) || !plan::is_convertible(here)
        {
            return false;
        }
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.is_bridged = true;
        }
        self.note_bridged(key);
        self.reoffer_far(key);
        true
    }

    /// The new device has put a codec first that the far side has not agreed, though it has one that the far side has: it is
    /// asked, once, to speak that (RFC 3264 8.3.2). False where there is nothing to ask.
    pub(super) fn narrow_new(
        &mut self,
        key: MoveKey,
        far: LegHandle,
        new: LegHandle,
        pairing: &plan::Pairing,
    ) -> bool {
        if self.moving(key).is_none_or(|moving| moving.is_narrowed) {
            return false;
        }
        let media = |leg: LegHandle| self.core.legs.get(leg)?.media.as_deref();
        let legs = media(far).zip(media(new));
        if legs.is_none_or(|(there, here)| !plan::prefers_another(there, here, pairing)) {
            return false;
        }
        let hold = self.settings.moving.hold;
        let offer = self.core.with_media(new, |core, media, lender| {
            let far = core.legs.get(far).and_then(|leg| leg.media.as_deref()).ok_or(Refusal::Internal)?;
            Ok(plan::offer_narrowed(far, media, hold, |line| lender.port(line))?)
        });
        let Ok(offer) = offer else { return false };
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.is_narrowed = true;
        }
        self.note_request(key, (Side::New, Heading::Out), &Method::Invite);
        self.core.queue_reinvite(new, offer, Purpose::Move);
        true
    }

    /// The refusal that names the codecs of both sides, if they have none in common.
    pub(super) fn codecs_that_differ(&self, key: MoveKey) -> Option<Refusal> {
        let moving = self.moving(key)?;
        let media = |leg: LegHandle| self.core.legs.get(leg)?.media.as_deref();
        let (there, here) = (media(moving.far)?, media(moving.new?)?);
        let names = || format!("no common codec: {} here, {} there", here.audio_names(), there.audio_names());
        (!plan::shares_codec(there, here)).then(|| Refusal::OfferUnusable(names().into()))
    }

    /// One exchange on the media thread for each stream: `onto` talks with `far`, and `from`, which goes on being heard until
    /// `onto` is, no more.
    fn exchange(&mut self, far: LegHandle, from: LegHandle, onto: LegHandle, pairing: &plan::Pairing) {
        if let Some(service) = self.core.service_of(far) {
            let silenced: SmallVec<[_; 2]> = self
                .core
                .ports_toward(from)
                .iter()
                .flatten()
                .map(|pair| MediaCommand::Stop { port: pair.id })
                .collect();
            self.core.media.extend(silenced);
            self.core.connect_service(onto, service);
            return;
        }
        let (Some(far_leg), Some(onto_leg)) = (self.core.legs.get(far), self.core.legs.get(onto)) else {
            return;
        };
        // The old device may have hung up meanwhile: then there is nothing to silence.
        let old_ports = self.core.ports_toward(from);
        let (Some(far_media), Some(onto_media)) = (&far_leg.media, &onto_leg.media) else { return };
        let mut commands: SmallVec<[MediaCommand; 8]> = SmallVec::new();
        let streams = plan::streams(far_media, onto_media, pairing);
        let (call, is_transcoded) = (far_leg.call, streams.iter().any(|stream| stream.is_converted));
        // What the old device had beside the audio, and the new one has not, ends as well, both ways.
        let is_live = |line: usize| streams.iter().any(|stream| stream.a.line == line);
        let far_ports = far_leg.ports.iter().enumerate().filter(|(line, _)| !is_live(*line));
        let mut silenced: SmallVec<[_; 4]> =
            old_ports.iter().chain(far_ports.map(|(_, port)| port)).flatten().map(|pair| pair.id).collect();
        for stream in streams {
            let (Some(far_port), Some(onto_port)) =
                (port_at(&far_leg.ports, stream.a.line), port_at(&onto_leg.ports, stream.b.line))
            else {
                continue;
            };
            let mut ingress = self.core.ingress(&onto_leg.dialog.flow, &stream.b);
            ingress.report_dtmf = self.core.takes_keys_by_info(far);
            commands.push(MediaCommand::Configure { port: onto_port, ingress });
            let mut ingress = self.core.ingress(&far_leg.dialog.flow, &stream.a);
            ingress.report_dtmf = self.core.takes_keys_by_info(onto);
            commands.push(MediaCommand::Configure { port: far_port, ingress });
            // The audio line comes first on every leg; what the old device had on that line is silenced with it.
            let old_port = port_at(&old_ports, stream.b.line).or_else(|| port_at(&old_ports, 0));
            let to_new = sinks_of(stream.a_to_b, onto_port).pop();
            let to_far = sinks_of(stream.b_to_a, far_port).pop();
            match (old_port, to_far, to_new) {
                // A far side that only listens hears the new device all the same.
                (Some(old), Some(to_far), to_new) => {
                    silenced.retain(|port| *port != old);
                    commands.push(MediaCommand::Swap { far: far_port, old, new: onto_port, to_far, to_new });
                }
                (old, to_far, to_new) => {
                    if let Some(port) = old {
                        commands.push(MediaCommand::SetSinks { port, sinks: SmallVec::new() });
                    }
                    commands.push(MediaCommand::SetSinks {
                        port: onto_port,
                        sinks: to_far.into_iter().collect(),
                    });
                    commands
                        .push(MediaCommand::SetSinks { port: far_port, sinks: to_new.into_iter().collect() });
                }
            }
        }
        let silence = |port| MediaCommand::SetSinks { port, sinks: SmallVec::new() };
        commands.extend(silenced.into_iter().map(silence));
        self.core.media.extend(commands);
        self.core.note_transcoding(call, is_transcoded);
    }
}

fn moving_to(moving: Option<&Moving>) -> Option<crate::moving::DeviceKey> {
    moving.map(|moving| moving.to.clone())
}

fn moving_rollback(moving: Option<&Moving>) -> &'static str {
    moving.and_then(|moving| moving.machine.rollback()).map_or("", crate::moving::machine::Rollback::as_str)
}
