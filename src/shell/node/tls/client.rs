//! TLS toward those whom we call: whose name a certificate must be for, and who may have signed it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{TlsError, files};

/// Addresses of one trunk that are remembered: a call may last longer than what DNS says of its target.
const MAX_ADDRESSES: usize = 64;
/// An address at which a trunk was is remembered for so long: as long as any call lasts, and as it takes until an address
/// is given to somebody else.
pub(in crate::shell::node) const FORMER: Duration = Duration::from_secs(86_400);

/// What a trunk has to prove (RFC 5922 7.2).
#[derive(Clone, Debug)]
pub(in crate::shell::node) struct Proof {
    /// Its name as configured: what DNS made of it proves nothing.
    name: ServerName<'static>,
    /// Whose word counts.
    verifier: Arc<WebPkiServerVerifier>,
}

impl Proof {
    /// For `host`, a name or an address; the authorities of `ca`, or those of the system.
    ///
    /// # Errors
    /// The file that is at fault; a host that is no name.
    pub(in crate::shell::node) fn of(host: &str, ca: Option<&Path>) -> Result<Self, TlsError> {
        let failed = |why: String| TlsError { path: host.into(), why };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let roots = Arc::new(ca.map_or_else(system_roots, files::roots)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()));
        let verifier = verifier.build().map_err(|error| failed(error.to_string()))?;
        Ok(Self { name, verifier })
    }
}

/// All that a peer has to prove: of each trunk that is at its address, for a connection is shared by them.
#[derive(Clone, Debug, Default)]
pub(in crate::shell::node) struct Demands(Vec<(usize, Proof)>);

impl Demands {
    /// The name that the peer is asked for; none where nothing could be proved.
    pub(in crate::shell::node) fn name(&self) -> Option<ServerName<'static>> {
        self.0.first().map(|(_, proof)| proof.name.clone())
    }

    /// Whether whoever has met these has met `others`.
    pub(in crate::shell::node) fn cover(&self, others: &Self) -> bool {
        others.0.iter().all(|(trunk, _)| self.0.iter().any(|(own, _)| own == trunk))
    }

    /// For a connection on which they are met, or that does not come to be.
    ///
    /// # Errors
    /// Never with the versions of TLS that there are.
    pub(in crate::shell::node) fn config(&self) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let verifier = Arc::new(Strict(self.clone()));
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

/// Takes a certificate that is right for each trunk of the address, by rustls' own judgement.
#[derive(Debug)]
struct Strict(Demands);

impl Strict {
    fn any(&self) -> Result<&WebPkiServerVerifier, Error> {
        let first = self.0.0.first().map(|(_, proof)| &*proof.verifier);
        first.ok_or_else(|| Error::General("nothing could be proved".into()))
    }
}

impl ServerCertVerifier for Strict {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.any()?;
        for (_, proof) in &self.0.0 {
            proof.verifier.verify_server_cert(certificate, chain, &proof.name, ocsp, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any()?.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any()?.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any().map(ServerCertVerifier::supported_verify_schemes).unwrap_or_default()
    }
}

/// For a peer that is asked for by the name it has to prove, by the authorities of `ca`, or those of the system. Speaks
/// HTTP/1.1.
///
/// # Errors
/// The file that is at fault.
pub(in crate::shell::node) fn client_config(ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let roots = ca.map_or_else(system_roots, files::roots)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError { path: "TLS".into(), why: error.to_string() })?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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
pub(in crate::shell::node) struct Proofs(RwLock<BTreeMap<usize, Located>>);

/// Where one trunk is, and was.
struct Located {
    now: Vec<SocketAddr>,
    /// With the moment at which it was there last, the latest first.
    former: Vec<(SocketAddr, Instant)>,
    proof: Proof,
}

impl Located {
    fn was_at(&self, address: SocketAddr, now: Instant) -> bool {
        let is_recent = |left: Instant| now.saturating_duration_since(left) < FORMER;
        self.former.iter().any(|(former, left)| *former == address && is_recent(*left))
    }
}

impl Proofs {
    /// The peers of a trunk have to prove this, from `now` on. Those of before do as well for [`FORMER`]: a dialog ends where
    /// it was begun, and a name that stands for many addresses tells of some at a time.
    pub(in crate::shell::node) fn demand(
        &self,
        trunk: usize,
        addresses: Vec<SocketAddr>,
        proof: Proof,
        now: Instant,
    ) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let located = all.entry(trunk).or_insert_with(|| {
            let (now, former) = (Vec::new(), Vec::new());
            Located { now, former, proof: proof.clone() }
        });
        located.proof = proof;
        let left = std::mem::replace(&mut located.now, addresses);
        located.former.splice(..0, left.into_iter().map(|address| (address, now)));
        let is_here = |address: &SocketAddr| located.now.contains(address);
        located
            .former
            .retain(|(address, left)| !is_here(address) && now.saturating_duration_since(*left) < FORMER);
        located.former.truncate(MAX_ADDRESSES.saturating_sub(located.now.len()));
    }

    /// These have to prove nothing any more: nobody calls them.
    pub(in crate::shell::node) fn forget(&self, trunks: Range<usize>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|trunk, _| !trunks.contains(trunk));
    }

    /// What the peer at `address` has to prove: the names of the trunks that are there; where there is none, of those that
    /// were. (Who has left an address says nothing of who has come there since.)
    pub(in crate::shell::node) fn of(&self, address: SocketAddr, now: Instant) -> Demands {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let proof = |(trunk, located): (&usize, &Located)| (*trunk, located.proof.clone());
        let here: Vec<_> =
            all.iter().filter(|(_, located)| located.now.contains(&address)).map(proof).collect();
        if !here.is_empty() {
            return Demands(here);
        }
        Demands(all.iter().filter(|(_, located)| located.was_at(address, now)).map(proof).collect())
    }
}
