//! What we ask of trunks outside of calls: OPTIONS and REGISTER.

use bytes::Bytes;

use super::registration::Registration;
use crate::call::core::{ALLOW, Core};
use crate::call::settings::Trunk;
use crate::sip::Flow;
use crate::sip::dialog::{MAX_FORWARDS, write_via};
use crate::wire::sip::{HeaderName, MessageWriter, Method, escaped_user};

/// OPTIONS to a target of a trunk (RFC 3261 11.1), and the branch of its Via.
pub(super) fn options(core: &mut Core, trunk: &Trunk, flow: &Flow) -> (String, Bytes) {
    let from = format!("<sip:{}>", core.settings.domain);
    let to = format!("<sip:{}>", trunk.bare_host());
    let (call_id, tag) = (core.mint_call_id(), core.random.tag());
    let (branch, mut writer) = begin(core, trunk, flow, &Method::Options);
    writer.header_parts(&HeaderName::From, &[&from, ";tag=", &tag]);
    writer.header(&HeaderName::To, &to);
    writer.header(&HeaderName::CallId, &call_id);
    writer.cseq(1, &Method::Options);
    writer.header(&HeaderName::Accept, "application/sdp");
    (branch, writer.finish())
}

/// REGISTER of the account at a trunk (10.2), and the branch of its Via. The Contact is known again by its `line`.
pub(super) fn register(
    core: &mut Core,
    (trunk, user): (&Trunk, &str),
    flow: &Flow,
    registration: &Registration,
) -> (String, Bytes) {
    let user = escaped_user(user);
    let own = format!("<sip:{user}@{}>", trunk.bare_host());
    let transport = flow.transport.contact_token();
    let way = if flow.transport.is_reliable() { format!(";transport={transport}") } else { String::new() };
    let contact = format!("<sip:{user}@{};line={}{way}>", core.settings.sent_by(flow), registration.line);
    let (branch, mut writer) = begin(core, trunk, flow, &Method::Register);
    writer.header_parts(&HeaderName::From, &[&own, ";tag=", &registration.tag]);
    writer.header(&HeaderName::To, &own);
    writer.header(&HeaderName::CallId, &registration.call_id);
    writer.cseq(registration.cseq, &Method::Register);
    writer.header(&HeaderName::Contact, &contact);
    writer.header_number(&HeaderName::Expires, registration.asks_for().into());
    writer.header(&HeaderName::Allow, ALLOW);
    (branch, writer.finish())
}

fn begin(core: &mut Core, trunk: &Trunk, flow: &Flow, method: &Method) -> (String, MessageWriter<'static>) {
    let branch = core.mint_branch();
    let mut writer = MessageWriter::request(method, &format!("sip:{}", trunk.host));
    write_via(&mut writer, flow, core.settings.sent_by(flow), &branch);
    writer.header_number(&HeaderName::MaxForwards, MAX_FORWARDS.into());
    writer.header(&HeaderName::UserAgent, &core.settings.software);
    (branch, writer)
}
