//! A trace as people read it: a ladder in the terminal, a capture for Wireshark.

mod ladder;
mod pcap;

pub use ladder::{Charset, ladder};
pub use pcap::{MEDIA_TYPE, pcap};
