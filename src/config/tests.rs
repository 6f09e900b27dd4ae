//! Whole configurations: what is right resolves as written, what is wrong is named with file, line and key.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::call::quirks::{Dtmf, Hint, Quirks};
use crate::call::run::Runs;
use crate::media::relay::Learning;
use crate::moving::hold_off::Scope;
use crate::moving::{ReInvite, ReplacesMode, SelectPolicy};
use crate::registrar::accounts::{Accounts, Pull, Trust};
use crate::sip::Transport;
use crate::sip::digest::{Algorithm, Ha1s};

mod routes;

/// The page of the operators' contract, with every key.
const WHOLE: &str = include_str!("../../fixtures/config/whole.toml");

const FILES: [(&str, &str); 4] = [
    ("/etc/segue/hook.key", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"),
    ("/etc/segue/fullchain.pem", "-----BEGIN CERTIFICATE-----\n"),
    ("/etc/segue/key.pem", concat!("-----BEGIN ", "PRIVATE KEY-----\n")),
    ("/etc/segue/carrier.pw", "s3cret\n"),
];

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Resolved, ConfigErrors> {
    let files: BTreeMap<PathBuf, &str> =
        FILES.iter().map(|(path, text)| (PathBuf::from(path), *text)).collect();
    let read = |path: &Path| {
        files.get(path).map(|text| (*text).to_owned()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let variables: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let path = Path::new("/etc/segue/segue.toml");
    Source { path, text, variables: &variables, hostname: "edge9", read: &read }.resolve()
}

fn resolve(text: &str) -> Resolved {
    with(text, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The faults of `text`, without the directory.
fn faults(text: &str) -> Vec<String> {
    let errors = with(text, &[]).expect_err("the configuration is wrong");
    errors.0.iter().map(|error| error.to_string().replace("/etc/segue/", "")).collect()
}

/// `[node]` and a user with a device, with `more` behind it: its first line is line 9.
fn small(more: &str) -> String {
    format!(
        "[node]\ndomain = \"pbx.example\"\n[[user]]\nname = \"alice\"\n  [[user.device]]\n  id = \"desk\"\n  \
         auth_user = \"alice-desk\"\n  password = \"pw\"\n{more}"
    )
}

#[test]
fn every_key_of_the_contract_is_taken() {
    let all = resolve(WHOLE);
    assert_eq!((&*all.node.id, &*all.node.domain, all.node.aliases.len()), ("edge1", "pbx.example.com", 1));
    assert_eq!(
        (all.node.data_dir.as_path(), &all.node.store),
        (Path::new("/var/lib/segue"), &StoreKind::Sqlite)
    );
    assert_eq!(all.listens.len(), 2);
    assert_eq!(all.listens[0].transport, Transport::Udp);
    let advertise = all.listens[0].advertise.as_ref().unwrap();
    assert_eq!((&*advertise.host, advertise.port), ("203.0.113.10", Some(5060)));
    assert_eq!(
        all.listens[1].tls.as_ref().unwrap().identities[0].cert,
        Path::new("/etc/segue/fullchain.pem")
    );
    assert_eq!(all.http.bind.to_string(), "127.0.0.1:8080");
    assert_eq!((all.media.ports, all.media.anchor), ((30_000, 39_999), Anchor::Always));
    assert_eq!(all.media.web_port, WebPort::Beside(29_984));
    assert_eq!((all.media.srtp, all.media.learning), (Srtp::Prefer, Learning::Guarded));
    assert_eq!((all.media.timeout, all.media.io), (Some(Duration::from_secs(60)), MediaIo::Auto));
    assert_eq!(all.registrar.max_bindings, 8);
    assert_eq!(all.auth.algorithms, [Algorithm::Md5]);
    assert_eq!((all.auth.ban.failures, all.auth.ban.length), (10, Duration::from_secs(600)));
    let moving = &all.moving;
    assert_eq!((&*moving.codes.pull, &*moving.codes.push, &*moving.codes.pickup[0]), ("*11", "*12", "**"));
    assert_eq!((moving.codes.echo.as_deref(), moving.codes.tone.as_deref()), (Some("*43"), Some("*44")));
    assert_eq!((moving.replaces, moving.re_invite), (ReplacesMode::Lenient, ReInvite::WhenNeeded));
    assert_eq!((moving.select, moving.hold_off_scope), (SelectPolicy::Newest, Scope::Call));
    assert_eq!((moving.hold_off, moving.rollback), (Duration::from_secs(30), Duration::from_secs(2)));
    let alice = &all.accounts[0];
    assert_eq!((&*alice.name, alice.extension.as_deref()), ("alice", Some("1001")));
    let pbx = alice.pbx.as_ref().unwrap();
    assert_eq!((&*pbx.trunk, &*pbx.user, &*pbx.auth_user), ("backup", "1001", "alice-1001"));
    assert_eq!((pbx.password.expose(), pbx.realm.as_deref()), ("s3cret", Some("asterisk")));
    assert_eq!(alice.algorithms, [Algorithm::Sha256, Algorithm::Md5]);
    assert!(alice.login.is_some() && alice.pin.is_some());
    assert_eq!(alice.devices[0].ha1.md5.unwrap()[0], 0x01);
    assert_eq!((alice.devices[0].trust, alice.devices[0].pull), (Trust::Personal, Pull::Redirect));
    let trunk = &all.trunks[0];
    assert_eq!((&*trunk.host.host, trunk.transport), ("sip.carrier.example", Transport::Tls));
    assert_eq!(trunk.auth.as_ref().unwrap().password.expose(), "s3cret");
    assert!(trunk.register);
    assert_eq!(all.trunk_of("203.0.113.7:5062".parse().unwrap()).map(|t| &*t.name), Some("carrier"));
    assert_eq!(all.trunk_of("203.0.113.7:5060".parse().unwrap()).map(|t| &*t.name), None);
    let to = |place: usize| all.routes[place].to.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(to(0), ["reject:403 Premium numbers are barred"]);
    assert_eq!(to(1), ["group:sales", "extension:1001", "reject:480 We are closed"]);
    assert_eq!(to(2), ["trunk:carrier", "trunk:backup"]);
    let [billing, local] = &all.webhooks[..] else { panic!("two webhooks") };
    assert_eq!((&*billing.name, billing.url.is_tls, billing.url.port), ("billing", true, 443));
    assert_eq!(billing.key_bytes(), (0..32).collect::<Vec<u8>>());
    assert!(billing.wants("call.ended") && billing.wants("cdr") && !billing.wants("security.banned"));
    assert_eq!((&*local.name, local.events.len()), ("127.0.0.1:9000", 1));
    assert!(local.wants("security.banned"));
    assert_eq!(
        (billing.timeout, billing.keep, billing.outbox, &billing.ca.is_some()),
        (local.timeout, local.keep, local.outbox, &true)
    );
    assert_eq!(all.cdr, [CdrFormat::JsonLines, CdrFormat::Csv, CdrFormat::Asterisk]);
    let shown = format!("{all:?}");
    assert!(!shown.contains("9f2c") && !shown.contains("whsec"), "no secret in a log");
    assert!(!shown.contains("s3cret") && !shown.contains("argon2id"), "no secret in a log");
}

#[test]
fn what_is_left_out_has_the_default_of_the_contract() {
    let left_out = resolve("[node]\ndomain = \"PBX.example\"\n");
    assert_eq!((&*left_out.node.id, &*left_out.node.domain), ("edge9", "pbx.example"));
    let listens: Vec<_> = left_out.listens.iter().map(|l| (l.transport, l.bind.to_string())).collect();
    assert_eq!(listens, [(Transport::Udp, "0.0.0.0:5060".into()), (Transport::Tcp, "0.0.0.0:5060".into())]);
    let (small, whole) = (left_out, resolve(WHOLE));
    assert_eq!(small.http, whole.http);
    assert_eq!(Media { advertise: None, ..whole.media }, small.media);
    assert_eq!(small.auth.ban, whole.auth.ban);
    assert_eq!(small.auth.algorithms, whole.auth.algorithms);
    assert_eq!((small.registrar.min_expires, small.registrar.max_bindings), (whole.registrar.min_expires, 8));
    let mut moving = whole.moving;
    (moving.codes.echo, moving.codes.tone) = (None, None);
    assert_eq!(small.moving, moving, "test codes are off unless asked for");
    assert_eq!((small.webhooks.len(), small.cdr.as_slice()), (0, &[CdrFormat::JsonLines][..]));
    assert!(small.is_domain("pbx.EXAMPLE") && !small.is_domain("example"));
}

#[test]
fn calls_name_their_run_only_where_that_is_asked_for() {
    let with = |more: &str| resolve(&format!("[node]\ndomain = \"pbx\"\n[test]\n{more}")).runs;
    assert_eq!(with("echo = \"*43\"\n"), None);
    assert_eq!(with("runs = true\n"), Some(Runs::default()));
    assert_eq!(with("runs = true\nrun_prefix = \"run\"\n").unwrap().prefix.as_deref(), Some("run"));
}

#[test]
fn own_addresses_for_the_registrar_are_those_of_the_file() {
    let own = resolve(WHOLE).registrar.own;
    assert_eq!(own.names, ["pbx.example.com".into()]);
    let addresses: Vec<_> = own.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1", "203.0.113.10"]);
    assert_eq!(own.ports, [5060, 5061]);
}

#[test]
fn each_fault_names_its_line_and_key() {
    let cases: &[(&str, &str)] = &[
        ("[nodes]\n", "segue.toml:9: nodes: unknown key; did you mean `node`?"),
        (
            "[registrar]\nmin_expire_s = 5\n",
            "segue.toml:10: registrar.min_expire_s: unknown key; did you mean `min_expires_s`?",
        ),
        (
            "[registrar]\nmax_bindings = 0\n",
            "segue.toml:10: registrar.max_bindings: must be a whole number from 1 to 64, not 0",
        ),
        (
            "[registrar]\nmax_bindings = \"8\"\n",
            "segue.toml:10: registrar.max_bindings: must be a whole number from 1 to 64, not a text",
        ),
        (
            "[registrar]\nmin_expires_s = 7200\n",
            "segue.toml:10: registrar.min_expires_s: min_expires_s 7200 is above max_expires_s 3600",
        ),
        (
            "[media]\n\n\nports = \"40000-30000\"\n",
            "segue.toml:12: media.ports: `40000-30000`: the range is too short",
        ),
        (
            "[media]\nports = \"5000-5999\"\n",
            "segue.toml: media.ports: port 5060 of listen[0] lies in this range",
        ),
        (
            "[media]\nweb_port = 29990\n",
            "segue.toml:10: media.web_port: it and the 15 after it must lie outside of ports",
        ),
        (
            "[media]\nanchor = \"sometimes\"\n",
            "segue.toml:10: media.anchor: `sometimes`: must be always or when-needed or never",
        ),
        (
            "[media]\nadvertise = \"0.0.0.0\"\n",
            "segue.toml:10: media.advertise: must be an address that peers can send to",
        ),
        (
            "[auth]\nalgorithms = [\"MD5\",\n\"SHA-1\"]\n",
            "segue.toml:11: auth.algorithms[1]: `SHA-1`: must be MD5, SHA-256 or SHA-512-256",
        ),
        ("[auth]\nalgorithms = []\n", "segue.toml:9: auth.algorithms: names none"),
        ("[[quirk]]\nupdate = false\n", "segue.toml:9: quirk[0].user_agent: is needed"),
        ("[[quirk]]\nuser_agent = \"(\"\n", "segue.toml:10: quirk[0].user_agent: `(`: is no pattern"),
        (
            "[[quirk]]\nuser_agent = \"x\"\ndtmf = \"inband\"\n",
            "segue.toml:11: quirk[0].dtmf: `inband`: must be auto or info",
        ),
        (
            "[auth]\nban = { failures = 10, allow = [\"10.0.0.1/8\"] }\n",
            "segue.toml:10: auth.ban.allow[0]: `10.0.0.1/8`: address bits are set",
        ),
        (
            "[[listen]]\nuri = \"udp://0.0.0.0:99999\"\n",
            "segue.toml:10: listen[0].uri: `udp://0.0.0.0:99999`: must be like",
        ),
        ("[[listen]]\nadvertise = \"h\"\n", "segue.toml:9: listen[0].uri: is needed"),
        (
            "[[listen]]\nuri = \"udp://0.0.0.0\"\n[[listen]]\nuri = \"udp://0.0.0.0:5060\"\n",
            "segue.toml:12: listen[1].uri: the same address is listened on at",
        ),
        (
            "[[listen]]\nuri = \"tls://0.0.0.0:5061\"\ncert = \"none.pem\"\nkey = \"key.pem\"\n",
            "segue.toml:11: listen[0].cert: `none.pem`: cannot be read",
        ),
        (
            "[[listen]]\nuri = \"tls://0.0.0.0:5061\"\n",
            "segue.toml:9: listen[0].cert: cert and key are needed for tls and wss",
        ),
        (
            "[[listen]]\nuri = \"udp://0.0.0.0\"\ncert = \"fullchain.pem\"\n",
            "segue.toml:9: listen[0].cert: cert and key are for tls and wss only",
        ),
        (
            "[move]\nhold_off_s = -1\n",
            "segue.toml:10: move.hold_off_s: must be a whole number from 0 to 86400, not -1",
        ),
        (
            "[move]\ncode = \"*12\"\n",
            "segue.toml: move.push_code: `*12` cannot be told from `*12` of move.code",
        ),
        ("[test]\necho = \"*113\"\n", "segue.toml: test.echo: `*113` cannot be told from `*11` of move.code"),
        (
            "[test]\nrun_prefix = \"run\"\n",
            "segue.toml:10: test.run_prefix: means nothing without runs = true",
        ),
        (
            "[test]\nruns = true\nrun_prefix = \"a-b\"\n",
            "segue.toml:11: test.run_prefix: `a-b`: must be letters, digits, dots and underscores",
        ),
        ("[test]\necho = \"echo\"\n", "segue.toml:10: test.echo: `echo`: must be 1 to 16 of the keys"),
        (
            "[[route]]\nmatch = \"(\"\nto = [\"user:alice\"]\n",
            "segue.toml:10: route[0].match: `(`: is no pattern: unclosed group",
        ),
        (
            "[[route]]\nmatch = \".*\"\nto = [\"trunk:none\"]\n",
            "segue.toml:11: route[0].to[0]: `trunk:none`: there is no such trunk",
        ),
        ("[[route]]\nmatch = \".*\"\n", "segue.toml:9: route[0].to: names no target"),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:user@h\"\n",
            "segue.toml:11: trunk[0].uri: `sip:user@h`: must name a host only",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:h\"\nregister = true\n",
            "segue.toml:9: trunk[0].register: needs auth",
        ),
        (
            "[user.pbx]\ntrunk = \"t\"\nuser = \"1\"\npassword = \"p\"\n",
            "segue.toml:3: user[0].pbx.trunk: there is no such trunk",
        ),
        (
            "[user.pbx]\ntrunk = \"t\"\nuser = \"1\"\n[[trunk]]\nname = \"t\"\nuri = \"sip:h\"\n",
            "segue.toml:9: user[0].pbx.password: one of password and password_file is needed",
        ),
        (
            "[user.pbx]\ntrunk = \"t\"\nuser = \"1\"\npassword = \"p\"\n[[user]]\nname = \"bob\"\n[user.pbx]\n\
             trunk = \"t\"\nuser = \"1\"\npassword = \"q\"\n[[trunk]]\nname = \"t\"\nuri = \"sip:h\"\n",
            "segue.toml:13: user[1].pbx.user: `1` at t is alice already",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:h\"\nauth = { user = \"u\", password_file = \"no.pw\" }\n",
            "segue.toml:12: trunk[0].auth.password_file: `no.pw`: cannot be read",
        ),
        ("[[user]]\nname = \"alice\"\n", "segue.toml:9: user[1]: name `alice` is already used"),
        (
            "[[user]]\nname = \"bob\"\nextension = \"10a\"\n",
            "segue.toml:11: user[1].extension: `10a`: 1 to 15 digits are needed",
        ),
        ("[[user]]\nname = \"b*b\"\n", "segue.toml:10: user[1].name: `b*b`: only letters"),
        (
            "[[user]]\nname = \"bob\"\nlogin = \"secret\"\n",
            "segue.toml:11: user[1].login: an $argon2id$ hash is needed",
        ),
        (
            "[[user]]\nname = \"bob\"\n[[user.device]]\nid = \"d\"\nauth_user = \"alice-desk\"\npassword = \"x\"\n",
            "segue.toml:9: user[1]: auth_user `alice-desk` is already used by alice",
        ),
        (
            "[[user]]\nname = \"bob\"\n[[user.device]]\nid = \"d\"\nauth_user = \"b\"\nha1 = { md5 = \"00\" }\n",
            "segue.toml:14: user[1].device[0].ha1.md5: must be 32 hexadecimal digits",
        ),
        (
            "[[user]]\nname = \"bob\"\n[[user.device]]\nid = \"d\"\nauth_user = \"b\"\n",
            "segue.toml:11: user[1].device[0].ha1: one of ha1, password and password_file is needed",
        ),
        (
            "[[user]]\nname = \"bob\"\n[[user.device]]\nid = \"d\"\nauth_user = \"b\"\npassword = \"x\"\npull = \"refer\"\n",
            "segue.toml:15: user[1].device[0].pull: `refer`: must be direct or redirect",
        ),
        (
            "[[user]]\nname = \"bob\"\n[[user.device]]\nid = \"d\"\nauth_user = \"b\"\npassword = \"x\"\ntrust = \"shared\"\n\
             pull = \"redirect\"\n",
            "segue.toml:11: user[1].device[0].pull: `redirect` is for personal devices",
        ),
        (
            "[[user]]\nname = \"bob\"\n[[user.device]]\nid = \"d\"\nauth_user = \"b\"\npassword_file = \"none\"\n",
            "segue.toml:14: user[1].device[0].password_file: `none`: cannot be read",
        ),
        (
            "[[user]]\nname = \"bob\"\n[[user.device]]\nid = \"d\"\nauth_user = \"b\"\npassword = \"\"\n",
            "segue.toml:14: user[1].device[0].password: is no password",
        ),
        ("[user]\n", "segue.toml:9: duplicate key"),
        ("[trunk]\nname = \"t\"\n", "segue.toml:9: trunk: must be written [[trunk]], each on its own"),
        ("[http]\nbind = 8080\n", "segue.toml:10: http.bind: must be a text in quotes, not a number"),
        ("[http]\nbind = \"0.0.0.0:5060\"\n", "segue.toml: http.bind: 0.0.0.0:5060 is taken by listen[1]"),
        (
            "[http]\norigin = \"pbx.example.com\"\n",
            "segue.toml:10: http.origin: `pbx.example.com`: must be like https://pbx.example.com",
        ),
        (
            "[http]\norigin = \"https://pbx/x\"\n",
            "segue.toml:10: http.origin: `https://pbx/x`: must be like https://",
        ),
        (
            "[http]\nphone = \"wss://pbx; script-src *\"\n",
            "segue.toml:10: http.phone: `wss://pbx; script-src *`: must be like wss://",
        ),
        ("http = 3\n", "segue.toml:9: "),
        ("x = [1\n", "segue.toml:"),
    ];
    for (more, wanted) in cases {
        let found = faults(&small(more));
        assert!(
            found.iter().any(|fault| fault.starts_with(wanted)),
            "{more}\nwanted {wanted}\nfound  {found:#?}"
        );
    }
}

#[test]
fn one_run_shows_every_fault() {
    let text = small(
        "[registrar]\nmax_bindings = 0\nextra = 1\n[media]\nports = \"x\"\nsrtp = \"x\"\n[[trunk]]\nname = \"a b\"\n\
         [[user]]\nname = \"bob\"\npin = \"1234\"\nalgorithm = 1\n",
    );
    let found = faults(&text);
    assert_eq!(found.len(), 8, "{found:#?}");
    let lines: Vec<u32> = found.iter().map(|f| f.split(':').nth(1).unwrap().parse().unwrap()).collect();
    assert!(lines.is_sorted(), "in the order of the file: {found:#?}");
    assert!(!found.concat().contains("1234"), "a secret is not repeated");
}

#[test]
fn a_missing_domain_and_syntax_errors_are_said() {
    assert_eq!(faults(""), ["segue.toml: node.domain: is needed"]);
    assert!(faults("[node\ndomain = \"a\"\n")[0].starts_with("segue.toml:1: "));
    assert!(faults("[node]\ndomain = \"a\"\ndomain = \"b\"\n")[0].starts_with("segue.toml:3: "));
    assert!(faults("[node]\nid = \"x\"\n")[0].starts_with("segue.toml:1: node.domain"));
}

#[test]
fn a_user_needs_a_hash_for_each_algorithm_that_is_offered() {
    let md5_only = small(
        "[[user]]\nname = \"bob\"\nalgorithms = [\"SHA-256\", \"MD5\"]\n[[user.device]]\nid = \"d\"\n\
         auth_user = \"b\"\nha1 = { md5 = \"00112233445566778899aabbccddeeff\" }\n",
    );
    assert_eq!(
        faults(&md5_only),
        ["segue.toml:12: user[1].device[0].ha1: has no hash for SHA-256, which is offered to this user"]
    );
}

#[test]
fn passwords_become_hashes_in_the_realm() {
    let resolved = resolve(&small(""));
    assert_eq!(resolved.accounts[0].devices[0].ha1, Ha1s::from_password("alice-desk", "pbx.example", "pw"));
    let resolved = resolve(&small("[auth]\nrealm = \"Segue\"\n"));
    assert_eq!(resolved.accounts[0].devices[0].ha1, Ha1s::from_password("alice-desk", "Segue", "pw"));
    let from_file = small("").replace("password = \"pw\"", "password_file = \"carrier.pw\"");
    let ha1 = resolve(&from_file).accounts[0].devices[0].ha1.clone();
    assert_eq!(ha1, Ha1s::from_password("alice-desk", "pbx.example", "s3cret"));
}

#[test]
fn the_environment_goes_before_the_file_and_is_typed_like_it() {
    let variables = [
        ("SEGUE_NODE__DOMAIN", "other.example"),
        ("SEGUE_NODE__ID", "123"),
        ("SEGUE_NODE__ALIASES", "a.example, 192.0.2.7"),
        ("SEGUE_REGISTRAR__MAX_BINDINGS", "5"),
        ("SEGUE_AUTH__ALGORITHMS", "SHA-256,MD5"),
        ("SEGUE_AUTH__BAN__FAILURES", "3"),
        ("SEGUE_MOVE__HOLD_OFF_S", "7"),
        ("SEGUE_MOVE__PICKUP_CODES", ""),
        ("SEGUE_LISTEN__0__URI", "udp://127.0.0.1:6000"),
        ("SEGUE_LISTEN__1__URI", "tcp://127.0.0.1:6000"),
        ("SEGUE_USER__0__DEVICE__0__PASSWORD", "changed"),
        ("SEGUE_LOG", "debug"),
        ("PATH", "/bin"),
        ("OTHER_NODE__ID", "x"),
    ];
    let resolved = with(&small(""), &variables).unwrap();
    assert_eq!((&*resolved.node.domain, &*resolved.node.id), ("other.example", "123"));
    assert_eq!(resolved.node.aliases, ["a.example".into(), "192.0.2.7".into()]);
    assert_eq!(resolved.registrar.max_bindings, 5);
    assert_eq!(resolved.auth.algorithms, [Algorithm::Sha256, Algorithm::Md5]);
    assert_eq!((resolved.auth.ban.failures, resolved.moving.hold_off), (3, Duration::from_secs(7)));
    assert!(resolved.moving.codes.pickup.is_empty());
    assert_eq!(resolved.listens.len(), 2);
    assert_eq!(resolved.listens[1].bind.to_string(), "127.0.0.1:6000");
    assert_eq!(
        resolved.accounts[0].devices[0].ha1,
        Ha1s::from_password("alice-desk", "other.example", "changed")
    );
    // The whole file can be missing.
    assert!(with("", &[("SEGUE_NODE__DOMAIN", "x.example")]).is_ok());
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    for (name, value, wanted) in [
        ("SEGUE_NODE__DOMAN", "x", "SEGUE_NODE__DOMAN: node.doman: unknown key; did you mean `domain`?"),
        (
            "SEGUE_REGISTRAR__MAX_BINDINGS",
            "many",
            "SEGUE_REGISTRAR__MAX_BINDINGS: registrar.max_bindings: must be a whole number",
        ),
        ("SEGUE_HTTP__BIND", "here", "SEGUE_HTTP__BIND: http.bind: `here`: must be an address and a port"),
        ("SEGUE_NODE__DOMAIN__X", "x", "SEGUE_NODE__DOMAIN__X: node.domain.x: does not fit"),
        ("SEGUE_LISTEN__3__URI", "udp://127.0.0.1", "SEGUE_LISTEN__3__URI: listen"),
        ("SEGUE_TRUNKS__0__NAME", "x", "SEGUE_TRUNKS__0__NAME: trunks: unknown key; did you mean `trunk`?"),
        ("SEGUE____", "x", "SEGUE____: no such key"),
    ] {
        let errors = with(&small(""), &[(name, value)]).unwrap_err().to_string();
        assert!(errors.contains(wanted), "wanted {wanted}\nfound  {errors}");
    }
}

#[test]
fn every_resolved_account_fits_beside_the_others() {
    let mut accounts = Accounts::default();
    for account in resolve(WHOLE).accounts {
        accounts.put(account).unwrap();
    }
    assert!(accounts.by_auth_user("alice-desk").is_some());
}

/// Text cut, doubled and mixed up never panics, and is either right or has a place.
#[test]
fn damaged_files_are_faults_not_panics() {
    let mut random = crate::base::Random::from_number(3);
    let lines: Vec<&str> = WHOLE.lines().collect();
    let mut wrong = 0;
    for _ in 0..300 {
        let mut text = String::new();
        for line in &lines {
            match random.below(24) {
                0 => {}
                1 => text += &line.replace('"', ""),
                2 => text += &line.to_uppercase(),
                3 => text += &format!("{line}\n{line}"),
                4 => text += line.get(..line.len() / 2).unwrap_or(""),
                _ => text += line,
            }
            text.push('\n');
        }
        if let Err(errors) = with(&text, &[]) {
            assert!(errors.0.iter().all(|error| !error.message.is_empty()));
            wrong += 1;
        }
    }
    assert!(wrong > 250);
}

#[test]
fn every_key_of_the_contract_is_explained() {
    fn keys(value: &toml::Value, all: &mut std::collections::BTreeSet<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    all.insert(key.clone());
                    keys(value, all);
                }
            }
            toml::Value::Array(list) => list.iter().for_each(|value| keys(value, all)),
            _ => {}
        }
    }
    let mut all = std::collections::BTreeSet::new();
    keys(&toml::from_str(WHOLE).unwrap(), &mut all);
    let explained = include_str!("../../docs/CONFIGURATION.md");
    let is_missing =
        |key: &&String| !explained.contains(&format!("`{key}`")) && !explained.contains(&format!("{key}]"));
    let missing: Vec<_> = all.iter().filter(is_missing).collect();
    assert!(all.len() > 40 && missing.is_empty(), "{missing:?}");
}

#[test]
fn a_quirk_is_for_the_user_agents_that_it_names() {
    let table = "[[quirk]]\nuser_agent = \"^Acme/[12]\"\nauto_answer = \"answer-mode\"\ndtmf = \"info\"\nrpid = true\n\
         message = false\nmwi = false\nupdate = false\nprack = false\nreplaces_strict = true\nalgorithms = [\"MD5\"]\n\
         [[trunk]]\nname = \"pbx\"\nuri = \"sip:192.0.2.9\"\nrefer = true\nmwi = false\n";
    let resolved = resolve(&small(table));
    let quirks = resolved.quirks.of("Acme/1.7");
    assert_eq!((quirks.auto_answer, quirks.dtmf), (Hint::AnswerMode, Dtmf::Info));
    assert!(quirks.rpid && quirks.strict_replaces);
    assert!(!quirks.message && !quirks.mwi && !quirks.update && !quirks.prack);
    assert_eq!(resolved.quirks.of("Acme/3"), Quirks::default());
    let offered = [Algorithm::Sha256, Algorithm::Md5];
    assert_eq!(resolved.quirks.algorithms("Acme/2", &offered)[..], [Algorithm::Md5]);
    assert!(resolved.trunks[0].policy.may_refer && !resolved.trunks[0].policy.may_notify);
}

#[test]
fn an_origin_is_compared_as_a_browser_writes_it() {
    let listen = |origin: &str| {
        let text = format!("[[listen]]\nuri = \"ws://0.0.0.0:8080\"\norigins = [\"{origin}\"]\n");
        resolve(&small(&text)).listens[0].origins[0].to_string()
    };
    for (written, compared) in [
        ("https://PBX.example:443", "https://pbx.example"),
        ("http://pbx.example:80", "http://pbx.example"),
        ("https://pbx.example:80", "https://pbx.example:80"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]"),
        ("https://pbx.example:8443", "https://pbx.example:8443"),
        ("*", "*"),
    ] {
        assert_eq!(listen(written), compared);
    }
}

#[test]
fn a_trunk_is_at_one_place_or_at_several() {
    let trunk = |more: &str| small(&format!("[[trunk]]\nname = \"c\"\nuri = \"sip:192.0.2.1\"\n{more}"));
    let places = |more: &str| -> Vec<String> {
        resolve(&trunk(more)).trunks[0].places().map(|place| place.uri.into()).collect()
    };
    assert_eq!(places(""), ["sip:192.0.2.1"]);
    assert_eq!(places("also = [\"sip:a.example;transport=tcp\"]\n").len(), 2);
    assert!(!resolve(&trunk("")).trunks[0].share && resolve(&trunk("share = true\n")).trunks[0].share);
    let many = format!("also = [{}]\n", "\"sip:h\", ".repeat(16));
    for (more, why) in [
        ("also = [\"sip:user@h\"]\n", "must name a host only"),
        (&*many, "names more than 15 places"),
        ("also = [\"sip:h:5060\"]\nca = \"fullchain.pem\"\n", "may be called over TLS"),
    ] {
        let told = faults(&trunk(more));
        assert!(told.iter().any(|fault| fault.contains(why)), "{more}: {told:?}");
    }
    assert!(resolve(&trunk("also = [\"sips:h\"]\nca = \"fullchain.pem\"\n")).trunks[0].ca.is_some());
}

#[test]
fn authorities_of_a_trunk_are_for_those_that_may_be_called_over_tls() {
    let trunk =
        |uri: &str| small(&format!("[[trunk]]\nname = \"c\"\nuri = \"{uri}\"\nca = \"fullchain.pem\"\n"));
    for uri in ["sip:carrier.example", "sip:carrier.example;transport=tls", "sips:carrier.example:5061"] {
        assert!(resolve(&trunk(uri)).trunks[0].ca.is_some(), "{uri}");
    }
    for uri in ["sip:carrier.example;transport=tcp", "sip:192.0.2.1", "sip:carrier.example:5060"] {
        let told = faults(&trunk(uri));
        assert!(told.iter().any(|fault| fault.contains("may be called over TLS")), "{uri}: {told:?}");
    }
}

#[test]
fn a_capture_server_is_read_and_what_it_cannot_be_is_told() {
    let whole = resolve(WHOLE).hep.unwrap();
    let place = (whole.server.transport, &*whole.server.host, whole.server.port);
    assert_eq!(place, (HepTransport::Tls, "capture.example.com", 9060));
    assert_eq!((whole.capture_id, &*whole.name, whole.except.len()), (2001, "edge1", 2));
    assert_eq!((whole.sip, whole.rtcp, whole.quality), (true, true, false));
    assert!(whole.password.is_some() && whole.ca.is_some());
    let least = resolve(&small("[hep]\nserver = \"udp://10.0.0.9\"\n")).hep.unwrap();
    assert_eq!((least.capture_id, least.server.port, &*least.name), (1, 9060, "edge9"));
    assert!(least.sip && least.rtcp && least.quality && least.password.is_none());
    assert_eq!(resolve(&small("")).hep, None);
    for (text, told) in [
        ("sip = true\n", "hep.server: is needed"),
        ("server = \"http://a\"\n", "must be like udp://192.0.2.9:9060"),
        ("server = \"udp://a\"\nca = \"fullchain.pem\"\n", "hep.ca: is for tls:// only"),
        ("server = \"udp://a\"\nexcept = [\"A B\"]\n", "is no method of SIP"),
        ("server = \"udp://a\"\nsip = false\nrtcp = false\nquality = false\n", "nothing is left to send"),
        (
            "server = \"udp://a\"\npassword = \"s3cret\"\npassword_file = \"hook.key\"\n",
            "only one of password",
        ),
        ("server = \"udp://a\"\nport = 9\n", "hep.port"),
    ] {
        let found = faults(&small(&format!("[hep]\n{text}"))).join("\n");
        assert!(found.contains(told) && !found.contains("s3cret"), "{told} is not in\n{found}");
    }
}

#[test]
fn a_webhook_without_its_parts_is_told_and_its_secrets_are_not() {
    let found = faults(&small(
        "[[webhook]]\nurl = \"https://u:s3cret@a/\"\nsecret = \"s3cret\"\nevents = [\"cal.*\"]\n\
         [[webhook]]\nurl = \"http://a/\"\nca = \"fullchain.pem\"\n\
         [[webhook]]\nurl = \"http://a/b\"\nsecret = \"0123456789abcdef\"\n\
         [[webhook]]\nurl = \"http://a/c\"\nsecret = \"0123456789abcdef\"\n\
         [cdr]\nformats = [\"xml\"]\n",
    ))
    .join("\n");
    for part in [
        "segue.toml:10: webhook[0].url: must be like https://",
        "segue.toml:11: webhook[0].secret: is no key",
        "webhook[0].events[0]: `cal.*`: is no event",
        "webhook[1].secret: one of secret and secret_file is needed",
        "webhook[1].ca: is for https only",
        "webhook[3].name: is needed",
        "cdr.formats[0]: `xml`: must be jsonl, csv or asterisk",
    ] {
        assert!(found.contains(part), "{part} is not in\n{found}");
    }
    assert!(!found.contains("s3cret") && !found.contains("0123456789abcdef"), "{found}");
}
