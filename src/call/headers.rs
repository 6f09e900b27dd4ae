//! Which headers cross from one leg to the other: one table.

use super::places::{Across, copy_over, names_in};
use crate::wire::sip::{Header, HeaderName, Message, MessageWriter};

/// Whether the side that a message came from is believed about identities (RFC 3325 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Trust {
    /// A trunk of ours, unless it is said to be none of ours.
    #[default]
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
    /// Crosses where its source is trusted (RFC 7315).
    CrossesIfTrusted,
}

/// What phones read as an order to answer by themselves, beside Answer-Mode (RFC 5373), which crosses as little. Such a
/// call opens a microphone; only a push of ours may ask for it ([`super::quirks::Hint`]).
const SELF_ANSWERING: [&str; 4] = ["answer-after", "auto-answer", "autoanswer", "auto answer"];

/// Whether a header asks the phone that gets it to answer by itself, in its value or by its very name.
pub fn opens_microphone(header: &Header<'_>) -> bool {
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
        N::PAssociatedUri | N::PCalledPartyId | N::PEarlyMedia => Verdict::CrossesIfTrusted,
        // Who calls, and what became of the call before, is written anew for each target ([`super::identity`],
        // [`super::diversion`]). Charging and cells are between the nodes of one operator (RFC 7315 5).
        N::PAssertedIdentity
        | N::Privacy
        | N::RemotePartyId
        | N::Diversion
        | N::HistoryInfo
        | N::Identity => Verdict::Stays,
        N::Other if starts(header, b"P-Charging-") => Verdict::Stays,
        N::Other => {
            // RFC 3325 and its family: P- headers are between trusted nodes.
            if starts(header, b"P-") {
                Verdict::CrossesIfTrusted
            } else if starts(header, b"Segue-") {
                // What we say to phones ourselves.
                Verdict::Stays
            } else {
                Verdict::Crosses
            }
        }
        _ => Verdict::Stays,
    }
}

fn starts(header: &Header<'_>, with: &[u8]) -> bool {
    header.raw_name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// Copies into `onto` what crosses of `message`: byte for byte, but for what would tell a trunk or a user where the other
/// one is.
pub fn cross(message: &Message, trust: Trust, across: Across, onto: &mut MessageWriter<'_>) {
    cross_but(message, trust, across, |_| false, onto);
}

/// The same without headers of the names that `is_taken` says.
pub fn cross_but(
    message: &Message,
    trust: Trust,
    across: Across,
    is_taken: impl Fn(&[u8]) -> bool,
    onto: &mut MessageWriter<'_>,
) {
    let mut left = MAX_CROSSING;
    let mut names = None;
    for header in message.headers() {
        let passes = match verdict(&header) {
            Verdict::Stays => false,
            Verdict::Crosses => true,
            Verdict::CrossesIfTrusted => trust == Trust::Trusted,
        };
        if passes && left > 0 && !is_taken(header.raw_name) {
            left -= 1;
            match across {
                Across::House => {
                    onto.copy(&header);
                }
                Across::Border => copy_over(&header, names.get_or_insert_with(|| names_in(message)), onto),
            }
        }
    }
}

/// How who wants to be nobody is called (RFC 3323 4.1.1.3).
pub const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// Copies what a refusal says of its reason.
pub fn explain(answer: &Message, across: Across, onto: &mut MessageWriter<'_>) {
    let names = names_in(answer);
    for name in [HeaderName::Reason, HeaderName::Warning, HeaderName::RetryAfter, HeaderName::ErrorInfo] {
        match (answer.header(name), across) {
            (Some(header), Across::House) => {
                onto.copy(&header);
            }
            (Some(header), Across::Border) => copy_over(&header, &names, onto),
            (None, _) => {}
        }
    }
}
