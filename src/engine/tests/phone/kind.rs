//! How the phone of the tests protects its media.

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

    pub(super) fn profile(self) -> &'static str {
        match self {
            Self::Plain => "RTP/AVP",
            Self::Sdes => "RTP/SAVP",
            Self::Web => "UDP/TLS/RTP/SAVPF",
        }
    }

    pub(super) fn lines(self, port: usize) -> String {
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
