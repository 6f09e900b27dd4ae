//! PEM files become the configuration of a TLS server.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::TlsError;
use super::certificate::Certificate;
use crate::config;

/// Largest PEM file: a chain of ten certificates has some 20 KB, all authorities of a system have 220 KB.
const MAX_FILE: u64 = 1 << 20;

/// A certificate with its key, and what it says of itself.
#[derive(Debug)]
pub(super) struct Identity {
    /// Where the certificate is from.
    pub(super) path: PathBuf,
    key: Arc<CertifiedKey>,
    certificate: Certificate,
}

impl Identity {
    /// Seconds since 1970.
    pub(super) const fn not_after(&self) -> i64 {
        self.certificate.not_after
    }

    /// The names that it is for.
    pub(super) fn names_of(&self) -> &[String] {
        &self.certificate.names
    }

    /// For a log line.
    pub(super) fn names(&self) -> String {
        self.certificate.names.join(", ")
    }
}

/// Chooses by the name that the client asks for; the first for who asks for none of ours.
#[derive(Debug)]
struct ByName(Vec<Arc<Identity>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let named = asked.and_then(|name| self.0.iter().find(|identity| identity.certificate.is_for(name)));
        named.or(self.0.first()).map(|identity| Arc::clone(&identity.key))
    }
}

/// Everything that the files say.
///
/// # Errors
/// The file that is at fault.
pub(super) fn read(files: &config::Tls) -> Result<(ServerConfig, Vec<Arc<Identity>>), TlsError> {
    let provider = Arc::new(ring::default_provider());
    let identities =
        files.identities.iter().map(|files| identity(files, &provider)).collect::<Result<Vec<_>, _>>()?;
    let first = files.identities.first().map(|first| first.cert.clone()).unwrap_or_default();
    let failed = |error: &dyn std::fmt::Display| TlsError { path: first.clone(), why: error.to_string() };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let verifier =
                verifier.map_err(|error| TlsError { path: path.clone(), why: error.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok((builder.with_cert_resolver(Arc::new(ByName(identities.clone()))), identities))
}

fn identity(files: &config::TlsFiles, provider: &CryptoProvider) -> Result<Arc<Identity>, TlsError> {
    let chain = certificates(&files.cert)?;
    let failed = |path: &Path, why: String| TlsError { path: path.to_owned(), why };
    let first = chain.first().ok_or_else(|| failed(&files.cert, "holds no certificate".into()))?;
    let certificate = Certificate::read(first)
        .ok_or_else(|| failed(&files.cert, "the certificate cannot be read".into()))?;
    let key = PrivateKeyDer::from_pem_slice(&contents(&files.key)?)
        .map_err(|error| failed(&files.key, format!("holds no private key: {error}")))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        failed(&files.key, format!("is not the key of {}: {error}", files.cert.display()))
    })?;
    Ok(Arc::new(Identity { path: files.cert.clone(), key: Arc::new(key), certificate }))
}

/// The authorities in a PEM file.
///
/// # Errors
/// It cannot be read, or holds none.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(TlsError { path: path.to_owned(), why: "holds no certificate".into() });
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(&contents(path)?).collect::<Result<_, _>>();
    all.map_err(|error| TlsError { path: path.to_owned(), why: error.to_string() })
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |why: String| TlsError { path: path.to_owned(), why };
    let length = fs::metadata(path).map_err(|error| failed(format!("cannot be read: {error}")))?.len();
    if length > MAX_FILE {
        return Err(failed("is too long for PEM".into()));
    }
    fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))
}

/// How the files look from outside: another one is a change. Links are followed, so that what is changed by turning
/// a link is seen; the time of the last change of whatever kind is looked at, too: rights, owners, old times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stamp(Vec<Option<Looks>>);

/// One file: which it is, its size, and when it was written and changed last, in seconds and nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Looks {
    inode: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(files: &config::Tls) -> Self {
        let own = files.identities.iter().flat_map(|files| [&files.cert, &files.key]);
        let stamp = |meta: Metadata| Looks {
            inode: meta.ino(),
            size: meta.size(),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        Self(own.chain(&files.client_ca).map(|path| fs::metadata(path).ok().map(stamp)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Written {
        _dir: tempfile::TempDir,
        files: config::TlsFiles,
    }

    fn written(names: &[&str]) -> Written {
        let dir = tempfile::tempdir().unwrap();
        let files = config::TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let made = made.unwrap();
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        Written { _dir: dir, files }
    }

    fn fault(files: config::TlsFiles) -> String {
        read(&config::Tls { identities: vec![files], client_ca: None }).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_file_at_fault_is_named() {
        let (one, two) = (written(&["a.example"]), written(&["b.example"]));
        let mixed = config::TlsFiles { cert: one.files.cert.clone(), key: two.files.key.clone() };
        let error = fault(mixed);
        assert!(error.contains("key.pem: is not the key of ") && error.contains("cert.pem"), "{error}");
        let error = fault(config::TlsFiles { cert: "/nowhere/cert.pem".into(), key: one.files.key.clone() });
        assert!(error.starts_with("/nowhere/cert.pem: cannot be read: "), "{error}");
        fs::write(&one.files.key, "-----BEGIN NOTHING-----\n-----END NOTHING-----\n").unwrap();
        assert!(fault(one.files.clone()).contains("holds no private key"));
        fs::write(&one.files.cert, "").unwrap();
        assert!(fault(one.files.clone()).contains("holds no certificate"));
    }

    #[test]
    fn another_file_is_another_stamp() {
        let one = written(&["a.example"]);
        let tls = config::Tls { identities: vec![one.files.clone()], client_ca: None };
        let before = Stamp::of(&tls);
        assert_eq!(before, Stamp::of(&tls));
        fs::set_permissions(&one.files.key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert_ne!(before, Stamp::of(&tls), "who may read it is another");
        let before = Stamp::of(&tls);
        fs::remove_file(&one.files.key).unwrap();
        assert_ne!(before, Stamp::of(&tls));
    }
}
