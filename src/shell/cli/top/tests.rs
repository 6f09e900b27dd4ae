//! The screen as it is drawn, and the keys.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::draw::draw;
use super::lines;
use super::sample::{Counted, Heard, Rates, Sample};
use super::screen::{Screen, Tab, Then};
use crate::base::UnixMillis;
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
        is_cut: false,
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
fn a_node_that_is_not_reached_is_told_of_over_what_was_seen_last() {
    let mut screen = screen();
    let at = |seconds: u64| UnixMillis(1_795_766_763_007 + seconds * 1000);
    screen.miss(at(0), "no node is running");
    screen.miss(at(9), "it closed the \u{1b}connection");
    let text = shown(&mut screen, (100, 20));
    assert!(
        text.contains("cannot reach the node since 08:06:03 UTC: it closed the \u{fffd}connection"),
        "since it was missed first, and why by now\n{text}"
    );
    assert!(text.contains("edge1 (pbx.test)") && text.contains("carol"), "{text}");
    press(&mut screen, "p");
    assert!(screen.is_due(), "it is looked for, paused or not");
    screen.see(sample());
    assert!(!shown(&mut screen, (100, 20)).contains("cannot reach") && !screen.is_due());
    press(&mut screen, "p");
    screen.miss(at(20), "no node is running");
    assert!(shown(&mut screen, (100, 20)).contains("since 08:06:23 UTC"), "another time");
    // With nothing seen yet that is all there is.
    let mut blank = Screen::default();
    blank.miss(at(0), "no node is running");
    assert!(shown(&mut blank, (80, 3)).contains("cannot reach"));
}

#[test]
fn a_list_that_is_cut_says_how_many_there_are() {
    let mut screen = screen();
    assert!(!shown(&mut screen, (100, 20)).contains("newest"), "all are shown");
    let sample = screen.sample.as_mut().unwrap();
    (sample.is_cut, sample.status.calls_answered, sample.status.calls_ringing) = (true, 7000, 342);
    sample.status.registrations = 9000;
    let text = shown(&mut screen, (100, 20));
    assert!(text.contains(" 1 calls: the newest 3 of 7342 ") && text.contains(" 2 moves "), "{text}");
    for (tab, wanted) in [
        (Tab::Moves, "moves: the newest 0"),
        (Tab::Trunks, "trunks: the first 1"),
        (Tab::Registrations, "registrations: the first 0 of 9000"),
    ] {
        screen.tab = tab;
        assert_eq!(screen.title(tab), wanted);
    }
    let mut out = Vec::new();
    lines::print(screen.sample.as_ref().unwrap(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\ncalls: the newest 3 of 7342\nFROM "), "{text}");
    screen.sample.as_mut().unwrap().status.calls_answered = 3;
    screen.sample.as_mut().unwrap().status.calls_ringing = 0;
    assert_eq!(screen.sample.as_ref().unwrap().part(Tab::Calls), None, "it was full to the last");
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
