//! Commands to the workers of this node, and one answer from theirs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast, oneshot};

use super::EventHub;
use crate::engine::command::{AccountChange, Asked, Command, CommandError, Reply, StartMove, Subject};
use crate::engine::report::RunReport;
use crate::engine::store::Unavailable as StoreUnavailable;
use crate::engine::view::{CallPhase, CallView, PAGE_MAX, Page, PageQuery};

/// Commands that may wait for one worker. A person or a page sends a few a second; more than this means that the
/// worker does not drain them.
const QUEUE: usize = 256;

/// How long a worker may take. It answers between two batches of signalling, within milliseconds; the store, asked
/// for an old move or a new account, within its own timeout of a second or two.
const PATIENCE: Duration = Duration::from_secs(5);

/// Account changes that a slow listener may be behind before it is told that it missed some.
const CHANGES: usize = 64;

/// A command on its way to a worker.
pub struct Request {
    /// Who asks what.
    pub asked: Asked,
    /// Takes the answer.
    pub answer: Answer,
}

/// Takes the answer to one command.
pub struct Answer(oneshot::Sender<Reply>);

impl Answer {
    /// Gives it. Nobody may be waiting any more; that is no error.
    pub fn send(self, reply: Reply) {
        let _ = self.0.send(reply);
    }
}

/// Our end of the queue to one worker.
pub struct WorkerLink {
    requests: crossbeam_channel::Sender<Request>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A queue to one worker. `wake` is called after each command, so that a worker which waits on its sockets looks.
pub fn link(wake: impl Fn() + Send + Sync + 'static) -> (WorkerLink, crossbeam_channel::Receiver<Request>) {
    let (requests, receiver) = crossbeam_channel::bounded(QUEUE);
    (WorkerLink { requests, wake: Box::new(wake) }, receiver)
}

/// The node did not answer: overloaded, or on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many commands wait.
    #[error("the node has too many commands to carry out")]
    Full,
    /// No answer in time.
    #[error("the node did not answer in time")]
    Late,
    /// The worker is gone.
    #[error("the node is shutting down")]
    Gone,
}

impl From<Unavailable> for CommandError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable { why: unavailable.to_string().into(), retry_after: 2 }
    }
}

/// A running node as API and command line see it. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle(Arc<Inner>);

/// Reads the report of a run out of the store. Takes its time; never called on a thread that serves others.
pub type Reports = Box<dyn Fn(&str) -> Result<RunReport, StoreUnavailable> + Send + Sync>;

/// Reads the configuration anew; told whether it is only to look. Gives the answer, and the users whose account is another
/// by now. Takes its time, as the former.
pub type Reload = Box<dyn Fn(bool) -> (Reply, Vec<Box<str>>) + Send + Sync>;

/// Writes down what the node counts.
pub type Metered = Box<dyn Fn() -> String + Send + Sync>;

/// What the shell answers by itself.
pub struct OfShell {
    /// Reports.
    pub reports: Reports,
    /// The configuration.
    pub reload: Reload,
    /// What the node counts.
    pub metrics: Metered,
}

struct Inner {
    workers: Vec<WorkerLink>,
    events: EventHub,
    shell: OfShell,
    /// Held by whoever reads a report: one at a time.
    reading: Mutex<()>,
    /// Held by whoever reads the configuration.
    reloading: Mutex<()>,
    changes: broadcast::Sender<Box<str>>,
}

impl NodeHandle {
    /// The node of these workers, the first of which answers for what all of them share.
    #[must_use]
    pub fn new(workers: Vec<WorkerLink>, events: EventHub, shell: OfShell) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        let (reading, reloading) = Default::default();
        Self(Arc::new(Inner { workers, events, shell, reading, reloading, changes }))
    }

    /// The events of the node.
    #[must_use]
    pub fn events(&self) -> &EventHub {
        &self.0.events
    }

    /// Names of users whose account was changed or removed from here on: their sessions end.
    #[must_use]
    pub fn account_changes(&self) -> broadcast::Receiver<Box<str>> {
        self.0.changes.subscribe()
    }

    /// Has a command carried out for `by`.
    ///
    /// What only an administrator may do is refused here; what of the rest `by` may see, the engine decides.
    ///
    /// # Errors
    /// [`Unavailable`] where no worker answered in time. The command may have been carried out all the same.
    pub async fn command(&self, by: &Subject, command: Command) -> Result<Reply, Unavailable> {
        if !command.is_open_to(by) {
            return Ok(Reply::Error(CommandError::Forbidden));
        }
        match command {
            Command::ListCalls { ref page, .. } => {
                let page = page.clone();
                self.gather(by, command, |replies| merge(replies, &page, Reply::Calls, as_calls)).await
            }
            Command::ListNewestCalls { most } => {
                self.gather(by, command, |replies| merge_newest(replies, usize::from(most))).await
            }
            Command::ListMoves { ref page, .. } => {
                let page = page.clone();
                self.gather(by, command, |replies| merge(replies, &page, Reply::Moves, as_moves)).await
            }
            Command::ListRegistrations { ref page, .. } => {
                let page = page.clone();
                let make = Reply::Registrations;
                self.gather(by, command, |replies| merge(replies, &page, make, as_registrations)).await
            }
            Command::Status => self.gather(by, command, add_up).await,
            Command::ListBans { ref page } => {
                let page = page.clone();
                self.gather(by, command, |replies| merge(replies, &page, Reply::Bans, as_bans)).await
            }
            Command::Drain
            | Command::LiftBan { .. }
            | Command::KickRegistration { .. }
            | Command::SignOut { .. }
            | Command::AccountChanged(_)
            | Command::LendDevice { .. }
            | Command::ReturnDevice { .. } => self.gather(by, command, best).await,
            Command::ShowCall { .. }
            | Command::ShowQuality { .. }
            | Command::ShowTrace { .. }
            | Command::HangUp { .. }
            | Command::ShowMove { .. }
            | Command::UndoMove { .. }
            | Command::Follow { .. } => self.gather(by, command, best).await,
            Command::StartMove(start) => self.start_move(by, start).await,
            Command::ChangeAccount(change) => self.change_account(by, change).await,
            // Every worker has the same accounts, and the first one looks after the trunks.
            Command::ListUsers { .. }
            | Command::ShowUser { .. }
            | Command::ListTrunks { .. }
            | Command::ListRoutes { .. }
            | Command::TestRoute(_)
            | Command::ListRecords { .. }
            | Command::ShowRecord { .. }
            | Command::Login { .. } => self.ask(0, by, command)?.wait().await,
            Command::ShowReport { run } => self.report(run).await,
            Command::ShowMetrics => Ok(Reply::Metrics((self.0.shell.metrics)())),
            Command::Reload { dry_run } => self.reload(dry_run).await,
        }
    }

    /// Of a run that has calls. On a thread where nobody else waits.
    async fn report(&self, run: Box<str>) -> Result<Reply, Unavailable> {
        let reading = tokio::time::timeout(PATIENCE, self.0.reading.lock()).await;
        let _reading = reading.map_err(|_| Unavailable::Full)?;
        let inner = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || (inner.shell.reports)(&run)).await;
        Ok(match read.map_err(|_| Unavailable::Gone)? {
            Ok(report) if report.calls == 0 => Reply::Error(CommandError::NotFound),
            Ok(report) => Reply::Report(Box::new(report)),
            Err(why) => {
                Reply::Error(CommandError::Unavailable { why: why.to_string().into(), retry_after: 2 })
            }
        })
    }

    /// Goes on to its end also where whoever asked has gone.
    async fn reload(&self, dry_run: bool) -> Result<Reply, Unavailable> {
        let inner = Arc::clone(&self.0);
        let all = tokio::spawn(async move {
            let reloading = tokio::time::timeout(PATIENCE, inner.reloading.lock()).await;
            let _reloading = reloading.map_err(|_| Unavailable::Full)?;
            let shared = Arc::clone(&inner);
            let done = tokio::task::spawn_blocking(move || (shared.shell.reload)(dry_run)).await;
            let (reply, users) = done.map_err(|_| Unavailable::Gone)?;
            for user in users {
                let _ = inner.changes.send(user);
            }
            Ok(reply)
        });
        all.await.map_err(|_| Unavailable::Gone)?
    }

    /// The first worker checks and stores the change; the others then apply it.
    async fn change_account(&self, by: &Subject, change: AccountChange) -> Result<Reply, Unavailable> {
        let reply = self.ask(0, by, Command::ChangeAccount(change.clone()))?.wait().await?;
        if matches!(reply, Reply::Error(_)) {
            return Ok(reply);
        }
        let user: Box<str> = change.user().into();
        let pending: Vec<_> = (1..self.0.workers.len())
            .map(|worker| self.ask(worker, by, Command::AccountChanged(change.clone())))
            .collect();
        let _ = self.0.changes.send(user);
        for pending in pending {
            pending?.wait().await?;
        }
        Ok(reply)
    }

    /// Exactly one worker may start a move. It is the one that has the call; where the call is not named, the one
    /// that has the user's most recently answered call.
    async fn start_move(&self, by: &Subject, mut start: StartMove) -> Result<Reply, Unavailable> {
        if let Subject::User(name) = by {
            start.user.clone_from(name);
        }
        if self.0.workers.len() > 1 && start.call.is_none() {
            let page = PageQuery { cursor: None, limit: PAGE_MAX };
            let list = Command::ListCalls { user: Some(start.user.clone()), page: page.clone() };
            let calls =
                self.gather(by, list, |replies| merge(replies, &page, Reply::Calls, as_calls)).await?;
            if let Reply::Calls(page) = calls {
                start.call = newest(&page.items).map(|call| call.id.as_str().into());
            }
        }
        for worker in 0..self.0.workers.len() {
            let reply = self.ask(worker, by, Command::StartMove(start.clone()))?.wait().await?;
            if reply != Reply::Error(CommandError::NotFound) {
                return Ok(reply);
            }
        }
        Ok(Reply::Error(CommandError::NotFound))
    }

    /// Asks every worker at once.
    async fn gather(
        &self,
        by: &Subject,
        command: Command,
        combine: impl FnOnce(Vec<Reply>) -> Reply,
    ) -> Result<Reply, Unavailable> {
        let pending: Vec<Pending> = (0..self.0.workers.len())
            .map(|worker| self.ask(worker, by, command.clone()))
            .collect::<Result<_, _>>()?;
        let mut replies = Vec::with_capacity(pending.len());
        for pending in pending {
            replies.push(pending.wait().await?);
        }
        match replies.pop() {
            Some(only) if replies.is_empty() => Ok(only),
            Some(last) => {
                replies.push(last);
                Ok(combine(replies))
            }
            None => Err(Unavailable::Gone),
        }
    }

    fn ask(&self, worker: usize, by: &Subject, command: Command) -> Result<Pending, Unavailable> {
        let link = self.0.workers.get(worker).ok_or(Unavailable::Gone)?;
        let (sender, receiver) = oneshot::channel();
        let request = Request { asked: Asked { by: by.clone(), command }, answer: Answer(sender) };
        link.requests.try_send(request).map_err(|error| match error {
            crossbeam_channel::TrySendError::Full(_) => Unavailable::Full,
            crossbeam_channel::TrySendError::Disconnected(_) => Unavailable::Gone,
        })?;
        (link.wake)();
        Ok(Pending(receiver))
    }
}

/// An answer that is on its way.
struct Pending(oneshot::Receiver<Reply>);

impl Pending {
    async fn wait(self) -> Result<Reply, Unavailable> {
        match tokio::time::timeout(PATIENCE, self.0).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(Unavailable::Gone),
            Err(_) => Err(Unavailable::Late),
        }
    }
}

fn newest(calls: &[CallView]) -> Option<&CallView> {
    calls
        .iter()
        .filter(|call| call.state != CallPhase::Ended)
        .max_by_key(|call| (call.answered, call.started))
}

/// What a worker found, before what others did not find; errors before "not found".
fn best(replies: Vec<Reply>) -> Reply {
    let rank = |reply: &Reply| match reply {
        Reply::Error(CommandError::NotFound) => 2,
        Reply::Error(_) => 1,
        _ => 0,
    };
    replies.into_iter().min_by_key(rank).unwrap_or(Reply::Error(CommandError::NotFound))
}

fn add_up(replies: Vec<Reply>) -> Reply {
    let mut sum = None::<Box<_>>;
    for reply in replies {
        match (reply, &mut sum) {
            (Reply::Status(status), None) => sum = Some(status),
            (Reply::Status(status), Some(sum)) => sum.add(&status),
            (other, _) => return other,
        }
    }
    sum.map_or(Reply::Error(CommandError::NotFound), Reply::Status)
}

fn merge<T: crate::engine::view::Listed>(
    replies: Vec<Reply>,
    query: &PageQuery,
    make: impl Fn(Page<T>) -> Reply,
    take: impl Fn(Reply) -> Result<Page<T>, Reply>,
) -> Reply {
    match replies.into_iter().map(take).collect::<Result<Vec<_>, _>>() {
        Ok(pages) => make(Page::merge(pages, query)),
        Err(error) => error,
    }
}

/// Of the newest calls of each worker the newest of all.
fn merge_newest(replies: Vec<Reply>, most: usize) -> Reply {
    match replies.into_iter().map(as_calls).collect::<Result<Vec<_>, _>>() {
        Ok(pages) => {
            let mut items: Vec<CallView> = pages.into_iter().flat_map(|page| page.items).collect();
            items.sort_by(|a, b| b.id.cmp(&a.id));
            items.truncate(most.max(1));
            Reply::Calls(Page { items, next: None })
        }
        Err(error) => error,
    }
}

fn as_calls(reply: Reply) -> Result<Page<CallView>, Reply> {
    if let Reply::Calls(page) = reply { Ok(page) } else { Err(reply) }
}

fn as_moves(reply: Reply) -> Result<Page<crate::engine::view::MoveView>, Reply> {
    if let Reply::Moves(page) = reply { Ok(page) } else { Err(reply) }
}

fn as_bans(reply: Reply) -> Result<Page<crate::engine::view::BanView>, Reply> {
    if let Reply::Bans(page) = reply { Ok(page) } else { Err(reply) }
}

fn as_registrations(reply: Reply) -> Result<Page<crate::engine::view::RegistrationView>, Reply> {
    if let Reply::Registrations(page) = reply { Ok(page) } else { Err(reply) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Node, answer, call, moved, of_shell};
    use super::*;
    use crate::engine::command::MoveMode;
    use crate::engine::view::Trigger;

    fn start(call: Option<&str>) -> Command {
        Command::StartMove(StartMove {
            user: "alice".into(),
            call: call.map(Box::from),
            to_device: Some("mobile".into()),
            mode: MoveMode::Ring,
            trigger: Trigger::Cli,
        })
    }

    /// Two workers, each with one call of alice's; the second's was answered later.
    fn two_calls(worker: usize, asked: &Asked) -> Reply {
        let (id, answered) = if worker == 0 { ("01", 5) } else { ("02", 9) };
        match &asked.command {
            Command::ListCalls { page, .. } => Reply::Calls(Page::cut([call(id, answered)], page)),
            Command::ListNewestCalls { .. } => {
                Reply::Calls(Page { items: vec![call(id, answered)], next: None })
            }
            Command::ShowCall { id: asked } if **asked == *id => Reply::Call(Box::new(call(id, answered))),
            Command::StartMove(start) if start.call.as_deref() == Some(id) => {
                Reply::Move(Box::new(moved(&format!("move-{id}"))))
            }
            Command::ShowCall { .. } | Command::StartMove(_) => Reply::Error(CommandError::NotFound),
            _ => answer(asked),
        }
    }

    #[tokio::test]
    async fn what_only_the_operator_may_do_never_reaches_a_worker() {
        let node = Node::start();
        let alice = Subject::User("alice".into());
        let reply = node.handle.command(&alice, Command::Drain).await;
        assert_eq!(reply, Ok(Reply::Error(CommandError::Forbidden)));
        assert!(node.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_report_is_read_beside_the_workers() {
        let node = Node::start();
        let of = |run: &str| Command::ShowReport { run: run.into() };
        let Ok(Reply::Report(report)) = node.handle.command(&Subject::Admin, of("night-1")).await else {
            panic!()
        };
        assert_eq!((report.run.as_str(), report.calls), ("night-1", 200));
        let reply = node.handle.command(&Subject::Admin, of("night-2")).await;
        assert_eq!(reply, Ok(Reply::Error(CommandError::NotFound)), "no call was of it");
        let reply = node.handle.command(&Subject::Admin, of("broken")).await;
        assert!(matches!(reply, Ok(Reply::Error(CommandError::Unavailable { .. }))), "{reply:?}");
        assert!(node.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn lists_of_several_workers_are_one_list() {
        let node = Node::with_workers(2, two_calls);
        let list = Command::ListCalls { user: None, page: PageQuery::default() };
        let Ok(Reply::Calls(page)) = node.handle.command(&Subject::Admin, list).await else { panic!() };
        assert_eq!(page.items.iter().map(|call| &*call.id).collect::<Vec<_>>(), ["01", "02"]);
        for (most, wanted) in [(500, &["02", "01"][..]), (1, &["02"])] {
            let list = Command::ListNewestCalls { most };
            let Ok(Reply::Calls(page)) = node.handle.command(&Subject::Admin, list).await else { panic!() };
            assert_eq!(page.items.iter().map(|call| &*call.id).collect::<Vec<_>>(), wanted);
        }
        let show = Command::ShowCall { id: "02".into() };
        let Ok(Reply::Call(call)) = node.handle.command(&Subject::Admin, show).await else { panic!() };
        assert_eq!(call.id, "02");
        let Ok(Reply::Status(status)) = node.handle.command(&Subject::Admin, Command::Status).await else {
            panic!()
        };
        assert_eq!((status.workers, status.calls_answered), (2, 2));
    }

    #[tokio::test]
    async fn one_worker_starts_the_move_and_it_is_the_newest_call() {
        let node = Node::with_workers(2, two_calls);
        let Ok(Reply::Move(view)) = node.handle.command(&Subject::Admin, start(None)).await else { panic!() };
        assert_eq!(view.id, "move-02");
        let Ok(Reply::Move(view)) = node.handle.command(&Subject::Admin, start(Some("01"))).await else {
            panic!()
        };
        assert_eq!(view.id, "move-01");
        let reply = node.handle.command(&Subject::Admin, start(Some("09"))).await;
        assert_eq!(reply, Ok(Reply::Error(CommandError::NotFound)));
    }

    #[tokio::test]
    async fn a_user_starts_moves_of_own_calls_whatever_the_request_says() {
        let node = Node::start();
        let bob = Subject::User("bob".into());
        let reply = node.handle.command(&bob, start(None)).await;
        assert_eq!(reply, Ok(Reply::Error(CommandError::NotFound)));
        let asked = node.asked.lock().unwrap();
        assert!(matches!(&asked[0].1.command, Command::StartMove(start) if *start.user == *"bob"));
    }

    #[tokio::test]
    async fn an_account_change_is_checked_once_and_applied_everywhere() {
        let node = Node::with_workers(3, |_, asked| answer(asked));
        let mut changes = node.handle.account_changes();
        let change = AccountChange::Remove { user: "carol".into() };
        let reply = node.handle.command(&Subject::Admin, Command::ChangeAccount(change.clone())).await;
        assert_eq!(reply, Ok(Reply::Done));
        assert_eq!(&*changes.recv().await.unwrap(), "carol");
        let asked = node.asked.lock().unwrap();
        let of = |worker| asked.iter().filter(move |(w, _)| *w == worker).map(|(_, a)| a.command.clone());
        assert_eq!(of(0).collect::<Vec<_>>(), [Command::ChangeAccount(change.clone())]);
        assert_eq!(of(1).collect::<Vec<_>>(), [Command::AccountChanged(change.clone())]);
        assert_eq!(of(2).collect::<Vec<_>>(), [Command::AccountChanged(change)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_gone_full_or_silent_is_unavailable() {
        let (gone, requests) = link(|| {});
        drop(requests);
        let node = NodeHandle::new(vec![gone], EventHub::new("edge1", [1; 32], |_| {}), of_shell());
        assert_eq!(node.command(&Subject::Admin, Command::Status).await, Err(Unavailable::Gone));

        let (silent, _requests) = link(|| {});
        let node = NodeHandle::new(vec![silent], EventHub::new("edge1", [1; 32], |_| {}), of_shell());
        assert_eq!(node.command(&Subject::Admin, Command::Status).await, Err(Unavailable::Late));
        let pending = || node.ask(0, &Subject::Admin, Command::Status);
        assert_eq!((0..2 * QUEUE).filter(|_| pending().is_ok()).count(), QUEUE - 1, "one still waits there");
        assert_eq!(node.command(&Subject::Admin, Command::Status).await, Err(Unavailable::Full));
    }
}
