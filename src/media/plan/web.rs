//! Browsers: what a description says of ICE and DTLS, read from theirs and written in ours (RFC 8839, RFC 8842).
//!
//! A browser's leg has one audio line with media; what else it offers is declined. It is one ICE agent and one DTLS
//! association, so nothing has to be told apart within what comes from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

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

/// How browsers reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSide {
    /// The port of the socket that they share.
    pub port: u16,
    /// Addresses of it, the best first.
    pub addresses: SmallVec<[IpAddr; 2]>,
    /// Our certificate's fingerprint.
    pub fingerprint: Box<str>,
}

/// The browser's part in a leg's state.
#[derive(Clone, Debug)]
pub(super) struct WebLeg {
    side: Arc<WebSide>,
    /// Whether the first offer is one to a browser.
    offers: bool,
    /// How often the other side restarted ICE: each time there are credentials anew.
    restarts: u32,
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
    setup: Setup,
}

/// What a line of ours says.
pub(super) struct WebLines {
    side: Arc<WebSide>,
    local: Credentials,
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
        let setup = match media.inherited(b"setup").next() {
            Some(b"actpass") => Setup::Either,
            Some(b"passive") => Setup::Passive,
            // RFC 4145 4: what is not said.
            Some(b"active") | None => Setup::Active,
            Some(_) => return None,
        };
        Some(Self { ufrag: ufrag.into(), fingerprint, setup })
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
    pub fn with_web(mut self, side: WebSide) -> Self {
        self.web = Some(Box::new(WebLeg { side: Arc::new(side), offers: false, restarts: 0 }));
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

    /// The port of the thread that the call is on.
    pub fn meet_browsers_at(&mut self, port: u16) {
        if let Some(web) = self.web.as_mut().filter(|web| web.side.port != port) {
            Arc::make_mut(&mut web.side).port = port;
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

    /// Whether `remote` is another start of ICE than that which the dialog has.
    fn restarts(&self, line: usize, remote: &Remote) -> bool {
        self.web_end(line).is_some_and(|end| end.remote != remote.ufrag)
    }

    fn role(&self, line: usize, remote: &Remote) -> Role {
        let standing = self.web_end(line).filter(|end| end.fingerprint == remote.fingerprint);
        match (remote.setup, standing) {
            (Setup::Either, Some(end)) => end.role,
            (Setup::Either | Setup::Active, _) => Role::Passive,
            (Setup::Passive, _) => Role::Active,
        }
    }

    fn web_lines(
        &self,
        line: usize,
        restarts: u32,
        setup: &'static str,
        theirs: Option<&Media<'_>>,
    ) -> Option<WebLines> {
        let side = Arc::clone(&self.web.as_ref()?.side);
        let local = Credentials::from_bytes(&self.protection.secret.bytes(b"ice", restarts));
        let mid = theirs.and_then(|media| media.inherited(b"mid").next()).unwrap_or_default();
        let mid = if mid.is_empty() { line.to_string().into_bytes().into() } else { mid.into() };
        Some(WebLines { side, local, setup, mid })
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
        if is_web { self.web_lines(line, web.restarts, "actpass", theirs.as_ref()) } else { None }
    }

    /// What our answer says on a line of theirs.
    pub(super) fn answered_web(&self, line: usize, theirs: &Theirs, offered: &Media<'_>) -> Option<WebLines> {
        let (remote, web) = (theirs.web.as_deref()?, self.web.as_ref()?);
        let restarts = web.restarts.wrapping_add(self.restarts(line, remote).into());
        let setup = if self.role(line, remote) == Role::Active { "active" } else { "passive" };
        self.web_lines(line, restarts, setup, Some(offered))
    }

    /// Counts a restart of ICE that our answer went along with.
    pub(super) fn note_restart(&mut self, theirs: &[Theirs]) {
        let restarts = |(line, theirs): (usize, &Theirs)| {
            theirs.web.as_deref().is_some_and(|remote| self.restarts(line, remote))
        };
        let is_restarted = theirs.iter().enumerate().any(restarts);
        if let Some(web) = self.web.as_mut().filter(|_| is_restarted) {
            web.restarts = web.restarts.wrapping_add(1);
        }
    }

    /// The transport of a line that both have described.
    pub(super) fn web_security(&self, line: usize, remote: &Remote) -> Option<Security> {
        let restarts = self.web.as_ref()?.restarts;
        let local = Credentials::from_bytes(&self.protection.secret.bytes(b"ice", restarts));
        let (remote_ufrag, fingerprint) = (remote.ufrag.clone(), remote.fingerprint.clone());
        let role = self.role(line, remote);
        Some(Security::Web(Box::new(WebEnd { local, remote: remote_ufrag, fingerprint, role })))
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
        self.side.port
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
        line(b"fingerprint:", self.side.fingerprint.as_bytes());
        line(b"setup:", self.setup.as_bytes());
        line(b"rtcp-mux", b"");
        for (n, address) in (0u64..).zip(&self.side.addresses) {
            let candidate =
                format!("{n} 1 udp {} {address} {} typ host", PRIORITY - (n << 8), self.side.port);
            line(b"candidate:", candidate.as_bytes());
        }
        line(b"end-of-candidates", b"");
    }
}
