//! `segue top`: what a node does now, on a terminal that is redrawn, or as lines for one that cannot be.
//!
//! `sample` asks the node and works out rates, `screen` decides what is shown, `draw` and `lines` show it.

mod draw;
mod lines;
mod sample;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};

use self::sample::Sampler;
use self::screen::{Screen, Then};
use super::ask::Asking;
use super::failure::Failure;
use super::options::Top;
use super::output::print_json;

/// Looks, and shows what it sees, until it is told to stop.
pub(super) async fn top(asking: &mut Asking<'_>, wanted: &Top) -> Result<(), Failure> {
    let every = Duration::from_secs_f32(wanted.interval.clamp(0.1, 3600.0));
    let mut sampler = Sampler::default();
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    if wanted.once || wanted.batch || asking.format.is_json() || is_dumb || !io::stdout().is_terminal() {
        // Of what is not redrawn one look is enough, unless it is asked for more.
        let most = if wanted.once { Some(1) } else { wanted.count };
        return batch(asking, &mut sampler, every, most).await;
    }
    let mut screen = Screen::default();
    let mut terminal = Raw::enter()?;
    loop {
        let began = Instant::now();
        let wants = screen.wants();
        if !screen.is_paused || screen.sample.is_none() {
            screen.sample = Some(sampler.look(asking, wants).await?);
        }
        loop {
            terminal.0.draw(|frame| draw::draw(frame, &mut screen))?;
            let left = every.saturating_sub(began.elapsed());
            if left.is_zero() || !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match screen.press(key) {
                    Then::Quit => return Ok(()),
                    Then::Look => break,
                    Then::Draw => {}
                },
                _ => {}
            }
        }
    }
}

/// Lines, each look for itself.
async fn batch(
    asking: &mut Asking<'_>,
    sampler: &mut Sampler,
    every: Duration,
    most: Option<u64>,
) -> Result<(), Failure> {
    // Rates are between two looks.
    sampler.look(asking, screen::Tab::Calls).await?;
    let mut done = 0;
    while most.is_none_or(|most| done < most) {
        tokio::time::sleep(every).await;
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

/// A terminal that gives each key at once and shows another screen; as it was when this is dropped.
struct Raw(Terminal<CrosstermBackend<io::Stdout>>);

impl Raw {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let entered = execute!(io::stdout(), EnterAlternateScreen);
        let terminal = entered.and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        terminal.map(Self).inspect_err(|_| leave())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        leave();
    }
}

fn leave() {
    // There is nobody left to tell of a terminal that is gone.
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = terminal::disable_raw_mode();
}
