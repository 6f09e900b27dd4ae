//! Digest access authentication (RFC 3261 22, RFC 7616, RFC 8760): what we ask, what we check, what we answer.
//!
//! Server side: [`Verifier`]. A challenge costs no memory: its nonce is an HMAC over time, randomness, the
//! algorithm and the peer's address. Memory begins with the first use that was right, in a bounded table of
//! nonce counts, so a captured answer is worth nothing. Client side: [`Challenge`]; whether a challenge may
//! be answered at all (only for configured trunks) is decided above.

mod challenge;
mod credentials;
mod hash;
mod nonce;
mod params;
#[cfg(test)]
mod tests;
mod verifier;

pub use challenge::{Challenge, ChallengeError, Secret};
pub use credentials::Credentials;
pub use hash::{Algorithm, Ha1s};
pub use verifier::{Settings, Stale, Verdict, Verifier};
