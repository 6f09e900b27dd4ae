//! Who a user is at a PBX that has the user's own account: by that we register there, and call, in the user's name.

use crate::base::Secret;

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
