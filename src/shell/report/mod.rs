//! The report of a test run as rows, as CSV and as a picture.

mod chart;
mod picture;

pub(super) use picture::svg;

use crate::engine::report::{RunReport, Spread};

/// Headings of [`rows`].
pub(super) const HEADINGS: &[&str] =
    &["MEASURE", "COUNT", "MEAN", "MIN", "P5", "P50", "P90", "P95", "P99", "MAX"];

/// A row for each thing that was counted or measured; what a count has no use for is empty.
#[must_use]
pub(super) fn rows(report: &RunReport) -> Vec<Vec<String>> {
    let moves = &report.moves;
    let mut rows = vec![count("calls", report.calls)];
    rows.extend(report.dispositions.iter().map(|(how, calls)| count(how, *calls)));
    rows.extend(report.sip_codes.iter().map(|(code, calls)| count(&format!("sip_{code}"), *calls)));
    rows.extend([
        spread("ring_ms", &report.ring_ms),
        spread("answer_ms", &report.answer_ms),
        spread("duration_s", &report.duration_s),
        spread("mos", &report.mos),
        count("without_mos", report.without_mos),
        spread("loss_percent", &report.loss_percent),
        spread("jitter_ms", &report.jitter_ms),
        count("moves", moves.begun),
        count("moves_done", moves.done),
        count("moves_rolled_back", moves.rolled_back),
        count("moves_refused", moves.refused),
    ]);
    rows.extend(moves.triggers.iter().map(|(trigger, moves)| count(&format!("moves_by_{trigger}"), *moves)));
    rows.extend([spread("move_gap_ms", &moves.gap_ms), spread("move_lost", &moves.lost)]);
    rows
}

/// The rows by RFC 4180. All cells are words and numbers of ours, so none needs quotes.
#[must_use]
pub(super) fn csv(report: &RunReport) -> String {
    let headings = HEADINGS.join(",").to_lowercase();
    let rows = rows(report);
    std::iter::once(headings).chain(rows.iter().map(|row| row.join(","))).map(|line| line + "\r\n").collect()
}

fn count(measure: &str, count: u64) -> Vec<String> {
    let mut row = vec![String::new(); HEADINGS.len()];
    row.splice(..2, [measure.to_owned(), count.to_string()]);
    row
}

fn spread(measure: &str, spread: &Spread) -> Vec<String> {
    let values =
        [spread.mean, spread.min, spread.p5, spread.p50, spread.p90, spread.p95, spread.p99, spread.max];
    let mut row = vec![measure.to_owned(), spread.count.to_string()];
    row.extend(values.map(|value| value.map(number).unwrap_or_default()));
    row
}

/// A number as people write it: no more than three decimals, none for nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::base::UnixMillis;
    use crate::call::record::Disposition;
    use crate::engine::report::{CallFacts, Gathering, MoveFacts};
    use crate::engine::view::{MoveState, Trigger};

    /// A run of 200 calls, every tenth refused, every fifth moved.
    pub(crate) fn a_run() -> RunReport {
        let mut run = Gathering::default();
        for n in 0..200_u64 {
            let start = 1_800_000_000_000 + n * 100;
            let at = |ms: u64| Some(UnixMillis(start + ms));
            let quality = (n % 37) as f64 / 37.0;
            let setup = 40 + (n * 7919) % 97 + if n % 50 == 0 { 400 } else { 0 };
            let call = CallFacts {
                start: UnixMillis(start),
                ring: at(setup / 3),
                answer: at(setup),
                end: at(setup + 6000 + n * 10),
                disposition: Disposition::Answered,
                sip_code: 200,
                mos: (n % 3 > 0).then_some(4.41 - quality * quality * 1.3),
                loss: Some(quality * quality * 0.05),
                jitter: Some(0.4 + quality * 6.0),
            };
            run.add_call(&match n % 10 {
                0 => CallFacts {
                    answer: None,
                    disposition: Disposition::Busy,
                    sip_code: 486,
                    mos: None,
                    loss: None,
                    jitter: None,
                    ..call
                },
                _ => call,
            });
            if n % 5 == 1 {
                let state = if n % 50 == 1 { MoveState::RolledBack } else { MoveState::Done };
                let gap_ms = Some(18.0 + quality * 30.0);
                run.add_move(&MoveFacts { trigger: Trigger::StarCode, state, gap_ms, lost: Some(n % 3) });
            }
        }
        run.finish("night-1")
    }

    #[test]
    fn csv_has_a_row_for_each_measure_and_no_cell_to_be_quoted() {
        let text = csv(&a_run());
        assert!(
            text.starts_with("measure,count,mean,min,p5,p50,p90,p95,p99,max\r\ncalls,200,,,,,,,,\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nsip_486,20,,,,,,,,\r\n"), "{text}");
        assert!(text.contains("\r\nmoves_rolled_back,4,"), "{text}");
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert!(lines.iter().all(|line| line.split(',').count() == HEADINGS.len()), "{text}");
        assert!(!text.contains(['"', '\'', '=']));
    }

    #[test]
    fn numbers_have_no_idle_digits() {
        assert_eq!([0.0, 20.0, 4.41, 0.125, 0.0004].map(number), ["0", "20", "4.41", "0.125", "0"]);
    }
}
