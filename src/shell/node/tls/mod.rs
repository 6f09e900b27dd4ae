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

#[cfg(test)]
pub(super) use self::client::FORMER;
pub(super) use self::client::{Demands, Proof, Proofs, client_config};
use self::files::{Identity, Stamp};
use crate::base::UnixMillis;
use crate::config;

/// The files are looked at this often; a change is taken up when they are the same twice in a row, since a
/// certificate and its key are not written in one moment. So a change is live within 3 s. While what is there is of no use it
/// is read each time, whatever it looks like: what was wrong may be a right, a link, or a file system.
const LOOK: Duration = Duration::from_secs(1);
/// A certificate with less than this left is told of: renewal is usually 30 days ahead, and has failed by then.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// It is told of this often.
const REMIND: Duration = Duration::from_secs(86_400);
/// Faults of files between two exchanges that are told, each once.
const MAX_FAULTS: usize = 16;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub(super) struct TlsError {
    pub(super) path: std::path::PathBuf,
    pub(super) why: String,
}

/// Whether a certificate for `names` is for `host`.
pub(super) fn is_for(names: &[String], host: &str) -> bool {
    certificate::is_for(names, host)
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

    /// The names of its first certificate, and the second since 1970 at which that lapses.
    pub(super) fn told(&self) -> (Vec<String>, i64) {
        let current = self.current();
        let first = current.identities.first();
        first.map_or_else(Default::default, |first| (first.names_of().to_vec(), first.not_after()))
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
        let mut faults: Vec<String> = Vec::new();
        loop {
            seconds.tick().await;
            let now = Stamp::of(&self.files);
            let is_stable = now == seen;
            seen = now;
            if is_stable && (seen != used || !faults.is_empty()) {
                used = seen.clone();
                // A handful of small files that were just written: nobody waits for a disk.
                match read(&self.files) {
                    Ok(loaded) => {
                        self.exchange(loaded);
                        (reminded, faults) = (None, Vec::new());
                    }
                    Err(error) => self.note_fault(&error, &mut faults),
                }
            }
            if reminded.is_none_or(|at| at.elapsed() >= REMIND) {
                reminded = Some(tokio::time::Instant::now());
                self.remind();
            }
        }
    }

    fn exchange(&self, loaded: Loaded) {
        for identity in loaded.identities.iter() {
            tracing::info!(
                file = %identity.path.display(),
                names = identity.names(),
                until = %date(identity.not_after()),
                "a certificate was exchanged"
            );
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    /// Tells of a fault that was not told since the last exchange.
    fn note_fault(&self, error: &TlsError, told: &mut Vec<String>) {
        let fault = error.to_string();
        if told.contains(&fault) || told.len() >= MAX_FAULTS {
            return;
        }
        told.push(fault);
        let kept = self.current();
        let shown =
            |identity: &Arc<Identity>| format!("{} (until {})", identity.names(), date(identity.not_after()));
        let kept: Vec<String> = kept.identities.iter().map(shown).collect();
        tracing::error!(
            file = %error.path.display(),
            why = error.why,
            kept = kept.join("; "),
            "a changed certificate is of no use: the former one stays, and the files are read again until they are right"
        );
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

    #[tokio::test(start_paused = true)]
    async fn what_was_of_no_use_is_tried_again_whatever_the_files_look_like() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one.test", "two.test"].map(|name| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        });
        let files = config::TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        std::fs::write(&files.cert, &one.0).unwrap();
        std::fs::write(&files.key, &one.1).unwrap();
        let tls = config::Tls { identities: vec![files.clone()], client_ca: None };
        let tls = Arc::new(ServerTls::load(&tls).unwrap());
        let names = || tls.current().identities.first().unwrap().names();
        let keeping = tokio::spawn(Arc::clone(&tls).keep_current());
        let pass = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        // Half of it, and long after that the key is another's still.
        std::fs::write(&files.cert, two.0.split_at(two.0.len() / 2).0).unwrap();
        pass(10).await;
        std::fs::write(&files.cert, &two.0).unwrap();
        pass(60).await;
        assert_eq!(names(), "one.test");
        // The right key comes with the looks of the wrong one.
        let is_like = std::fs::metadata(&files.key).unwrap();
        let key = std::fs::OpenOptions::new().write(true).open(&files.key).unwrap();
        assert_eq!(one.1.len(), two.1.len());
        std::os::unix::fs::FileExt::write_all_at(&key, two.1.as_bytes(), 0).unwrap();
        key.set_modified(is_like.modified().unwrap()).unwrap();
        pass(5).await;
        assert_eq!(names(), "two.test");
        keeping.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_told_once_and_again_after_an_exchange() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["one.test".to_owned()]).unwrap();
        let files = config::TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        let tls = ServerTls::load(&config::Tls { identities: vec![files], client_ca: None }).unwrap();
        let fault = |why: &str| TlsError { path: "cert.pem".into(), why: why.into() };
        let mut told = Vec::new();
        for why in ["is empty", "is another's", "is empty", "is another's"] {
            tls.note_fault(&fault(why), &mut told);
        }
        assert_eq!(told, ["cert.pem: is empty", "cert.pem: is another's"]);
        (0..100).for_each(|n| tls.note_fault(&fault(&n.to_string()), &mut told));
        assert_eq!(told.len(), MAX_FAULTS);
    }
}
