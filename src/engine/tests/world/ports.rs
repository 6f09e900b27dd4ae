//! Media ports that are opened, as many as may be.

use std::net::IpAddr;

use super::World;
use crate::media::relay::{MediaEvent, PortId, PortPair};

impl World {
    /// What a media thread tells that is to open so many pairs.
    pub(super) fn open_ports(&mut self, thread: u8, address: IpAddr, count: u16) -> Vec<MediaEvent> {
        let opened = self.openable.min(count);
        self.openable -= opened;
        let pairs: Vec<_> = (0..opened)
            .map(|_| {
                self.ports += 1;
                let id = PortId { thread, slot: self.ports };
                PortPair { id, address, rtp: 20_000 + 2 * self.ports as u16 }
            })
            .collect();
        let mut events = Vec::new();
        if !pairs.is_empty() {
            events.push(MediaEvent::PortsOpened { thread, pairs });
        }
        if opened < count {
            let error = "too many open files for this process".into();
            events.push(MediaEvent::PortsFailed { thread, error });
        }
        events
    }
}
