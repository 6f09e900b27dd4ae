//! The only way in for a description from the network: parsed, and its media addresses screened.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::Refusal;
use crate::wire::sdp::{Limits, Sdp};

/// What may not be named as a place to send media to.
#[derive(Clone, Debug)]
pub struct Screen {
    /// Our own addresses: with a port of `own_ports` they are refused (we would talk to ourselves).
    pub own_addresses: Vec<IpAddr>,
    /// The media port range.
    pub own_ports: RangeInclusive<u16>,
    /// Caps of the parser.
    pub limits: Limits,
}

/// A parsed description whose addresses passed the screen. Made by [`Screen::admit`] alone.
#[derive(Clone, Debug)]
pub struct Description(Sdp);

impl Description {
    /// The description.
    #[must_use]
    pub fn sdp(&self) -> &Sdp {
        &self.0
    }
}

impl Screen {
    /// Parses and screens the body of a request or response.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] or [`Refusal::Address`].
    pub fn admit(&self, body: Bytes) -> Result<Description, Refusal> {
        Ok(Description(Sdp::parse(body, &self.limits)?))
    }
}
