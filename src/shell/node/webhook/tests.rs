//! Receivers of every kind, and an outbox that is too small.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;

use super::*;
use crate::base::UnixMillis;
use crate::config::{Secret, WebhookUrl};
use crate::engine::event::{Event, RegistrationEvent, Ulid};
use crate::engine::view::Time;

const SOON: Duration = Duration::from_secs(20);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Answers each request with the next of `answers`, the last for ever; tells the `webhook-id` of each.
fn receiver(answers: &[&str]) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    let mut answers: Vec<String> = answers.iter().rev().map(ToString::to_string).collect();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some(id) = request(&mut stream) {
                let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
                if tell.send(id).is_err() || stream.get_mut().write_all(answer.unwrap().as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (address, told)
}

fn request(stream: &mut impl BufRead) -> Option<String> {
    let (mut id, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? <= 2 {
            break;
        }
        match line.trim_end().split_once(": ") {
            Some(("webhook-id", value)) => id = Some(value.to_owned()),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    id
}

fn to(address: SocketAddr) -> Webhook {
    Webhook {
        name: "test".into(),
        url: WebhookUrl {
            is_tls: false,
            host: address.ip().to_string().into(),
            port: address.port(),
            authority: address.to_string().into(),
            target: Secret::new("/"),
        },
        key: Secret::new("0123456789abcdef"),
        events: vec!["registration.*".into()],
        timeout: Duration::from_secs(2),
        keep: Duration::from_secs(3600),
        outbox: 1 << 20,
        ca: None,
    }
}

/// A node's part of it.
struct House {
    metrics: Metrics,
    webhooks: Webhooks,
    _services: Runtime,
}

impl House {
    fn open(dir: &Path, webhook: Webhook) -> Self {
        let services =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (metrics, mut random) = (Metrics::new("1"), Random::from_number(1));
        let webhooks = Webhooks::start(&[webhook], dir, services.handle(), &metrics, &mut random);
        Self { metrics, webhooks: webhooks.unwrap().unwrap(), _services: services }
    }

    /// Events happen now; gives their ids.
    fn happen(&self, count: usize) -> Vec<String> {
        let (tap, mut random, mut last) = (self.webhooks.tap(), Random::from_number(9), None);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at = UnixMillis(now.as_millis() as u64);
        let happens = |n: usize| {
            let id = Ulid::mint_after(last, at, &mut random);
            last = Some(id);
            let event = Event::Registration {
                what: RegistrationEvent::Added,
                user: format!("user{n:08}").into(),
                device: "desk".into(),
                address: None,
                user_agent: None,
            };
            tap.offer(&Arc::new(Envelope { id, time: Time(at), node: "edge1".into(), event }));
            id.to_string()
        };
        (0..count).map(happens).collect()
    }

    fn count(&self, what: &str) -> u64 {
        let text = self.metrics.encode();
        let name = format!("segue_webhook_{what}{{webhook=\"test\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }

    fn until(&self, what: &str, is_right: impl Fn(u64) -> bool) {
        let limit = Instant::now() + SOON;
        while !is_right(self.count(what)) {
            assert!(Instant::now() < limit, "{what} stays at {}", self.count(what));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn heard(told: &mpsc::Receiver<String>, count: usize) -> Vec<String> {
    (0..count).map(|_| told.recv_timeout(SOON).unwrap()).collect()
}

#[test]
fn a_redirect_is_an_answer_like_any_other_that_is_not_2xx() {
    let (elsewhere, nobody) = receiver(&[OK]);
    let redirect =
        format!("HTTP/1.1 307 Elsewhere\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n");
    let gone = "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n";
    let (address, told) = receiver(&[&redirect, gone, OK]);
    let dir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), to(address));
    let ids = house.happen(2);
    assert_eq!(heard(&told, 4), [&ids[0], &ids[0], &ids[0], &ids[1]].map(Clone::clone));
    house.until("delivered_total", |count| count == 2);
    assert_eq!(house.count("failed_total"), 2);
    assert!(nobody.try_recv().is_err());
}

#[test]
fn what_a_receiver_says_beyond_its_status_does_not_matter() {
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n{}", "x".repeat(100_000));
    let closing = "HTTP/1.1 204 Done\r\nConnection: close\r\n\r\n";
    let silent = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let (address, told) = receiver(&[&endless, closing, silent, OK]);
    let dir = tempfile::tempdir().unwrap();
    // Also where the time for an answer is less than what the rest of one may take.
    let house = House::open(dir.path(), Webhook { timeout: Duration::from_millis(900), ..to(address) });
    let ids = house.happen(5);
    assert_eq!(heard(&told, 5), ids);
    house.until("delivered_total", |count| count == 5);
    house.until("pending", |count| count == 0);
    assert_eq!(house.count("failed_total"), 0);
}

#[test]
fn a_small_outbox_keeps_the_newest_and_counts_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let house = House::open(dir.path(), Webhook { outbox: 2000, ..to(nobody) });
    let mut ids = house.happen(3);
    house.until("pending", |count| count == 3);
    assert_eq!(house.count("dropped_total"), 0);
    for _ in 0..5 {
        ids.extend(house.happen(10));
        let all = ids.len() as u64;
        house.until("pending", |count| count + house.count("dropped_total") == all);
    }
    let left = house.count("pending");
    assert!((5..20).contains(&left), "{left} of some 170 bytes are within 2000");
    drop(house);
    let (address, told) = receiver(&[OK]);
    let house = House::open(dir.path(), Webhook { outbox: 2000, ..to(address) });
    assert_eq!(heard(&told, left as usize), ids[ids.len() - left as usize..]);
    house.until("pending", |count| count == 0);
}

#[test]
fn a_disk_that_fails_is_tried_again_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (address, told) = receiver(&[OK]);
    let house = House::open(dir.path(), to(address));
    let database = rusqlite::Connection::open(dir.path().join(outbox::FILE)).unwrap();
    database.execute_batch("ALTER TABLE waiting RENAME TO away").unwrap();
    let mut ids = house.happen(3);
    std::thread::sleep(Duration::from_millis(100));
    ids.extend(house.happen(2));
    assert!(told.try_recv().is_err());
    database.execute_batch("ALTER TABLE away RENAME TO waiting").unwrap();
    assert_eq!(heard(&told, 5), ids);
    house.until("pending", |count| count == 0);
    assert_eq!(house.count("dropped_total"), 0);
}

#[test]
fn what_is_too_old_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let house = House::open(dir.path(), Webhook { keep: Duration::from_millis(300), ..to(nobody) });
    house.happen(3);
    house.until("dropped_total", |count| count == 3);
    house.until("pending", |count| count == 0);
    assert!(house.count("failed_total") >= 1);
}

#[test]
fn what_waits_for_a_webhook_that_is_gone_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let house = House::open(dir.path(), to(nobody));
    house.happen(3);
    house.until("pending", |count| count == 3);
    drop(house);
    let outbox = Outbox::open(&dir.path().join(outbox::FILE)).unwrap();
    assert_eq!(outbox.keep_only(&["other"]).unwrap(), 3);
    drop(outbox);
    let house = House::open(dir.path(), to(nobody));
    assert_eq!(house.count("pending"), 0);
    // No webhook, no file.
    let services = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let other = tempfile::tempdir().unwrap();
    let none =
        Webhooks::start(&[], other.path(), services.handle(), &house.metrics, &mut Random::from_number(1));
    assert!(none.unwrap().is_none() && other.path().read_dir().unwrap().next().is_none());
}
