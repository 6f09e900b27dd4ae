//! What every store keeps. A backend that is added implements [`Backend`] and names itself in one line:
//! `contract!(Backend::new())`.

use std::sync::mpsc;
use std::time::Duration;

use super::values::*;
use crate::base::UnixMillis;
use crate::call::record::CallRecord;
use crate::engine::event::Ulid;
use crate::engine::store::{Loaded, StoreOp, StoreReply, StoreTicket, Unavailable};
use crate::engine::view::{Listed, MoveState, MoveView, PAGE_MAX, Page, PageQuery, RecordQuery};
use crate::registrar::hot_desk::SavedDesk;
use crate::registrar::{SavedAor, SavedBinding};

/// Longer than any store takes, shorter than anyone's patience with a test that hangs.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// Where replies go.
pub(super) type Answered = Box<dyn Fn(StoreTicket, StoreReply) + Send + Sync>;

/// A place that keeps things over restarts, and the store over it.
pub(super) trait Backend {
    /// An open store.
    type Store;
    fn open(&self, now: UnixMillis, answered: Answered) -> (Self::Store, Loaded);
    fn submit(store: &Self::Store, ticket: StoreTicket, op: StoreOp);
    /// Writes what waits and ends; the store then answers that it is closed.
    fn close(store: &Self::Store);
}

/// A test for each case.
macro_rules! contract {
    ($backend:expr) => {
        $crate::shell::store::tests::contract::contract!(
            $backend,
            all_fields_outlive_a_restart,
            what_has_ended_is_not_loaded,
            what_is_removed_is_gone_and_what_is_not_there_is_no_error,
            a_put_replaces_wholly,
            names_of_other_accounts_conflict_and_change_nothing,
            the_newest_bindings_count_and_none_are_gone,
            counters_are_kept_by_kind_and_key_until_they_are_zero,
            moves_are_listed_in_parts_and_found_with_their_timeline,
            a_call_record_is_written_once,
            call_records_are_found_by_party_and_time,
            a_read_sees_what_came_before_it,
            answers_come_once_and_in_order,
            a_closed_store_says_so,
            ten_thousand_registrations_are_there_after_a_restart,
        );
    };
    ($backend:expr, $($case:ident),* $(,)?) => {
        $(
            #[test]
            fn $case() {
                $crate::shell::store::tests::contract::$case(&$backend);
            }
        )*
    };
}
pub(super) use contract;

/// A store with whoever asks it.
pub(super) struct Desk<'a, B: Backend> {
    backend: &'a B,
    pub(super) store: B::Store,
    pub(super) loaded: Loaded,
    replies: mpsc::Receiver<(StoreTicket, StoreReply)>,
    tickets: u64,
}

impl<'a, B: Backend> Desk<'a, B> {
    pub(super) fn open(backend: &'a B, now: UnixMillis) -> Self {
        let (sender, replies) = mpsc::channel();
        let answered: Answered = Box::new(move |ticket, reply| {
            // A test that is over listens no more.
            let _ = sender.send((ticket, reply));
        });
        let (store, loaded) = backend.open(now, answered);
        Self { backend, store, loaded, replies, tickets: 0 }
    }

    /// Closes and opens again.
    pub(super) fn restart(self, now: UnixMillis) -> Self {
        B::close(&self.store);
        let backend = self.backend;
        drop(self);
        Self::open(backend, now)
    }

    /// Submits without waiting.
    pub(super) fn tell(&mut self, op: StoreOp) -> StoreTicket {
        self.tickets += 1;
        B::submit(&self.store, StoreTicket(self.tickets), op);
        StoreTicket(self.tickets)
    }

    pub(super) fn reply(&self) -> (StoreTicket, StoreReply) {
        self.replies.recv_timeout(SOON).expect("a reply")
    }

    /// Submits and waits for the answer, which is the next one.
    pub(super) fn ask(&mut self, op: StoreOp) -> StoreReply {
        let ticket = self.tell(op);
        let (of, reply) = self.reply();
        assert_eq!(of, ticket);
        reply
    }

    #[track_caller]
    pub(super) fn done(&mut self, op: StoreOp) {
        assert_eq!(self.ask(op), StoreReply::Done);
    }

    fn moves(&mut self, user: Option<&str>, page: &PageQuery) -> Page<MoveView> {
        match self.ask(StoreOp::ListMoves { user: user.map(Into::into), page: page.clone() }) {
            StoreReply::Moves(page) => page,
            other => panic!("{other:?}"),
        }
    }

    fn records(&mut self, user: Option<&str>, page: &PageQuery) -> Page<CallRecord> {
        self.wanted_records(RecordQuery { user: user.map(Into::into), ..RecordQuery::default() }, page)
    }

    fn wanted_records(&mut self, wanted: RecordQuery, page: &PageQuery) -> Page<CallRecord> {
        match self.ask(StoreOp::ListRecords { wanted, page: page.clone() }) {
            StoreReply::Records(page) => page,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn put(account: crate::registrar::accounts::Account) -> StoreOp {
    StoreOp::PutAccount(Box::new(account))
}

pub(super) fn save_move(id: &str, user: &str, state: MoveState) -> StoreOp {
    StoreOp::SaveMove(Box::new(a_move(id, user, state)))
}

pub(super) fn put_hold_off(id: &str) -> StoreOp {
    StoreOp::PutHoldOff(Box::new(hold_off(id, 30_000)))
}

pub(super) fn remove_hold_off(id: &str) -> StoreOp {
    StoreOp::RemoveHoldOff { move_id: id.into() }
}

pub(super) fn all_fields_outlive_a_restart<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    assert_eq!(desk.loaded, Loaded::default());
    let expected = Loaded {
        accounts: vec![account("alice", "1001"), bare_account("bob")],
        bindings: vec![aor("alice"), aor("bob")],
        hold_offs: vec![hold_off("m1", 30_000), hold_off("m2", u64::MAX >> 1)],
        snapshots: vec![snapshot("m1"), snapshot("m2")],
        failures: vec![counter("digest", "192.0.2.1", 3), counter("pin", ODD, 1)],
        hot_desks: vec![hot_desk("rooms*attic", 30_000), hot_desk("rooms*lobby", u64::MAX >> 1)],
    };
    for account in expected.accounts.iter().rev() {
        desk.done(put(account.clone()));
    }
    desk.tell(StoreOp::SaveBindings(expected.bindings.iter().rev().cloned().collect()));
    desk.tell(StoreOp::SaveFailures(expected.failures.clone()));
    for desk_of in expected.hot_desks.iter().rev() {
        desk.tell(StoreOp::SaveHotDesk(Box::new(desk_of.clone())));
    }
    for (row, snapshot) in expected.hold_offs.iter().zip(&expected.snapshots) {
        desk.done(StoreOp::PutHoldOff(Box::new(row.clone())));
        desk.done(StoreOp::PutSnapshot(Box::new(snapshot.clone())));
    }
    desk.tell(save_move("01", "alice", MoveState::RolledBack));
    let mut desk = desk.restart(NOW).restart(NOW);
    assert_eq!(desk.loaded, expected);
    let found = desk.ask(StoreOp::FindMove { id: "01".into() });
    assert_eq!(found, StoreReply::Move(Some(Box::new(a_move("01", "alice", MoveState::RolledBack)))));
}

pub(super) fn what_has_ended_is_not_loaded<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    let bindings = [999, 1000, 1001].map(|ms| binding(&format!("sip:{ms}@192.0.2.1"), after(ms))).to_vec();
    let gone = SavedAor { user: "bob".into(), bindings: vec![binding("sip:b@192.0.2.1", after(1))] };
    desk.tell(StoreOp::SaveBindings(vec![SavedAor { user: "alice".into(), bindings }, gone]));
    for length in [999, 1000, 1001] {
        desk.done(StoreOp::PutHoldOff(Box::new(hold_off(&length.to_string(), length))));
        desk.tell(StoreOp::SaveHotDesk(Box::new(hot_desk(&format!("rooms*{length}"), length))));
    }
    let desk = desk.restart(after(1000));
    let [aor] = desk.loaded.bindings.as_slice() else { panic!("{:?}", desk.loaded.bindings) };
    let contacts: Vec<&str> = aor.bindings.iter().map(|binding| &*binding.contact).collect();
    assert_eq!((&*aor.user, contacts), ("alice", vec!["sip:1001@192.0.2.1"]));
    assert_eq!(desk.loaded.hold_offs, [hold_off("1001", 1001)]);
    assert_eq!(desk.loaded.hot_desks, [hot_desk("rooms*1001", 1001)]);
    // The clock went back: what begins in the future has not ended.
    let desk = desk.restart(UnixMillis(0));
    assert_eq!(desk.loaded.hold_offs, [hold_off("1001", 1001)]);
}

pub(super) fn what_is_removed_is_gone_and_what_is_not_there_is_no_error<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    for name in ["alice", "bob"] {
        desk.done(put(account(name, "")));
        desk.done(StoreOp::PutHoldOff(Box::new(hold_off(name, 30_000))));
        desk.done(StoreOp::PutSnapshot(Box::new(snapshot(name))));
        desk.tell(StoreOp::SaveHotDesk(Box::new(hot_desk(name, 30_000))));
    }
    for _ in 0..2 {
        desk.tell(StoreOp::SaveHotDesk(Box::new(SavedDesk { device: "alice".into(), sign_in: None })));
        desk.done(StoreOp::RemoveAccount { name: "alice".into() });
        desk.done(remove_hold_off("alice"));
        desk.done(StoreOp::RemoveSnapshot { move_id: "alice".into() });
    }
    let desk = desk.restart(NOW);
    assert_eq!(desk.loaded.accounts, [account("bob", "")]);
    assert_eq!(desk.loaded.hold_offs, [hold_off("bob", 30_000)]);
    assert_eq!(desk.loaded.snapshots, [snapshot("bob")]);
    assert_eq!(desk.loaded.hot_desks, [hot_desk("bob", 30_000)]);
}

pub(super) fn a_put_replaces_wholly<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    desk.done(put(account("alice", "1001")));
    desk.done(put(bare_account("alice")));
    desk.done(put_hold_off("m1"));
    desk.done(StoreOp::PutHoldOff(Box::new(hold_off("m1", 9))));
    desk.done(StoreOp::PutSnapshot(Box::new(snapshot("m1"))));
    let newer = crate::moving::snapshot::Snapshot { taken: after(1), ..snapshot("m1") };
    desk.done(StoreOp::PutSnapshot(Box::new(newer.clone())));
    let desk = desk.restart(NOW);
    assert_eq!(desk.loaded.accounts, [bare_account("alice")]);
    assert_eq!(desk.loaded.hold_offs, [hold_off("m1", 9)]);
    assert_eq!(desk.loaded.snapshots, [newer]);
}

pub(super) fn names_of_other_accounts_conflict_and_change_nothing<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    desk.done(put(account("alice", "1001")));
    desk.done(put(account("2002", "")));
    let stolen = |auth_user: &str| {
        let mut thief = account("bob", "1002");
        thief.devices[1].auth_user = auth_user.into();
        thief
    };
    let conflicts = [
        ("an extension", account("bob", "1001")),
        ("a name that is an extension", account("1001", "")),
        ("an extension that is a name", account("bob", "2002")),
        ("a digest identity", stolen("alice-mobile")),
        ("a digest identity of its own", stolen("bob-desk")),
    ];
    for (what, account) in conflicts {
        assert_eq!(desk.ask(put(account)), StoreReply::Conflict, "{what}");
    }
    // An account does not stand in its own way, and one that is refused stays what it was.
    desk.done(put(account("alice", "1001")));
    assert_eq!(desk.ask(put(account("alice", "2002"))), StoreReply::Conflict);
    let mut desk = desk.restart(NOW);
    assert_eq!(desk.loaded.accounts, [account("2002", ""), account("alice", "1001")]);
    desk.done(StoreOp::RemoveAccount { name: "alice".into() });
    desk.done(put(stolen("alice-mobile")));
}

pub(super) fn the_newest_bindings_count_and_none_are_gone<B: Backend>(backend: &B) {
    let with = |user: &str, cseq: u32| SavedAor {
        user: user.into(),
        bindings: vec![SavedBinding { cseq, ..binding("sip:a@192.0.2.1", after(60_000)) }],
    };
    let none = |user: &str| SavedAor { user: user.into(), bindings: Vec::new() };
    let mut desk = Desk::open(backend, NOW);
    desk.tell(StoreOp::SaveBindings(vec![aor("alice"), with("bob", 1), with("carol", 1), with("dave", 1)]));
    let mut desk = desk.restart(NOW);
    for cseq in 2..50 {
        desk.tell(StoreOp::SaveBindings(vec![with("bob", cseq), with("erin", cseq)]));
    }
    desk.tell(StoreOp::SaveBindings(vec![none("carol"), none("erin"), none("nobody")]));
    let desk = desk.restart(NOW);
    assert_eq!(desk.loaded.bindings, [aor("alice"), with("bob", 49), with("dave", 1)]);
}

pub(super) fn counters_are_kept_by_kind_and_key_until_they_are_zero<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    let first = [("digest", "a", 1), ("pin", "a", 2), ("pin", "b", 3)];
    desk.tell(StoreOp::SaveFailures(first.map(|(kind, key, count)| counter(kind, key, count)).to_vec()));
    let mut desk = desk.restart(NOW);
    desk.tell(StoreOp::SaveFailures(vec![counter("pin", "a", 0), counter("pin", "b", 4)]));
    let banned =
        crate::engine::store::FailureCounter { banned_until: Some(after(9)), ..counter("pin", "c", 0) };
    desk.tell(StoreOp::SaveFailures(vec![banned.clone()]));
    let desk = desk.restart(NOW);
    assert_eq!(desk.loaded.failures, [counter("digest", "a", 1), counter("pin", "b", 4), banned]);
}

/// Follows the cursors and gives all parts.
fn walk<T: Listed>(limit: u16, mut part: impl FnMut(&PageQuery) -> Page<T>) -> Vec<T> {
    let (mut all, mut query) = (Vec::new(), PageQuery { cursor: None, limit });
    for _ in 0..50 {
        let page = part(&query);
        assert!(page.items.len() <= usize::from(limit.max(1)));
        all.extend(page.items);
        match page.next {
            Some(next) => query.cursor = Some(next.into()),
            None => return all,
        }
    }
    panic!("the list does not end");
}

pub(super) fn moves_are_listed_in_parts_and_found_with_their_timeline<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    for id in ["03", "01", "05", "02", "04"] {
        desk.tell(save_move(id, "alice", MoveState::Requested));
        desk.tell(save_move(&format!("{id}b"), "bob", MoveState::Requested));
        desk.tell(save_move(id, "alice", MoveState::Done));
    }
    let mut desk = desk.restart(NOW);
    let alice = ["05", "04", "03", "02", "01"];
    let listed = |view: &MoveView| MoveView { timeline: None, ..view.clone() };
    for limit in 0..=6 {
        let seen = walk(limit, |query| desk.moves(Some("alice"), query));
        let expected = alice.map(|id| listed(&a_move(id, "alice", MoveState::Done)));
        assert_eq!(seen, expected, "limit {limit}");
        assert_eq!(walk(limit, |query| desk.moves(None, query)).len(), 10);
    }
    let between = PageQuery { cursor: Some("03a".into()), limit: PAGE_MAX + 1 };
    let ids: Vec<String> = desk.moves(None, &between).items.iter().map(Listed::key).collect();
    assert_eq!(ids, ["03", "02b", "02", "01b", "01"]);
    assert_eq!(desk.moves(Some("Alice"), &PageQuery::default()), Page::default());
    let found = desk.ask(StoreOp::FindMove { id: "04".into() });
    assert_eq!(found, StoreReply::Move(Some(Box::new(a_move("04", "alice", MoveState::Done)))));
    assert_eq!(desk.ask(StoreOp::FindMove { id: "9".into() }), StoreReply::Move(None));
}

pub(super) fn a_call_record_is_written_once<B: Backend>(backend: &B) {
    let add = |id: &str, user| StoreOp::AddRecord(std::sync::Arc::new(record(id, user)));
    let mut desk = Desk::open(backend, NOW);
    for id in ["1", "3", "2", "1"] {
        desk.tell(add(id, Some("alice")));
    }
    desk.tell(StoreOp::AddRecord(std::sync::Arc::new(CallRecord {
        id: "4".into(),
        ..CallRecord::default()
    })));
    desk.tell(add("3", None));
    let mut desk = desk.restart(NOW);
    desk.tell(add("2", None));
    desk.tell(add("4", None));
    let first = CallRecord { id: "4".into(), ..CallRecord::default() };
    assert_eq!(desk.ask(StoreOp::FindRecord { id: "4".into() }), StoreReply::Record(Some(Box::new(first))));
    let found = |id: &str| StoreReply::Record(Some(Box::new(record(id, Some("alice")))));
    for id in ["1", "2", "3"] {
        assert_eq!(desk.ask(StoreOp::FindRecord { id: id.into() }), found(id));
    }
    assert_eq!(desk.ask(StoreOp::FindRecord { id: "5".into() }), StoreReply::Record(None));
    for limit in 1..=4 {
        let seen = walk(limit, |query| desk.records(Some("alice"), query));
        let listed = |id| CallRecord { segments: Vec::new(), ..record(id, Some("alice")) };
        assert_eq!(seen, ["3", "2", "1"].map(listed));
        let all = walk(limit, |query| desk.records(None, query));
        assert_eq!(all.iter().map(Listed::key).collect::<Vec<_>>(), ["4", "3", "2", "1"]);
    }
}

pub(super) fn call_records_are_found_by_party_and_time<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    let at = |n: u64| UnixMillis(NOW.0 + n * 1000);
    for n in 0..12_u64 {
        let (from, to) = [("alice", "1002"), ("bob", "1001"), ("alice", "1003")][n as usize % 3];
        desk.tell(StoreOp::AddRecord(std::sync::Arc::new(CallRecord {
            id: Ulid::first_at(at(n)).to_string(),
            from: from.into(),
            to: to.into(),
            user: Some(from.into()),
            start: at(n),
            ..CallRecord::default()
        })));
    }
    let all = RecordQuery::default;
    let (alice, three) = (Some("alice".into()), Some("1003".into()));
    for (wanted, expected) in [
        (all(), vec![11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (RecordQuery { from: alice.clone(), ..all() }, vec![11, 9, 8, 6, 5, 3, 2, 0]),
        (RecordQuery { to: three.clone(), ..all() }, vec![11, 8, 5, 2]),
        (RecordQuery { since: Some(at(9)), ..all() }, vec![11, 10, 9]),
        (RecordQuery { until: Some(at(2)), ..all() }, vec![1, 0]),
        (
            RecordQuery {
                user: alice.clone(),
                from: alice,
                to: three,
                since: Some(at(3)),
                until: Some(at(11)),
            },
            vec![8, 5],
        ),
        (RecordQuery { to: Some("' OR 1=1".into()), ..all() }, vec![]),
    ] {
        for limit in [1, 2, 5] {
            let seen = walk(limit, |query| desk.wanted_records(wanted.clone(), query));
            let seen: Vec<u64> = seen.iter().map(|record| (record.start.0 - NOW.0) / 1000).collect();
            assert_eq!(seen, expected, "{wanted:?}");
        }
    }
}

pub(super) fn a_read_sees_what_came_before_it<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    for n in 0..40 {
        let id = format!("{n:02}");
        desk.tell(save_move(&id, "alice", MoveState::Requested));
        desk.tell(save_move(&id, "alice", MoveState::Done));
        let found = desk.ask(StoreOp::FindMove { id: id.as_str().into() });
        assert_eq!(found, StoreReply::Move(Some(Box::new(a_move(&id, "alice", MoveState::Done)))));
        desk.tell(StoreOp::AddRecord(std::sync::Arc::new(record(&id, None))));
        assert_eq!(desk.records(None, &PageQuery { cursor: None, limit: 1 }).items[0].id, id);
    }
}

pub(super) fn answers_come_once_and_in_order<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    let mut asked = Vec::new();
    for n in 0..100 {
        desk.tell(save_move(&n.to_string(), "alice", MoveState::Done));
        asked.push((desk.tell(put_hold_off("m")), StoreReply::Done));
        asked.push((desk.tell(put(account("alice", "1001"))), StoreReply::Done));
        asked.push((desk.tell(put(account("bob", "1001"))), StoreReply::Conflict));
        asked.push((desk.tell(remove_hold_off("m")), StoreReply::Done));
        if n < 99 {
            asked.push((desk.tell(StoreOp::RemoveAccount { name: "alice".into() }), StoreReply::Done));
        }
    }
    for expected in asked {
        assert_eq!(desk.reply(), expected);
    }
    B::close(&desk.store);
    assert!(desk.replies.try_recv().is_err(), "what is written behind is not answered");
    let desk = desk.restart(NOW);
    assert_eq!((desk.loaded.hold_offs.len(), desk.loaded.accounts.len()), (0, 1));
}

pub(super) fn a_closed_store_says_so<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    let waiting = desk.tell(put_hold_off("m1"));
    B::close(&desk.store);
    assert_eq!(desk.reply(), (waiting, StoreReply::Done), "what was asked before is done");
    let closed = StoreReply::Unavailable(Unavailable::Closed);
    assert_eq!(desk.ask(remove_hold_off("m1")), closed);
    assert_eq!(desk.ask(StoreOp::FindMove { id: "1".into() }), closed);
    let desk = desk.restart(NOW);
    assert_eq!(desk.loaded.hold_offs.len(), 1);
}

pub(super) fn ten_thousand_registrations_are_there_after_a_restart<B: Backend>(backend: &B) {
    let mut desk = Desk::open(backend, NOW);
    let users: Vec<String> = (0..10_000).map(|n| format!("u{n:05}")).collect();
    for some in users.chunks(100) {
        desk.tell(StoreOp::SaveBindings(some.iter().map(|user| aor(user)).collect()));
    }
    // Who asks does not wait for all of them to be asked first.
    desk.done(put_hold_off("m1"));
    let desk = desk.restart(NOW);
    let loaded: Vec<&str> = desk.loaded.bindings.iter().map(|aor| &*aor.user).collect();
    assert_eq!(loaded, users);
    assert_eq!(desk.loaded.bindings[9_999], aor("u09999"));
}
