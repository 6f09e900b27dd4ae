//! A running node: listeners, the signalling worker, media threads, the store, the API, and how they are joined.

mod backlog;
mod bounds;
mod census;
mod conduit;
mod contact_key;
mod failure;
mod hep;
pub(in crate::shell) mod inspect;
mod listen;
mod load;
mod outward;
mod program;
mod records;
mod reload;
mod resolve;
mod settings;
mod start;
mod stream;
mod supervisor;
mod sys;
#[cfg(test)]
mod tests;
mod tls;
mod trunks;
mod webhook;
mod worker;
mod zone;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use self::failure::StartError;
pub use self::program::{demonstrate, serve};
pub use self::reload::Reread;
use self::sys::Waker;
use self::worker::{Mail, Stop};
use crate::engine::Input;
use crate::media::relay::MediaEvent;
use crate::shell::control::NodeHandle;
use crate::shell::media::MediaThreads;
use crate::shell::store::Pulse;
use crate::sip::Transport;

/// What waits for the worker above which digits are dropped. They are the one thing that strangers can make as many
/// of as they like; all else is asked for, or comes once in a while.
const MUCH_MAIL: usize = 16_384;
/// Puts mail into the worker's box and wakes it.
#[derive(Clone)]
pub(crate) struct Post {
    mail: crossbeam_channel::Sender<Mail>,
    waker: Arc<Waker>,
}

impl Post {
    fn send(&self, input: Input) {
        self.put(Mail::Input(input));
    }

    fn media(&self, event: MediaEvent) {
        if !matches!(event, MediaEvent::Dtmf { .. }) || self.mail.len() < MUCH_MAIL {
            self.send(Input::Media(event));
        }
    }

    fn put(&self, mail: Mail) {
        // The box closes with the worker; what comes later concerns nobody.
        if self.mail.send(mail).is_ok() {
            self.waker.wake();
        }
    }
}

/// How far the worker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Running,
    Ended,
    Failed,
}

/// The signalling worker ended without being told to.
#[derive(Debug, thiserror::Error)]
#[error("the signalling worker died; the log tells of what")]
pub struct Died;

/// A node that runs. Dropped, it hangs up and ends.
pub struct Node {
    addresses: Vec<(Transport, SocketAddr)>,
    http: SocketAddr,
    page_scheme: &'static str,
    post: Post,
    worker: Option<JoinHandle<()>>,
    progress: watch::Receiver<Progress>,
    closing: Arc<watch::Sender<bool>>,
    services: Option<tokio::runtime::Runtime>,
    media: Arc<MediaThreads>,
    handle: NodeHandle,
    store: Pulse,
}

impl Node {
    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.addresses
    }

    /// Where its API is.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Takes no new calls and waits for those that are there; at most this long, then they are hung up.
    pub fn drain(&self, patience: Duration) {
        self.post.put(Mail::Stop(Stop::Drain(patience)));
    }

    /// Commands to it, as API and command line give them.
    #[must_use]
    pub const fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Whether the thread of the store turns.
    const fn store_pulse(&self) -> &Pulse {
        &self.store
    }

    /// Hangs up and ends.
    pub fn stop(&self) {
        self.post.put(Mail::Stop(Stop::Now));
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`Died`] where it ended without being told to.
    pub async fn ended(&self) -> Result<(), Died> {
        let mut progress = self.progress.clone();
        let ended = progress.wait_for(|progress| *progress != Progress::Running).await;
        // Whoever would tell it is gone: a panic.
        ended.is_ok_and(|progress| *progress == Progress::Ended).then_some(()).ok_or(Died)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
        if self.worker.take().is_some_and(|worker| worker.join().is_err()) {
            tracing::error!("the signalling worker ended in a panic");
        }
        // The worker has done so at its end, unless it died.
        self.closing.send_replace(true);
        if let Some(services) = self.services.take() {
            services.shutdown_timeout(Duration::from_secs(1));
        }
    }
}
