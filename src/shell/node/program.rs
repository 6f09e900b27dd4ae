//! A node as a program: until a signal ends it, or for as long as a demonstration takes.

use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Reread;
use super::supervisor::Supervisor;
use super::{Died, Node, StartError};
use crate::config::Resolved;
use crate::engine::command::{Command, Subject};
use crate::shell::demo;

/// Wait for calls to end by themselves after the first signal.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs a node until it is told to end: the first signal drains it, the second ends it at once.
///
/// # Errors
/// It does not start, or it died.
pub fn serve(resolved: Resolved, reread: Reread) -> anyhow::Result<ExitCode> {
    super::sys::keep_pages_small();
    let supervisor = Supervisor::of_environment();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the start, so that no signal finds the node without an ear.
    let (mut terminate, mut interrupt, mut hangup) = runtime.block_on(async {
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        io::Result::Ok((terminate?, interrupt?, hangup?))
    })?;
    let node = Node::start_with(resolved, reread).map_err(in_words)?;
    supervisor.ready();
    runtime.block_on(until_it_ends(&node, &supervisor, [&mut terminate, &mut interrupt, &mut hangup]))?;
    drop(node);
    tracing::info!("ended");
    Ok(ExitCode::SUCCESS)
}

/// What goes on beside signals.
type Work<'a> = Option<Pin<Box<dyn Future<Output = ()> + 'a>>>;

/// Ends with the work; never where there is none.
async fn done(work: &mut Work<'_>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Does what signals say until the node has ended.
async fn until_it_ends(
    node: &Node,
    supervisor: &Supervisor,
    [terminate, interrupt, hangup]: [&mut Signal; 3],
) -> Result<(), Died> {
    let telling = supervisor.keep_telling(node);
    tokio::pin!(telling);
    // Beside the telling: a reload that waits, for a name server or a disk, is no node that hangs.
    let mut reloading: Work<'_> = None;
    let mut draining: Work<'_> = None;
    let mut signals = 0;
    loop {
        let is_reloading = reloading.is_some();
        tokio::select! {
            ended = node.ended() => {
                supervisor.stopping("Ended");
                return ended;
            }
            never = &mut telling => match never {},
            () = done(&mut reloading) => {
                reloading = None;
                // It has said that it is ending, and there is no way back from there.
                if signals == 0 {
                    supervisor.reloaded();
                }
                continue;
            }
            () = done(&mut draining) => {
                draining = None;
                if signals == 1 {
                    supervisor.stopping("Draining");
                }
                continue;
            }
            // One that comes meanwhile is for what was written meanwhile: another, after this one.
            _ = hangup.recv(), if !is_reloading => {
                if signals > 0 {
                    tracing::warn!("the configuration is not reloaded: the node is ending");
                } else {
                    supervisor.reloading();
                    reloading = Some(Box::pin(reload(node)));
                }
                continue;
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signals += 1;
        if signals == 1 {
            tracing::info!("draining for up to {DRAIN:?}: no new calls; a second signal ends it at once");
            node.drain(DRAIN);
            // Whoever watches is told when it holds: nothing new is taken from then on.
            draining = Some(Box::pin(async {
                let _ = node.handle().command(&Subject::Admin, Command::Drain).await;
            }));
        } else {
            supervisor.stopping("Hanging up");
            tracing::info!("hanging up");
            node.stop();
        }
    }
}

/// Reads the configuration anew. What comes of it is in the log.
async fn reload(node: &Node) {
    let asked = node.handle().command(&Subject::Admin, Command::Reload { dry_run: false });
    if let Err(error) = asked.await {
        tracing::warn!(%error, "the configuration is not reloaded");
    }
}

/// Runs the demonstration on a node of its own.
///
/// # Errors
/// The node or a phone does not start.
pub fn demonstrate(options: demo::Options) -> anyhow::Result<ExitCode> {
    /// A node has threads and a runtime of its own, which are not to be waited for where tasks run.
    struct Aside(Option<Node>);
    impl Drop for Aside {
        fn drop(&mut self) {
            tokio::task::block_in_place(|| drop(self.0.take()));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(demo::run(options, |resolved| {
        let node = tokio::task::block_in_place(|| start(resolved))?;
        Ok(Aside(Some(node)))
    }))
}

fn start(resolved: Resolved) -> anyhow::Result<Node> {
    Node::start(resolved).map_err(in_words)
}

/// The words of a [`StartError`] hold its cause already: without the chain, which would say it twice.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn in_words(error: StartError) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}
