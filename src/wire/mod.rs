//! Bytes to values and back, without state: SIP, SDP, RTP, RTCP, STUN, dialog-info.

pub mod dialog_info;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod stun;
