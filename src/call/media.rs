//! Media of a call: which description each leg is told, on which ports, and what the media threads do about it.
//!
//! What two descriptions mean is decided in [`crate::media::plan`]; this file keeps the legs' part of it, lends
//! the ports, and turns the outcome into routes. Where media does not run through us bodies pass byte for byte.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::core::{Core, Happened, LeftDialog, LeftPort};
use super::model::{CallHandle, Leg, LegHandle, LegPorts, Party, Service};
use super::quirks::Dtmf;
use super::record::Segment;
use crate::base::Timestamp;
use crate::media::codec::Codec;
use crate::media::plan::{self, Description, Gate, LegMedia, Local, RemoteMedia, Stream};
use crate::media::ports::Ports;
use crate::media::relay::{self, Ingress, Law, MediaCommand, PortId, PortPair, Sending, Sink, Sound, Voice};
use crate::media::srtp::Security;
use crate::sip::{Flow, Refusal};
use crate::wire::sdp::Kind;
use crate::wire::sip::{HeaderName, Message};

/// Frequency of the tone service, Hz.
const TONE_HZ: u16 = 440;

impl From<plan::Refusal> for Refusal {
    fn from(refusal: plan::Refusal) -> Self {
        match refusal {
            plan::Refusal::Malformed(_) => Self::Malformed("bad session description"),
            plan::Refusal::OutOfPorts => Self::Overloaded { what: "media ports", retry_after: 5 },
            plan::Refusal::OutOfTurn => Self::RequestPending,
            plan::Refusal::SecureMedia
            | plan::Refusal::Insecure
            | plan::Refusal::NoUsableMedia
            | plan::Refusal::NoCommonCodec
            | plan::Refusal::NotPermitted
            | plan::Refusal::Address { .. }
            | plan::Refusal::TooManyLines => Self::OfferUnusable(refusal.to_string().into()),
        }
    }
}

/// Nothing that a peer offers is in its list. `named` is what it offers.
fn not_permitted(media: &LegMedia, named: &[Codec]) -> Refusal {
    let names: SmallVec<[&str; 8]> = named.iter().map(Codec::spelling).collect();
    let list = media.permitted().map(ToString::to_string).unwrap_or_default();
    Refusal::OfferUnusable(format!("none of {} is taken: {list} may be offered", names.join(", ")).into())
}

/// Who asks and who is asked have no codec in common: what each offers, or where one has a list, that.
fn nothing_shared(here: &LegMedia, there: &LegMedia) -> Refusal {
    let [names, others] =
        [here, there].map(|leg| leg.permitted().map_or_else(|| leg.audio_names(), ToString::to_string));
    if names.is_empty() || others.is_empty() {
        return none_of(here);
    }
    Refusal::OfferUnusable(format!("no common codec: {names} here, {others} there").into())
}

/// Nothing that a peer offers is spoken.
fn none_of(media: &LegMedia) -> Refusal {
    let names = media.audio_names();
    if names.is_empty() {
        return Refusal::OfferUnusable("no audio line that is spoken here".into());
    }
    Refusal::OfferUnusable(format!("no common codec: none of {names} is taken").into())
}

/// A message's session description, screened; `None` without a body.
///
/// # Errors
/// `BodyUnsupported` for another kind of body, `OfferUnusable` or `Malformed` for one that is not let in.
pub fn description_in<'s>(
    message: &Message,
    screen: impl Into<Gate<'s>>,
) -> Result<Option<Description>, Refusal> {
    sdp_in(message)?.map(|body| admit(&body, screen)).transpose()
}

/// The session description of a message as bytes, not looked into; `None` without a body.
///
/// # Errors
/// `BodyUnsupported` for another kind of body.
pub fn sdp_in(message: &Message) -> Result<Option<Bytes>, Refusal> {
    let body = message.body();
    if body.is_empty() {
        return Ok(None);
    }
    let kind = message.content_type().unwrap_or("application/sdp");
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/sdp") {
        return Ok(Some(body));
    }
    if essence.len() >= 10 && essence.get(..10).is_some_and(|e| e.eq_ignore_ascii_case("multipart/")) {
        // RFC 5621 3.1: the session description is one part of several.
        let part = super::multipart::part(kind, &body, "application/sdp").ok_or(Refusal::BodyUnsupported)?;
        return Ok(Some(part));
    }
    Err(Refusal::BodyUnsupported)
}

/// Whether a session description may stand in the answer to `request` (RFC 3261 20.1: without Accept it may).
///
/// # Errors
/// `AnswerUnwanted`.
pub fn accepts_description(request: &Message) -> Result<(), Refusal> {
    let fits = |range: &[u8]| {
        let essence = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        [&b"application/sdp"[..], b"application/*", b"*/*"]
            .iter()
            .any(|kind| essence.eq_ignore_ascii_case(kind))
    };
    if request.has(HeaderName::Accept) && !request.values(HeaderName::Accept).any(fits) {
        return Err(Refusal::AnswerUnwanted);
    }
    Ok(())
}

/// Lets a session description in, or not.
///
/// # Errors
/// `OfferUnusable` or `Malformed`; `OfferUnusable` for an empty one, too.
pub fn admit<'s>(body: &Bytes, screen: impl Into<Gate<'s>>) -> Result<Description, Refusal> {
    if body.is_empty() {
        return Err(Refusal::OfferUnusable("there is no description".into()));
    }
    // What is kept of it is kept for as long as the call: a copy, and not a piece of the message that holds all of it.
    Ok(screen.into().admit(Bytes::copy_from_slice(body))?)
}

/// Whether the media address of `message` is not the address that it came from: a side behind translation.
#[must_use]
pub fn is_translated(offer: &Description, peer: SocketAddr) -> bool {
    let is_elsewhere = |address: SocketAddr| address.ip() != peer.ip();
    offer.is_of_browser() || offer.sdp().media().filter_map(|line| line.rtp()).any(is_elsewhere)
}

/// Ports of one leg while its description is written: the same line gets the same port again.
pub struct Lender<'a> {
    ports: &'a mut Ports,
    lent: &'a mut LegPorts,
    thread: u8,
    now: Timestamp,
}

impl Lender<'_> {
    /// Our RTP port for an m-line.
    pub fn port(&mut self, line: usize) -> Option<u16> {
        // One leg's m-lines are capped by the plan; this only keeps the index honest.
        if line >= 16 {
            return None;
        }
        if self.lent.len() <= line {
            self.lent.resize(line + 1, None);
        }
        let slot = self.lent.get_mut(line)?;
        if slot.is_none() {
            *slot = self.ports.take(self.now, self.thread);
        }
        slot.map(|pair: PortPair| pair.rtp)
    }
}

/// Which step of an exchange a description is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Offer,
    Answer,
}

impl Core {
    /// The media state of a leg with `party` over `flow`, before its first description.
    #[must_use]
    pub fn new_media(&mut self, flow: &Flow, party: &Party) -> Box<LegMedia> {
        let address = self.settings.media_address(flow.peer.ip());
        // Keys are told to who is reached over an encrypted flow, unless it refused such an offer before, and to who has
        // shown that it takes them.
        let shown = party.speaker().and_then(|(user, device)| self.abilities.srtp(user, device));
        let offers_srtp = shown.unwrap_or(flow.transport.is_encrypted());
        let media = LegMedia::new(self.random.bits(), address);
        let media = media.protected(self.settings.media.srtp, offers_srtp, self.random.bytes());
        let media = media.permitting(self.trunk(party).and_then(|trunk| trunk.policy.codecs.clone()));
        let web = self.settings.media.web.as_ref().and_then(|web| web.places.first());
        let Some(place) = web else { return Box::new(media) };
        let mut addresses = SmallVec::from_elem(address, 1);
        if address != self.settings.media.address {
            // A browser on this machine may well have no socket that reaches the loopback.
            addresses.push(self.settings.media.address);
        }
        let media = media.with_web(addresses, Arc::clone(place));
        // Who comes by WebSocket is a browser, unless it offered something else.
        let shown = party.device().and_then(|(user, device)| self.abilities.web(user, device));
        let is_browser = shown.unwrap_or(flow.transport.is_web());
        Box::new(if is_browser { media.offering_web() } else { media })
    }

    /// Takes in an offer of a leg.
    ///
    /// # Errors
    /// Why it cannot be carried; the leg is as it was.
    pub fn receive_offer(&mut self, leg: LegHandle, offer: Description) -> Result<(), Refusal> {
        let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
        let raw = offer.sdp().bytes().clone();
        let hears_keys = found.allows_info || found.quirks.dtmf == Dtmf::Info;
        if let Some(media) = &mut found.media {
            if hears_keys {
                media.set_hears_keys();
            }
            let shown = (found.is_inbound && !media.is_agreed())
                .then(|| (offer.audio_codecs(), offer.names_keys(), offer.is_of_browser()));
            let named = media.permitted().map(|_| offer.audio_codecs());
            media.receive_offer(offer).map_err(|refusal| match refusal {
                plan::Refusal::NotPermitted => not_permitted(media, &named.unwrap_or_default()),
                other => other.into(),
            })?;
            if let (Some((codecs, _, is_of_browser)), Some((user, device))) = (&shown, found.party.device()) {
                let user_agent = found.user_agent.as_deref().unwrap_or_default();
                self.abilities.learn(user, device, user_agent, codecs);
                self.abilities.learn_web(user, device, *is_of_browser);
            }
            // What one caller behind a trunk has says nothing of whom we call there.
            if let (Some((_, true, _)), Some((user, device))) = (&shown, found.party.device()) {
                self.abilities.learn_srtp(user, device, true);
            }
        }
        found.raw_before = Some(std::mem::replace(&mut found.raw, raw));
        Ok(())
    }

    /// Takes in the answer of a leg to our offer.
    ///
    /// # Errors
    /// Why it is none.
    pub fn receive_answer(&mut self, leg: LegHandle, answer: Description) -> Result<(), Refusal> {
        let found = self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?;
        let raw = answer.sdp().bytes().clone();
        if let Some(media) = &mut found.media {
            media.receive_answer(answer)?;
            let has_keys = media.is_secured() && !media.is_of_browser();
            if let Some((user, device)) = found.party.speaker().filter(|_| has_keys) {
                self.abilities.learn_srtp(user, device, true);
            }
        }
        (found.raw, found.raw_before) = (raw, None);
        self.part_with_left_ports(leg);
        Ok(())
    }

    /// The offer of `from`, as `to` is to get it.
    ///
    /// # Errors
    /// Why it cannot; both legs are as they were.
    pub fn offer_across(&mut self, from: LegHandle, to: LegHandle) -> Result<Bytes, Refusal> {
        self.across(from, to, Step::Offer)
    }

    /// What `from` last said, as the answer to the open offer of `to`.
    ///
    /// # Errors
    /// Why it cannot; both legs are as they were.
    pub fn answer_across(&mut self, from: LegHandle, to: LegHandle) -> Result<Bytes, Refusal> {
        let answer = self.across(from, to, Step::Answer)?;
        if let Some(to) = self.legs.get_mut(to) {
            to.raw_before = None;
        }
        Ok(answer)
    }

    fn across(&mut self, from: LegHandle, to: LegHandle, step: Step) -> Result<Bytes, Refusal> {
        let call = self.call_of(to).ok_or(Refusal::DialogUnknown)?;
        if !self.calls.get(call).ok_or(Refusal::DialogUnknown)?.anchored {
            return Ok(self.legs.get(from).ok_or(Refusal::DialogUnknown)?.raw.clone());
        }
        let mut pairing = self.pairing_of(call, from, to);
        let result = self.with_media(to, |core, media, lender| {
            let other = core.legs.get(from).and_then(|leg| leg.media.as_deref()).ok_or(Refusal::Internal)?;
            let written = match step {
                Step::Offer => plan::offer_across(other, media, &mut pairing, |line| lender.port(line)),
                Step::Answer => plan::answer_across(other, media, &pairing, |line| lender.port(line)),
            };
            written.map_err(|refusal| match refusal {
                plan::Refusal::NoCommonCodec if step == Step::Offer => nothing_shared(other, media),
                plan::Refusal::NoCommonCodec => nothing_shared(media, other),
                other => other.into(),
            })
        });
        if result.is_ok() && step == Step::Offer {
            self.keep_pairing(call, from, to, pairing);
        }
        result
    }

    /// Runs `write` with the media of a leg and a lender of its ports.
    pub fn with_media(
        &mut self,
        leg: LegHandle,
        write: impl FnOnce(&Self, &mut LegMedia, &mut Lender<'_>) -> Result<Bytes, Refusal>,
    ) -> Result<Bytes, Refusal> {
        let bridging = self.bridging(self.call_of(leg).ok_or(Refusal::DialogUnknown)?);
        let (now, found) = (self.now.at, self.legs.get_mut(leg).ok_or(Refusal::DialogUnknown)?);
        let thread = self.calls.get(found.call).ok_or(Refusal::DialogUnknown)?.thread;
        let is_fork = found.role == super::model::Role::Fork;
        let call = found.call;
        let mut media = found.media.take().ok_or(Refusal::Internal)?;
        media.set_bridging(bridging);
        if let Some(place) = self.settings.media.web_place(thread) {
            media.meet_browsers_at(place);
        }
        // Forks share one set of ports until one of them answers.
        let mut lent = match (is_fork, self.calls.get_mut(call)) {
            (true, Some(call)) => std::mem::take(&mut call.fork_ports),
            _ => std::mem::take(&mut found.ports),
        };
        let mut ports = std::mem::take(&mut self.ports);
        let mut lender = Lender { ports: &mut ports, lent: &mut lent, thread, now };
        let result = write(self, &mut media, &mut lender);
        self.ports = ports;
        for pair in lent.iter().flatten() {
            self.port_legs.insert(pair.id, leg);
        }
        if let Some(found) = self.legs.get_mut(leg) {
            found.media = Some(media);
            match (is_fork, self.calls.get_mut(call)) {
                (true, Some(call)) => call.fork_ports = lent,
                _ => found.ports = lent,
            }
        }
        result
    }

    fn pairing_of(&self, call: CallHandle, a: LegHandle, b: LegHandle) -> plan::Pairing {
        let talking = self.calls.get(call).filter(|call| call.peer(a) == Some(b));
        if let Some(call) = talking {
            return call.pairing.clone();
        }
        let pairing =
            |leg| self.legs.get(leg).map(|leg| leg.pairing.clone()).filter(|pairing| !pairing.is_empty());
        pairing(a).or_else(|| pairing(b)).unwrap_or_default()
    }

    fn keep_pairing(&mut self, call: CallHandle, a: LegHandle, b: LegHandle, pairing: plan::Pairing) {
        if let Some(found) = self.calls.get_mut(call)
            && found.peer(a) == Some(b)
        {
            found.pairing = pairing;
        } else if let Some(leg) = self.legs.get_mut(b) {
            leg.pairing = pairing;
        }
    }

    /// A fork takes over the ports that all forks were offered, with its pairing becoming the call's.
    pub(super) fn adopt_winner(&mut self, call: CallHandle, leg: LegHandle) {
        self.part_with_early_media(call, Some(leg));
        let Some(found) = self.calls.get_mut(call) else { return };
        let ports = std::mem::take(&mut found.fork_ports);
        let Some(winner) = self.legs.get_mut(leg) else { return };
        found.pairing = std::mem::take(&mut winner.pairing);
        for pair in ports.iter().flatten() {
            self.port_legs.insert(pair.id, leg);
        }
        winner.ports = ports;
    }

    /// A fork is gone: the ports that all forks were offered count to one that is left, and if it was heard early, the
    /// next one that plays is heard.
    pub(super) fn leave_fork_ports(&mut self, call: CallHandle, leg: LegHandle) {
        if self.calls.get(call).is_some_and(|call| call.early_media == Some(leg)) {
            self.part_with_early_media(call, None);
        }
        let Some(found) = self.calls.get(call) else { return };
        let heir = found.forks.iter().copied().find(|fork| *fork != leg);
        for pair in found.fork_ports.iter().flatten() {
            if self.port_legs.get(&pair.id) != Some(&leg) {
                continue;
            }
            match heir {
                Some(heir) => drop(self.port_legs.insert(pair.id, heir)),
                None => drop(self.port_legs.remove(&pair.id)),
            }
        }
    }

    /// The ports of the forks pass from the one that was heard early to another, if to any: keys, sources and counters of
    /// one party are nothing to the next.
    pub(super) fn part_with_early_media(&mut self, call: CallHandle, to: Option<LegHandle>) {
        let Some(found) = self.calls.get_mut(call) else { return };
        if found.early_media.is_some() && found.early_media != to {
            found.early_media = None;
            let ports = found.fork_ports.iter().flatten();
            self.media.extend(ports.map(|pair| MediaCommand::Release { port: pair.id }));
        }
    }

    /// The exchange that is open on a leg has failed: what was agreed before stands.
    pub fn abandon_exchange(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        if let Some(media) = &mut found.media {
            media.abandon();
        }
        if let Some(before) = found.raw_before.take() {
            found.raw = before;
        }
    }

    /// The description with which a service of ours meets an offer (or makes one, where there is none).
    pub fn describe_service(
        &mut self,
        leg: LegHandle,
        service: Service,
        has_offer: bool,
    ) -> Result<Bytes, Refusal> {
        let local = match service {
            Service::Echo => Local::Echo,
            Service::Tone | Service::Prompt | Service::Transfer => Local::Play,
        };
        self.with_media(leg, |_, media, lender| {
            let written = match has_offer {
                true => plan::answer_local(media, local, |line| lender.port(line)),
                false => plan::offer_local(media, |line| lender.port(line)),
            };
            written.map_err(|refusal| match refusal {
                plan::Refusal::NoCommonCodec if has_offer => none_of(media),
                other => other.into(),
            })
        })
    }

    /// Sets the routes of a call to what its two legs have agreed.
    pub fn connect(&mut self, call: CallHandle) {
        let Some(found) = self.calls.get(call) else { return };
        let early = || found.early_media.filter(|_| found.state == super::model::CallState::Ringing);
        let (caller, Some(callee)) = (found.caller, found.callee.or_else(early)) else { return };
        let pairing = match found.callee {
            Some(_) => found.pairing.clone(),
            None => self.legs.get(callee).map(|leg| leg.pairing.clone()).unwrap_or_default(),
        };
        if let Some(service) = self.service_of(callee) {
            self.connect_service(caller, service);
        } else if let Some(service) = self.service_of(caller) {
            self.connect_service(callee, service);
        } else {
            self.connect_legs(caller, callee, &pairing, None);
        }
    }

    /// The service at the far end of a leg's dialog, if it is one.
    #[must_use]
    pub fn service_of(&self, leg: LegHandle) -> Option<Service> {
        match self.legs.get(leg)?.party {
            Party::Service(service) => Some(service),
            Party::User { .. } | Party::Trunk { .. } => None,
        }
    }

    /// Routes between two legs. With `also`, what `a` sends goes there too (a move is pending: both hear).
    pub fn connect_legs(
        &mut self,
        a: LegHandle,
        b: LegHandle,
        pairing: &plan::Pairing,
        also: Option<LegHandle>,
    ) {
        let (Some(leg_a), Some(leg_b)) = (self.legs.get(a), self.legs.get(b)) else { return };
        let (Some(media_a), Some(media_b)) = (&leg_a.media, &leg_b.media) else { return };
        if !media_a.is_agreed() || !media_b.is_agreed() {
            return;
        }
        let streams = plan::streams(media_a, media_b, pairing);
        let (call, is_transcoded) = (leg_a.call, streams.iter().any(|stream| stream.is_converted));
        let (tells_a, tells_b) = (self.takes_keys_by_info(b), self.takes_keys_by_info(a));
        let ports_b = self.ports_toward(b);
        let ports_a = self.ports_toward(a);
        let mut commands: SmallVec<[MediaCommand; 8]> = SmallVec::new();
        for (index, pair) in ports_a.iter().chain(&ports_b).enumerate() {
            let Some(pair) = pair else { continue };
            let of_a = index < ports_a.len();
            let line = if of_a { index } else { index - ports_a.len() };
            let is_live =
                streams.iter().any(|stream| if of_a { stream.a.line } else { stream.b.line } == line);
            if !is_live {
                commands.push(MediaCommand::SetSinks { port: pair.id, sinks: SmallVec::new() });
            }
        }
        for stream in streams {
            let (Some(pa), Some(pb)) = (port_at(&ports_a, stream.a.line), port_at(&ports_b, stream.b.line))
            else {
                continue;
            };
            let Stream { a: end_a, b: end_b, a_to_b, b_to_a, .. } = stream;
            let mut of_a = self.ingress(&leg_a.dialog.flow, &end_a);
            let mut of_b = self.ingress(&leg_b.dialog.flow, &end_b);
            (of_a.report_dtmf, of_b.report_dtmf) = (tells_a, tells_b);
            commands.push(MediaCommand::Configure { port: pa, ingress: of_a });
            commands.push(MediaCommand::Configure { port: pb, ingress: of_b });
            let mut sinks = sinks_of(a_to_b, pb);
            if let Some(also) = also
                && let Some(port) = port_at(&self.ports_toward(also), end_a.line)
            {
                sinks.push(Sink::plain(port));
            }
            commands.push(MediaCommand::SetSinks { port: pa, sinks });
            commands.push(MediaCommand::SetSinks { port: pb, sinks: sinks_of(b_to_a, pa) });
        }
        self.media.extend(commands);
        self.note_transcoding(call, is_transcoded);
    }

    /// Our ports toward a leg: its own, or while it is one of several forks the shared ones.
    #[must_use]
    pub fn ports_toward(&self, leg: LegHandle) -> LegPorts {
        let Some(found) = self.legs.get(leg) else { return LegPorts::new() };
        if found.role == super::model::Role::Fork {
            self.calls.get(found.call).map(|call| call.fork_ports.clone()).unwrap_or_default()
        } else {
            found.ports.clone()
        }
    }

    /// The port that a leg's audio comes in by, and what it speaks.
    #[must_use]
    pub fn audio_of(&self, leg: LegHandle) -> Option<(PortId, Codec)> {
        let found = self.legs.get(leg)?;
        let ports = found.ports.iter().enumerate();
        ports.filter_map(|(line, pair)| Some((pair.as_ref()?.id, spoken(found, line)?))).next()
    }

    /// Joins a leg with a service of ours.
    pub fn connect_service(&mut self, leg: LegHandle, service: Service) {
        let Some(found) = self.legs.get(leg) else { return };
        let Some(media) = found.media.as_ref().filter(|media| media.is_agreed()) else { return };
        for end in media.remote_media() {
            let Some(port) = port_at(&found.ports, end.line) else { continue };
            let mut ingress = self.ingress(&found.dialog.flow, &end);
            ingress.report_dtmf = service == Service::Prompt;
            self.media.push(MediaCommand::Configure { port, ingress });
            let voice = end.accepts.iter().find_map(voice_of);
            match (service, voice) {
                (Service::Tone, Some(voice)) if end.hears() => {
                    self.media.push(MediaCommand::Play { port, sound: Sound::Tone(TONE_HZ), voice });
                }
                // Who asks plays what is due.
                (Service::Prompt, _) => {}
                (Service::Echo, _) if end.hears() && end.speaks() => {
                    self.media.push(MediaCommand::Echo { port });
                }
                _ => self.media.push(MediaCommand::Stop { port }),
            }
        }
    }

    /// What is to arrive on the port of one end, and from whom.
    #[must_use]
    pub fn ingress(&self, signalling: &Flow, end: &RemoteMedia) -> Ingress {
        let clock_rate = end.sends.first().map_or(8000, |format| format.codec.clock_rate());
        let mut base = Ingress::audio(end.rtp, Some(signalling.peer.ip()));
        if let Security::Web(_) = end.security {
            // ICE finds it, and nobody else is listened to.
            base.remote = None;
        }
        let screen = &self.settings.media.screen;
        let is_ours = [base.remote, end.rtcp].into_iter().flatten().any(|place| screen.is_ours(place));
        Ingress {
            is_ours,
            remote_rtcp: base.remote.and(end.rtcp),
            learning: self.settings.media.learning,
            sending: if self.settings.trunk_of(signalling).is_some() {
                Sending::AtOnce
            } else {
                base.sending
            },
            // All that is carried is RTP, text and whatever else there may be, too.
            kind: if end.kind == Kind::Audio { relay::Kind::Audio } else { relay::Kind::Video },
            clock_rate: clock_rate.max(1),
            // A side that was told not to send is allowed to be silent.
            timeout: if end.speaks() { self.settings.media.timeout } else { None },
            telephone_event: end.telephone_event,
            security: end.security.clone(),
            ..base
        }
    }

    /// Tells when a leg has put the other side on hold, or taken it off.
    pub(super) fn note_hold(&mut self, call: CallHandle, leg: LegHandle) {
        let Some(side) = self.calls.get(call).and_then(|call| call.side_of(leg)) else { return };
        let Some(found) = self.legs.get_mut(leg) else { return };
        let Some(held) = found.media.as_ref().and_then(|media| media.holds()) else { return };
        if held != found.holds {
            found.holds = held;
            self.happened.push_back(Happened::Held { call, side, held });
        }
    }

    /// The leg has agreed on ports where it is now, or is gone.
    fn part_with_left_ports(&mut self, leg: LegHandle) {
        if let Some(left) = self.legs.get_mut(leg).and_then(|leg| leg.left_ports.take()) {
            let (call, ports) = *left;
            self.give_back(&ports, call, None);
        }
    }

    /// Gives the ports of a leg back.
    pub fn release_leg_media(&mut self, leg: LegHandle) {
        self.part_with_left_ports(leg);
        let Some(found) = self.legs.get_mut(leg) else { return };
        let (ports, call) = (std::mem::take(&mut found.ports), found.call);
        if ports.is_empty() {
            return;
        }
        self.give_back(&ports, call, Some(leg));
    }

    /// Gives all ports of a call back.
    pub(super) fn release_media(&mut self, call: CallHandle) {
        let Some(found) = self.calls.get_mut(call) else { return };
        let ports = std::mem::take(&mut found.fork_ports);
        let legs = [Some(found.caller), found.callee];
        self.give_back(&ports, call, None);
        for leg in legs.into_iter().flatten() {
            self.release_leg_media(leg);
        }
    }

    /// Ports that a leg had on behalf of a call, and has no more.
    pub fn give_back_ports(&mut self, ports: &LegPorts, call: CallHandle) {
        self.give_back(ports, call, None);
    }

    /// What a report of how a leg sounded says of its dialog.
    fn dialog_of(&self, call: CallHandle, leg: Option<&Leg>, pair: &PortPair) -> Option<LeftDialog> {
        let leg = leg.filter(|leg| self.settings.tells_quality && !leg.dialog.call_id.is_empty())?;
        let record = &self.calls.get(call)?.record;
        let is_of_leg = |segment: &&Segment| leg.party.device() == segment.device.split_once('*');
        let segment = record.segments.iter().rev().find(is_of_leg);
        Some(LeftDialog {
            call_id: leg.dialog.call_id.clone(),
            local_id: leg.dialog.local.clone(),
            remote_id: leg.dialog.remote.clone(),
            local: SocketAddr::new(pair.address, pair.rtp),
            since: segment.map_or(record.start, |segment| segment.start),
        })
    }

    /// Ports that nobody is told any more.
    pub(super) fn give_back(&mut self, ports: &LegPorts, call: CallHandle, leg: Option<LegHandle>) {
        for (line, pair) in ports.iter().enumerate() {
            let Some(pair) = pair else { continue };
            self.port_legs.remove(&pair.id);
            let of = leg.and_then(|leg| self.legs.get(leg));
            let device = of.and_then(|leg| leg.party.device());
            let device = device.map(|(user, device)| format!("{user}*{device}").into_boxed_str());
            let codec = of.and_then(|leg| spoken(leg, line));
            let dialog = self.dialog_of(call, of, pair).map(Box::new);
            self.left.push(LeftPort { port: pair.id, call, leg, device, codec, dialog });
            self.media.push(MediaCommand::Release { port: pair.id });
            self.ports.give_back(self.now.at, *pair);
        }
    }
}

/// What a leg sends on an audio line: the first of what was agreed, as everybody does.
fn spoken(leg: &Leg, line: usize) -> Option<Codec> {
    let lines = leg.media.as_ref()?.remote_media();
    let audio = lines.iter().find(|media| media.line == line && media.kind == Kind::Audio)?;
    audio.sends.iter().map(|format| format.codec).find(Codec::is_primary)
}

/// The port of an m-line.
#[must_use]
pub fn port_at(ports: &LegPorts, line: usize) -> Option<PortId> {
    ports.get(line).copied().flatten().map(|pair| pair.id)
}

/// Where packets go under a payload map; nowhere without one.
#[must_use]
pub fn sinks_of(map: Option<plan::PtMap>, to: PortId) -> SmallVec<[Sink; 2]> {
    let sink = |map: plan::PtMap| {
        let (map, conversion) = map.into_parts();
        Sink { to, map, conversion }
    };
    map.into_iter().map(sink).collect()
}

/// How a sound goes out under an agreed format.
#[must_use]
pub fn voice_of(format: &plan::Format) -> Option<Voice> {
    let law = match format.codec {
        Codec::PCMU => Law::Mu,
        Codec::PCMA => Law::A,
        _ => return None,
    };
    Some(Voice { law, payload: format.number })
}
