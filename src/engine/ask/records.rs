//! Call records, which the store has. A user sees those of own calls, and of them nothing of the other side's devices.

use super::parked::Waiting;
use super::{Answer, Asking, check_length};
use crate::call::record::CallRecord;
use crate::engine::Engine;
use crate::engine::command::{CommandError, Reply, Subject};
use crate::engine::event::Ulid;
use crate::engine::store::StoreOp;
use crate::engine::view::{Page, PageQuery, RecordQuery};
use crate::registrar::accounts::DEVICE_SEPARATOR;

impl Engine {
    pub(super) fn list_records(by: &Subject, mut wanted: RecordQuery, page: PageQuery) -> Asking {
        wanted.user = by.scope(wanted.user.as_deref())?.map(Box::from);
        for name in [&wanted.user, &wanted.from, &wanted.to].into_iter().flatten() {
            check_length(name)?;
        }
        Ok(Answer::Later(StoreOp::ListRecords { wanted, page }, Waiting::Records))
    }

    pub(super) fn show_record(id: Box<str>) -> Asking {
        // What is no id of a call is asked of nobody.
        id.parse::<Ulid>().map_err(|()| CommandError::NotFound)?;
        Ok(Answer::Later(StoreOp::FindRecord { id }, Waiting::Record))
    }

    pub(super) fn stored_records(by: &Subject, page: Page<CallRecord>) -> Reply {
        let items = page.items.into_iter().map(|record| cut_for(by, record)).collect();
        Reply::Records(Page { items, next: page.next })
    }

    pub(super) fn stored_record(by: &Subject, found: Option<Box<CallRecord>>) -> Result<Reply, CommandError> {
        let is_seen = |record: &CallRecord| match &record.user {
            Some(user) => by.may_see(user),
            None => *by == Subject::Admin,
        };
        let record = found.filter(|record| is_seen(record)).ok_or(CommandError::NotFound)?;
        Ok(Reply::Record(Box::new(cut_for(by, *record))))
    }
}

fn cut_for(by: &Subject, mut record: CallRecord) -> CallRecord {
    let Subject::User(name) = by else { return record };
    let is_own = |device: &str| device.split_once(DEVICE_SEPARATOR).is_some_and(|(user, _)| *user == **name);
    record.segments.retain(|segment| is_own(&segment.device));
    record.trunk = None;
    for of_both in [&mut record.sip_call_id, &mut record.transports, &mut record.user_agents] {
        of_both.clear();
    }
    record
}
