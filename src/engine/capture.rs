//! What a capture server is told beside the messages: which dialogs are of one call, what devices report by RTCP, and how
//! each leg sounded. Nothing of it is made where nobody wants it.

use std::net::{IpAddr, SocketAddr};

use super::{Engine, Output};
use crate::base::UnixMillis;
use crate::call::core::LeftDialog;
use crate::media::codec::Codec;
use crate::media::relay::{Component, PortId, PortStats};

/// What is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which dialogs are of one call.
    pub dialogs: bool,
    /// How legs sounded. RTCP is told as the media threads bring it.
    pub quality: bool,
}

/// What a capture server is told.
#[derive(Clone, Debug)]
pub enum Capture {
    /// A dialog of ours begins on behalf of a call. Comes before its first message is sent.
    Dialog {
        /// Its Call-ID.
        call_id: Box<str>,
        /// The Call-ID of the caller's dialog.
        caller: Box<str>,
    },
    /// A compound RTCP packet that came in, in the clear.
    Rtcp {
        /// The Call-ID of the dialog of the leg.
        call_id: Box<str>,
        /// Where it came in.
        local: SocketAddr,
        /// Who sent it.
        peer: SocketAddr,
        /// Its bytes.
        packet: Box<[u8]>,
    },
    /// What came in on a port until its leg let go of it.
    Quality(Box<Quality>),
}

/// How a leg sounded.
#[derive(Clone, Debug)]
pub struct Quality {
    /// The dialog.
    pub dialog: LeftDialog,
    /// When the leg had let go of the port.
    pub until: UnixMillis,
    /// What the other end spoke.
    pub codec: Codec,
    /// What was counted.
    pub stats: PortStats,
}

impl Engine {
    /// The dialogs that this input has made, before what is sent in them. `from`: outputs that were there before it.
    pub(super) fn tell_dialogs(&mut self, from: usize) {
        if !self.settings.capture.dialogs {
            return;
        }
        for leg in &self.core.made {
            let Some(leg) = self.core.legs.get(*leg) else { continue };
            let Some(call) = self.core.calls.get(leg.call) else { continue };
            let Some(caller) = self.core.legs.get(call.caller) else { continue };
            let (call_id, caller) = (leg.dialog.call_id.clone(), caller.dialog.call_id.clone());
            if call_id.is_empty() || caller.is_empty() || call_id == caller {
                continue;
            }
            self.outputs
                .insert(from.min(self.outputs.len()), Output::Capture(Capture::Dialog { call_id, caller }));
        }
    }

    /// A device reports by RTCP.
    pub(super) fn on_rtcp(&mut self, port: PortId, on: Component, peer: SocketAddr, packet: Box<[u8]>) {
        let Some(leg) = self.core.port_legs.get(&port).and_then(|leg| self.core.legs.get(*leg)) else {
            return;
        };
        let Some(pair) = leg.ports.iter().flatten().find(|pair| pair.id == port) else { return };
        let number = match on {
            Component::Rtcp => pair.rtp.saturating_add(1),
            // Browsers share a socket; the pair that is theirs stands for it, and tells legs apart.
            Component::Rtp | Component::Web => pair.rtp,
        };
        let local = SocketAddr::new(self.shown(pair.address, peer.ip()), number);
        let call_id = leg.dialog.call_id.clone();
        self.outputs.push(Output::Capture(Capture::Rtcp { call_id, local, peer, packet }));
    }

    /// A port that a leg had has had its last word.
    pub(super) fn tell_quality(
        &mut self,
        dialog: LeftDialog,
        until: UnixMillis,
        codec: Codec,
        stats: &PortStats,
    ) {
        if !self.settings.capture.quality || stats.expected == 0 {
            return;
        }
        let mut dialog = dialog;
        let peer = stats.source.map_or(dialog.local.ip(), |source| source.ip());
        dialog.local.set_ip(self.shown(dialog.local.ip(), peer));
        let quality = Quality { dialog, until, codec, stats: stats.clone() };
        self.outputs.push(Output::Capture(Capture::Quality(Box::new(quality))));
    }

    /// An address of ours as `peer` knows it, where it is bound to all.
    fn shown(&self, bound: IpAddr, peer: IpAddr) -> IpAddr {
        if bound.is_unspecified() { self.core.settings.media_address(peer) } else { bound }
    }
}
