//! `segue trunks`: a line for each target.

use super::ask::{Asking, MAX_ITEMS};
use super::failure::Failure;
use super::output::{Table, or_dash};
use crate::engine::command::{Command, Reply};
use crate::engine::view::{TargetView, TrunkView};

const TRUNK: &[&str] = &[
    "NAME",
    "STATE",
    "TARGET",
    "TARGET STATE",
    "RTT MS",
    "REGISTRATION",
    "EXPIRES S",
    "CALLS",
    "MAX CALLS",
    "MAX CPS",
    "USERS",
    "REASON",
];

impl Asking<'_> {
    pub(super) async fn trunks(&mut self) -> Result<(), Failure> {
        let list = |page| Command::ListTrunks { page };
        let take = |reply| if let Reply::Trunks(page) = reply { Some(page) } else { None };
        let trunks = self.list(MAX_ITEMS, list, take).await?;
        let rows = trunks.iter().flat_map(rows).collect();
        self.print(&Table { headings: TRUNK, rows }, &trunks)
    }
}

/// One that has no target, because its name was not found, has a line all the same.
fn rows(trunk: &TrunkView) -> Vec<Vec<String>> {
    let targets = trunk.targets.iter().map(Some);
    let none = trunk.targets.is_empty().then_some(None);
    targets.chain(none).map(|target| row(trunk, target)).collect()
}

fn row(trunk: &TrunkView, target: Option<&TargetView>) -> Vec<String> {
    let registration = trunk.registration.as_ref();
    let number = |number: Option<u64>| number.map_or_else(|| "-".into(), |number| number.to_string());
    let rtt = target.and_then(|target| target.rtt_ms);
    let reasons = [
        registration.and_then(|known| known.reason.as_deref()),
        target.and_then(|known| known.reason.as_deref()),
    ];
    let reasons: Vec<&str> = reasons.into_iter().flatten().collect();
    vec![
        trunk.name.clone(),
        trunk.state.clone(),
        or_dash(target.map(|target| target.address.as_str())),
        or_dash(target.map(|target| target.state.as_str())),
        rtt.map_or_else(|| "-".into(), |ms| format!("{ms:.1}")),
        or_dash(registration.map(|known| known.state.as_str())),
        number(registration.and_then(|known| known.expires_s)),
        trunk.calls.to_string(),
        number(trunk.max_calls.map(u64::from)),
        number(trunk.max_cps.map(u64::from)),
        or_dash((trunk.users > 0).then(|| format!("{}/{}", trunk.users_registered, trunk.users)).as_deref()),
        or_dash((!reasons.is_empty()).then(|| reasons.join("; ")).as_deref()),
    ]
}
