//! What is shown of the messages of a call.

use serde::{Deserialize, Serialize};

use crate::engine::view::Time;

/// The messages of a call, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// The call; where a SIP dialog was asked for that is in no call, its Call-ID.
    pub call: String,
    /// The node.
    pub node: String,
    /// Its dialogs, in the order of their first messages.
    pub parties: Vec<TraceParty>,
    /// What was said in them.
    pub messages: Vec<TraceMessage>,
    /// Messages that were not kept, or are not here, because there were too many.
    pub left_out: u64,
}

/// One dialog of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceParty {
    /// Who is at its far end: `user*device`, `trunk name`, or an address of which no more is known.
    pub name: String,
    /// Its Call-ID.
    pub call_id: String,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To us.
    In,
    /// From us.
    Out,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceMessage {
    /// When.
    pub time: Time,
    /// Microseconds after the first.
    pub offset_us: u64,
    /// Whose: a place in `parties`.
    pub party: usize,
    /// Which way.
    pub way: Way,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: String,
    /// Our address; of a connection that we have made, the one of the listener that it counts to.
    pub local: String,
    /// Theirs.
    pub peer: String,
    /// The method, in a response that of its request.
    pub method: String,
    /// The status of a response.
    pub status: Option<u16>,
    /// The reason phrase of a response.
    pub reason: Option<String>,
    /// The number of CSeq.
    pub cseq: Option<u32>,
    /// The description in a few words.
    pub sdp: Option<String>,
    /// Whether the same was said before, byte for byte.
    pub repeated: bool,
    /// The message, without credentials, keys, digits and one-time identifiers; what is no UTF-8 is replaced.
    pub text: String,
}
