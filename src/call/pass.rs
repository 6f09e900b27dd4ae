//! Requests in a dialog that change no session are passed on: INFO, MESSAGE and unknown methods. And texts of ours.

use super::core::{Core, Owner};
use super::headers::{Trust, cross};
use super::model::{LegHandle, LegState, Role};
use super::places::Across;
use crate::registrar::Binding;
use crate::sip::Refusal;
use crate::sip::dialog::{MAX_FORWARDS, write_via};
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, MessageWriter, Method, StatusCode};

impl Core {
    /// Passes a request of a leg's party on to the leg it talks with.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn on_pass(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) -> Result<(), Refusal> {
        let found = self.legs.get(leg).ok_or(Refusal::DialogUnknown)?;
        if found.state == LegState::Ended || !matches!(found.role, Role::Talking(_)) {
            return Err(Refusal::DialogUnknown);
        }
        let trust = self.trust_of(&found.party);
        let across = self.border_of(leg);
        let tag = found.dialog.local_tag.clone();
        let peer = self.peer_of(leg).ok_or(Refusal::Unreachable)?;
        if self.service_of(peer).is_some() {
            self.respond_plain(tx, StatusCode::OK, &tag);
            return Ok(());
        }
        let branch = self.mint_branch();
        let found = self.legs.get_mut(peer).ok_or(Refusal::DialogUnknown)?;
        if found.dialog.remote_tag.is_empty() {
            return Err(Refusal::Unreachable);
        }
        let flow = found.dialog.flow;
        let mut writer = found.dialog.request(message.method(), &branch);
        cross(message, trust, across, &mut writer);
        let body = message.body();
        write_body(message, &body, &mut writer);
        let bytes = writer.finish();
        let owner = Owner::Relay { to: peer, server: tx };
        self.transactions.set_owner(tx, Owner::Served(leg));
        self.send_request(flow, message.method(), &branch, bytes, owner);
        Ok(())
    }

    /// The answer to a request that was passed on, or nothing in time (`None`, 408).
    pub fn on_pass_response(&mut self, server: ServerTx, response: Option<&Message>) {
        let (tag, across) = match self.transactions.server(server).and_then(|server| server.owner) {
            Some(Owner::Served(leg)) => {
                (self.legs.get(leg).map(|leg| leg.dialog.local_tag.clone()), self.border_of(leg))
            }
            // Outside of dialogs a trunk may have asked.
            _ => (None, Across::Border),
        };
        let Some(response) = response else {
            self.refuse(server, &Refusal::TimedOut, tag.as_deref());
            return;
        };
        let Some(status) = response.status().filter(|status| status.is_final()) else { return };
        let status = presentable(status);
        let tag = tag.unwrap_or_else(|| self.random.tag().into_boxed_str());
        let Some(mut writer) = self.reply(server, status, &tag) else { return };
        cross(response, Trust::Untrusted, across, &mut writer);
        let body = response.body();
        write_body(response, &body, &mut writer);
        let bytes = writer.finish();
        self.respond(server, status, bytes);
    }

    /// Sends a text of ours to a device (RFC 3428).
    pub fn send_text(&mut self, from: &str, to: &str, binding: &Binding, text: &str, owner: Owner) {
        let branch = self.mint_branch();
        let mut writer = self.begin_outside(&Method::Message, &branch, MAX_FORWARDS, (from, to), binding);
        writer.body("text/plain", text.as_bytes());
        let bytes = writer.finish();
        self.send_request(binding.flow, &Method::Message, &branch, bytes, owner);
    }

    /// A request outside dialogs up to its CSeq.
    pub(super) fn begin_outside(
        &mut self,
        method: &Method,
        branch: &str,
        hops: u32,
        (from, to): (&str, &str),
        binding: &Binding,
    ) -> MessageWriter<'static> {
        let (call_id, tag) = (self.mint_call_id(), self.random.tag());
        let mut writer = MessageWriter::request(method, &binding.contact);
        write_via(&mut writer, &binding.flow, self.settings.sent_by(&binding.flow), branch);
        for route in &binding.path {
            writer.header(&HeaderName::Route, route);
        }
        writer.header_number(&HeaderName::MaxForwards, hops.into());
        writer.header_parts(&HeaderName::From, &[from, ";tag=", &tag]);
        writer.header(&HeaderName::To, to);
        writer.header(&HeaderName::CallId, &call_id);
        writer.cseq(1, method);
        writer
    }
}

/// What of a refusal the other side may see: a challenge is not for it, and we never answer one (it could be tricked
/// into answering that with its own credentials).
pub(super) const fn presentable(status: StatusCode) -> StatusCode {
    match status.as_u16() {
        401 | 407 => StatusCode::FORBIDDEN,
        // A redirection would send it around us.
        300..=399 => StatusCode::TEMPORARILY_UNAVAILABLE,
        _ => status,
    }
}

pub(super) fn write_body<'b>(message: &Message, body: &'b [u8], writer: &mut MessageWriter<'b>) {
    if !body.is_empty() {
        writer.body(message.content_type().unwrap_or("application/octet-stream"), body);
    }
}
