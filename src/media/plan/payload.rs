//! Payload type translation between two legs, as the packet path uses it.

/// Payload numbers of packets on their way from one leg to the other. Identity costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PtMap(Option<Box<[u8; 128]>>);

impl PtMap {
    /// What a table holds for a number that has no meaning on the other side: the packet is dropped.
    pub const DROP: u8 = 0xff;

    /// Every number stays as it is.
    pub const IDENTITY: Self = Self(None);

    /// Whether every number stays as it is.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.0.is_none()
    }

    /// Number on the other side, `None` to drop the packet. The marker bit is not part of `number`.
    #[must_use]
    pub fn map(&self, number: u8) -> Option<u8> {
        match &self.0 {
            None => Some(number),
            Some(table) => table.get(usize::from(number)).copied().filter(|n| *n != Self::DROP),
        }
    }

    /// The table for the packet path, `None` for identity. [`PtMap::DROP`] marks numbers to drop.
    #[must_use]
    pub fn into_table(self) -> Option<Box<[u8; 128]>> {
        self.0
    }
}
