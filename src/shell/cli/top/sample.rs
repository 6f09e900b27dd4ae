//! One look at a node, and what changed since the one before.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::super::ask::Asking;
use super::super::failure::Failure;
use super::screen::Tab;
use crate::engine::command::{Command, Reply};
use crate::engine::view::{
    CallPhase, CallView, MoveView, PageQuery, QualityView, RegistrationView, StatusView, TrunkView,
};

/// Items of a list that are looked at; a node with more has more than a screen shows.
const MOST: u16 = 500;
/// Calls whose quality is asked for at a look: each question goes to the media threads.
const QUALITIES: usize = 40;

/// One look.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    pub(super) status: StatusView,
    pub(super) rates: Rates,
    pub(super) calls: Vec<CallView>,
    pub(super) moves: Vec<MoveView>,
    pub(super) trunks: Vec<TrunkView>,
    pub(super) registrations: Vec<RegistrationView>,
    /// By call: share of packets lost and score, the worst of its directions.
    pub(super) quality: BTreeMap<String, Heard>,
    /// Of the list that was asked for there is more.
    #[serde(skip)]
    pub(super) is_cut: bool,
}

impl Sample {
    /// Of a list that does not show all: which part it shows, and how many there are where the node says so.
    pub(super) fn part(&self, tab: Tab) -> Option<String> {
        let status = &self.status;
        let (order, shown, all) = match tab {
            Tab::Calls => {
                ("the newest ", self.calls.len(), Some(status.calls_answered + status.calls_ringing))
            }
            Tab::Moves => ("the newest ", self.moves.len(), None),
            Tab::Trunks => ("the first ", self.trunks.len(), None),
            Tab::Registrations => ("the first ", self.registrations.len(), Some(status.registrations)),
        };
        let of = match all {
            // It was full to the last.
            Some(all) if all <= shown as u64 => return None,
            Some(all) => format!(" of {all}"),
            None => String::new(),
        };
        self.is_cut.then(|| format!("{order}{shown}{of}"))
    }
}

/// How a call sounds, at its worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Heard {
    pub(super) loss: Option<f64>,
    pub(super) mos: Option<f64>,
    /// Nothing comes from one of the parties.
    pub(super) is_silent: bool,
}

/// What happened in a second, between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Share of one core, percent.
    pub(super) cpu_percent: f64,
    pub(super) memory_bytes: f64,
    pub(super) requests: f64,
    pub(super) invites: f64,
    pub(super) answered: f64,
    pub(super) auth_failures: f64,
    pub(super) rtp_in: f64,
    pub(super) rtp_out: f64,
    pub(super) rtp_lost: f64,
    pub(super) rtp_dropped: f64,
}

/// What the node has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counted(Rates);

impl Counted {
    /// Of a text of OpenMetrics; series with several labels are added up.
    pub(super) fn read(text: &str) -> Self {
        let mut sum = Rates::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "process_cpu_seconds_total" => sum.cpu_percent += value * 100.0,
                "process_resident_memory_bytes" => sum.memory_bytes += value,
                "segue_sip_requests_total" if labels.contains("direction=\"in\"") => {
                    sum.requests += value;
                    if labels.contains("method=\"INVITE\"") {
                        sum.invites += value;
                    }
                }
                "segue_call_setup_seconds_count" => sum.answered += value,
                "segue_auth_failures_total" => sum.auth_failures += value,
                "segue_rtp_packets_total" if labels.contains("direction=\"in\"") => sum.rtp_in += value,
                "segue_rtp_packets_total" => sum.rtp_out += value,
                "segue_rtp_lost_total" => sum.rtp_lost += value,
                "segue_rtp_dropped_total" => sum.rtp_dropped += value,
                _ => {}
            }
        }
        Self(sum)
    }

    /// What a second had of it, `seconds` after `before`. A node that was started anew counts from nothing.
    pub(super) fn since(&self, before: &Self, seconds: f64) -> Rates {
        let rate = |of: fn(&Rates) -> f64| (of(&self.0) - of(&before.0)).max(0.0) / seconds.max(0.001);
        Rates {
            cpu_percent: rate(|sum| sum.cpu_percent),
            memory_bytes: self.0.memory_bytes,
            requests: rate(|sum| sum.requests),
            invites: rate(|sum| sum.invites),
            answered: rate(|sum| sum.answered),
            auth_failures: rate(|sum| sum.auth_failures),
            rtp_in: rate(|sum| sum.rtp_in),
            rtp_out: rate(|sum| sum.rtp_out),
            rtp_lost: rate(|sum| sum.rtp_lost),
            rtp_dropped: rate(|sum| sum.rtp_dropped),
        }
    }
}

/// Who looks again and again.
#[derive(Default)]
pub(super) struct Sampler {
    last: Option<(Instant, Counted)>,
}

impl Sampler {
    /// Asks the node; of the lists only what is shown.
    pub(super) async fn look(&mut self, asking: &mut Asking<'_>, tab: Tab) -> Result<Sample, Failure> {
        let Reply::Metrics(text) = asking.ask(Command::ShowMetrics).await? else {
            return Err(Failure::misfit());
        };
        let (now, counted) = (Instant::now(), Counted::read(&text));
        let (before, from) =
            self.last.replace((now, counted)).map_or((now, counted), |(at, known)| (at, known));
        let rates = counted.since(&from, now.saturating_duration_since(before).as_secs_f64());
        let page = PageQuery { cursor: None, limit: MOST };
        let status = asking.node_status().await?;
        let list = Command::ListTrunks { page: page.clone() };
        let Reply::Trunks(trunks) = asking.ask(list).await? else { return Err(Failure::misfit()) };
        let mut sample = Sample {
            status,
            rates,
            calls: Vec::new(),
            moves: Vec::new(),
            trunks: trunks.items,
            registrations: Vec::new(),
            quality: BTreeMap::new(),
            is_cut: false,
        };
        match tab {
            Tab::Calls => {
                let list = Command::ListNewestCalls { most: MOST };
                let Reply::Calls(calls) = asking.ask(list).await? else { return Err(Failure::misfit()) };
                sample.is_cut = calls.items.len() == usize::from(MOST);
                sample.calls = calls.items;
                sample.quality = quality(asking, &sample.calls).await?;
            }
            Tab::Moves => {
                let list = Command::ListMoves { user: None, page };
                let Reply::Moves(moves) = asking.ask(list).await? else { return Err(Failure::misfit()) };
                sample.is_cut = moves.next.is_some();
                sample.moves = moves.items;
            }
            Tab::Registrations => {
                let list = Command::ListRegistrations { user: None, page };
                let Reply::Registrations(found) = asking.ask(list).await? else {
                    return Err(Failure::misfit());
                };
                sample.is_cut = found.next.is_some();
                sample.registrations = found.items;
            }
            Tab::Trunks => sample.is_cut = trunks.next.is_some(),
        }
        Ok(sample)
    }
}

/// Of the newest calls that talk.
async fn quality(asking: &mut Asking<'_>, calls: &[CallView]) -> Result<BTreeMap<String, Heard>, Failure> {
    let mut all = BTreeMap::new();
    let talking = calls.iter().filter(|call| call.anchored && call.state != CallPhase::Ringing);
    for call in talking.take(QUALITIES) {
        // A call that has ended meanwhile is no failure; a node that does not answer is.
        let question = Command::ShowQuality { call: call.id.as_str().into() };
        if let Reply::Quality(view) = asking.client.ask(question).await? {
            all.insert(call.id.clone(), worst(&view));
        }
    }
    Ok(all)
}

fn worst(view: &QualityView) -> Heard {
    let loss = view.streams.iter().filter_map(|stream| stream.loss).reduce(f64::max);
    let mos = view.streams.iter().filter_map(|stream| stream.mos).reduce(f64::min);
    Heard { loss, mos, is_silent: view.silent.is_some() }
}
