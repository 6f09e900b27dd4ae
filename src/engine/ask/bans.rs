//! Sources that are not listened to: who they are, and how one is listened to again.

use std::net::IpAddr;

use crate::base::UnixMillis;
use crate::engine::Engine;
use crate::engine::command::{CommandError, Reply};
use crate::engine::view::{BanView, Page, PageQuery, Time};

impl Engine {
    pub(super) fn list_bans(&self, query: &PageQuery) -> Page<BanView> {
        let now = self.core.now;
        let views = self.bans.banned(now.at).map(|(address, left)| BanView {
            address: address.to_string(),
            prefix: if address.is_ipv4() { 32 } else { 64 },
            until: Time(UnixMillis(now.unix.0 + u64::try_from(left.as_millis()).unwrap_or(u64::MAX))),
            seconds: left.as_secs(),
        });
        Page::cut(views, query)
    }

    pub(super) fn lift_ban(&mut self, address: IpAddr) -> Result<Reply, CommandError> {
        if !self.bans.lift(self.core.now.at, address) {
            return Err(CommandError::NotFound);
        }
        self.save_bans();
        tracing::info!(source = %address, "a ban was lifted");
        Ok(Reply::Done)
    }
}
