//! `a=sendrecv`, `sendonly`, `recvonly`, `inactive` as two bits, seen by whoever wrote the description.

/// Which way media flows, from the point of view of the description's author (RFC 3264 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Neither.
    Inactive,
    /// The author sends.
    SendOnly,
    /// The author receives.
    RecvOnly,
    /// Both.
    SendRecv,
}

impl Direction {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Inactive, Self::SendOnly, Self::RecvOnly, Self::SendRecv];

    const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (false, false) => Self::Inactive,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (true, true) => Self::SendRecv,
        }
    }

    /// Whether the author sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendOnly | Self::SendRecv)
    }

    /// Whether the author receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::RecvOnly | Self::SendRecv)
    }

    /// The same streams seen from the other end.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self::of(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// What either allows.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self::of(self.sends() || other.sends(), self.receives() || other.receives())
    }

    /// What this one does not allow.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self::of(!self.sends(), !self.receives())
    }

    /// The attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::SendRecv => "sendrecv",
        }
    }
}
