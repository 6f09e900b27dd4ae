//! TLS toward those whom we call: whose name a certificate must be for, and who may have signed it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{TlsError, files};

/// What a peer has to prove (RFC 5922 7.2).
#[derive(Clone)]
pub(in crate::shell::node) struct Proof {
    /// Its name as configured: what DNS made of it proves nothing.
    pub(in crate::shell::node) name: ServerName<'static>,
    /// Whose word counts.
    pub(in crate::shell::node) config: Arc<ClientConfig>,
}

impl Proof {
    /// For `host`, a name or an address; the authorities of `ca`, or those of the system.
    ///
    /// # Errors
    /// The file that is at fault; a host that is no name.
    pub(in crate::shell::node) fn of(host: &str, ca: Option<&Path>) -> Result<Self, TlsError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| TlsError { path: host.into(), why: error.to_string() })?;
        let roots = ca.map_or_else(system_roots, files::roots)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError { path: host.into(), why: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { name, config: Arc::new(config) })
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        return Err(TlsError { path: "the system's certificate authorities".into(), why });
    }
    Ok(roots)
}

/// Whom we call, by trunk. Who is not in it is not called over TLS: there is nothing that could be proved.
#[derive(Default)]
pub(in crate::shell::node) struct Proofs(RwLock<BTreeMap<usize, (Vec<SocketAddr>, Proof)>>);

impl Proofs {
    /// The peers of a trunk, which are these from now on, have to prove this.
    pub(in crate::shell::node) fn demand(&self, trunk: usize, addresses: Vec<SocketAddr>, proof: Proof) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(trunk, (addresses, proof));
    }

    /// What the peer at `address` has to prove.
    pub(in crate::shell::node) fn of(&self, address: SocketAddr) -> Option<Proof> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.values().find(|(addresses, _)| addresses.contains(&address));
        found.map(|(_, proof)| proof.clone())
    }
}
