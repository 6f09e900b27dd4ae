//! A REGISTER as the registrar sees it: what is asked, read from the message without copying it.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{Quality, Refusal};
use crate::sip::Flow;
use crate::wire::sip::{Contacts, HeaderName, Message, NameAddr};

/// A REGISTER that was authenticated.
#[derive(Clone, Debug)]
pub struct Register<'m> {
    /// What it asks for.
    pub asked: Asked<'m>,
    /// Its Call-ID.
    pub call_id: &'m str,
    /// Its CSeq number.
    pub cseq: u32,
    /// Its Path values, top first (RFC 3327).
    pub path: SmallVec<[&'m str; 2]>,
    /// Its User-Agent; empty for none.
    pub user_agent: Cow<'m, str>,
    /// Whether it supports outbound (RFC 5626); `reg-id` counts only then.
    pub outbound: bool,
    /// Where it came from.
    pub flow: Flow,
    /// The device whose digest identity it carries.
    pub device: &'m str,
}

/// What a REGISTER asks for.
#[derive(Clone, Debug)]
pub enum Asked<'m> {
    /// Tell me what is bound (no Contact).
    Query,
    /// `Contact: *` with `Expires: 0`.
    RemoveAll,
    /// Bind, refresh or remove these.
    Contacts(SmallVec<[Asking<'m>; 2]>),
}

/// One Contact of a REGISTER.
#[derive(Clone, Debug)]
pub struct Asking<'m> {
    /// Its URI.
    pub uri: &'m str,
    /// `+sip.instance` without quotes and angle brackets.
    pub instance: Option<&'m str>,
    /// `reg-id`, if outbound is in use.
    pub reg_id: Option<u32>,
    /// `q`.
    pub q: Option<Quality>,
    /// Seconds asked for: its own `expires`, else the header; none: as the registrar likes.
    pub expires: Option<u32>,
    /// All other parameters as given, each with its leading `;`.
    pub features: Cow<'m, str>,
}

/// Contacts of one REGISTER; more is an attack on the set.
const MAX_CONTACTS: usize = 32;
/// Hops of a Path.
const MAX_PATH: usize = 8;
/// Longest Contact URI, Path value, instance, Call-ID or run of other Contact parameters that is kept.
const MAX_TEXT: usize = 512;
/// A User-Agent is cut here, in a binding as in a call: the two are compared.
pub const MAX_USER_AGENT: usize = 128;

impl<'m> Register<'m> {
    /// Reads an authenticated REGISTER that came over `flow` with the digest identity of `device`.
    ///
    /// # Errors
    /// 400s of RFC 3261 10.3 step 6 and RFC 5626 6, and texts longer than what is kept.
    pub fn read(message: &'m Message, flow: Flow, device: &'m str) -> Result<Self, Refusal> {
        let outbound = message.has_token(HeaderName::Supported, "outbound");
        let expires = message.expires();
        let mut request = Self {
            asked: Asked::Query,
            call_id: message.call_id().map_err(|_| Refusal::Malformed("bad Call-ID"))?,
            cseq: message.cseq().map_err(|_| Refusal::Malformed("bad CSeq"))?.number,
            path: SmallVec::new(),
            user_agent: user_agent(message),
            outbound,
            flow,
            device,
        };
        bounded(request.call_id)?;
        for value in message.values(HeaderName::Path) {
            if request.path.len() == MAX_PATH {
                return Err(Refusal::Malformed("Path is too long"));
            }
            let text = std::str::from_utf8(value).map_err(|_| Refusal::Malformed("bad Path"))?;
            request.path.push(bounded(text)?);
        }
        request.asked = match message.contacts().map_err(|_| Refusal::Malformed("bad Contact"))? {
            Contacts::Star if expires == Some(0) => Asked::RemoveAll,
            Contacts::Star => return Err(Refusal::Malformed("Contact * needs Expires 0")),
            Contacts::List(list) if list.is_empty() => Asked::Query,
            Contacts::List(list) => Asked::Contacts(read_contacts(list, expires, outbound)?),
        };
        let has_flow =
            matches!(&request.asked, Asked::Contacts(all) if all.iter().any(|c| c.reg_id.is_some()));
        if has_flow && message.values(HeaderName::Via).nth(1).is_some() && !request.keeps_flows() {
            return Err(Refusal::FirstHopLacksOutbound);
        }
        Ok(request)
    }

    /// Whether the proxy that the phone is connected to keeps its flow: it says `ob` in its Path, the last of them.
    fn keeps_flows(&self) -> bool {
        let first = self.path.last().and_then(|path| NameAddr::parse(path.as_bytes()).ok());
        first.is_some_and(|first| first.parsed_uri().is_ok_and(|uri| uri.param("ob").is_some()))
    }
}

fn read_contacts<'m>(
    list: impl IntoIterator<Item = NameAddr<'m>>,
    expires: Option<u32>,
    outbound: bool,
) -> Result<SmallVec<[Asking<'m>; 2]>, Refusal> {
    let mut all = SmallVec::<[Asking<'m>; 2]>::new();
    for contact in list {
        if all.len() == MAX_CONTACTS {
            return Err(Refusal::Malformed("too many Contacts"));
        }
        all.push(Asking::read(&contact, expires, outbound)?);
    }
    // RFC 5626 6: "more than one Contact header field value" with reg-id is refused, ends excepted.
    if all.iter().filter(|c| c.reg_id.is_some() && c.expires != Some(0)).count() > 1 {
        return Err(Refusal::Malformed("several Contacts with reg-id"));
    }
    Ok(all)
}

impl<'m> Asking<'m> {
    fn read(contact: &NameAddr<'m>, header: Option<u32>, outbound: bool) -> Result<Self, Refusal> {
        let instance = match contact.params.value("+sip.instance") {
            None => None,
            Some(text) => {
                let urn = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
                Some(bounded(urn.unwrap_or(text))?)
            }
        };
        let reg_id = match contact.params.value("reg-id") {
            // RFC 5626 6: without an instance, or without the client's support, it says nothing.
            Some(text) if outbound && instance.is_some() => match text.parse::<u32>() {
                Ok(id) if (1..=i32::MAX as u32).contains(&id) => Some(id),
                _ => return Err(Refusal::Malformed("bad reg-id")),
            },
            _ => None,
        };
        let q = match contact.params.value("q") {
            None => None,
            Some(_) => Some(Quality::from_thousandths(contact.q().ok_or(Refusal::Malformed("bad q"))?)),
        };
        let features = features(contact.params.as_str());
        bounded(&features)?;
        let expires = contact.expires().or(header);
        Ok(Self { uri: bounded(contact.uri)?, instance, reg_id, q, expires, features })
    }
}

/// The parameters that are kept as they came: all but those that are kept apart or computed.
fn features(params: &str) -> Cow<'_, str> {
    let (mut kept, mut quoted, mut escaped) = (String::new(), false, false);
    let pieces = params.split(move |c: char| {
        let splits = c == ';' && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        splits
    });
    for piece in pieces.map(str::trim).filter(|piece| !piece.is_empty()) {
        let name = piece.split_once('=').map_or(piece, |(name, _)| name).trim_end();
        if !["q", "expires", "+sip.instance", "reg-id"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
            kept.push(';');
            kept.extend(piece.chars().filter(|c| !c.is_control()));
        }
    }
    Cow::Owned(kept)
}

fn user_agent(message: &Message) -> Cow<'_, str> {
    let Some(Ok(text)) = message.header(HeaderName::UserAgent).map(|header| header.value_str()) else {
        return Cow::Borrowed("");
    };
    match text.char_indices().nth(MAX_USER_AGENT) {
        None => text,
        Some((cut, _)) => Cow::Owned(text.get(..cut).unwrap_or_default().to_owned()),
    }
}

fn bounded(text: &str) -> Result<&str, Refusal> {
    if text.len() > MAX_TEXT { Err(Refusal::Malformed("a value is too long")) } else { Ok(text) }
}
