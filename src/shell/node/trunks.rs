//! Trunks at the start: what they have to prove, where they are, and who keeps looking.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Post;
use super::failure::StartError;
use super::resolve::{Wanted, keep_located, resolver};
use super::tls::{Proof, Proofs};
use crate::base::Random;
use crate::call::targets::{MAX_TARGETS, Ranked, Target};
use crate::config::{Resolved, Site, Trunk};
use crate::engine::Input;
use crate::sip::Transport;
use crate::wire::sip::Uri;

/// The start waits for the first answers of the name servers, not for those that do not come.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);
/// More ranks than a name leads to: the targets of one place come before those of the next.
const RANKS: u32 = 1000;

/// Where a trunk is, as far as its URIs have addresses.
pub(super) fn stated(trunk: &Trunk) -> Vec<Target> {
    trunk.places().filter_map(|place| stated_at(&place)).collect()
}

fn stated_at(place: &Site) -> Option<Target> {
    let ip: IpAddr = place.host.host.parse().ok()?;
    let port = place.host.port.unwrap_or(if place.transport == Transport::Tls { 5061 } else { 5060 });
    Some(Target { transport: place.transport, peer: SocketAddr::new(ip, port) })
}

/// What is to be looked up for a place whose URI has a name.
fn wanted(place: &Site, resolved: &Resolved) -> Option<Wanted> {
    if place.host.host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let is_stated = Uri::parse(&place.uri).is_ok_and(|uri| uri.param("transport").is_some());
    let is_stated = is_stated || place.transport == Transport::Tls;
    Some(Wanted {
        host: place.host.host.clone(),
        port: place.host.port,
        transport: is_stated.then_some(place.transport),
        listeners: resolved.listens.iter().map(|listen| (listen.transport, listen.bind)).collect(),
    })
}

/// What the places of one trunk lead to.
struct Known {
    of_place: Vec<Vec<Ranked>>,
    /// Whether calls are shared among the places.
    share: bool,
}

impl Known {
    fn new(trunk: &Trunk) -> Self {
        // The weight of an address is that of a name's one address.
        let alone = |target| Ranked { target, rank: 0, weight: 16 };
        let of_place = trunk.places().map(|place| stated_at(&place).into_iter().map(alone).collect());
        Self { of_place: of_place.collect(), share: trunk.share }
    }

    /// All targets, the best first.
    fn merged(&self) -> Vec<Ranked> {
        let mut all = Vec::new();
        for (base, ranked) in (0_u32..).step_by(RANKS as usize).zip(&self.of_place) {
            let least = ranked.iter().map(|known| known.rank).min().unwrap_or(0);
            let base = if self.share { 0 } else { base };
            for known in ranked {
                if all.iter().all(|before: &Ranked| before.target != known.target) {
                    all.push(Ranked { rank: base + (known.rank - least).min(RANKS - 1), ..*known });
                }
            }
        }
        all.sort_by_key(|known| known.rank);
        all.truncate(MAX_TARGETS);
        all
    }
}

/// What a place has to prove under TLS; `wanted` loses TLS where nobody said that it has to be.
fn proof_of(trunk: &Trunk, place: &Site, wanted: Option<&mut Wanted>) -> Result<Option<Proof>, StartError> {
    // DNS may choose TLS where the URI leaves it open.
    let may_be_tls = wanted.as_ref().is_some_and(|wanted| wanted.may_be(Transport::Tls));
    if place.transport != Transport::Tls && !may_be_tls {
        return Ok(None);
    }
    match Proof::of(&place.host.host, trunk.ca.as_deref()) {
        Ok(proof) => Ok(Some(proof)),
        Err(error) if may_be_tls => {
            tracing::warn!("trunk {} is not called over TLS: {error}", trunk.name);
            if let Some(wanted) = wanted {
                wanted.listeners.retain(|(transport, _)| *transport != Transport::Tls);
            }
            Ok(None)
        }
        Err(error) => Err(StartError::TrunkTls { name: trunk.name.clone(), error: error.to_string() }),
    }
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
        let known = Arc::new(Mutex::new(Known::new(trunk)));
        if trunk.share {
            let targets = known.lock().unwrap_or_else(PoisonError::into_inner).merged();
            post.send(Input::Resolved { trunk: index, targets });
        }
        for (number, place) in trunk.places().enumerate() {
            let mut wanted = wanted(&place, resolved);
            let proof = proof_of(trunk, &place, wanted.as_mut())?;
            let demander = index * MAX_TARGETS + number;
            let Some(wanted) = wanted else {
                if let (Some(proof), Some(target)) = (proof, stated_at(&place)) {
                    proofs.demand(demander, vec![target.peer], proof);
                }
                continue;
            };
            let names = match &names {
                Some(names) => Arc::clone(names),
                None => {
                    let _inside = services.enter();
                    let built =
                        resolver(&resolved.dns).map_err(|error| StartError::Dns(error.to_string()))?;
                    Arc::clone(names.insert(Arc::new(built)))
                }
            };
            let (told, answer) = oneshot::channel();
            first.push(answer);
            let (post, proofs, known) = (post.clone(), Arc::clone(&proofs), Arc::clone(&known));
            let tell = move |found: Vec<Ranked>| {
                if let Some(proof) = &proof {
                    let under_tls = found.iter().map(|ranked| ranked.target);
                    let under_tls = under_tls.filter(|target| target.transport == Transport::Tls);
                    proofs.demand(demander, under_tls.map(|target| target.peer).collect(), proof.clone());
                }
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(of_place) = known.of_place.get_mut(number) {
                    *of_place = found;
                }
                // Under the lock, so that what is known last is told last.
                post.send(Input::Resolved { trunk: index, targets: known.merged() });
            };
            services.spawn(keep_located(names, wanted, Random::from_seed(random.bytes()), told, tell));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(last: u8, rank: u32) -> Ranked {
        let peer = SocketAddr::from(([192, 0, 2, last], 5060));
        Ranked { target: Target { transport: Transport::Udp, peer }, rank, weight: 16 }
    }

    fn merged(share: bool) -> Vec<(u8, u32)> {
        let first = vec![ranked(1, 6), ranked(2, 6), ranked(3, 8)];
        let of_place = vec![first, Vec::new(), vec![ranked(4, 0), ranked(1, 0)]];
        let last = |known: &Ranked| match known.target.peer.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        Known { of_place, share }.merged().iter().map(|known| (last(known), known.rank)).collect()
    }

    #[test]
    fn places_follow_each_other_or_are_equals() {
        assert_eq!(merged(false), [(1, 0), (2, 0), (3, 2), (4, 2000)]);
        assert_eq!(merged(true), [(1, 0), (2, 0), (4, 0), (3, 2)], "the first of each are equals");
    }
}
