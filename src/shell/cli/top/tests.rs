//! The screen as it is drawn, and the keys.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::draw::draw;
use super::lines;
use super::sample::{Counted, Heard, Rates, Sample};
use super::screen::{Screen, Tab, Then};
use crate::engine::view::{CallView, StatusView, TrunkView};
use crate::shell::control::testing::call;

fn sample() -> Sample {
    let named = |id: &str, from: &str, to: &str| CallView { from: from.into(), to: to.into(), ..call(id, 5) };
    let quality = [("01".to_owned(), Heard { loss: Some(0.0123), mos: Some(4.2), is_silent: false })];
    Sample {
        status: StatusView {
            node: "edge1".into(),
            domain: "pbx.test".into(),
            uptime_s: 90_061,
            store: "ok".into(),
            ..StatusView::default()
        },
        rates: Rates { cpu_percent: 12.5, rtp_in: 100.0, rtp_lost: 1.0, ..Rates::default() },
        calls: vec![
            named("01", "bob", "1001"),
            named("02", "alice", "\u{1b}[2J"),
            named("03", "carol", "1002"),
        ],
        moves: Vec::new(),
        trunks: vec![TrunkView { name: "carrier".into(), state: "up".into(), ..TrunkView::default() }],
        registrations: Vec::new(),
        quality: quality.into(),
    }
}

fn screen() -> Screen {
    Screen { sample: Some(sample()), ..Screen::default() }
}

fn shown(screen: &mut Screen, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    terminal.backend().to_string()
}

fn press(screen: &mut Screen, keys: &str) -> Then {
    let mut then = Then::Draw;
    for key in keys.chars() {
        let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
        then = screen.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
    then
}

#[test]
fn head_list_and_keys_are_on_a_screen_of_any_size() {
    let text = shown(&mut screen(), (100, 20));
    for part in [
        "edge1 (pbx.test)",
        "up 1 d 01:01",
        "12.5 % of a core",
        "0.99 % lost",
        "FROM",
        "1.23",
        "q quit",
        "4.20",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}') && text.contains("\u{fffd}[2J"), "a peer moves no cursor");
    for size in [(1, 1), (20, 3), (40, 5), (300, 100)] {
        shown(&mut screen(), size);
    }
}

#[test]
fn keys_sort_filter_scroll_pause_and_leave() {
    let mut screen = screen();
    let first = |screen: &Screen| screen.rows()[0][0].clone();
    assert_eq!(first(&screen), "bob");
    press(&mut screen, "s");
    assert_eq!(first(&screen), "alice");
    press(&mut screen, "r");
    assert_eq!(first(&screen), "carol");
    assert!(shown(&mut screen, (100, 20)).contains("by FROM  reversed"));
    press(&mut screen, "/BO");
    assert!(screen.is_typing && shown(&mut screen, (100, 20)).contains("filter: BO_"));
    assert_eq!(press(&mut screen, "\n"), Then::Draw);
    assert_eq!((screen.rows().len(), first(&screen)), (1, "bob".into()), "letters of either case");
    for _ in 0..50 {
        press(&mut screen, "j");
    }
    assert!(shown(&mut screen, (100, 20)).contains("bob"), "there is always a row to be seen");
    press(&mut screen, "p");
    assert!(screen.is_paused && shown(&mut screen, (100, 20)).contains("paused"));
    assert_eq!(press(&mut screen, "3"), Then::Look);
    assert_eq!((screen.tab, screen.sort), (Tab::Trunks, None));
    assert_eq!(press(&mut screen, "1"), Then::Look);
    assert_eq!(screen.tab, Tab::Calls);
    assert_eq!(press(&mut screen, "q"), Then::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    screen.is_typing = true;
    assert_eq!(screen.press(interrupt), Then::Quit);
}

#[test]
fn numbers_are_sorted_as_numbers() {
    let mut screen = screen();
    let calls = &mut screen.sample.as_mut().unwrap().calls;
    for (call, moves) in calls.iter_mut().zip([10, 9, 100]) {
        call.moves = moves;
    }
    screen.sort = Some(6);
    assert_eq!(screen.rows().iter().map(|row| row[6].clone()).collect::<Vec<_>>(), ["9", "10", "100"]);
}

#[test]
fn rates_are_what_was_counted_between_two_looks() {
    let metrics = crate::shell::telemetry::Metrics::new("1");
    let before = Counted::read(&metrics.encode());
    let text = "segue_sip_requests_total{method=\"INVITE\",transport=\"udp\",direction=\"in\"} 30\n\
                segue_sip_requests_total{method=\"BYE\",transport=\"tcp\",direction=\"in\"} 10\n\
                segue_sip_requests_total{method=\"BYE\",transport=\"tcp\",direction=\"out\"} 99\n\
                segue_rtp_packets_total{direction=\"in\"} 500\nsegue_rtp_packets_total{direction=\"out\"} 400\n\
                process_cpu_seconds_total 0.5\nnonsense\n";
    let rates = Counted::read(text).since(&Counted::default(), 2.0);
    assert_eq!((rates.invites, rates.requests), (15.0, 20.0));
    assert_eq!((rates.rtp_in, rates.rtp_out, rates.cpu_percent), (250.0, 200.0, 25.0));
    assert_eq!(Counted::default().since(&Counted::read(text), 2.0).invites, 0.0, "it was started anew");
    // The names are those that a node has.
    assert!(before.since(&Counted::default(), 1.0).memory_bytes > 0.0);
    let series = [
        "segue_sip_requests",
        "segue_call_setup_seconds",
        "segue_rtp_packets",
        "segue_rtp_lost",
        "segue_rtp_dropped",
        "segue_auth_failures",
    ];
    let encoded = metrics.encode();
    for name in series {
        assert!(encoded.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn plain_lines_hold_the_same() {
    let mut out = Vec::new();
    lines::print(&sample(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("edge1 (pbx.test)  running  up 1 d 01:01"), "{text}");
    assert!(text.contains("\nNAME     STATE") && text.contains("\ncarrier  up"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
