//! What trunks have to prove, where they are, and who keeps looking: at the start, and when the configuration changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
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
pub(super) fn wanted(place: &Site, resolved: &Resolved) -> Option<Wanted> {
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
    /// Whether a name was looked up.
    is_told: bool,
    /// Nobody wants to know any more.
    is_over: bool,
}

impl Known {
    fn new(trunk: &Trunk) -> Self {
        // The weight of an address is that of a name's one address.
        let alone = |target| Ranked { target, rank: 0, weight: 16 };
        let of_place = trunk.places().map(|place| stated_at(&place).into_iter().map(alone).collect());
        Self { of_place: of_place.collect(), share: trunk.share, is_told: false, is_over: false }
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

/// A trunk that is about to be looked for.
pub(super) struct Prepared {
    trunk: Trunk,
    places: Vec<Place>,
}

impl Prepared {
    pub(super) const fn trunk(&self) -> &Trunk {
        &self.trunk
    }
}

/// What is known of one of its places before anybody was asked.
struct Place {
    wanted: Option<Wanted>,
    proof: Option<Proof>,
    stated: Option<Target>,
}

/// Where a trunk is being looked for.
struct Search {
    trunk: Trunk,
    known: Arc<Mutex<Known>>,
    tasks: Vec<AbortHandle>,
}

impl Search {
    /// From here on it tells nothing.
    fn stop(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Who keeps looking, for as long as the node runs.
pub(super) struct Lookups {
    services: Handle,
    post: Post,
    random: Random,
    proofs: Arc<Proofs>,
    names: Option<Arc<TokioResolver>>,
    /// By the place that the engine knows the trunk by.
    searches: BTreeMap<usize, Search>,
}

impl Lookups {
    pub(super) fn new(services: &Handle, post: &Post, random: Random) -> Self {
        let (services, post) = (services.clone(), post.clone());
        Self { services, post, random, proofs: Arc::default(), names: None, searches: BTreeMap::new() }
    }

    /// What trunks have to prove under TLS.
    pub(super) fn proofs(&self) -> Arc<Proofs> {
        Arc::clone(&self.proofs)
    }

    /// Makes ready to look for a trunk; nothing is changed by it.
    ///
    /// # Errors
    /// Authorities that cannot be used, or no way to look up names.
    pub(super) fn prepare(&mut self, trunk: &Trunk, resolved: &Resolved) -> Result<Prepared, StartError> {
        let mut places = Vec::new();
        for place in trunk.places() {
            let mut wanted = wanted(&place, resolved);
            let proof = proof_of(trunk, &place, wanted.as_mut())?;
            if wanted.is_some() && self.names.is_none() {
                self.names = Some(self.resolver(resolved)?);
            }
            places.push(Place { wanted, proof, stated: stated_at(&place) });
        }
        Ok(Prepared { trunk: trunk.clone(), places })
    }

    /// # Errors
    /// Name servers that are none.
    pub(super) fn resolver(&self, resolved: &Resolved) -> Result<Arc<TokioResolver>, StartError> {
        let _inside = self.services.enter();
        resolver(&resolved.dns).map(Arc::new).map_err(|error| StartError::Dns(error.to_string()))
    }

    /// Other name servers from now on, for whatever is looked for anew.
    pub(super) fn ask(&mut self, names: Arc<TokioResolver>) {
        self.names = Some(names);
        for search in std::mem::take(&mut self.searches).into_values() {
            search.stop();
        }
    }

    /// Ends the search for every trunk that is none of these, or is elsewhere.
    pub(super) fn stop_all_but(&mut self, trunks: &[Trunk]) {
        self.searches.retain(|at, search| {
            let stays = trunks.iter().any(|trunk| is_found_alike(&search.trunk, trunk));
            if !stays {
                search.stop();
                // Who is asked for another name at the same address need not prove this one, too.
                self.proofs.forget(at * MAX_TARGETS..(at + 1) * MAX_TARGETS);
            }
            stays
        });
    }

    /// Looks for trunks at places where they are not looked for yet, and waits a moment for the first answers.
    pub(super) fn begin(&mut self, all: impl IntoIterator<Item = (usize, Prepared)>) {
        let mut first = Vec::new();
        let mut begun = Vec::new();
        for (at, prepared) in all {
            let known = self.searches.get(&at).map(|search| &search.trunk);
            if known.is_some_and(|known| is_found_alike(known, &prepared.trunk)) {
                continue;
            }
            if let Some(other) = self.searches.remove(&at) {
                other.stop();
            }
            begun.push(at);
            first.extend(self.search(at, prepared));
        }
        let wait = async {
            let all = async {
                for answer in first {
                    let _ = answer.await;
                }
            };
            let _ = timeout(FIRST_ANSWERS, all).await;
        };
        self.services.block_on(wait);
        // What nobody could look up does not hide what needs no looking up.
        for search in begun.into_iter().filter_map(|at| Some((at, self.searches.get(&at)?))) {
            let known = search.1.known.lock().unwrap_or_else(PoisonError::into_inner);
            let targets = known.merged();
            if !known.is_told && !targets.is_empty() {
                self.post.send(Input::Resolved { trunk: search.0, targets });
            }
        }
    }

    /// Begins; what is given is told when a name was looked up.
    fn search(&mut self, at: usize, Prepared { trunk, places }: Prepared) -> Vec<oneshot::Receiver<()>> {
        let known = Known::new(&trunk);
        self.proofs.forget(at * MAX_TARGETS + places.len()..(at + 1) * MAX_TARGETS);
        if places.iter().all(|place| place.wanted.is_none()) {
            self.post.send(Input::Resolved { trunk: at, targets: known.merged() });
        }
        let known = Arc::new(Mutex::new(known));
        let (mut tasks, mut first) = (Vec::new(), Vec::new());
        for (number, Place { wanted, proof, stated }) in places.into_iter().enumerate() {
            let demander = at * MAX_TARGETS + number;
            let (Some(wanted), Some(names)) = (wanted, &self.names) else {
                match (proof, stated) {
                    (Some(proof), Some(target)) => {
                        self.proofs.demand(demander, vec![target.peer], proof, Instant::now());
                    }
                    _ => self.proofs.forget(demander..demander + 1),
                }
                continue;
            };
            let (told, answer) = oneshot::channel();
            first.push(answer);
            let (post, proofs, known) = (self.post.clone(), Arc::clone(&self.proofs), Arc::clone(&known));
            let tell = move |found: Vec<Ranked>| {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.is_over {
                    return;
                }
                if let Some(proof) = &proof {
                    let under_tls = found.iter().map(|ranked| ranked.target);
                    let under_tls = under_tls.filter(|target| target.transport == Transport::Tls);
                    let peers = under_tls.map(|target| target.peer).collect();
                    proofs.demand(demander, peers, proof.clone(), Instant::now());
                }
                if let Some(of_place) = known.of_place.get_mut(number) {
                    *of_place = found;
                }
                known.is_told = true;
                // Under the lock, so that what is known last is told last.
                post.send(Input::Resolved { trunk: at, targets: known.merged() });
            };
            let random = Random::from_seed(self.random.bytes());
            let looking = keep_located(Arc::clone(names), wanted, random, told, tell);
            tasks.push(self.services.spawn(looking).abort_handle());
        }
        self.searches.insert(at, Search { trunk, known, tasks });
        first
    }
}

/// Whether both are one trunk, and are looked for in one way. With another account the engine takes it for another trunk at
/// another place: what was told for the one must not come to whoever has its place by then.
fn is_found_alike(one: &Trunk, other: &Trunk) -> bool {
    let way = |trunk: &Trunk| {
        let account = trunk.auth.as_ref().map(|auth| (auth.user.clone(), auth.realm.clone()));
        let places = (trunk.uri.clone(), trunk.also.clone(), trunk.share);
        (trunk.name.clone(), account, places, trunk.ca.clone())
    };
    way(one) == way(other)
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
        Known { of_place, share, is_told: false, is_over: false }
            .merged()
            .iter()
            .map(|known| (last(known), known.rank))
            .collect()
    }

    #[test]
    fn with_another_account_it_is_another_trunk() {
        let text = |auth: &str, more: &str| {
            format!(
                "[node]\ndomain = \"pbx.test\"\n[[listen]]\nuri = \"udp://127.0.0.1:5060\"\n\
                 [[trunk]]\nname = \"carrier\"\nuri = \"sip:carrier.example\"\n{auth}{more}"
            )
        };
        let trunk = |text: &str| {
            let source = crate::config::Source {
                path: std::path::Path::new("segue.toml"),
                text,
                variables: &[],
                hostname: "host",
                read: &|_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into()),
            };
            source.resolve().unwrap_or_else(|errors| panic!("{errors}")).trunks[0].clone()
        };
        let auth = |user: &str, password: &str| {
            format!("auth = {{ user = \"{user}\", password = \"{password}\" }}\n")
        };
        let one = trunk(&text(&auth("acct", "sesame-1"), ""));
        assert!(is_found_alike(&one, &trunk(&text(&auth("acct", "sesame-2"), "max_calls = 7\n"))));
        assert!(!is_found_alike(&one, &trunk(&text(&auth("other", "sesame-1"), ""))));
        assert!(!is_found_alike(&one, &trunk(&text(&auth("acct", "sesame-1"), "share = true\n"))));
    }

    #[test]
    fn places_follow_each_other_or_are_equals() {
        assert_eq!(merged(false), [(1, 0), (2, 0), (3, 2), (4, 2000)]);
        assert_eq!(merged(true), [(1, 0), (2, 0), (4, 0), (3, 2)], "the first of each are equals");
    }
}
