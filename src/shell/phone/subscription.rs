//! A subscription (RFC 6665) and what its NOTIFYs said.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::dialog::Dialog;
use super::dialog_info::DialogInfo;
use super::error::{PhoneError, Result};
use super::line::Line;
use super::message::Message;

/// One NOTIFY.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Arrival.
    pub at: Instant,
    /// Subscription-State.
    pub state: String,
    /// The body.
    pub body: String,
    /// The number of its CSeq.
    pub cseq: u32,
}

impl Notification {
    /// The body as dialog-info (RFC 4235).
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn dialog_info(&self) -> Result<DialogInfo, String> {
        DialogInfo::parse(&self.body)
    }
}

/// A standing subscription; dropped, its NOTIFYs get 481.
pub struct Subscription {
    line: Arc<Line>,
    dialog: Mutex<Dialog>,
    event: String,
    notifications: Arc<Notifications>,
    task: AbortHandle,
}

#[derive(Default)]
struct Notifications {
    list: Mutex<Vec<Notification>>,
    count: watch::Sender<usize>,
}

impl Subscription {
    pub(super) async fn start(line: &Arc<Line>, target: &str, event: &str, expires: u32) -> Result<Self> {
        let uri = line.uri(target);
        let mut request =
            line.request("SUBSCRIBE", &uri, &uri).with("Event", event).with("Expires", expires.to_string());
        if event == "dialog" {
            request = request.with("Accept", "application/dialog-info+xml");
        }
        // A NOTIFY may overtake the answer (RFC 6665 4.1.2.4).
        let key = (request.call_id().to_owned(), request.from_tag().unwrap_or_default().to_owned());
        let requests = line.endpoint.claim(key.clone());
        let notifications = Arc::new(Notifications::default());
        let task = tokio::spawn(serve(Arc::clone(line), requests, Arc::clone(&notifications))).abort_handle();
        let mut cseq = 1;
        let next = || {
            cseq += 1;
            cseq
        };
        let sent = request.clone();
        let outcome = line.transact(request, line.endpoint.server(), next).await;
        let outcome = outcome.and_then(|response| line.accepted(response, &format!("SUBSCRIBE to {target}")));
        let response = outcome.inspect_err(|_| {
            task.abort();
            line.endpoint.release(&key);
        })?;
        let mut dialog = Dialog::of_client(&sent, &response);
        dialog.cseq = response.cseq().unwrap_or(1);
        Ok(Self {
            line: Arc::clone(line),
            dialog: dialog.into(),
            event: event.to_owned(),
            notifications,
            task,
        })
    }

    /// Subscribes anew; 0 ends it.
    ///
    /// # Errors
    /// [`PhoneError::Refused`].
    pub async fn refresh(&self, expires: u32) -> Result<Message> {
        let (request, to) = {
            let mut dialog = self.dialog();
            (dialog.request("SUBSCRIBE"), dialog.next_hop(&self.line.endpoint))
        };
        let request = request.with("Event", self.event.as_str()).with("Expires", expires.to_string());
        let next = || {
            let mut dialog = self.dialog();
            dialog.cseq += 1;
            dialog.cseq
        };
        let response = self.line.transact(request, to, next).await?;
        self.line.accepted(response, "SUBSCRIBE")
    }

    /// How many NOTIFYs have come: a place to wait from.
    #[must_use]
    pub fn mark(&self) -> usize {
        *self.notifications.count.borrow()
    }

    /// The NOTIFYs since `mark`.
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<Notification> {
        self.notifications.list().get(mark..).unwrap_or_default().to_vec()
    }

    /// Waits for a NOTIFY at or after `mark` for which `pick` has an answer.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`] with the last body that came instead.
    pub async fn wait<T>(
        &self,
        mark: usize,
        what: &str,
        patience: Duration,
        mut pick: impl FnMut(&Notification) -> Option<T>,
    ) -> Result<T> {
        let mut count = self.notifications.count.subscribe();
        let search = async {
            loop {
                count.borrow_and_update();
                if let Some(found) = self.since(mark).iter().find_map(&mut pick) {
                    return Some(found);
                }
                count.changed().await.ok()?;
            }
        };
        let found = tokio::time::timeout(patience, search).await.ok().flatten();
        found.ok_or_else(|| {
            let last = self.since(mark).last().map_or_else(|| "nothing".to_owned(), |last| last.body.clone());
            PhoneError::Timeout {
                phone: self.line.endpoint.phone.clone(),
                what: format!("a NOTIFY with {what} (last came {last})"),
                after: patience,
            }
        })
    }

    /// Waits for a dialog-info document that satisfies `pick`.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn dialogs<T>(
        &self,
        mark: usize,
        what: &str,
        patience: Duration,
        mut pick: impl FnMut(&DialogInfo) -> Option<T>,
    ) -> Result<T> {
        self.wait(mark, what, patience, |notification| pick(&notification.dialog_info().ok()?)).await
    }

    fn dialog(&self) -> MutexGuard<'_, Dialog> {
        self.dialog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
        let key = self.dialog().key();
        self.line.endpoint.release(&key);
    }
}

impl Notifications {
    fn list(&self) -> MutexGuard<'_, Vec<Notification>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(line: Arc<Line>, mut requests: UnboundedReceiver<Message>, notifications: Arc<Notifications>) {
    while let Some(request) = requests.recv().await {
        let status = if request.method() == "NOTIFY" { 200 } else { 405 };
        let _ = line.endpoint.respond(&request, Message::reply(&request, status)).await;
        if status == 200 {
            let notification = Notification {
                at: Instant::now(),
                state: request.header("Subscription-State").unwrap_or_default().to_owned(),
                body: request.body_text(),
                cseq: request.cseq().unwrap_or_default(),
            };
            let mut list = notifications.list();
            list.push(notification);
            notifications.count.send_replace(list.len());
        }
    }
}
