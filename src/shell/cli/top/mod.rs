//! `segue top`: what a node does now, on a terminal that is redrawn, or as lines for one that cannot be.
//!
//! `sample` asks the node and works out rates, `screen` decides what is shown, `draw` and `lines` show it, `terminal` has
//! the terminal and gives it back.

mod draw;
mod lines;
mod sample;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::sample::Sampler;
use self::screen::Screen;
use self::terminal::{Ended, Live, Meanwhile};
use super::ask::Asking;
use super::failure::Failure;
use super::options::Top;
use super::output::{Format, print_json};

/// A look that takes longer is told of, so that nobody takes old figures for new ones.
const SLOW: Duration = Duration::from_secs(3);

/// Looks, and shows what it sees, until it is told to stop.
pub(super) async fn top(asking: &mut Asking<'_>, wanted: &Top) -> Result<(), Failure> {
    if asking.format == Format::Csv {
        return Err(Failure::usage("top has no rows for CSV: -o json, or none for lines".to_owned()));
    }
    let every = wanted.interval;
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    let is_plain = wanted.once || wanted.batch || wanted.count.is_some() || asking.format.is_json();
    if is_plain || is_dumb || !io::stdout().is_terminal() {
        // Of what is not redrawn one look is enough, unless it is asked for more.
        let most = if wanted.once { Some(1) } else { wanted.count };
        return batch(asking, every, most).await;
    }
    match screen(asking, every).await? {
        Ended::Quit => Ok(()),
        Ended::Signal(signal) => terminal::die_of(signal),
    }
}

/// The screen, until a key or a signal ends it. A node that cannot be reached is told of there, and asked again: it may
/// be one that is started anew.
async fn screen(asking: &mut Asking<'_>, every: Duration) -> Result<Ended, Failure> {
    let mut sampler = Sampler::default();
    let mut live = Live::enter(Screen::default())?;
    let mut is_connected = true;
    loop {
        let began = Instant::now();
        if live.screen.is_due() {
            let (wants, anew) = (live.screen.wants(), !is_connected);
            let mut look = pin!(async {
                if anew {
                    asking.connect_anew().await?;
                }
                sampler.look(asking, wants).await
            });
            let looked = loop {
                match live.meanwhile(timeout(SLOW, &mut look)).await? {
                    Meanwhile::Done(Ok(looked)) => break Some(looked),
                    Meanwhile::Done(Err(_)) => live.screen.miss(terminal::now(), "it has not answered yet"),
                    Meanwhile::Look => break None,
                    Meanwhile::Ended(ended) => return Ok(ended),
                }
            };
            // A question that is given up leaves its answer on the connection.
            is_connected = matches!(looked, Some(Ok(_)));
            match looked {
                Some(Ok(sample)) => live.screen.see(sample),
                Some(Err(failure)) => live.screen.miss(terminal::now(), &failure.to_string()),
                None => continue,
            }
        }
        if let Meanwhile::Ended(ended) = live.meanwhile(sleep_until(began + every)).await? {
            return Ok(ended);
        }
    }
}

/// Lines, each look for itself. Whoever reads them is told by the exit code that there are no more.
async fn batch(asking: &mut Asking<'_>, every: Duration, most: Option<u64>) -> Result<(), Failure> {
    let mut sampler = Sampler::default();
    // Rates are between two looks.
    sampler.look(asking, screen::Tab::Calls).await?;
    let mut done = 0;
    while most.is_none_or(|most| done < most) {
        sleep(every).await;
        let sample = sampler.look(asking, screen::Tab::Calls).await?;
        if asking.format.is_json() {
            print_json(&sample, asking.out)?;
        } else {
            lines::print(&sample, asking.out)?;
        }
        asking.out.flush()?;
        done += 1;
    }
    Ok(())
}
