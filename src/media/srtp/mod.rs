//! Secure RTP (RFC 3711, RFC 7714): keys, and the contexts that open what a peer sealed and seal what it gets.
//!
//! ```text
//!  media::plan ─ Security ─► relay ─┬─ Opener   peer ► segue   tag, replay, rollover per SSRC; then plain RTP
//!                                   └─ Sealer   segue ► peer   never the same index twice under one key
//! ```
//! Both work on buffers of the caller; nothing is allocated, hashed into a table or locked for a packet. How the keys
//! came (SDES, RFC 4568; DTLS, RFC 5764) makes no difference here.

mod derive;
mod key;
mod opener;
mod sealer;
mod suite;
#[cfg(test)]
mod tests;
mod transform;
mod window;

pub use key::{Keys, MasterKey, Security};
pub use opener::Opener;
pub use sealer::Sealer;
pub use suite::Suite;

/// No packet grows by more when it is sealed: the AES-GCM tag and, for RTCP, the index (RFC 7714 9.2).
pub const MAX_TRAILER: usize = 20;

/// Why a packet was not opened or sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SrtpError {
    /// Not RTP, or not RTCP, of version 2, or too short for its header.
    #[error("not an RTP or RTCP packet")]
    Malformed,
    /// Not sealed with the key that was agreed, or not at all.
    #[error("the authentication tag is wrong")]
    BadTag,
    /// A sequence number that was there before, or that is too old to tell (RFC 3711 3.3.2).
    #[error("the index was used before")]
    Replayed,
    /// No place for the trailer, or as many packets as one key may seal (RFC 3711 9.2).
    #[error("it cannot be sealed")]
    Exhausted,
}
