//! Which headers cross from one leg to the other: one table.

use crate::wire::sip::{Header, HeaderName, Message, MessageWriter};

/// Whether the side that a message came from is believed about identities (RFC 3325 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// A trunk of ours.
    Trusted,
    /// A user's device.
    Untrusted,
}

/// Headers that may cross in one message; more is an attack on the size of what we send.
const MAX_CROSSING: usize = 48;

/// What the table says of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Belongs to one dialog or hop; each leg has its own.
    Stays,
    /// Crosses as it is.
    Crosses,
    /// Crosses where its source is trusted (RFC 3325, RFC 5806, RFC 7044, RFC 8224).
    CrossesIfTrusted,
}

/// What phones read as an order to answer by themselves, beside Answer-Mode (RFC 5373), which crosses as little. Such a
/// call opens a microphone; only a push of ours may ask for it ([`super::quirks::Hint`]).
const SELF_ANSWERING: [&str; 4] = ["answer-after", "auto-answer", "autoanswer", "auto answer"];

/// Whether a header asks the phone that gets it to answer by itself, in its value or by its very name.
fn opens_microphone(header: &Header<'_>) -> bool {
    let says = |text: &[u8], words: &str| {
        text.windows(words.len()).any(|part| part.eq_ignore_ascii_case(words.as_bytes()))
    };
    // Spaces, tabs and folds are one kind of gap.
    let value = header.value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let value = value.collect::<Vec<_>>().join(&b' ');
    SELF_ANSWERING.iter().any(|words| says(&value, words) || says(header.raw_name, words))
}

fn verdict(header: &Header<'_>) -> Verdict {
    use HeaderName as N;
    match header.name {
        N::AlertInfo | N::CallInfo | N::Other if opens_microphone(header) => Verdict::Stays,
        N::Accept
        | N::AcceptLanguage
        | N::AlertInfo
        | N::CallInfo
        | N::ContentDisposition
        | N::ContentEncoding
        | N::ContentLanguage
        | N::Date
        | N::ErrorInfo
        | N::InReplyTo
        | N::InfoPackage
        | N::MimeVersion
        | N::Organization
        | N::Priority
        | N::Reason
        | N::ReplyTo
        | N::Subject
        | N::Warning => Verdict::Crosses,
        N::PAssertedIdentity
        | N::Privacy
        | N::Diversion
        | N::HistoryInfo
        | N::Identity
        | N::RemotePartyId => Verdict::CrossesIfTrusted,
        N::Other => {
            // RFC 3325 and its family: P- headers are between trusted nodes.
            let begins = |with: &[u8]| {
                header.raw_name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
            };
            if begins(b"P-") {
                Verdict::CrossesIfTrusted
            } else if begins(b"Segue-") {
                // What we say to phones ourselves.
                Verdict::Stays
            } else {
                Verdict::Crosses
            }
        }
        _ => Verdict::Stays,
    }
}

/// Copies into `onto` what crosses of `message`, byte for byte.
pub fn cross(message: &Message, trust: Trust, onto: &mut MessageWriter<'_>) {
    let mut left = MAX_CROSSING;
    for header in message.headers() {
        let passes = match verdict(&header) {
            Verdict::Stays => false,
            Verdict::Crosses => true,
            Verdict::CrossesIfTrusted => trust == Trust::Trusted,
        };
        if passes && left > 0 {
            left -= 1;
            onto.copy(&header);
        }
    }
}

/// How who wants to be nobody is called (RFC 3323 4.1.1.3).
pub const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// Whether the sender of a message asks that its identity is not shown (RFC 3323 4.2, RFC 3325 9.3).
#[must_use]
pub fn is_private(message: &Message) -> bool {
    let asks = |value: &str| {
        value
            .split([';', ','])
            .map(str::trim)
            .any(|word| ["id", "user", "header"].iter().any(|known| word.eq_ignore_ascii_case(known)))
    };
    message.all(HeaderName::Privacy).filter_map(|header| header.value_str().ok()).any(|value| asks(&value))
}
