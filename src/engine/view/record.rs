//! Which call records are asked for, and in which order they stand.

use serde::{Deserialize, Serialize};

use super::{Listed, Order};
use crate::base::UnixMillis;
use crate::call::record::CallRecord;

/// Which call records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordQuery {
    /// Of this user.
    pub user: Option<Box<str>>,
    /// Of this caller: user, or number from a trunk.
    pub from: Option<Box<str>>,
    /// To this number, as it was dialled.
    pub to: Option<Box<str>>,
    /// That came in at this time or later.
    pub since: Option<UnixMillis>,
    /// That came in before this time.
    pub until: Option<UnixMillis>,
}

impl Listed for CallRecord {
    const ORDER: Order = Order::Descending;

    fn key(&self) -> String {
        self.id.clone()
    }
}
