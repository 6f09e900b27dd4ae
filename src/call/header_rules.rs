//! Headers that an operator writes to a trunk, or takes from what passes between it and others.

use std::fmt;

use super::headers::opens_microphone;
use super::numbers::{Toward, may_stand};
use super::settings::Trunk;
use crate::wire::sip::{Header, HeaderName, MessageWriter};

/// Longest value, with its variables as they are written.
pub const MAX_VALUE: usize = 256;
/// Longest name.
const MAX_NAME: usize = 64;

/// One rule of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// Of which messages: `out` is what the trunk gets, `in` what others get of it.
    pub direction: Toward,
    /// The header.
    pub name: Box<str>,
    /// What becomes of it.
    pub deed: Deed,
}

/// What becomes of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is there with this value, and with no other.
    Set(Box<str>),
    /// It is there with this value, too.
    Add(Box<str>),
    /// It is not there.
    Remove,
}

/// What variables in values stand for.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// `${caller}`: the number of who calls, as this side knows it.
    pub caller: &'a str,
    /// `${called}`: the number that is called, likewise.
    pub called: &'a str,
    /// `${call}`: the id of the call, as in its record.
    pub call: &'a str,
}

impl HeaderRule {
    /// Whether it takes the headers of this name that come from elsewhere.
    fn takes(&self, name: &[u8]) -> bool {
        !matches!(self.deed, Deed::Add(_)) && is_named(&self.name, name)
    }
}

fn is_named(known: &str, name: &[u8]) -> bool {
    known.as_bytes().eq_ignore_ascii_case(name)
        || (name.len() == 1 && HeaderName::from_bytes(name).as_str().eq_ignore_ascii_case(known))
}

impl Trunk {
    /// The rules of what passes in a direction.
    fn header_rules(&self, direction: Toward) -> impl Iterator<Item = &HeaderRule> {
        self.policy.headers.iter().filter(move |rule| rule.direction == direction)
    }

    /// Whether a header that would pass in a direction is left out, as another is to stand there or none.
    #[must_use]
    pub fn takes_header(&self, direction: Toward, name: &[u8]) -> bool {
        self.header_rules(direction).any(|rule| rule.takes(name))
    }

    /// Writes the headers that are set and added in a direction, but for those that `others` says are taken.
    pub fn write_headers(
        &self,
        direction: Toward,
        variables: Variables<'_>,
        others: impl Fn(&[u8]) -> bool,
        writer: &mut MessageWriter<'_>,
    ) {
        for rule in self.header_rules(direction) {
            if let Deed::Set(value) | Deed::Add(value) = &rule.deed
                && !others(rule.name.as_bytes())
            {
                writer.header(&*rule.name, &expand(value, variables));
            }
        }
    }
}

/// A value with what its variables stand for.
fn expand(value: &str, variables: Variables<'_>) -> String {
    let (mut made, mut rest) = (String::with_capacity(value.len() + 32), value);
    while let Some((plain, behind)) = rest.split_once("${") {
        made.push_str(plain);
        let (name, after) = behind.split_once('}').unwrap_or((behind, ""));
        let text = match name {
            "caller" => variables.caller,
            "called" => variables.called,
            "call" => variables.call,
            _ => "",
        };
        // What a caller chose ends no line and no quote.
        made.extend(text.chars().filter(|c| may_stand(*c)));
        rest = after;
    }
    made.push_str(rest);
    made
}

/// Whether an operator may write a header of this name.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    use HeaderName as N;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    if !(2..=MAX_NAME).contains(&name.len()) || !name.bytes().all(is_token) {
        return Err("is no name of a header, written out");
    }
    match N::from_bytes(name.as_bytes()) {
        N::AcceptContact
        | N::AcceptLanguage
        | N::AlertInfo
        | N::CallInfo
        | N::Geolocation
        | N::Organization
        | N::PAccessNetworkInfo
        | N::PAssociatedUri
        | N::PCalledPartyId
        | N::PChargingVector
        | N::PEarlyMedia
        | N::PPreferredIdentity
        | N::Priority
        | N::Reason
        | N::RejectContact
        | N::RequestDisposition
        | N::ResourcePriority
        | N::Subject
        | N::UserToUser => Ok(()),
        N::Other if name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("segue-")) => {
            Err("is written by the node alone")
        }
        N::Other => Ok(()),
        N::PAssertedIdentity | N::RemotePartyId | N::Privacy => Err("is written as identity says"),
        N::Diversion | N::HistoryInfo => Err("is written as diversion says"),
        _ => Err("is written by the node alone"),
    }
}

/// Whether a value can be written.
///
/// # Errors
/// Why not.
pub fn check_value(name: &str, value: &str) -> Result<(), String> {
    if !(1..=MAX_VALUE).contains(&value.len()) || value.chars().any(char::is_control) {
        return Err(format!("1 to {MAX_VALUE} characters without control characters are needed"));
    }
    let mut rest = value;
    while let Some((_, behind)) = rest.split_once("${") {
        let (name, after) = behind.split_once('}').ok_or("a `{` is not closed")?;
        if !["caller", "called", "call"].contains(&name) {
            return Err(format!("`${{{name}}}` is none of ${{caller}}, ${{called}} and ${{call}}"));
        }
        rest = after;
    }
    let header = Header {
        name: HeaderName::from_bytes(name.as_bytes()),
        raw_name: name.as_bytes(),
        value: value.as_bytes(),
    };
    if opens_microphone(&header) {
        return Err(
            "makes phones answer by themselves; only a push to a device with auto_answer may".to_owned()
        );
    }
    Ok(())
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(value) => write!(f, "set {value}"),
            Self::Add(value) => write!(f, "add {value}"),
            Self::Remove => f.write_str("remove"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_are_ours() {
        for name in
            ["X-Account", "P-Preferred-Identity", "Subject", "Alert-Info", "P-Charge-Info", "User-to-User"]
        {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in [
            "Via",
            "From",
            "To",
            "t",
            "Call-ID",
            "CSeq",
            "Contact",
            "Route",
            "Record-Route",
            "Content-Type",
            "content-length",
            "Max-Forwards",
            "Authorization",
            "Proxy-Authorization",
            "Proxy-Authenticate",
            "Require",
            "Proxy-Require",
            "Supported",
            "Session-Expires",
            "Replaces",
            "Refer-To",
            "Referred-By",
            "Join",
            "Event",
            "Allow",
            "Expires",
            "RSeq",
            "RAck",
            "Answer-Mode",
            "Segue-Move",
            "P-Asserted-Identity",
            "Privacy",
            "Diversion",
            "History-Info",
            "Identity",
            "User-Agent",
            "Path",
            "Warning",
            "",
            "X",
            "X Y",
            "X:",
            "X\r\nY",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn values_stand_on_one_line_and_have_variables_that_there_are() {
        for value in ["x", "${caller}", "a=${called};b=${call}", "\"quoted\" <sip:a@b>", "100 % ünder"] {
            assert_eq!(check_value("X-A", value), Ok(()), "{value}");
        }
        let long = "x".repeat(MAX_VALUE + 1);
        for value in ["", "a\r\nVia: b", "a\nb", "a\0b", "${password}", "${caller", &long] {
            assert!(check_value("X-A", value).is_err(), "{value:?}");
        }
        assert!(check_value("Alert-Info", "<http://x>;info=alert-autoanswer").is_err());
        assert!(check_value("X-Auto-Answer", "1").is_err());
    }

    #[test]
    fn what_a_caller_chose_ends_no_line() {
        let variables = Variables { caller: "+4930\r\nVia: x\"", called: "1<2>", call: "01K" };
        assert_eq!(expand("a=${caller};b=${called};c=${call}.", variables), "a=+4930Viax;b=12;c=01K.");
        assert_eq!(expand("plain", variables), "plain");
    }
}
