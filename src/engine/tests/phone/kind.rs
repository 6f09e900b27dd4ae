//! How the phone of the tests describes and protects its media.

use super::Phone;

/// How a phone protects its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// Keys in the description.
    Sdes,
    /// A browser.
    Web,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Sdes, Self::Web];

    fn profile(self) -> &'static str {
        match self {
            Self::Plain => "RTP/AVP",
            Self::Sdes => "RTP/SAVP",
            Self::Web => "UDP/TLS/RTP/SAVPF",
        }
    }

    fn lines(self, port: usize) -> String {
        let digest = ["0A"; 32].join(":");
        match self {
            Self::Plain => String::new(),
            Self::Sdes => {
                format!(
                    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}{port}\r\n",
                    "WVNfX19z".repeat(5).split_at(36).0
                )
            }
            Self::Web => format!(
                "a=mid:0\r\na=ice-ufrag:u{port}\r\na=ice-pwd:0123456789abcdef01234567\r\n\
                 a=fingerprint:sha-256 {digest}\r\na=setup:active\r\na=rtcp-mux\r\n"
            ),
        }
    }
}

impl Phone {
    /// A description of this phone; its port tells the line.
    pub(crate) fn sdp(&self, line: usize, direction: &str) -> String {
        let (ip, port) = (self.address.ip(), 4000 + 2 * line);
        let mut sdp = format!(
            "v=0\r\no=- {port} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {} {}\r\n",
            self.kind.profile(),
            self.codecs
        );
        sdp += &self.kind.lines(port);
        for number in self.codecs.split(' ') {
            sdp += match number {
                "0" => "a=rtpmap:0 PCMU/8000\r\n",
                "8" => "a=rtpmap:8 PCMA/8000\r\n",
                "9" => "a=rtpmap:9 G722/8000\r\n",
                "101" => "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n",
                _ => "",
            };
        }
        sdp + "a=" + direction + "\r\n"
    }
}
