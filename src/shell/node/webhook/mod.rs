//! Webhooks: events for those who do not listen but are called, signed as Standard Webhooks says
//! (standardwebhooks.com), at least once and in order.
//!
//! ```text
//! worker ─► Tap ─► Keeper (a thread, webhooks.db) ─► Courier (a task for each webhook) ─► receiver
//! ```
//!
//! The worker puts an event into a queue and goes on, whatever disk and receivers do. An event is on disk before it is
//! sent, and is forgotten when it was taken: a node that dies sends it again, with the same `webhook-id`.

mod courier;
mod keeper;
mod line;
mod outbox;
mod signature;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use tokio::runtime::Handle;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use self::courier::Courier;
use self::keeper::{Keeper, Mail, UNWRITTEN};
use self::line::Line;
use self::outbox::Outbox;
use self::signature::Signer;
use super::failure::StartError;
use super::tls;
use crate::base::Random;
use crate::config::Webhook;
use crate::engine::event::Envelope;
use crate::shell::telemetry::{Metrics, WebhookCounters};

/// The webhooks of a node. Closed, what happened is on disk.
pub(super) struct Webhooks {
    mail: Sender<Mail>,
    hooks: Arc<[(Webhook, Arc<WebhookCounters>)]>,
    keeper: Option<JoinHandle<()>>,
}

/// Where events come in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tap {
    mail: Sender<Mail>,
    hooks: Arc<[(Webhook, Arc<WebhookCounters>)]>,
}

impl Webhooks {
    /// Starts the thread, and delivery on `services`; nothing at all where there are no webhooks.
    ///
    /// # Errors
    /// The outbox cannot be opened, or a certificate authority cannot be read.
    pub(super) fn start(
        settings: &[Webhook],
        data_dir: &Path,
        services: &Handle,
        metrics: &Metrics,
        random: &mut Random,
    ) -> Result<Option<Self>, StartError> {
        if settings.is_empty() {
            return Ok(None);
        }
        let path = data_dir.join(outbox::FILE);
        let failed =
            |error: rusqlite::Error| StartError::Outbox { path: path.clone(), error: error.to_string() };
        let outbox = Outbox::open(&path).map_err(failed)?;
        let names: Vec<&str> = settings.iter().map(|webhook| &*webhook.name).collect();
        let forgotten = outbox.keep_only(&names).map_err(failed)?;
        if forgotten > 0 {
            tracing::warn!(forgotten, "events waited for webhooks that are not configured any more");
        }
        let with_counters = |webhook: &Webhook| (webhook.clone(), metrics.webhook(&webhook.name));
        let hooks: Arc<[_]> = settings.iter().map(with_counters).collect();
        let keeper = Keeper::new(outbox, hooks.to_vec()).map_err(failed)?;
        let (mail, inbox) = crossbeam_channel::unbounded();
        for (place, (settings, counters)) in hooks.iter().enumerate() {
            let courier = Courier {
                place,
                settings: settings.clone(),
                line: Line::new(settings.url.clone(), proof(settings)?),
                signer: Signer::new(&settings.key_bytes()),
                keeper: mail.clone(),
                counters: Arc::clone(counters),
                random: Random::from_seed(random.bytes()),
                failures: 0,
                is_giving_up: false,
            };
            services.spawn(courier.run());
        }
        let keeper = std::thread::Builder::new().name("webhooks".into()).spawn(move || keeper.run(&inbox));
        let keeper = keeper.map_err(super::failure::system("threads"))?;
        Ok(Some(Self { mail, hooks, keeper: Some(keeper) }))
    }

    /// Where events come in.
    pub(super) fn tap(&self) -> Tap {
        Tap { mail: self.mail.clone(), hooks: Arc::clone(&self.hooks) }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        // It is gone already where this fails.
        let _ = self.mail.send(Mail::Close);
        if self.keeper.take().is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("the thread of webhooks ended in a panic");
        }
    }
}

impl Tap {
    /// Takes an event; never waits.
    pub(super) fn offer(&self, envelope: &Arc<Envelope>) {
        if self.mail.len() < UNWRITTEN {
            // After the end nobody is told.
            let _ = self.mail.send(Mail::Event(Arc::clone(envelope)));
            return;
        }
        let kind = envelope.event.kind();
        for (_, counters) in self.hooks.iter().filter(|(webhook, _)| webhook.wants(&kind)) {
            counters.dropped(1);
        }
    }
}

/// What the receiver has to prove; `None` for plain HTTP.
fn proof(webhook: &Webhook) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, StartError> {
    if !webhook.url.is_tls {
        return Ok(None);
    }
    let failed = |error: String| StartError::Webhook { name: webhook.name.clone(), error };
    let name =
        ServerName::try_from(webhook.url.host.to_string()).map_err(|error| failed(error.to_string()))?;
    let config = tls::client_config(webhook.ca.as_deref()).map_err(|error| failed(error.to_string()))?;
    Ok(Some((Arc::new(config), name)))
}
