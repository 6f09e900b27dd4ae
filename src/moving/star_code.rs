//! Star codes: what a dialled user part asks for.
//!
//! Phones write the same code in several ways, and all of them mean the same number: `*11`, `%2A11`, `*11#`,
//! `*11%23`, `*11;phone-context=…` (the telephone-subscriber form that goes with `;user=phone`).

use std::borrow::Cow;

/// Longer user parts are no star code. A device's name is far shorter.
const MAX_DIALLED: usize = 128;

/// The codes of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// Takes a call: `*11`.
    pub pull: Box<str>,
    /// Sends a call: `*12`.
    pub push: Box<str>,
    /// Takes the last move to the device that dials back: `*13`.
    pub undo: Box<str>,
    /// Signs a user in at the shared device that dials: `*14`.
    pub sign_in: Option<Box<str>>,
    /// Signs out whoever is signed in at the shared device that dials: `*15`.
    pub sign_out: Option<Box<str>>,
    /// Prefixes that phones put before a monitored extension: `**`.
    pub pickup: Vec<Box<str>>,
    /// Echo test, where it is on.
    pub echo: Option<Box<str>>,
    /// Tone test, where it is on.
    pub tone: Option<Box<str>>,
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            pull: "*11".into(),
            push: "*12".into(),
            undo: "*13".into(),
            sign_in: Some("*14".into()),
            sign_out: Some("*15".into()),
            pickup: vec!["**".into()],
            echo: None,
            tone: None,
        }
    }
}

/// What was dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StarCode {
    /// Take a call to the device that dials.
    Pull(Select),
    /// Send the caller's other call to another device: `None` is the only other one.
    Push {
        /// Name of the target device.
        device: Option<Box<str>>,
    },
    /// Take back the move that brought the call to the device that dials.
    Undo,
    /// Sign in at the shared device that dials.
    SignIn,
    /// Sign out at the shared device that dials.
    SignOut,
    /// Take the call that rings at, or is on, this extension.
    Pickup {
        /// The monitored extension.
        extension: Box<str>,
    },
    /// Hear yourself.
    Echo,
    /// Hear a tone.
    Tone,
}

/// Which call a pull takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// `*11`: by the policy, the most recently answered.
    Newest,
    /// `*11*2`: the n-th in that order, from 1.
    Nth(u8),
    /// `*111001`: of the user with this extension, or with this far party.
    Extension(Box<str>),
    /// `*11*desk`: the one on this device.
    Device(Box<str>),
}

impl StarCode {
    /// Reads the user part of a Request-URI (or To, or the target of a SUBSCRIBE) as it stands there.
    ///
    /// ```
    /// use segue::moving::star_code::{Codes, Select, StarCode};
    /// let codes = Codes::default();
    /// assert_eq!(StarCode::read("%2A11#", &codes), Some(StarCode::Pull(Select::Newest)));
    /// assert_eq!(StarCode::read("*11*2", &codes), Some(StarCode::Pull(Select::Nth(2))));
    /// assert_eq!(StarCode::read("*12*mobile", &codes), Some(StarCode::Push { device: Some("mobile".into()) }));
    /// assert_eq!(StarCode::read("alice", &codes), None);
    /// ```
    #[must_use]
    pub fn read(user: &str, codes: &Codes) -> Option<Self> {
        if user.is_empty() || user.len() > MAX_DIALLED {
            return None;
        }
        let dialled = normalise(user);
        let dialled = dialled.as_ref();
        if codes.echo.as_deref() == Some(dialled) {
            return Some(Self::Echo);
        }
        if codes.tone.as_deref() == Some(dialled) {
            return Some(Self::Tone);
        }
        if &*codes.undo == dialled {
            return Some(Self::Undo);
        }
        if codes.sign_in.as_deref() == Some(dialled) {
            return Some(Self::SignIn);
        }
        if codes.sign_out.as_deref() == Some(dialled) {
            return Some(Self::SignOut);
        }
        // The longest code that fits wins, so `**` does not swallow a pull code that begins with it.
        let pull = fits(dialled, &codes.pull).map(|rest| (codes.pull.len(), Kind::Pull, rest));
        let push = fits(dialled, &codes.push).map(|rest| (codes.push.len(), Kind::Push, rest));
        let pickup = codes
            .pickup
            .iter()
            .filter_map(|code| fits(dialled, code).map(|rest| (code.len(), Kind::Pickup, rest)));
        let (_, kind, rest) =
            pull.into_iter().chain(push).chain(pickup).max_by_key(|(len, kind, _)| (*len, *kind))?;
        match kind {
            Kind::Pull => Select::read(rest).map(Self::Pull),
            Kind::Push => Some(Self::Push { device: word(rest.strip_prefix('*').unwrap_or(rest)) }),
            Kind::Pickup => word(rest).map(|extension| Self::Pickup { extension }),
        }
    }
}

impl Select {
    fn read(rest: &str) -> Option<Self> {
        let Some(choice) = rest.strip_prefix('*') else {
            return Some(word(rest).map_or(Self::Newest, Self::Extension));
        };
        match choice.parse::<u8>() {
            Ok(0) => None,
            Ok(n) if choice.len() <= 2 => Some(Self::Nth(n)),
            _ => Some(word(choice).map_or(Self::Newest, Self::Device)),
        }
    }
}

/// Among codes of equal length a pull comes before a push, and a push before a pickup.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pickup,
    Push,
    Pull,
}

fn fits<'a>(dialled: &'a str, code: &str) -> Option<&'a str> {
    if code.is_empty() { None } else { dialled.strip_prefix(code) }
}

fn word(text: &str) -> Option<Box<str>> {
    if text.is_empty() { None } else { Some(text.into()) }
}

/// Unescapes, cuts telephone-subscriber parameters, then one trailing `#`.
fn normalise(user: &str) -> Cow<'_, str> {
    let cut = user.split_once(';').map_or(user, |(number, _)| number);
    let mut text = unescape(cut);
    if text.ends_with('#') {
        let kept = text.len() - 1;
        match &mut text {
            Cow::Borrowed(whole) => *whole = whole.get(..kept).unwrap_or(whole),
            Cow::Owned(whole) => whole.truncate(kept),
        }
    }
    text
}

/// Percent-decoding (RFC 3261 19.1.4); an escape that is none, or bytes that are no text, stay as they are.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, after @ ..] if first == b'%' => {
                digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes() -> Codes {
        Codes { echo: Some("*43".into()), tone: Some("*44".into()), ..Codes::default() }
    }

    fn read(user: &str) -> Option<StarCode> {
        StarCode::read(user, &codes())
    }

    #[test]
    fn every_spelling_of_the_pull_code_is_the_same_number() {
        for user in [
            "*11",
            "%2A11",
            "%2a11",
            "*11#",
            "*11%23",
            "%2A%31%31",
            "*11;phone-context=pbx.example",
            "*11*",
            "*11*#",
        ] {
            assert_eq!(read(user), Some(StarCode::Pull(Select::Newest)), "{user}");
        }
    }

    #[test]
    fn what_follows_the_pull_code_picks_the_call() {
        assert_eq!(read("*11*2"), Some(StarCode::Pull(Select::Nth(2))));
        assert_eq!(read("%2A11%2A12%23"), Some(StarCode::Pull(Select::Nth(12))));
        assert_eq!(read("*111001"), Some(StarCode::Pull(Select::Extension("1001".into()))));
        assert_eq!(read("*11*desk"), Some(StarCode::Pull(Select::Device("desk".into()))));
        assert_eq!(read("*11*101"), Some(StarCode::Pull(Select::Device("101".into()))));
        assert_eq!(read("*11*0"), None);
    }

    #[test]
    fn push_pickup_and_tests_are_told_apart() {
        assert_eq!(read("*12*mobile"), Some(StarCode::Push { device: Some("mobile".into()) }));
        assert_eq!(read("*12"), Some(StarCode::Push { device: None }));
        assert_eq!(read("**1001"), Some(StarCode::Pickup { extension: "1001".into() }));
        assert_eq!(read("**"), None);
        assert_eq!(read("%2A14#"), Some(StarCode::SignIn));
        assert_eq!(read("*15"), Some(StarCode::SignOut));
        assert_eq!(read("*141001"), None, "who it is, is typed and not dialled");
        assert_eq!(StarCode::read("*14", &Codes { sign_in: None, ..codes() }), None);
        assert_eq!(read("*43#"), Some(StarCode::Echo));
        assert_eq!(read("*44"), Some(StarCode::Tone));
        assert_eq!(StarCode::read("*43", &Codes::default()), None);
    }

    #[test]
    fn the_longest_code_wins() {
        let codes = Codes { pull: "**7".into(), ..codes() };
        assert_eq!(StarCode::read("**7", &codes), Some(StarCode::Pull(Select::Newest)));
        assert_eq!(StarCode::read("**8", &codes), Some(StarCode::Pickup { extension: "8".into() }));
        let none = Codes {
            pull: "".into(),
            push: "".into(),
            undo: "".into(),
            sign_in: None,
            sign_out: None,
            pickup: vec!["".into()],
            echo: None,
            tone: None,
        };
        assert_eq!(StarCode::read("1001", &none), None);
    }

    #[test]
    fn ordinary_and_hostile_user_parts_are_no_codes() {
        for user in ["", "alice", "1001", "alice*desk", "%", "%2", "%zz11", "%ff%fe", ";*11", "#"] {
            assert_eq!(read(user), None, "{user}");
        }
        assert_eq!(read(&"*11".repeat(60)), None);
    }
}
