//! Browsers: what a description says of ICE and DTLS, read from theirs and written in ours (RFC 8839, RFC 8842).
//!
//! A browser's leg has one audio line with media; what else it offers is declined. It is one ICE agent and one DTLS
//! association, so nothing has to be told apart within what comes from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64ct::{Base64Unpadded, Encoding as _};
use smallvec::SmallVec;

use super::LegMedia;
use super::agreed::{Theirs, read};
use super::protect::Keying;
use crate::media::srtp::Security;
use crate::media::web::{Credentials, Fingerprint, Role, WebEnd};
use crate::wire::sdp::{Attribute, Kind, Media, Sdp, SdpWriter};

/// The profile of browsers (RFC 8827 6.5).
pub(super) const PROFILE: &[u8] = b"UDP/TLS/RTP/SAVPF";
/// Where a browser's media is: nowhere yet. ICE finds it, whatever the description's address says.
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(0, 0, 0, 0)), 9);
/// RFC 8839 5.4: the longest fragment and password.
const MAX_WORD: usize = 256;
/// RFC 8445 5.1.2.1: type preference of a host candidate, the highest local preference, component 1.
const PRIORITY: u64 = (126 << 24) | (65_535 << 8) | 255;

/// Random octets of a `tls-id`: 24 characters (RFC 8842 5.1 asks for 20, and 120 bits).
const TLS_ID: usize = 18;

/// Where the browsers of one media thread meet us. No two threads have anything in common here: what was agreed with one
/// of them the others do not know, and another certificate is what browsers understand by another association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPlace {
    /// The port of the socket that they share.
    pub port: u16,
    /// The fingerprint of our certificate there.
    pub fingerprint: Box<str>,
}

/// The browser's part in a leg's state.
#[derive(Clone, Debug)]
pub(super) struct WebLeg {
    /// Addresses of our sockets, the best first.
    addresses: SmallVec<[IpAddr; 2]>,
    place: Arc<WebPlace>,
    /// Whether the first offer is one to a browser.
    offers: bool,
    /// What the next description of ours says.
    next: Start,
    /// Starts of this leg so far.
    minted: u32,
}

/// Which start of ICE (RFC 8445 9) and which DTLS association (RFC 8842 4) a description of ours means, and where: as
/// numbers, from which credentials and `tls-id` are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    port: u16,
    ice: u32,
    association: u32,
}

/// Which end of the handshake a side takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    Either,
    Active,
    Passive,
}

/// What a line of theirs says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    ufrag: Box<str>,
    fingerprint: Fingerprint,
    tls_id: Option<Box<str>>,
    setup: Setup,
}

/// What a line of ours says.
pub(super) struct WebLines {
    addresses: SmallVec<[IpAddr; 2]>,
    place: Arc<WebPlace>,
    local: Credentials,
    tls_id: String,
    setup: &'static str,
    mid: Box<[u8]>,
}

impl Remote {
    /// Reads a line that a browser could have written: audio, with all of fragment, password, fingerprint and one port
    /// for RTP and RTCP. Line by line, else for the session.
    pub(super) fn read(media: &Media<'_>) -> Option<Self> {
        if !media.protocol().is_dtls() || media.kind() != Kind::Audio {
            return None;
        }
        media.attribute(Attribute::RtcpMux)?;
        let ufrag = word(media.inherited(b"ice-ufrag").next()?, 4)?;
        word(media.inherited(b"ice-pwd").next()?, 22)?;
        let fingerprint = media.inherited(b"fingerprint").find_map(Fingerprint::parse)?;
        let tls_id = media.inherited(b"tls-id").next().and_then(|id| word(id, 20)).map(Box::from);
        let setup = match media.inherited(b"setup").next() {
            Some(b"actpass") => Setup::Either,
            Some(b"passive") => Setup::Passive,
            // RFC 4145 4: what is not said.
            Some(b"active") | None => Setup::Active,
            Some(_) => return None,
        };
        Some(Self { ufrag: ufrag.into(), fingerprint, tls_id, setup })
    }

    /// Whether it goes on with the association of `end` (RFC 8842 4: the same certificate and, where both say one, the
    /// same `tls-id`).
    fn continues(&self, end: &WebEnd) -> bool {
        let is_told = self.tls_id.is_some() && end.tls_id.is_some();
        self.fingerprint == end.fingerprint && (!is_told || self.tls_id == end.tls_id)
    }
}

impl WebLeg {
    /// The start with the numbers that no start had before.
    fn mint(&mut self) -> Start {
        let fresh = Start { port: self.place.port, ice: self.minted, association: self.minted };
        self.minted = self.minted.wrapping_add(1);
        fresh
    }
}

/// A word of ICE: letters, digits, `+` and `/` (RFC 8839 5.4).
fn word(value: &[u8], least: usize) -> Option<&str> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    let value = value.trim_ascii();
    let is_word = (least..=MAX_WORD).contains(&value.len()) && value.iter().all(fits);
    std::str::from_utf8(value).ok().filter(|_| is_word)
}

impl LegMedia {
    /// A leg that may be a browser's: it is one if it offers so.
    #[must_use]
    pub fn with_web(mut self, addresses: SmallVec<[IpAddr; 2]>, place: Arc<WebPlace>) -> Self {
        let mut web = WebLeg { addresses, place, offers: false, next: Start::default(), minted: 0 };
        web.next = web.mint();
        self.web = Some(Box::new(web));
        self
    }

    /// A leg that is a browser's: it is offered what browsers understand.
    #[must_use]
    pub fn offering_web(mut self) -> Self {
        if let Some(web) = &mut self.web {
            web.offers = true;
        }
        self
    }

    /// The place of the media thread that the call is on, from the next description on. One that is not the place of
    /// what is agreed knows neither our credentials nor the keys: ICE and DTLS start anew there (RFC 8839 4.4.1.1.1,
    /// RFC 8842 5.1). Back at the agreed one all is as agreed.
    pub fn meet_browsers_at(&mut self, place: &Arc<WebPlace>) {
        let agreed = self.agreed.as_ref().map(|agreed| agreed.start);
        let Some(web) = &mut self.web else { return };
        if web.place != *place {
            web.place = Arc::clone(place);
        }
        let is_here = |start: &Start| start.port == place.port;
        web.next = match agreed.filter(is_here).or(Some(web.next).filter(is_here)) {
            Some(known) => known,
            None => web.mint(),
        };
    }

    /// What the next description of ours says, whose text was not written yet.
    pub(super) fn next_start(&self) -> Start {
        self.web.as_ref().map(|web| web.next).unwrap_or_default()
    }

    /// An exchange is finished in which ours said this.
    pub(super) fn go_by(&mut self, start: Start) {
        if let Some(web) = &mut self.web {
            web.next = start;
        }
    }

    /// Whether what is agreed is a browser's transport.
    #[must_use]
    pub fn is_of_browser(&self) -> bool {
        (0..self.lines.len()).any(|line| self.web_end(line).is_some())
    }

    fn web_end(&self, line: usize) -> Option<&WebEnd> {
        match self.agreed.as_ref()?.security(line) {
            Security::Web(end) => Some(end),
            Security::Plain | Security::Srtp(_) => None,
        }
    }

    /// What our answer to `remote` says: with another start of ICE of theirs there is one of ours (RFC 8445 9), and with
    /// another association of theirs another `tls-id` (RFC 8842 5.3).
    fn start_toward(&self, line: usize, remote: &Remote) -> Start {
        let Some(web) = &self.web else { return Start::default() };
        let (mut start, Some(agreed)) = (web.next, self.agreed.as_ref().map(|agreed| agreed.start)) else {
            return web.next;
        };
        let Some(end) = self.web_end(line) else { return start };
        if end.remote != remote.ufrag && start.ice == agreed.ice {
            start.ice = web.minted;
        }
        if !remote.continues(end) && start.association == agreed.association {
            start.association = web.minted;
        }
        start
    }

    fn role(&self, line: usize, remote: &Remote) -> Role {
        let standing = self.web_end(line).filter(|end| remote.continues(end));
        match (remote.setup, standing) {
            (Setup::Either, Some(end)) => end.role,
            (Setup::Either | Setup::Active, _) => Role::Passive,
            (Setup::Passive, _) => Role::Active,
        }
    }

    fn web_lines(
        &self,
        line: usize,
        start: Start,
        setup: &'static str,
        theirs: Option<&Media<'_>>,
    ) -> Option<WebLines> {
        let web = self.web.as_ref()?;
        let (addresses, place) = (web.addresses.clone(), Arc::clone(&web.place));
        let (local, tls_id) = (self.credentials(start), self.tls_id(start));
        let mid = theirs.and_then(|media| media.inherited(b"mid").next()).unwrap_or_default();
        let mid = if mid.is_empty() { line.to_string().into_bytes().into() } else { mid.into() };
        Some(WebLines { addresses, place, local, tls_id, setup, mid })
    }

    fn credentials(&self, start: Start) -> Credentials {
        Credentials::from_bytes(&self.protection.secret.bytes(b"ice", start.ice))
    }

    fn tls_id(&self, start: Start) -> String {
        let bytes = self.protection.secret.bytes(b"tls-id", start.association);
        Base64Unpadded::encode_string(bytes.get(..TLS_ID).unwrap_or_default())
    }

    /// What our offer says on a line; nothing where it is no browser's.
    pub(super) fn offered_web(&self, line: usize) -> Option<WebLines> {
        let web = self.web.as_ref()?;
        let is_web = match &self.agreed {
            Some(agreed) if agreed.is_active(line) => self.web_end(line).is_some(),
            Some(_) => self.is_of_browser(),
            None => web.offers,
        };
        // The line keeps the name that it was given first.
        let theirs = self.agreed.as_ref().and_then(|agreed| read(&agreed.theirs).ok());
        let theirs = theirs.as_ref().and_then(|sdp| sdp.medium(line)).filter(|_| is_web);
        if is_web { self.web_lines(line, web.next, "actpass", theirs.as_ref()) } else { None }
    }

    /// What our answer says on a line of theirs.
    pub(super) fn answered_web(&self, line: usize, theirs: &Theirs, offered: &Media<'_>) -> Option<WebLines> {
        let remote = theirs.web.as_deref()?;
        let setup = if self.role(line, remote) == Role::Active { "active" } else { "passive" };
        self.web_lines(line, self.start_toward(line, remote), setup, Some(offered))
    }

    /// The start that our answer to these lines has said.
    pub(super) fn answered_start(&mut self, theirs: &[Theirs]) -> Start {
        let of_web =
            theirs.iter().enumerate().find_map(|(line, theirs)| Some((line, theirs.web.as_deref()?)));
        let start =
            of_web.map_or_else(|| self.next_start(), |(line, remote)| self.start_toward(line, remote));
        if let Some(web) = &mut self.web
            && (start.ice == web.minted || start.association == web.minted)
        {
            web.minted = web.minted.wrapping_add(1);
        }
        start
    }

    /// Lines of a description of ours as they were, with what the next one says of ICE and DTLS.
    pub(super) fn started_anew(&self, content: &[u8]) -> Vec<u8> {
        let start = self.next_start();
        let (local, tls_id) = (self.credentials(start), self.tls_id(start));
        let fingerprint = self.web.as_ref().map(|web| web.place.fingerprint.clone()).unwrap_or_default();
        let mut anew = Vec::with_capacity(content.len());
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            let value = match line.iter().position(|byte| *byte == b':').and_then(|at| line.get(..=at)) {
                Some(b"a=ice-ufrag:") => &*local.ufrag,
                Some(b"a=ice-pwd:") => &*local.password,
                Some(b"a=tls-id:") => tls_id.as_str(),
                Some(b"a=fingerprint:") => &*fingerprint,
                _ => {
                    anew.extend_from_slice(line);
                    continue;
                }
            };
            anew.extend(line.iter().take_while(|byte| **byte != b':'));
            anew.extend_from_slice(b":");
            anew.extend_from_slice(value.as_bytes());
            anew.extend_from_slice(b"\r\n");
        }
        anew
    }

    /// The transport of a line that both have described.
    pub(super) fn web_security(&self, line: usize, remote: &Remote) -> Option<Security> {
        let start = self.web.as_ref()?.next;
        Some(Security::Web(Box::new(WebEnd {
            local: self.credentials(start),
            remote: remote.ufrag.clone(),
            fingerprint: remote.fingerprint.clone(),
            role: self.role(line, remote),
            association: start.association,
            tls_id: remote.tls_id.clone(),
        })))
    }
}

/// A description of a browser has media on one line: the first of its kind that can have it.
pub(super) fn only_one(lines: &mut [Theirs]) {
    let mut of_web = lines.iter_mut().filter(|line| line.web.is_some());
    if of_web.next().is_none() {
        return;
    }
    for line in of_web {
        line.decline();
    }
}

/// What is said of a line that a browser could have with media.
pub(super) fn carried<'a>(source: Media<'_>, keying: &'a Keying) -> Option<&'a WebLines> {
    match keying {
        Keying::Web(web) if source.kind() == Kind::Audio => Some(web),
        _ => None,
    }
}

impl WebLines {
    /// The port of the line.
    pub(super) fn port(&self) -> u16 {
        self.place.port
    }

    /// Lines of the session. `BUNDLE` only where it was offered, or in an offer: some insist on it.
    pub(super) fn session(&self, writer: &mut SdpWriter, offer: Option<&Sdp>) {
        writer.put(b"a=ice-lite\r\n");
        let is_bundled =
            |sdp: &Sdp| sdp.session_lines().iter().any(|line| sdp.value(line).starts_with(b"group:BUNDLE"));
        if offer.is_none_or(is_bundled) {
            writer.put(b"a=group:BUNDLE ");
            writer.put(&self.mid);
            writer.end_line();
        }
        writer.put(b"a=msid-semantic:WMS segue\r\n");
    }

    /// Lines below the `m=` line.
    pub(super) fn section(&self, writer: &mut SdpWriter) {
        let mut line = |name: &[u8], value: &[u8]| {
            writer.put(b"a=");
            writer.put(name);
            writer.put(value);
            writer.end_line();
        };
        line(b"mid:", &self.mid);
        line(b"msid:segue audio", b"");
        line(b"ice-ufrag:", self.local.ufrag.as_bytes());
        line(b"ice-pwd:", self.local.password.as_bytes());
        line(b"fingerprint:", self.place.fingerprint.as_bytes());
        line(b"tls-id:", self.tls_id.as_bytes());
        line(b"setup:", self.setup.as_bytes());
        line(b"rtcp-mux", b"");
        for (n, address) in (0u64..).zip(&self.addresses) {
            let candidate =
                format!("{n} 1 udp {} {address} {} typ host", PRIORITY - (n << 8), self.place.port);
            line(b"candidate:", candidate.as_bytes());
        }
        line(b"end-of-candidates", b"");
    }
}
