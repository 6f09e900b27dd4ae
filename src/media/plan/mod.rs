//! What two descriptions have in common, and what each side is told.
//!
//! Everything is built from one value per leg, [`LegMedia`] (what this dialog has said about media, both ways), and
//! one value per joined pair of legs, [`Pairing`] (which m-line of one is which m-line of the other).
//! Four verbs move them on, in this order in every offer/answer exchange (RFC 3264):
//!
//! ```text
//!  A ── INVITE, offer ──► segue                     Screen::admit(body)? ; a.receive_offer(description)
//!                         segue ── INVITE ──► B     offer_across(&a, &mut b, &mut pairing, ports_of_b)?
//!                         segue ◄── 200 ───── B     b.receive_answer(Screen::admit(body)?)?
//!  A ◄──── 200, answer ── segue                     answer_across(&b, &mut a, &pairing, ports_of_a)?
//!                         segue = relay             streams(&a, &b, &pairing): remote addresses, payload maps
//! ```
//! The same four serve re-INVITE and UPDATE in either direction, an INVITE without an offer (B's 200 carries the
//! offer, A's ACK the answer), and early media (an answer may be repeated). An exchange that fails (488, 491, timeout)
//! is ended with [`LegMedia::abandon`] on each leg: what had been agreed stands.
//!
//! A move adds one decision, [`join`], and two ways to make an offer:
//! ```text
//!  pull      new ── INVITE, offer ──► segue         new.receive_offer(..); join(&far, &new, sending, hold)?
//!            Join::Unchanged{pairing}               answer_across(&far, &mut new, &pairing, ports_of_new)?   → 200
//!            Join::Reoffer{pairing, ..}             reoffer(&new, &mut far, &pairing, terms, ports_of_far)? → re-INVITE
//!                                                   far.receive_answer(..)?; answer_across(&far, &mut new, ..)? → 200
//!  pull without offer, push                         offer_far(&far, &mut new, sending, terms, ports_of_new)? → 200 or INVITE
//!                                                   new.receive_answer(..)?; join(&far, &new, sending, hold)?
//!            prefers_another(&far, &new, &pairing)  offer_narrowed(&far, &mut new, ..)? → re-INVITE, once
//!            Join::Unchanged                        ACK; nothing else is sent
//!            Join::Reoffer                          reoffer(..) → re-INVITE far; far.receive_answer(..)?; ACK to new
//!  rollback  far was re-INVITEd, new is gone        far.restore(&snapshot)? → re-INVITE;  far.receive_answer(..)?
//! ```
//! A call that still rings and is answered by a device that comes with an offer of its own: [`meet`].
//!
//! A leg may have a list of codecs ([`LegMedia::permitting`]): what is not in it is neither said to it nor heard of it.
//!
//! All texts toward one leg carry one `o=` whose version rises by one exactly when the text changes (RFC 3264 8).
//!
//! `anchor = never` uses none of this: bodies pass byte for byte.

mod across;
mod agreed;
mod bridge;
mod compose;
mod formats;
mod history;
mod join;
mod leg;
mod local;
mod meet;
mod ours;
mod pairing;
mod payload;
mod permit;
mod protect;
mod refusal;
mod screen;
mod sdes;
mod stream;
#[cfg(test)]
mod tests;
mod web;

pub use crate::media::codec::Format;
pub use across::{answer_across, offer_across};
pub use bridge::{bridges, has_more, is_convertible, is_mute, lacks_codec, offer_bridged, shares_codec};
pub use history::PayloadHistory;
pub use join::{Hold, Join, Why, join, offer_far, offer_narrowed, prefers_another, reoffer};
pub use leg::{Bridging, LegMedia, Offerer, Snapshot};
pub use local::{Local, answer_local, offer_local};
pub use meet::{answer_offer, meet};
pub use ours::OurDescription;
pub use pairing::Pairing;
pub use payload::PtMap;
pub use protect::Rule;
pub use refusal::Refusal;
pub use screen::{Description, Gate, Ours, Screen};
pub use sdes::without_keys;
pub use stream::{RemoteMedia, Stream, streams};
pub use web::WebPlace;
