//! The dialog state of RFC 3261 12, for calls and subscriptions alike.

use std::net::SocketAddr;

use super::endpoint::{DialogKey, Endpoint};
use super::message::{Message, parameter, uri_of};

/// One dialog, seen from this phone.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    pub(super) cseq: u32,
    pub(super) contact: String,
}

impl Dialog {
    /// After a 2xx to our request (RFC 3261 12.1.2).
    pub(super) fn of_client(request: &Message, response: &Message) -> Self {
        let mut routes: Vec<String> = response.all("Record-Route").map(str::to_owned).collect();
        routes.reverse();
        Self {
            call_id: request.call_id().to_owned(),
            local: request.header("From").unwrap_or_default().to_owned(),
            remote: response.header("To").unwrap_or_default().to_owned(),
            target: response.contact_uri().unwrap_or(request.uri()).to_owned(),
            routes,
            cseq: request.cseq().unwrap_or_default(),
            contact: request.header("Contact").unwrap_or_default().to_owned(),
        }
    }

    /// When we accept `request` with `local_tag` (RFC 3261 12.1.1).
    pub(super) fn of_server(request: &Message, local_tag: &str, contact: &str) -> Self {
        Self {
            call_id: request.call_id().to_owned(),
            local: format!("{};tag={local_tag}", request.header("To").unwrap_or_default()),
            remote: request.header("From").unwrap_or_default().to_owned(),
            target: request.contact_uri().unwrap_or_default().to_owned(),
            routes: request.all("Record-Route").map(str::to_owned).collect(),
            cseq: 0,
            contact: contact.to_owned(),
        }
    }

    /// The next request of this dialog.
    pub(super) fn request(&mut self, method: &str) -> Message {
        self.cseq += 1;
        self.numbered(method, self.cseq)
    }

    /// The ACK of the 2xx to the INVITE with that number.
    pub(super) fn ack(&self, cseq: u32) -> Message {
        self.numbered("ACK", cseq)
    }

    fn numbered(&self, method: &str, cseq: u32) -> Message {
        let mut request = Message::request(method, &self.target)
            .with("Max-Forwards", "70")
            .with("From", self.local.as_str())
            .with("To", self.remote.as_str())
            .with("Call-ID", self.call_id.as_str())
            .with("CSeq", format!("{cseq} {method}"));
        for route in &self.routes {
            request = request.with("Route", route.as_str());
        }
        if matches!(method, "INVITE" | "UPDATE" | "SUBSCRIBE" | "REFER") {
            request = request.with("Contact", self.contact.as_str());
        }
        request
    }

    /// Takes the remote target of a target refresh (RFC 3261 12.2).
    pub(super) fn refresh(&mut self, message: &Message) {
        if let Some(target) = message.contact_uri() {
            target.clone_into(&mut self.target);
        }
    }

    pub(super) fn local_tag(&self) -> &str {
        parameter(&self.local, "tag").unwrap_or_default()
    }

    pub(super) fn remote_tag(&self) -> &str {
        parameter(&self.remote, "tag").unwrap_or_default()
    }

    pub(super) fn key(&self) -> DialogKey {
        (self.call_id.clone(), self.local_tag().to_owned())
    }

    pub(super) fn next_hop(&self, endpoint: &Endpoint) -> SocketAddr {
        endpoint.next_hop(self.routes.first().map_or(self.target.as_str(), |route| uri_of(route)))
    }
}
