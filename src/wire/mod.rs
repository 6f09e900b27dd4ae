//! Bytes to values and back, without state: SIP, SDP, RTP, RTCP, STUN, dialog-info, quality reports.

pub mod dialog_info;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod stun;
pub mod vq_report;
