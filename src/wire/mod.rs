//! Bytes to values and back, without state: SIP, SDP, RTP, RTCP, dialog-info.

pub mod dialog_info;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod sip;
