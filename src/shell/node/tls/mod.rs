//! TLS: our certificates by name, changed on disk without a connection lost; what those whom we call have to prove.
//!
//! A connection keeps the certificate that it was made with; what is on disk is for those that come after.

mod certificate;
mod client;
mod files;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

pub(super) use self::client::{Demands, Proof, Proofs, client_config};
use self::files::{Identity, Stamp};
use crate::base::UnixMillis;
use crate::config;

/// The files are looked at this often; a change is taken up when they are the same twice in a row, since a
/// certificate and its key are not written in one moment. So a change is live within 3 s.
const LOOK: Duration = Duration::from_secs(1);
/// A certificate with less than this left is told of: renewal is usually 30 days ahead, and has failed by then.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// It is told of this often.
const REMIND: Duration = Duration::from_secs(86_400);

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub(super) struct TlsError {
    pub(super) path: std::path::PathBuf,
    pub(super) why: String,
}

/// The certificates of one listener.
pub(super) struct ServerTls {
    files: config::Tls,
    /// How the files looked before they were read first.
    stamp: Stamp,
    current: RwLock<Loaded>,
}

#[derive(Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    identities: Arc<[Arc<Identity>]>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// The file that is at fault.
    pub(super) fn load(files: &config::Tls) -> Result<Self, TlsError> {
        // What changes while it is read is a change.
        let stamp = Stamp::of(files);
        Ok(Self { files: files.clone(), stamp, current: RwLock::new(read(files)?) })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    /// Takes up what changes on disk, and reminds of certificates that lapse. Ends with the runtime.
    pub(super) async fn keep_current(self: Arc<Self>) {
        let mut seconds = tokio::time::interval(LOOK);
        let mut used = self.stamp.clone();
        let mut seen = used.clone();
        let mut reminded: Option<tokio::time::Instant> = None;
        loop {
            seconds.tick().await;
            let now = Stamp::of(&self.files);
            let is_stable = now == seen;
            seen = now;
            if is_stable && seen != used {
                used = seen.clone();
                // A handful of small files that were just written: nobody waits for a disk.
                if self.reload() {
                    reminded = None;
                }
            }
            if reminded.is_none_or(|at| at.elapsed() >= REMIND) {
                reminded = Some(tokio::time::Instant::now());
                self.remind();
            }
        }
    }

    fn reload(&self) -> bool {
        match read(&self.files) {
            Ok(loaded) => {
                for identity in loaded.identities.iter() {
                    tracing::info!(
                        file = %identity.path.display(),
                        names = identity.names(),
                        until = %date(identity.not_after()),
                        "a certificate was exchanged"
                    );
                }
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                true
            }
            Err(error) => {
                tracing::error!(
                    file = %error.path.display(),
                    why = error.why,
                    "a changed certificate is of no use: the former one stays"
                );
                false
            }
        }
    }

    fn remind(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        for identity in self.current().identities.iter() {
            let (file, names, until) = (identity.path.display(), identity.names(), identity.not_after());
            let left = until.saturating_sub(now);
            if left < 0 {
                tracing::error!(%file, names, "the certificate of {names} lapsed on {}", date(until));
            } else if left < i64::try_from(SOON.as_secs()).unwrap_or(i64::MAX) {
                tracing::warn!(%file, names, "the certificate of {names} lapses on {}", date(until));
            }
        }
    }

    fn current(&self) -> Loaded {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(files: &config::Tls) -> Result<Loaded, TlsError> {
    let (config, identities) = files::read(files)?;
    Ok(Loaded { config: Arc::new(config), identities: identities.into() })
}

fn date(seconds: i64) -> UnixMillis {
    UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_changes_before_anybody_looks_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let files = config::TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let write = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            for (path, text) in
                [(&files.cert, made.cert.pem()), (&files.key, made.signing_key.serialize_pem())]
            {
                let fresh = path.with_extension("new");
                std::fs::write(&fresh, text).unwrap();
                std::fs::rename(fresh, path).unwrap();
            }
        };
        write("one.test");
        let tls = config::Tls { identities: vec![files.clone()], client_ca: None };
        let tls = Arc::new(ServerTls::load(&tls).unwrap());
        write("two.test");
        let names = || tls.current().identities.first().unwrap().names();
        assert_eq!(names(), "one.test");
        let keeping = tokio::spawn(Arc::clone(&tls).keep_current());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(names(), "two.test");
        keeping.abort();
    }
}
