//! Findings of facts that are made up, and of this machine.

use std::path::{Path, PathBuf};

use super::judge::{Certificate, Data, Facts, Port, PortState, judge};
use super::{Finding, State, worst};

/// A machine on which all is well.
fn sound() -> Facts {
    let port = |name: &str, number| Port {
        name: name.into(),
        key: "listen[0].uri".into(),
        number,
        state: PortState::Free,
    };
    Facts {
        file: Some(PathBuf::from("/etc/segue/segue.toml")),
        is_file_open: false,
        node: Ok(false),
        ports: vec![port("udp://0.0.0.0:5060", 5060), port("http://127.0.0.1:8080", 8080)],
        private: Vec::new(),
        is_synchronised: Some(true),
        certificates: vec![certificate(|_| {})],
        files: Some(65_536),
        parts: 6,
        media: (20_000, 29_999),
        media_taken: Vec::new(),
        buffers: Some((8 << 20, 8 << 20)),
        ephemeral: Some(((32_768, 60_999), Vec::new())),
        data: Data {
            path: "/var/lib/segue".into(),
            writable: Some(Ok(())),
            is_open: false,
            free: Some(50 << 30),
        },
        store: Some(Ok(())),
        zone: "Europe/Berlin".into(),
        names: vec![("trunk carrier: sip.carrier.example".into(), Ok(2))],
        uring: Ok(()),
        io: "auto",
    }
}

fn certificate(change: impl FnOnce(&mut Certificate)) -> Certificate {
    let mut one = Certificate {
        key: "listen[1]".into(),
        path: "/etc/segue/key.pem".into(),
        is_key_open: false,
        read: Ok((vec!["pbx.example.com".into()], 60 * 86_400)),
        name: ("pbx.example.com".into(), true),
    };
    change(&mut one);
    one
}

/// What is not as it should be, of a sound machine that was changed.
fn found(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = sound();
    change(&mut facts);
    judge(&facts).into_iter().filter(|finding| finding.state != State::Ok).collect()
}

#[test]
fn a_sound_machine_has_no_findings_but_good_ones() {
    let all = judge(&sound());
    assert_eq!(worst(&all), State::Ok, "{all:#?}");
    assert!(all.len() >= 14 && all.iter().all(|finding| finding.mend.is_none()));
    // What the system does not say is no fault.
    let silent = found(|facts| {
        (facts.is_synchronised, facts.buffers, facts.ephemeral, facts.files) = (None, None, None, None);
        (facts.store, facts.data.writable, facts.data.free) = (None, None, None);
        facts.uring = Err("Operation not permitted".into());
    });
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn each_trouble_is_one_finding_with_what_to_do() {
    use State::{Fault, Warning};
    type Change = Box<dyn FnOnce(&mut Facts)>;
    let port = |state: PortState| -> Change { Box::new(move |facts| facts.ports[0].state = state) };
    let cert = |change: fn(&mut Certificate)| -> Change {
        Box::new(move |facts| facts.certificates = vec![certificate(change)])
    };
    let cases: Vec<(&str, State, &str, Change)> = vec![
        ("configuration", Warning, "segue serve --init", Box::new(|facts| facts.file = None)),
        ("configuration", Warning, "chmod o-rwx /etc/segue", Box::new(|facts| facts.is_file_open = true)),
        (
            "node",
            Fault,
            "as the user of the node",
            Box::new(|facts| facts.node = Err("another user's".into())),
        ),
        ("udp://0.0.0.0:5060", Fault, "sport = :5060", port(PortState::Taken)),
        (
            "udp://0.0.0.0:5060",
            Fault,
            "AmbientCapabilities=CAP_NET_BIND_SERVICE and CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
            port(PortState::Forbidden),
        ),
        ("udp://0.0.0.0:5060", Fault, "ip -brief address", port(PortState::Elsewhere)),
        (
            "listen[0].advertise",
            Warning,
            "public address",
            Box::new(|facts| {
                facts.private = vec![("listen[0]".into(), "10.0.0.7".parse().unwrap())];
            }),
        ),
        (
            "listen[1] certificate",
            Fault,
            "listen[1].cert",
            cert(|one| one.read = Err("x: cannot be read".into())),
        ),
        (
            "listen[1] certificate",
            Fault,
            "renew",
            cert(|one| one.read = Ok((vec!["pbx.example.com".into()], -3))),
        ),
        (
            "listen[1] certificate",
            Warning,
            "renew",
            cert(|one| one.read = Ok((vec!["pbx.example.com".into()], 9999))),
        ),
        ("listen[1] certificate", Warning, "for pbx.example.com", cert(|one| one.name.1 = false)),
        ("listen[1] key", Warning, "chmod o-rwx", cert(|one| one.is_key_open = true)),
        ("media.ports", Warning, "sport = :20002", Box::new(|facts| facts.media_taken = vec![20_002])),
        (
            "media.ports",
            Warning,
            "ip_local_reserved_ports=30000-39999",
            Box::new(|facts| facts.media = (30_000, 39_999)),
        ),
        (
            "media.ports",
            Warning,
            "ip_local_reserved_ports=33000,35000-35999,30000-39999",
            Box::new(|facts| {
                facts.media = (30_000, 39_999);
                facts.ephemeral = Some(((32_768, 60_999), vec![(33_000, 33_000), (35_000, 35_999)]));
            }),
        ),
        ("open files", Warning, "LimitNOFILE=28514", Box::new(|facts| facts.files = Some(1024))),
        ("open files", Fault, "LimitNOFILE=28514", Box::new(|facts| facts.files = Some(57))),
        (
            "net.core.rmem_max",
            Warning,
            "sysctl -w net.core.rmem_max=4194304",
            Box::new(|facts| {
                facts.buffers = Some((212_992, 8 << 20));
            }),
        ),
        (
            "node.data_dir",
            Fault,
            "chown",
            Box::new(|facts| facts.data.writable = Some(Err("read-only".into()))),
        ),
        ("node.data_dir", Warning, "chmod 700", Box::new(|facts| facts.data.is_open = true)),
        ("disk", Fault, "df", Box::new(|facts| facts.data.free = Some(1 << 20))),
        ("disk", Warning, "df", Box::new(|facts| facts.data.free = Some(500 << 20))),
        ("store", Fault, ".recover", Box::new(|facts| facts.store = Some(Err("page 7 is wrong".into())))),
        ("trunk carrier: sip.carrier.example", Fault, "dig", Box::new(|facts| facts.names[0].1 = Ok(0))),
        (
            "trunk carrier: sip.carrier.example",
            Fault,
            "[dns]",
            Box::new(|facts| facts.names[0].1 = Err("refused".into())),
        ),
        ("clock", Warning, "timedatectl", Box::new(|facts| facts.is_synchronised = Some(false))),
        (
            "io_uring",
            Fault,
            "auto",
            Box::new(|facts| (facts.uring, facts.io) = (Err("no".into()), "io_uring")),
        ),
    ];
    for (what, state, mend, change) in cases {
        let found = found(change);
        assert_eq!(found.len(), 1, "{what}: {found:#?}");
        let one = &found[0];
        assert_eq!((&*one.what, one.state), (what, state), "{one:?}");
        assert!(one.mend.as_deref().is_some_and(|told| told.contains(mend)), "{mend}: {one:?}");
    }
    // What the running node holds, and what is left out for it, is well.
    let kept = found(|facts| {
        facts.ports[0].state = PortState::Ours;
        facts.media = (30_000, 39_999);
        facts.ephemeral = Some(((32_768, 60_999), vec![(30_000, 35_000), (35_001, 40_000)]));
    });
    assert!(kept.is_empty(), "{kept:#?}");
}

#[test]
fn this_machine_is_looked_at_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let held = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "[node]\ndomain = \"pbx.test\"\ndata_dir = \"data\"\n[[listen]]\nuri = \"udp://{}\"\n\
         [media]\nports = \"20000-20099\"\n",
        held.local_addr().unwrap()
    );
    let path = dir.path().join("segue.toml");
    let source = crate::config::Source {
        path: &path,
        text: &text,
        variables: &[],
        hostname: "host",
        read: &|path: &Path| std::fs::read_to_string(path),
    };
    let resolved = source.resolve().unwrap();
    std::fs::write(&path, &text).unwrap();
    let all = super::examine(Some(&path), &resolved);
    let of = |what: &str| {
        all.iter().find(|finding| finding.what == what).unwrap_or_else(|| panic!("{what}: {all:#?}"))
    };
    let name = format!("udp://{}", held.local_addr().unwrap());
    assert_eq!(of(&name).state, State::Fault, "another program has it: this test");
    assert_eq!(of("node").told, "none runs with this data directory");
    assert!(of("node.data_dir").told.contains("not there yet"));
    assert!(!dir.path().join("data").exists(), "nothing is made");
    assert_eq!(worst(&all), State::Fault);
    // A store that is none.
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/segue.db"), "this is no store at all, whatever its name is")
        .unwrap();
    let all = super::examine(Some(&path), &resolved);
    let store = all.iter().find(|finding| finding.what == "store").unwrap();
    assert_eq!(store.state, State::Fault, "{store:?}");
}
