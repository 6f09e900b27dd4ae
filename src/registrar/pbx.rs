//! Who a user is at a PBX that has the user's own account: by that we register there, and call, in the user's name.

use crate::base::Secret;

/// Longest user part, digest username, realm and password, in characters.
const TEXT_LEN: usize = 128;
const PASSWORD_LEN: usize = 256;

/// The account of a user at a PBX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pbx {
    /// The name of the trunk that leads there.
    pub trunk: Box<str>,
    /// The user part of the address of record there, unescaped: what the PBX's users dial.
    pub user: Box<str>,
    /// The digest username.
    pub auth_user: Box<str>,
    /// Its password.
    pub password: Secret,
    /// The only realm that is answered; none: that of the first challenge of the trunk.
    pub realm: Option<Box<str>>,
}

impl Pbx {
    /// Whether both are one address of record: the registration at one is that at the other.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        self.trunk == other.trunk && self.user == other.user
    }
}

/// Whether `text` can be a user part or stand between the quotes of a digest parameter.
///
/// # Errors
/// What is wrong with it.
pub fn check_printable(text: &str) -> Result<(), &'static str> {
    let fits = (1..=TEXT_LEN).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '"');
    if fits { Ok(()) } else { Err("1 to 128 characters without quotes are needed") }
}

/// Whether `text` can be a password.
///
/// # Errors
/// What is wrong with it, which does not tell it.
pub fn check_password(text: &str) -> Result<(), &'static str> {
    let fits = (1..=PASSWORD_LEN).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err("is no password: 1 to 256 characters are needed") }
}
