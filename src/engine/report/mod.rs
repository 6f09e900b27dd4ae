//! What a test run came to: its calls and moves, one by one, made into numbers and percentiles.
//!
//! However long the run, what is kept of it is bounded (see [`Distribution`]).

mod distribution;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::distribution::{Distribution, Spread};
use super::view::{MoveState, Time, Trigger};
use crate::base::UnixMillis;
use crate::call::record::Disposition;

/// What a test run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run: String,
    /// Its calls that have ended.
    pub calls: u64,
    /// When the first of them began.
    pub begun: Option<Time>,
    /// When the last of them ended.
    pub ended: Option<Time>,
    /// How many ended how: `answered`, `busy`, `no_answer`, `cancelled`, `failed`.
    pub dispositions: BTreeMap<String, u64>,
    /// How many by final status toward the caller.
    pub sip_codes: BTreeMap<String, u64>,
    /// From INVITE to the first ringing, ms.
    pub ring_ms: Spread,
    /// From INVITE to the answer, ms.
    pub answer_ms: Spread,
    /// From the answer to the end, s.
    pub duration_s: Spread,
    /// The worst mean opinion score of each call.
    pub mos: Spread,
    /// Answered calls without one: too short, or of a codec without values.
    pub without_mos: u64,
    /// RTP packets lost of each call, %.
    pub loss_percent: Spread,
    /// The largest jitter of each call, ms.
    pub jitter_ms: Spread,
    /// Its moves.
    pub moves: MoveReport,
}

/// What the moves of a run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveReport {
    /// All that were begun.
    pub begun: u64,
    /// Those that were carried out.
    pub done: u64,
    /// Those that were given back.
    pub rolled_back: u64,
    /// Those that were not carried out.
    pub refused: u64,
    /// How many by what asked for them.
    pub triggers: BTreeMap<String, u64>,
    /// Silence that the far side's packet clock saw at the switch, ms.
    pub gap_ms: Spread,
    /// Packets that were lost at the switch.
    pub lost: Spread,
}

/// What counts of a call.
#[derive(Clone, Debug, Default)]
pub struct CallFacts {
    /// INVITE received.
    pub start: UnixMillis,
    /// First ringing.
    pub ring: Option<UnixMillis>,
    /// Answered.
    pub answer: Option<UnixMillis>,
    /// Ended.
    pub end: Option<UnixMillis>,
    /// How.
    pub disposition: Disposition,
    /// The final status toward the caller.
    pub sip_code: u16,
    /// Lowest mean opinion score.
    pub mos: Option<f64>,
    /// Share of packets lost.
    pub loss: Option<f64>,
    /// Largest jitter, ms.
    pub jitter: Option<f64>,
}

/// What counts of a move.
#[derive(Clone, Debug)]
pub struct MoveFacts {
    /// What asked for it.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: MoveState,
    /// Silence at the switch, ms.
    pub gap_ms: Option<f64>,
    /// Packets lost at the switch.
    pub lost: Option<u64>,
}

/// A report that grows.
#[derive(Debug, Default)]
pub struct Gathering {
    report: RunReport,
    begun: Option<UnixMillis>,
    ended: Option<UnixMillis>,
    ring: Distribution,
    answer: Distribution,
    duration: Distribution,
    mos: Distribution,
    loss: Distribution,
    jitter: Distribution,
    gap: Distribution,
    lost: Distribution,
}

impl Gathering {
    /// A call of the run.
    pub fn add_call(&mut self, call: &CallFacts) {
        let report = &mut self.report;
        report.calls += 1;
        *report.dispositions.entry(word(call.disposition).into()).or_default() += 1;
        *report.sip_codes.entry(call.sip_code.to_string()).or_default() += 1;
        self.begun = Some(self.begun.map_or(call.start, |begun| begun.min(call.start)));
        self.ended = self.ended.max(call.end);
        let since = |from: UnixMillis, to: UnixMillis| to.0.saturating_sub(from.0) as f64;
        self.ring.extend(call.ring.map(|ring| since(call.start, ring)));
        self.answer.extend(call.answer.map(|answer| since(call.start, answer)));
        self.duration.extend(call.answer.zip(call.end).map(|(from, to)| since(from, to) / 1000.0));
        self.mos.extend(call.mos);
        self.loss.extend(call.loss.map(|share| share * 100.0));
        self.jitter.extend(call.jitter);
        report.without_mos += u64::from(call.answer.is_some() && call.mos.is_none());
    }

    /// A move of a call of the run.
    pub fn add_move(&mut self, one: &MoveFacts) {
        let moves = &mut self.report.moves;
        moves.begun += 1;
        match one.state {
            MoveState::Done => moves.done += 1,
            MoveState::RolledBack => moves.rolled_back += 1,
            MoveState::Refused => moves.refused += 1,
            MoveState::Requested
            | MoveState::Authorized
            | MoveState::Ringing
            | MoveState::Negotiating
            | MoveState::Switching => {}
        }
        *moves.triggers.entry(one.trigger.as_str().into()).or_default() += 1;
        self.gap.extend(one.gap_ms);
        self.lost.extend(one.lost.map(|lost| lost as f64));
    }

    /// The report of the run, which is called so.
    #[must_use]
    pub fn finish(self, run: &str) -> RunReport {
        let moves = MoveReport { gap_ms: self.gap.spread(), lost: self.lost.spread(), ..self.report.moves };
        RunReport {
            run: run.into(),
            begun: self.begun.map(Time),
            ended: self.ended.map(Time),
            ring_ms: self.ring.spread(),
            answer_ms: self.answer.spread(),
            duration_s: self.duration.spread(),
            mos: self.mos.spread(),
            loss_percent: self.loss.spread(),
            jitter_ms: self.jitter.spread(),
            moves,
            ..self.report
        }
    }
}

/// The word of the record.
const fn word(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Answered => "answered",
        Disposition::Busy => "busy",
        Disposition::NoAnswer => "no_answer",
        Disposition::Cancelled => "cancelled",
        Disposition::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(start: u64, setup: u64, length: u64) -> CallFacts {
        let at = |ms| Some(UnixMillis(start + ms));
        CallFacts {
            start: UnixMillis(start),
            ring: at(setup / 2),
            answer: at(setup),
            end: at(setup + length),
            disposition: Disposition::Answered,
            sip_code: 200,
            ..CallFacts::default()
        }
    }

    #[test]
    fn calls_are_counted_by_how_they_ended_and_measured_where_they_were_answered() {
        let mut run = Gathering::default();
        for n in 1..=100 {
            run.add_call(&answered(1_000_000 + n * 1000, n * 10, 5000));
        }
        run.add_call(&CallFacts {
            start: UnixMillis(500_000),
            end: Some(UnixMillis(500_100)),
            disposition: Disposition::Busy,
            sip_code: 486,
            ..CallFacts::default()
        });
        run.add_call(&CallFacts { mos: Some(4.1), loss: Some(0.03), ..answered(2_000_000, 200, 9000) });
        let report = run.finish("night");
        assert_eq!((report.calls, report.run.as_str()), (102, "night"));
        assert_eq!((report.dispositions["answered"], report.dispositions["busy"]), (101, 1));
        assert_eq!((report.sip_codes["200"], report.sip_codes["486"]), (101, 1));
        assert_eq!((report.answer_ms.p50, report.answer_ms.max), (Some(500.0), Some(1000.0)));
        assert_eq!((report.ring_ms.count, report.duration_s.p50), (101, Some(5.0)));
        assert_eq!((report.mos.count, report.mos.min, report.without_mos), (1, Some(4.1), 100));
        assert_eq!(report.loss_percent.max, Some(3.0));
        assert_eq!(report.begun, Some(Time(UnixMillis(500_000))));
        assert_eq!(report.ended, Some(Time(UnixMillis(2_009_200))));
    }

    #[test]
    fn moves_are_counted_by_how_they_ended() {
        let mut run = Gathering::default();
        let one =
            |state, gap_ms| MoveFacts { trigger: Trigger::StarCode, state, gap_ms, lost: gap_ms.map(|_| 1) };
        for (state, gap) in [
            (MoveState::Done, Some(20.5)),
            (MoveState::RolledBack, Some(40.0)),
            (MoveState::Refused, None),
            (MoveState::Ringing, None),
        ] {
            run.add_move(&one(state, gap));
        }
        let moves = run.finish("x").moves;
        assert_eq!((moves.begun, moves.done, moves.rolled_back, moves.refused), (4, 1, 1, 1));
        assert_eq!((moves.triggers["star_code"], moves.gap_ms.max, moves.lost.count), (4, Some(40.0), 2));
    }

    #[test]
    fn a_report_crosses_the_control_socket() {
        let mut run = Gathering::default();
        run.add_call(&answered(1, 10, 1000));
        let report = run.finish("x");
        let reply = crate::engine::command::Reply::Report(Box::new(report));
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<crate::engine::command::Reply>(&text).unwrap(), reply);
    }
}
