//! A request outside dialogs goes to every device of a user (MESSAGE, NOTIFY of waiting messages); the sender gets the
//! best of their answers (RFC 3428 4, RFC 3261 16.7).

use super::answer::rank;
use super::core::{Core, Owner};
use super::headers::{Trust, cross};
use super::model::Best;
use super::pass::write_body;
use super::places::Across;
use crate::base::Handle;
use crate::registrar::Binding;
use crate::sip::dialog::{MAX_FORWARDS, as_sips, is_sips};
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

/// What a NOTIFY says beside its body (RFC 6665 8.2).
const NOTIFY_HEADERS: [HeaderName; 2] = [HeaderName::Event, HeaderName::SubscriptionState];

/// One such request.
pub struct Spread {
    /// Where the answer goes.
    server: ServerTx,
    /// Devices that have not answered.
    open: usize,
    /// The best refusal so far.
    best: Option<Best>,
}

impl Core {
    /// Sends the request of `tx` to each of `bindings`, from and to whom it says.
    /// Requests of trunks say nothing of where those are.
    pub fn spread(
        &mut self,
        tx: ServerTx,
        message: &Message,
        across: Across,
        (from, to): (&str, &str),
        bindings: &[Binding],
    ) {
        let key = self.spreads.insert(Spread { server: tx, open: bindings.len(), best: None });
        for binding in bindings {
            self.send_outside(key, message, across, (from, to), binding);
        }
    }

    fn send_outside(
        &mut self,
        key: Handle<Spread>,
        message: &Message,
        across: Across,
        (from, to): (&str, &str),
        binding: &Binding,
    ) {
        let (branch, method) = (self.mint_branch(), message.method());
        let hops = message.max_forwards().ok().flatten().map_or(MAX_FORWARDS, u32::from).saturating_sub(1);
        let mut writer = self.begin_outside(method, &branch, hops, (from, to), binding);
        if *method == Method::Notify {
            // RFC 6665 4.1.3 asks for a Contact; a NOTIFY without a subscription has nothing behind it.
            let mut contact = super::core::contact_uri(&self.settings, "mwi", &binding.flow);
            if binding.flow.transport.is_encrypted() && is_sips(&binding.contact) {
                contact = as_sips(&contact);
            }
            writer.header_parts(&HeaderName::Contact, &["<", &contact, ">"]);
            for header in NOTIFY_HEADERS.into_iter().filter_map(|name| message.header(name)) {
                writer.copy(&header);
            }
        }
        cross(message, Trust::Untrusted, across, &mut writer);
        let body = message.body();
        write_body(message, &body, &mut writer);
        let bytes = writer.finish();
        let flow = binding.flow;
        self.send_request(flow, method, &branch, bytes, Owner::Spread(key));
    }

    /// The final answer of one device; none where it gave none in time. The first that takes it speaks for all.
    pub fn on_spread_response(&mut self, key: Handle<Spread>, response: Option<&Message>) {
        let status = response.and_then(Message::status).unwrap_or(StatusCode::REQUEST_TIMEOUT);
        let Some(found) = self.spreads.get_mut(key) else { return };
        let server = found.server;
        found.open = found.open.saturating_sub(1);
        let is_last = found.open == 0;
        let is_best = found.best.as_ref().is_none_or(|best| rank(status) < rank(best.status));
        if is_best && !status.is_success() {
            let reason = response.map_or(status.reason(), Message::reason_phrase).into();
            found.best = Some(Best { status, reason, answer: None });
        }
        let best = if is_last { self.spreads.remove(key).and_then(|spread| spread.best) } else { None };
        if status.is_success() || (is_last && is_best) {
            // After the answer of another one this is nobody's any more.
            self.on_pass_response(server, response);
        } else if let Some(Best { status, reason, .. }) = best {
            let status = super::pass::presentable(status);
            let tag = self.random.tag();
            if let Some(mut writer) = self.transactions.reply(server, status, Some(&reason), Some(&tag)) {
                let bytes = writer.finish();
                self.respond(server, status, bytes);
            }
        }
    }
}
