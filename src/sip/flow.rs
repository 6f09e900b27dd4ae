//! Where a message came from, so where its answer goes (RFC 3261 18, RFC 5626).

use std::fmt;
use std::net::SocketAddr;

use crate::base::RedactAddr;

/// How a message travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// Datagrams; transactions retransmit.
    Udp,
    /// A stream.
    Tcp,
    /// A stream under TLS.
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket under TLS.
    Wss,
}

impl Transport {
    /// Whether the transport itself repeats what is lost (RFC 3261 17.1.1.1).
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether what is said on it is hidden from the network: keys may be told.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether web pages can speak on it.
    #[must_use]
    pub const fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The token of Via (RFC 3261 20.42).
    #[must_use]
    pub const fn via_token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The value of the `transport` parameter of a SIP URI: a WebSocket is `ws` with TLS and without (RFC 7118 5.2).
    #[must_use]
    pub const fn contact_token(self) -> &'static str {
        match self {
            Self::Wss => "ws",
            other => other.uri_token(),
        }
    }

    /// Its name in our URIs of listeners, records and metrics, lower case.
    #[must_use]
    pub const fn uri_token(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// One way to a peer: a datagram socket and an address, or one connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Flow {
    /// How.
    pub transport: Transport,
    /// Which of our listeners (its place in the configuration).
    pub listener: u16,
    /// Which connection; 0 for datagrams, and for a stream that is yet to be connected to `peer`.
    pub connection: u32,
    /// The other side.
    pub peer: SocketAddr,
}

impl fmt::Display for Flow {
    /// Redacted, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.uri_token(), RedactAddr(self.peer))
    }
}
