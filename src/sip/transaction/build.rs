//! The requests that a client transaction makes from its INVITE: ACK of a refusal and CANCEL.

use bytes::Bytes;

use crate::wire::sip::{HeaderName, Limits, Message, MessageWriter, Method};

/// The ACK of a 300-699 (RFC 3261 17.1.1.3): Request-URI, Call-ID, From, top Via, CSeq number and Route of the
/// INVITE, To of the response.
pub(super) fn ack(invite: &Bytes, response: &Message) -> Option<Bytes> {
    let invite = read(invite)?;
    let to = response.header(HeaderName::To)?;
    Some(follow_up(&invite, &Method::Ack, to.value)?.finish())
}

/// The CANCEL of an INVITE (RFC 3261 9.1): Request-URI, Call-ID, From, To, top Via, CSeq number and Route are
/// the INVITE's, so that it takes the same way. `reason` is a Reason value (RFC 3326).
pub(super) fn cancel(invite: &Bytes, reason: Option<&str>) -> Option<Bytes> {
    let invite = read(invite)?;
    let to = invite.header(HeaderName::To)?;
    let mut cancel = follow_up(&invite, &Method::Cancel, to.value)?;
    if let Some(reason) = reason {
        cancel.header(&HeaderName::Reason, reason);
    }
    Some(cancel.finish())
}

/// The branch of a request that we wrote.
pub(super) fn branch(request: &Bytes) -> Option<String> {
    read(request)?.via().ok()?.branch().map(str::to_owned)
}

/// Our own writing; the caps are for strangers'.
fn read(request: &Bytes) -> Option<Message> {
    Message::parse(request.clone(), &Limits::default()).ok()
}

fn follow_up(invite: &Message, method: &Method, to: &[u8]) -> Option<MessageWriter<'static>> {
    let mut request = MessageWriter::request(method, invite.uri());
    request.header_bytes(&HeaderName::Via, invite.values(HeaderName::Via).next()?);
    for route in invite.all(HeaderName::Route) {
        request.copy(&route);
    }
    request
        .header(&HeaderName::MaxForwards, "70")
        .copy(&invite.header(HeaderName::From)?)
        .header_bytes(&HeaderName::To, to)
        .copy(&invite.header(HeaderName::CallId)?)
        .cseq(invite.cseq().ok()?.number, method);
    Some(request)
}
