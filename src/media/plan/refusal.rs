//! Why a description cannot be carried. One variant per reason; the status is the caller's table.

use crate::wire::sdp::SdpError;

/// Why media could not be agreed. Nothing has changed when one of these is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a session description (400).
    #[error("malformed session description: {0}")]
    Malformed(#[from] SdpError),
    /// Only SRTP is offered, and in a form that is not spoken, or it is switched off (488).
    #[error("SRTP as offered is not spoken here")]
    SecureMedia,
    /// SRTP is required here, or was agreed before and may not be taken away (488).
    #[error("SRTP is required")]
    Insecure,
    /// No m-line that we relay: no plain RTP, or all ports zero (488).
    #[error("no usable media line")]
    NoUsableMedia,
    /// Nothing that both sides can hear (488).
    #[error("no common codec")]
    NoCommonCodec,
    /// None of the codecs that are offered is one that this peer may have (488).
    #[error("no codec that may be used here")]
    NotPermitted,
    /// Media to a multicast, broadcast or reserved address, to one of our own ports, or to a domain name (488).
    #[error("address of media line {media} is not acceptable")]
    Address {
        /// Which m-line, counted from 0.
        media: usize,
    },
    /// No port was to be had for any line (503).
    #[error("out of media ports")]
    OutOfPorts,
    /// More m-lines than one dialog may gather (488).
    #[error("too many media lines")]
    TooManyLines,
    /// An answer without an offer, an offer inside an open exchange, or legs that this pairing does not join:
    /// our own fault, or a peer that ignores RFC 3264 4 (491 when received, a bug otherwise).
    #[error("out of turn in offer and answer")]
    OutOfTurn,
}
