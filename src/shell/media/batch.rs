//! Packets under way between two sockets.

use std::net::SocketAddr;

use crate::media::relay::{Component, MAX_PACKET};

/// Packets that are received before the first of them is sent on.
pub(super) const BATCH: usize = 32;

/// Room for [`BATCH`] packets, made once.
pub(super) struct Batch {
    packets: Vec<Packet>,
    len: usize,
}

/// One packet, where it came from, and the port that it came to.
pub(super) struct Packet {
    /// A longer packet than the relay takes is cut to one byte more, and refused there.
    pub(super) bytes: [u8; MAX_PACKET + 1],
    pub(super) len: usize,
    pub(super) src: SocketAddr,
    pub(super) slot: u32,
    pub(super) component: Component,
}

impl Default for Batch {
    fn default() -> Self {
        let packet = || Packet {
            bytes: [0; MAX_PACKET + 1],
            len: 0,
            src: SocketAddr::from(([0, 0, 0, 0], 0)),
            slot: 0,
            component: Component::Rtp,
        };
        Self { packets: std::iter::repeat_with(packet).take(BATCH).collect(), len: 0 }
    }
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The place for one more; it counts once it is [`Batch::keep`]t. `None`: full.
    pub(super) fn vacant(&mut self) -> Option<&mut Packet> {
        self.packets.get_mut(self.len)
    }

    pub(super) fn keep(&mut self) {
        self.len += 1;
    }

    /// Packet `n`.
    pub(super) fn get_mut(&mut self, n: usize) -> Option<&mut Packet> {
        self.packets.get_mut(..self.len)?.get_mut(n)
    }
}
