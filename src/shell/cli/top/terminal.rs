//! The terminal: another screen and each key at once while it is ours, as it was afterwards, however this ends.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::{SystemTime, UNIX_EPOCH};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::draw::draw;
use super::screen::{Screen, Then};
use crate::base::UnixMillis;

/// Keys that wait for a screen that is being drawn.
const KEYS: usize = 64;

/// Why there is no screen any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// A key.
    Quit,
    /// One of SIGTERM, SIGINT and SIGHUP.
    Signal(i32),
}

/// What came first while the screen was shown.
pub(super) enum Meanwhile<T> {
    /// What was waited for.
    Done(T),
    /// The node is to be asked at once.
    Look,
    /// The end.
    Ended(Ended),
}

/// The screen on its terminal, with keys and signals.
pub(super) struct Live {
    pub(super) screen: Screen,
    terminal: Raw,
    keys: mpsc::Receiver<io::Result<Event>>,
    signals: [(i32, Signal); 3],
}

impl Live {
    /// Takes the terminal.
    pub(super) fn enter(screen: Screen) -> io::Result<Self> {
        // Before the terminal is another, so that no signal leaves it so.
        let listen = |kind: SignalKind| Ok::<_, io::Error>((kind.as_raw_value(), signal(kind)?));
        let signals = [
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::hangup())?,
        ];
        Ok(Self { screen, terminal: Raw::enter()?, keys: keys(), signals })
    }

    /// Shows the screen and takes keys until something comes of them, or `what` is done. Keys are read however soon that
    /// is: a node that takes its time must not be what one cannot get away from.
    pub(super) async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> io::Result<Meanwhile<T>> {
        let mut what = pin!(what);
        loop {
            self.terminal.0.draw(|frame| draw(frame, &mut self.screen))?;
            let [(first, terminate), (second, interrupt), (third, hangup)] = &mut self.signals;
            tokio::select! {
                biased;
                _ = terminate.recv() => return Ok(Meanwhile::Ended(Ended::Signal(*first))),
                _ = interrupt.recv() => return Ok(Meanwhile::Ended(Ended::Signal(*second))),
                _ = hangup.recv() => return Ok(Meanwhile::Ended(Ended::Signal(*third))),
                event = self.keys.recv() => match self.screen_after(event)? {
                    Then::Quit => return Ok(Meanwhile::Ended(Ended::Quit)),
                    Then::Look => return Ok(Meanwhile::Look),
                    Then::Draw => {}
                },
                done = &mut what => return Ok(Meanwhile::Done(done)),
            }
        }
    }

    fn screen_after(&mut self, event: Option<io::Result<Event>>) -> io::Result<Then> {
        let event = event.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
        Ok(match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.screen.press(key),
            _ => Then::Draw,
        })
    }
}

/// Keys and changes of size, from a thread that waits for them for as long as the process lives.
fn keys() -> mpsc::Receiver<io::Result<Event>> {
    let (tell, told) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let is_gone = event.is_err();
            if tell.blocking_send(event).is_err() || is_gone {
                return;
            }
        }
    });
    told
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

/// Ends the process by the signal that it was sent, so that a shell sees what it sees of any other.
pub(super) fn die_of(signal: i32) -> ! {
    // SAFETY: the default action takes no function of ours, and the signal is one that may have it.
    #[expect(unsafe_code, reason = "the standard library neither gives up a signal nor sends one")]
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    // Where somebody has it blocked.
    std::process::exit(128 + signal)
}

/// By the clock of this machine.
pub(super) fn now() -> UnixMillis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
