//! Dialogs (RFC 3261 12): identity, sequence numbers, route set, remote target.
//!
//! The dialog writes the head of every request in it; what the request says beyond that is its user's.

use bytes::Bytes;

use super::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Message, MessageWriter, Method, Uri};

/// Hops a request of ours may take (RFC 3261 8.1.1.6).
pub const MAX_FORWARDS: u32 = 70;

/// Routes kept of a dialog; more is an attack on the size of our requests.
const MAX_ROUTES: usize = 16;

/// Which side of the dialog the far end may speak for: what it must match in a request (RFC 3261 12.2.2).
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Call-ID, shared by both sides.
    pub call_id: Box<str>,
    /// Our tag.
    pub local_tag: Box<str>,
    /// Their tag; empty until they have given one.
    pub remote_tag: Box<str>,
    /// The value of From in our requests without the tag.
    pub local: Box<str>,
    /// The value of To in our requests without the tag.
    pub remote: Box<str>,
    /// The URI of our Contact in this dialog; see [`Dialog::set_contact`].
    pub contact: Box<str>,
    /// Whether somebody asked by a `sips` URI that nothing of it goes in the clear (RFC 3261 12.1.1, 12.1.2: secure flag).
    pub is_secret: bool,
    /// Our last CSeq number.
    pub local_cseq: u32,
    /// Their last CSeq number.
    pub remote_cseq: Option<u32>,
    /// The CSeq number of their last INVITE: what the ACK of our 2xx must carry (RFC 3261 13.2.2.4).
    pub remote_invite: Option<u32>,
    /// Where our requests go (the URI of their Contact).
    pub target: Box<str>,
    /// The route set, first hop first.
    pub routes: Vec<Box<str>>,
    /// The way to the first hop.
    pub flow: Flow,
    /// The sent-by of Via (`host:port`) on that flow.
    pub sent_by: Box<str>,
}

/// Which header of a request the remote party's dialog data is read from.
fn routes_of(message: &Message) -> impl DoubleEndedIterator<Item = Box<str>> {
    let list: Vec<Box<str>> = message
        .values(HeaderName::RecordRoute)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .take(MAX_ROUTES)
        .map(Box::from)
        .collect();
    list.into_iter()
}

fn contact_of(message: &Message) -> Option<Box<str>> {
    let value = message.values(HeaderName::Contact).next()?;
    crate::wire::sip::NameAddr::parse(value).ok().map(|c| c.uri.into())
}

/// Where requests go in the dialog that `request` opens. A client of RFC 2543, which gives no branch of ours, may
/// leave Contact out: then it is at its From (RFC 2543 6.13).
fn target_of(request: &Message) -> Option<Box<str>> {
    if request.has(HeaderName::Contact) {
        return contact_of(request);
    }
    let is_old = request.via().ok()?.rfc3261_branch().is_none();
    request.from().ok().filter(|_| is_old).map(|from| from.uri.into())
}

/// A name-addr header value without its parameters: what From and To of our requests repeat.
fn without_params(value: &str) -> &str {
    match (value.rfind('>'), value.find(';')) {
        (Some(end), _) => value.get(..=end).unwrap_or(value),
        (None, Some(semicolon)) => value.get(..semicolon).unwrap_or(value),
        (None, None) => value,
    }
}

impl Dialog {
    /// The dialog that `request` opens toward us; `local_tag` is ours (RFC 3261 12.1.1).
    ///
    /// # Errors
    /// `Malformed` where From, To, Call-ID, CSeq or Contact cannot be read.
    pub fn from_request(
        request: &Message,
        flow: Flow,
        sent_by: &str,
        local_tag: &str,
        contact: &str,
    ) -> Result<Self, Refusal> {
        let text = |name| -> Result<Box<str>, Refusal> {
            let header = request.header(name).ok_or(Refusal::Malformed("missing header"))?;
            let value = header.value_str().map_err(|_| Refusal::Malformed("header is not text"))?;
            Ok(without_params(&value).into())
        };
        let call_id = request.call_id().map_err(|_| Refusal::Malformed("bad Call-ID"))?;
        let mut dialog = Self {
            call_id: call_id.into(),
            local_tag: local_tag.into(),
            remote_tag: request.from_tag().unwrap_or_default().into(),
            local: text(HeaderName::To)?,
            remote: text(HeaderName::From)?,
            contact: contact.into(),
            is_secret: is_sips(request.uri()),
            local_cseq: 0,
            remote_cseq: request.cseq().ok().map(|cseq| cseq.number),
            remote_invite: request.cseq().ok().map(|cseq| cseq.number),
            target: target_of(request).ok_or(Refusal::Malformed("missing or bad Contact"))?,
            routes: routes_of(request).collect(),
            flow,
            sent_by: sent_by.into(),
        };
        dialog.keep_secret();
        Ok(dialog)
    }

    /// We are reached at `contact`, a `sip` URI of ours, in this dialog.
    pub fn set_contact(&mut self, contact: Box<str>) {
        self.contact = contact;
        self.keep_secret();
    }

    /// Our Contact is a `sips` URI where the first hop of our requests or their target is one (RFC 3261 8.1.1.8, 12.1.1),
    /// or they were sent for one. Over what anybody can read it would be a lie.
    fn keep_secret(&mut self) {
        let first = self.routes.first().map_or(&*self.target, |route| uri_of(route));
        self.is_secret |= is_sips(first) || is_sips(&self.target);
        if self.is_secret && self.flow.transport.is_encrypted() {
            self.contact = as_sips(&self.contact);
        }
    }

    /// Learns the remote tag, target and route set from a response that creates or confirms the dialog
    /// (RFC 3261 12.1.2, 13.2.2.4: a 2xx recomputes the route set).
    pub fn on_response(&mut self, response: &Message) {
        if let Some(tag) = response.to_tag()
            && (self.remote_tag.is_empty() || response.status().is_some_and(|s| s.is_success()))
        {
            self.remote_tag = tag.into();
        }
        self.routes = routes_of(response).rev().collect();
        self.refresh_target(response);
    }

    /// A target refresh (RFC 3261 12.2.1.2, 12.2.2): the Contact of a re-INVITE, UPDATE, or of its 2xx.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(contact) = contact_of(message) {
            self.target = contact;
        }
        self.keep_secret();
    }

    /// The dialog goes on over another flow, on which we are reached at `contact`. False where it may not: what is said in
    /// a `sips` dialog is not said in the clear (RFC 3261 12.1.1, 26.2.2).
    pub fn move_to(&mut self, flow: Flow, sent_by: &str, contact: Box<str>) -> bool {
        if self.is_secret && !flow.transport.is_encrypted() {
            return false;
        }
        (self.flow, self.sent_by) = (flow, sent_by.into());
        self.set_contact(contact);
        true
    }

    /// Accepts the sequence number of a request in the dialog (RFC 3261 12.2.2).
    ///
    /// # Errors
    /// `CSeqOutOfOrder` where it is not above the last one.
    pub fn accept(&mut self, request: &Message) -> Result<(), Refusal> {
        let number = request.cseq().map_err(|_| Refusal::Malformed("bad CSeq"))?.number;
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return Err(Refusal::CSeqOutOfOrder);
        }
        self.remote_cseq = Some(number);
        if *request.method() == Method::Invite {
            self.remote_invite = Some(number);
        }
        Ok(())
    }

    /// Whether `message`, a request from the other side, is of this dialog (RFC 3261 12.2.2).
    #[must_use]
    pub fn is_named_by(&self, message: &Message) -> bool {
        message.call_id().is_ok_and(|id| id == &*self.call_id)
            && message.to_tag() == Some(&*self.local_tag)
            && message.from_tag().unwrap_or_default() == &*self.remote_tag
    }

    /// The head of a request in this dialog, with the next CSeq (the INVITE's own for an ACK, see [`Dialog::ack`]).
    pub fn request(&mut self, method: &Method, branch: &str) -> MessageWriter<'static> {
        self.request_with_hops(method, branch, MAX_FORWARDS)
    }

    /// The same for a request passed on, which has fewer hops left (RFC 3261 16.6 step 3).
    pub fn request_with_hops(&mut self, method: &Method, branch: &str, hops: u32) -> MessageWriter<'static> {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.head(method, branch, self.local_cseq, hops)
    }

    /// An ACK for the 2xx to the INVITE with number `cseq` (RFC 3261 13.2.2.4).
    #[must_use]
    pub fn ack(
        &self,
        branch: &str,
        cseq: u32,
        proof: Option<(HeaderName, &str)>,
        body: Option<(&str, &[u8])>,
    ) -> Bytes {
        let mut writer = self.head(&Method::Ack, branch, cseq, MAX_FORWARDS);
        if let Some((name, value)) = proof {
            writer.header(&name, value);
        }
        match body {
            Some((kind, body)) => writer.body(kind, body),
            None => &mut writer,
        };
        writer.finish()
    }

    fn head(&self, method: &Method, branch: &str, cseq: u32, hops: u32) -> MessageWriter<'static> {
        // A first hop without `lr` is a strict router (RFC 3261 12.2.1.1): it goes into the Request-URI.
        let strict = self.routes.first().filter(|first| !is_loose(first));
        let uri = strict.map_or(&*self.target, |first| uri_of(first));
        let mut writer = MessageWriter::request(method, uri);
        write_via(&mut writer, &self.flow, &self.sent_by, branch);
        for route in self.routes.iter().skip(usize::from(strict.is_some())) {
            writer.header(&HeaderName::Route, route);
        }
        if strict.is_some() {
            writer.header_parts(&HeaderName::Route, &["<", &self.target, ">"]);
        }
        writer.header_number(&HeaderName::MaxForwards, hops.into());
        writer.header_parts(&HeaderName::From, &[&self.local, ";tag=", &self.local_tag]);
        if self.remote_tag.is_empty() {
            writer.header(&HeaderName::To, &self.remote);
        } else {
            writer.header_parts(&HeaderName::To, &[&self.remote, ";tag=", &self.remote_tag]);
        }
        writer.header(&HeaderName::CallId, &self.call_id);
        writer.cseq(cseq, method);
        if !matches!(method, Method::Bye | Method::Cancel | Method::Ack) {
            writer.header_parts(&HeaderName::Contact, &["<", &self.contact, ">"]);
        }
        writer
    }
}

/// A Via of ours: `rport` asks for the answer at the port that we send from (RFC 3581 3).
pub fn write_via(writer: &mut MessageWriter<'_>, flow: &Flow, sent_by: &str, branch: &str) {
    let token = flow.transport.via_token();
    writer.header_parts(&HeaderName::Via, &["SIP/2.0/", token, " ", sent_by, ";branch=", branch, ";rport"]);
}

/// Whether a URI asks that nothing goes in the clear.
#[must_use]
pub fn is_sips(uri: &str) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

/// A `sip` URI of ours as a `sips` one, which means TLS without a word (RFC 3261 26.2.2); of a WebSocket it says `ws`.
#[must_use]
pub fn as_sips(uri: &str) -> Box<str> {
    let Some(rest) = uri.strip_prefix("sip:") else { return uri.into() };
    ["sips:", rest.strip_suffix(";transport=tls").unwrap_or(rest)].concat().into_boxed_str()
}

fn uri_of(route: &str) -> &str {
    crate::wire::sip::NameAddr::parse(route.as_bytes()).map_or(route, |parsed| parsed.uri)
}

fn is_loose(route: &str) -> bool {
    Uri::parse(uri_of(route)).is_ok_and(|uri| uri.param("lr").is_some())
}

#[cfg(test)]
mod tests {
    use super::super::Transport;
    use super::*;
    use crate::wire::sip::Limits;

    fn dialog(target: &str) -> Dialog {
        let text = format!(
            "INVITE {target} SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
             Call-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <{target}>\r\nContent-Length: 0\r\n\r\n"
        );
        let request = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        Dialog::from_request(&request, on(Transport::Tls), "pbx:5061", "t", "sip:t@pbx:5061").unwrap()
    }

    fn on(transport: Transport) -> Flow {
        Flow { transport, listener: 0, connection: 1, peer: "192.0.2.1:5060".parse().unwrap() }
    }

    #[test]
    fn a_dialog_moves_whole_and_a_secret_one_not_into_the_open() {
        for (target, transport, may) in [
            ("sip:a@192.0.2.1", Transport::Udp, true),
            ("sip:a@192.0.2.1", Transport::Ws, true),
            ("sips:a@192.0.2.1", Transport::Wss, true),
            ("sips:a@192.0.2.1", Transport::Udp, false),
            ("SIPS:a@192.0.2.1", Transport::Tcp, false),
            ("sips:a@192.0.2.1", Transport::Ws, false),
        ] {
            let mut dialog = dialog(target);
            assert_eq!(dialog.move_to(on(transport), "pbx:5060", "sip:t@pbx:5060".into()), may, "{target}");
            let (flow, port) = if may { (on(transport), "5060") } else { (on(Transport::Tls), "5061") };
            assert_eq!(dialog.flow, flow);
            assert!(dialog.sent_by.ends_with(port) && dialog.contact.ends_with(port), "{dialog:?}");
        }
    }

    fn opened_by(uri: &str, headers: &str) -> Dialog {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
             Call-ID: 1\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        let request = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        let mut dialog = Dialog::from_request(&request, on(Transport::Tls), "pbx:5061", "t", "").unwrap();
        dialog.set_contact("sip:t@pbx:5061;transport=tls".into());
        dialog
    }

    #[test]
    fn who_asks_for_secrecy_by_any_uri_finds_us_at_one() {
        let (open, secret) = ("sip:t@pbx:5061;transport=tls", "sips:t@pbx:5061");
        for (uri, headers, contact) in [
            ("sip:b@h", "Contact: <sip:a@h>\r\n", open),
            ("sips:b@h", "Contact: <sip:a@h>\r\n", secret),
            ("sip:b@h", "Contact: <sips:a@h>\r\n", secret),
            ("sip:b@h", "Contact: <sip:a@h>\r\nRecord-Route: <sips:p;lr>, <sip:q;lr>\r\n", secret),
            ("sip:b@h", "Contact: <sip:a@h>\r\nRecord-Route: <sip:p;lr>, <sips:q;lr>\r\n", open),
        ] {
            assert_eq!(&*opened_by(uri, headers).contact, contact, "{uri} {headers}");
        }
        // It may turn out later, and stays so, on what is no less secret.
        let mut dialog = opened_by("sip:b@h", "Contact: <sip:a@h>\r\n");
        let answer = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
            To: <sip:b@h>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sips:a@h>\r\nContent-Length: 0\r\n\r\n";
        dialog.on_response(&Message::parse(Bytes::from(answer), &Limits::default()).unwrap());
        assert_eq!(&*dialog.contact, secret);
        assert!(dialog.move_to(on(Transport::Wss), "pbx:5063", "sip:t@pbx:5063;transport=ws".into()));
        assert_eq!(&*dialog.contact, "sips:t@pbx:5063;transport=ws");
        assert!(!dialog.move_to(on(Transport::Udp), "pbx:5060", "sip:t@pbx:5060".into()));
    }
}
