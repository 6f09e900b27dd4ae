//! Trunks at the start: what they have to prove, where they are, and who keeps looking.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Post;
use super::failure::StartError;
use super::resolve::{Wanted, keep_located, resolver};
use super::tls::{Proof, Proofs};
use crate::base::Random;
use crate::call::targets::{Ranked, Target};
use crate::config::{Resolved, Trunk};
use crate::engine::Input;
use crate::sip::Transport;
use crate::wire::sip::Uri;

/// The start waits for the first answers of the name servers, not for those that do not come.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);

/// Where a trunk is, if its URI has an address.
pub(super) fn stated(trunk: &Trunk) -> Option<Target> {
    let ip: IpAddr = trunk.host.host.parse().ok()?;
    let port = trunk.host.port.unwrap_or(if trunk.transport == Transport::Tls { 5061 } else { 5060 });
    Some(Target { transport: trunk.transport, peer: SocketAddr::new(ip, port) })
}

/// What is to be looked up for a trunk whose URI has a name.
fn wanted(trunk: &Trunk, resolved: &Resolved) -> Option<Wanted> {
    if trunk.host.host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let is_stated = Uri::parse(&trunk.uri).is_ok_and(|uri| uri.param("transport").is_some());
    let is_stated = is_stated || trunk.transport == Transport::Tls;
    Some(Wanted {
        host: trunk.host.host.clone(),
        port: trunk.host.port,
        transport: is_stated.then_some(trunk.transport),
        listeners: resolved.listens.iter().map(|listen| (listen.transport, listen.bind)).collect(),
    })
}

/// Has the names of trunks looked up, now and for as long as the node runs; tells what they have to prove under TLS.
///
/// # Errors
/// Authorities that cannot be used, or no way to look up names.
pub(super) fn locate(
    resolved: &Resolved,
    services: &Runtime,
    post: &Post,
    random: &mut Random,
) -> Result<Arc<Proofs>, StartError> {
    let proofs = Arc::new(Proofs::default());
    let mut names = None;
    let mut first = Vec::new();
    for (index, trunk) in resolved.trunks.iter().enumerate() {
        let mut wanted = wanted(trunk, resolved);
        // DNS may choose TLS where the URI leaves it open.
        let may_be_tls = wanted.as_ref().is_some_and(|wanted| wanted.may_be(Transport::Tls));
        let proof = if trunk.transport == Transport::Tls || may_be_tls {
            let failed = |error: super::tls::TlsError| StartError::TrunkTls {
                name: trunk.name.clone(),
                error: error.to_string(),
            };
            match Proof::of(&trunk.host.host, trunk.ca.as_deref()) {
                Ok(proof) => Some(proof),
                // Nobody said that it has to be TLS.
                Err(error) if may_be_tls => {
                    tracing::warn!("trunk {} is not called over TLS: {error}", trunk.name);
                    if let Some(wanted) = &mut wanted {
                        wanted.listeners.retain(|(transport, _)| *transport != Transport::Tls);
                    }
                    None
                }
                Err(error) => return Err(failed(error)),
            }
        } else {
            None
        };
        let Some(wanted) = wanted else {
            if let (Some(proof), Some(target)) = (proof, stated(trunk)) {
                proofs.demand(index, vec![target.peer], proof);
            }
            continue;
        };
        let names = match &names {
            Some(names) => Arc::clone(names),
            None => {
                let _inside = services.enter();
                let built = resolver(&resolved.dns).map_err(|error| StartError::Dns(error.to_string()))?;
                Arc::clone(names.insert(Arc::new(built)))
            }
        };
        let (told, answer) = oneshot::channel();
        first.push(answer);
        let (post, proofs) = (post.clone(), Arc::clone(&proofs));
        let tell = move |targets: Vec<Ranked>| {
            if let Some(proof) = &proof {
                let all = targets.iter().map(|ranked| ranked.target);
                let under_tls = all.filter(|target| target.transport == Transport::Tls);
                proofs.demand(index, under_tls.map(|target| target.peer).collect(), proof.clone());
            }
            post.send(Input::Resolved { trunk: index, targets });
        };
        services.spawn(keep_located(names, wanted, Random::from_seed(random.bytes()), told, tell));
    }
    services.block_on(async {
        let all = async {
            for answer in first {
                let _ = answer.await;
            }
        };
        let _ = timeout(FIRST_ANSWERS, all).await;
    });
    Ok(proofs)
}
