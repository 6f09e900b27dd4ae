//! Passwords: asked for without echo, read from standard input, or made; and the hashes of them.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use zeroize::Zeroizing;

use super::failure::Failure;
use super::options::{Hash, NewSecret};
use crate::engine::command::{Ha1Text, Secret};
use crate::shell::password::{self, Cost};
use crate::sip::digest::Ha1s;

/// Longest line that is read for a password.
const MAX_LINE: u64 = 1024;

/// Letters and digits that nobody takes for one another.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789A";

/// `segue hash`
pub(super) fn hash(options: &Hash, out: &mut dyn Write) -> Result<(), Failure> {
    let password = if options.password_stdin { read_line()? } else { prompt_twice("Password")? };
    let login =
        password::hash(&password, Cost::default()).map_err(|error| Failure::usage(error.to_string()))?;
    writeln!(out, "{login}")?;
    if let (Some(user), Some(realm)) = (&options.user, &options.realm) {
        let ha1 = ha1(user, realm, &password);
        let text = |secret: Option<Secret>| secret.map(|secret| secret.0).unwrap_or_default();
        writeln!(
            out,
            "ha1 = {{ md5 = \"{}\", sha256 = \"{}\", sha512_256 = \"{}\" }}",
            text(ha1.md5),
            text(ha1.sha256),
            text(ha1.sha512_256)
        )?;
    }
    Ok(())
}

/// A secret that was given, or made: those that were made are printed.
pub(super) enum Given {
    Typed(Zeroizing<String>),
    Made(Zeroizing<String>),
}

impl Given {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Typed(text) | Self::Made(text) => text,
        }
    }

    /// What to print, once.
    pub(super) fn made(&self) -> Option<&str> {
        match self {
            Self::Typed(_) => None,
            Self::Made(text) => Some(text),
        }
    }
}

/// A new secret as the options say; without them a terminal is asked, and where there is none one is made.
pub(super) fn new_secret(
    what: &str,
    options: NewSecret,
    make: fn() -> Result<Zeroizing<String>, Failure>,
) -> Result<Given, Failure> {
    if options.password_stdin {
        return read_line().map(Given::Typed);
    }
    if !options.generate && io::stdin().is_terminal() {
        return prompt_twice(what).map(Given::Typed);
    }
    make().map(Given::Made)
}

/// 80 random bits for people to type.
pub(super) fn make_password() -> Result<Zeroizing<String>, Failure> {
    let bytes = random::<16>()?;
    let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()));
    let mut text = Zeroizing::new(String::with_capacity(19));
    for (index, letter) in letters.copied().map(char::from).enumerate() {
        if index > 0 && index % 4 == 0 {
            text.push('-');
        }
        text.push(letter);
    }
    Ok(text)
}

/// Six random digits; a PIN is only ever tried five times in 15 minutes.
pub(super) fn make_pin() -> Result<Zeroizing<String>, Failure> {
    let number = u64::from_le_bytes(random::<8>()?) % 1_000_000;
    Ok(Zeroizing::new(format!("{number:06}")))
}

/// The login hash of a password.
pub(super) fn login_hash(password: &str) -> Result<Secret, Failure> {
    let hash =
        password::hash(password, Cost::default()).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(hash.into())
}

/// Every HA1 of a password.
pub(super) fn ha1(user: &str, realm: &str, password: &str) -> Ha1Text {
    let ha1 = Ha1s::from_password(user, realm, password);
    Ha1Text {
        md5: ha1.md5.map(|hash| hex(&hash)),
        sha256: ha1.sha256.map(|hash| hex(&hash)),
        sha512_256: ha1.sha512_256.map(|hash| hex(&hash)),
    }
}

fn hex(bytes: &[u8]) -> Secret {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::general(format!("no randomness: {error}")))?;
    Ok(bytes)
}

fn read_line() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    io::Read::take(io::stdin().lock(), MAX_LINE).read_line(&mut line)?;
    let text = line.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(Failure::usage("standard input has no password in its first line".into()));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn prompt_twice(what: &str) -> Result<Zeroizing<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "there is no terminal to ask for a password: give --password-stdin".into(),
        ));
    }
    let ask = |text: String| rpassword::prompt_password(text).map(Zeroizing::new);
    let first = ask(format!("{what}: "))?;
    if *first != *ask(format!("{what} again: "))? {
        return Err(Failure::usage("the two are not the same".into()));
    }
    if first.is_empty() {
        return Err(Failure::usage("it is empty".into()));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_long_enough_and_differs() {
        let (one, two) = (make_password().unwrap(), make_password().unwrap());
        assert_eq!(one.len(), 19);
        assert_ne!(one, two);
        let pin = make_pin().unwrap();
        assert!(pin.len() == 6 && pin.bytes().all(|byte| byte.is_ascii_digit()));
    }

    #[test]
    fn ha1_is_that_of_rfc_7616() {
        let ha1 = ha1("Mufasa", "http-auth@example.org", "Circle of Life");
        assert_eq!(&*ha1.md5.unwrap().0, "3d78807defe7de2157e2b0b6573a855f");
        assert_eq!(
            &*ha1.sha256.unwrap().0,
            "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"
        );
    }
}
