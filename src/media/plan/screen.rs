//! The only way in for a description from the network: parsed, and its media addresses screened.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Refusal;
use super::agreed::is_carried;
use super::formats::formats;
use super::sdes::Crypto;
use crate::media::codec::Codec;
use crate::media::ports::OwnPorts;
use crate::wire::sdp::{Kind, Limits, Media, Sdp};

/// What may not be named as a place to send media to (docs/THREATS.md, "SDP as a weapon"): multicast, broadcast, addresses
/// that are nobody's, domain names, our own media ports, and loopback unless we live there.
#[derive(Clone, Debug)]
pub struct Screen {
    /// Our own addresses: with a port of `own_ports` they are refused (we would talk to ourselves).
    pub own_addresses: Vec<IpAddr>,
    /// The ports that we have bound for media.
    pub own_ports: Arc<OwnPorts>,
    /// Caps of the parser.
    pub limits: Limits,
}

/// Whether our own media ports may be named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ours {
    /// No: we would talk to ourselves.
    #[default]
    Refused,
    /// By a PBX that has the media of two calls of ours run from the one to the other. What comes to a port of one goes on to
    /// the other end of its call. Where that is the PBX again, as after a transfer, packets can be led in a circle: the relay
    /// sends to a port of ours no more than real time has ([`Ingress::is_ours`](crate::media::relay::Ingress)).
    Taken,
}

/// The screen as it is for one party.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    screen: &'a Screen,
    ours: Ours,
}

impl<'a> From<&'a Screen> for Gate<'a> {
    fn from(screen: &'a Screen) -> Self {
        screen.gate(Ours::Refused)
    }
}

/// A parsed description whose addresses passed the screen. Made by [`Gate::admit`] alone.
#[derive(Clone, Debug)]
pub struct Description(Sdp);

impl Description {
    /// The description.
    #[must_use]
    pub fn sdp(&self) -> &Sdp {
        &self.0
    }

    /// The codecs of its audio lines that can carry a call by themselves.
    #[must_use]
    pub fn audio_codecs(&self) -> SmallVec<[Codec; 8]> {
        let audio = self.0.media().filter(|media| media.kind() == Kind::Audio && is_carried(media));
        let codecs = audio.flat_map(|media| formats(&media, &[])).map(|format| format.codec);
        codecs.filter(Codec::is_primary).collect()
    }
}

impl Description {
    /// Whether it offers SRTP with a key that is understood here.
    #[must_use]
    pub fn names_keys(&self) -> bool {
        self.0.media().any(|media| is_carried(&media) && Crypto::chosen(&media).is_some())
    }
}

impl Description {
    /// Whether it is one of a browser: audio by ICE and DTLS.
    #[must_use]
    pub fn is_of_browser(&self) -> bool {
        self.0.media().any(|media| media.protocol().is_dtls() && is_carried(&media))
    }
}

impl Screen {
    /// Whether it is a media port of ours.
    #[must_use]
    pub fn is_ours(&self, place: SocketAddr) -> bool {
        self.own_ports.contains(place.port()) && self.own_addresses.contains(&place.ip().to_canonical())
    }

    /// For a party that may, or may not, name our own ports.
    #[must_use]
    pub const fn gate(&self, ours: Ours) -> Gate<'_> {
        Gate { screen: self, ours }
    }

    /// As [`Gate::admit`] for who may not name our own ports.
    ///
    /// # Errors
    /// As there.
    pub fn admit(&self, body: Bytes) -> Result<Description, Refusal> {
        self.gate(Ours::Refused).admit(body)
    }
}

impl Gate<'_> {
    /// Parses and screens the body of a request or response. Lines that carry no media through us are not screened.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], or [`Refusal::Address`] with the m-line's number.
    pub fn admit(&self, body: Bytes) -> Result<Description, Refusal> {
        let sdp = Sdp::parse(body, &self.screen.limits)?;
        for (index, media) in sdp.media().enumerate() {
            if is_carried(&media) && !self.is_acceptable(&media) {
                return Err(Refusal::Address { media: index });
            }
        }
        Ok(Description(sdp))
    }

    fn is_acceptable(&self, media: &Media<'_>) -> bool {
        if media.protocol().is_dtls() {
            return true; // Nothing is sent anywhere but to who signed a check from there.
        }
        let Some(address) = media.address() else { return false };
        if address.is_unspecified() {
            return true; // Hold of RFC 2543: nothing is sent there.
        }
        self.is_place(SocketAddr::new(address, media.port()))
            && media.rtcp().is_none_or(|rtcp| self.is_place(rtcp))
    }

    /// Whether media may go to `place`.
    #[must_use]
    pub fn is_place(&self, place: SocketAddr) -> bool {
        let (address, screen) = (place.ip().to_canonical(), self.screen);
        if address.is_loopback() && !screen.own_addresses.iter().any(IpAddr::is_loopback) {
            return false;
        }
        if screen.is_ours(place) && self.ours == Ours::Refused {
            return false;
        }
        match address {
            // 0.0.0.0/8 is "this network", 240.0.0.0/4 is reserved and holds the broadcast address (RFC 6890).
            IpAddr::V4(v4) => !v4.is_multicast() && !matches!(v4.octets(), [0 | 240..=255, ..]),
            IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(own: &[&str]) -> Screen {
        Screen {
            own_addresses: own.iter().map(|text| text.parse().unwrap()).collect(),
            own_ports: Arc::new((20_000..=29_999).collect()),
            limits: Limits::default(),
        }
    }

    fn admit(screen: &Screen, c: &str, port: u16, more: &str) -> Result<(), Refusal> {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nc={c}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n{more}"
        );
        screen.admit(text.into()).map(|_| ())
    }

    #[test]
    fn weapons_are_refused_and_holds_are_not() {
        let screen = screen(&["192.0.2.1", "2001:db8::1"]);
        let refused = Err(Refusal::Address { media: 0 });
        for weapon in [
            "IN IP4 224.2.1.1/127",
            "IN IP4 239.255.255.250",
            "IN IP4 255.255.255.255",
            "IN IP4 240.0.0.1",
            "IN IP4 0.0.0.1",
            "IN IP4 127.0.0.1",
            "IN IP6 ::1",
            "IN IP6 ff02::1",
            "IN IP6 ::ffff:224.0.0.1",
            "IN IP6 ::ffff:127.0.0.1",
            "IN IP4 192.0.2.1",
            "IN IP6 2001:db8::1",
            "IN IP4 host.example",
            "ATM NSAP x",
        ] {
            assert_eq!(admit(&screen, weapon, 20002, ""), refused, "{weapon}");
            assert_eq!(admit(&screen, weapon, 0, ""), Ok(()), "{weapon} on a line without media");
        }
        for fine in
            ["IN IP4 0.0.0.0", "IN IP6 ::", "IN IP4 198.51.100.7", "IN IP6 2001:db8::2", "IN IP4 10.0.0.1"]
        {
            assert_eq!(admit(&screen, fine, 20002, ""), Ok(()), "{fine}");
        }
        assert_eq!(admit(&screen, "IN IP4 192.0.2.1", 4000, ""), Ok(()), "a phone beside us");
    }

    #[test]
    fn rtcp_is_screened_too() {
        let screen = screen(&["192.0.2.1"]);
        let at = |rtcp: &str| admit(&screen, "IN IP4 198.51.100.7", 4000, &format!("a=rtcp:{rtcp}\r\n"));
        assert_eq!(at("4001 IN IP4 224.0.0.1"), Err(Refusal::Address { media: 0 }));
        assert_eq!(at("20001 IN IP4 192.0.2.1"), Err(Refusal::Address { media: 0 }));
        assert_eq!(at("20001"), Ok(()));
    }

    #[test]
    fn loopback_is_for_a_node_on_loopback() {
        assert_eq!(admit(&screen(&["127.0.0.1"]), "IN IP4 127.0.0.1", 4000, ""), Ok(()));
        assert!(admit(&screen(&["127.0.0.1"]), "IN IP4 127.0.0.1", 20000, "").is_err());
    }

    #[test]
    fn a_pbx_may_lead_the_media_of_one_call_to_that_of_another_and_nowhere_else() {
        let screen = screen(&["192.0.2.1"]);
        let at = |c: &str, ours: Ours| {
            let text = format!("v=0\no=- 1 1 IN IP4 1.1.1.1\ns=-\nc={c}\nt=0 0\nm=audio 20002 RTP/AVP 0\n");
            screen.gate(ours).admit(text.into()).is_ok()
        };
        assert!(at("IN IP4 192.0.2.1", Ours::Taken) && !at("IN IP4 192.0.2.1", Ours::Refused));
        assert!(!at("IN IP4 127.0.0.1", Ours::Taken) && !at("IN IP4 224.2.1.1/127", Ours::Taken));
    }

    #[test]
    fn a_line_without_an_address_is_refused() {
        let text = "v=0\no=- 1 1 IN IP4 1.1.1.1\ns=-\nt=0 0\nm=audio 4000 RTP/AVP 0\n";
        assert_eq!(screen(&[]).admit(text.into()).map(|_| ()), Err(Refusal::Address { media: 0 }));
    }
}
