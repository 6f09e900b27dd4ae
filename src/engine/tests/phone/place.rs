//! Where the phone is: its address, its connection, and what it says of them.

use std::net::SocketAddr;

use super::Phone;
use crate::sip::{Flow, Transport};

impl Phone {
    pub(super) fn flow_to(&self, peer: SocketAddr) -> Flow {
        let (transport, connection) = (self.transport, self.connection);
        Flow { transport, listener: u16::from(transport != Transport::Udp), connection, peer }
    }

    /// The way between it and the node, as the node sees it.
    pub(crate) fn flow(&self) -> Flow {
        self.flow_to(self.address)
    }

    pub(super) fn contact(&self) -> String {
        let scheme = self.scheme;
        let param = match self.transport {
            Transport::Udp if self.is_translated => {
                return format!("{scheme}:{}@192.168.1.7:5060", self.auth_user);
            }
            Transport::Udp => "",
            // RFC 7118 5.2: a browser does not know where it is.
            Transport::Ws | Transport::Wss => {
                return format!("{scheme}:{0}@{0}.invalid;transport=ws", self.auth_user);
            }
            _ => ";transport=tcp",
        };
        format!("{scheme}:{}@{}{param}", self.auth_user, self.address)
    }

    /// It speaks from another port from here on, over a new connection if it has one.
    pub(crate) fn stray(&mut self) {
        self.address.set_port(self.address.port() + 1);
        self.connection += u32::from(self.transport != Transport::Udp);
        self.has_strayed = true;
        self.register(3600);
    }
}
