//! SIP messages: a zero-copy index over the bytes, lazy typed headers, framing, a writer.
//!
//! [`Message::parse`] finds the lines of a datagram in one pass and types nothing; [`Message::check`] judges it;
//! the accessors read what they are asked for. [`StreamFramer`] cuts a stream into messages. [`MessageWriter`]
//! writes, and copies unknown headers byte for byte. Nothing here keeps state but the framer.

mod check;
mod framer;
mod header;
mod index;
mod lex;
mod message;
mod method;
mod name_addr;
mod params;
mod peek;
mod redact;
mod reply;
mod status;
mod uri;
mod uri_equality;
mod via;
mod writer;

pub use check::Violation;
pub use framer::{Frame, FrameError, FrameErrorKind, StreamFramer};
pub use header::{Header, HeaderError, HeaderName};
pub use index::{Limits, ParseError, ParseErrorKind};
pub use message::{CSeq, Contacts, Message};
pub use method::Method;
pub use name_addr::NameAddr;
pub use params::{Params, ParamsIter};
pub use peek::peek;
pub use redact::{MASK, redact};
pub use status::StatusCode;
pub use uri::{Host, Scheme, Uri, UriError, escaped_user};
pub use via::{MAGIC_COOKIE, Via};
pub use writer::{AsHeaderName, MessageWriter};
