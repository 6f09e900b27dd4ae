//! The first start: a configuration with two users of two devices each, whose passwords are printed once.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::failure::Failure;
use super::secrets::{ha1, login_hash, make_password, make_pin};

/// The domain: a name that nobody owns. Phones may use any address of the machine instead.
const DOMAIN: &str = "segue.local";
/// Name of the data directory, beside the file.
const DATA_DIR: &str = "segue-data";
/// Name, display name, extension.
const USERS: [(&str, &str, &str); 2] = [("alice", "Alice", "1001"), ("bob", "Bob", "1002")];
/// What each of them has.
const DEVICES: [&str; 2] = ["desk", "mobile"];
/// Tried in this order; the first that is free on every address is taken.
const PORTS: [u16; 4] = [5060, 5070, 5080, 5090];
/// The same for the API, on loopback. The second and third are what other programs are seldom at.
const API_PORTS: [u16; 3] = [8080, 8380, 8680];
/// And for the WebSocket of browser phones.
const PHONE_PORTS: [u16; 3] = [5066, 5166, 5266];

/// Writes the file and its data directory, and tells how to use them.
pub(super) fn make(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let address = first_address();
    let addresses: Vec<IpAddr> = [IpAddr::from(Ipv4Addr::LOCALHOST)].into_iter().chain(address).collect();
    let ports = Ports::free(&addresses)?;
    let sample = Sample::new(&addresses, ports)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let data_dir = beside.join(DATA_DIR);
    let cannot = |what: &Path, error: std::io::Error| {
        Failure::configuration(format!("cannot make {}: {error}", what.display()))
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data_dir)
        .map_err(|error| cannot(&data_dir, error))?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| cannot(path, error))?;
    file.write_all(sample.file.as_bytes()).map_err(|error| cannot(path, error))?;
    writeln!(out, "Made {} and {}.\n", path.display(), data_dir.display())?;
    write!(out, "{}", *sample.told)?;
    Ok(out.flush()?)
}

/// What is written, and what is told once.
struct Sample {
    file: String,
    told: Zeroizing<String>,
}

impl Sample {
    fn new(addresses: &[IpAddr], ports: Ports) -> Result<Self, Failure> {
        let Ports { sip: port, api: api_port, phones } = ports;
        let mut file = head(addresses, port, api_port);
        // Browsers on this machine become phones by it; for others the page needs a certificate.
        let _ = write!(file, "\n[[listen]]\nuri = \"ws://127.0.0.1:{phones}\"\n");
        let mut told = Zeroizing::new(String::from(
            "user   extension  device  username      password             (shown once)\n",
        ));
        let mut logins = Zeroizing::new(String::new());
        for (name, display, extension) in USERS {
            let (login, pin) = (make_password()?, make_pin()?);
            let _ = write!(
                file,
                "\n[[user]]\nname = \"{name}\"\ndisplay = \"{display}\"\nextension = \"{extension}\"\n\
                 login = \"{}\"\n{}pin = \"{}\"\n",
                login_hash(&login)?.0,
                if name == USERS[0].0 { "admin = true\n" } else { "" },
                login_hash(&pin)?.0
            );
            let _ = writeln!(logins, "{name:<6} page login {}  PIN {}", *login, *pin);
            for device in DEVICES {
                let (username, password) = (format!("{name}-{device}"), make_password()?);
                let ha1 = ha1(&username, DOMAIN, &password);
                let text =
                    |hash: Option<crate::engine::command::Secret>| hash.map(|h| h.0).unwrap_or_default();
                let _ = write!(
                    file,
                    "  [[user.device]]\n  id = \"{device}\"\n  auth_user = \"{username}\"\n  \
                     ha1 = {{ md5 = \"{}\", sha256 = \"{}\" }}\n",
                    text(ha1.md5),
                    text(ha1.sha256)
                );
                let _ = writeln!(told, "{name:<6} {extension:<10} {device:<7} {username:<13} {}", *password);
            }
        }
        let server = addresses.last().copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
        let server = SocketAddr::new(server, port);
        let _ = write!(
            told,
            "{}\nSet a softphone to server {server} with username and password of one line, user name the first\n\
             column. Dial *43 to hear yourself, *44 for a tone, 1002 from alice to call bob. While alice talks on the\n\
             desk, dial *11 on the mobile: the call comes over, and the desk is held off for 30 seconds.\n\
             The page is at http://127.0.0.1:{api_port}: sign in with a page login, and move calls from there. Alice is\n\
             its administrator.\n\n",
            *logins
        );
        Ok(Self { file, told })
    }
}

fn head(addresses: &[IpAddr], port: u16, api_port: u16) -> String {
    let mut text = String::from(
        "# Made by `segue serve` on its first start. Passwords are not in here, only their hashes:\n\
         # `segue hash` makes others.\n",
    );
    let names = addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    let _ = write!(
        text,
        "[node]\nid = \"edge1\"\ndomain = \"{DOMAIN}\"\naliases = [{names}]\ndata_dir = \"{DATA_DIR}\"\n"
    );
    for address in addresses {
        for transport in ["udp", "tcp"] {
            let _ =
                write!(text, "\n[[listen]]\nuri = \"{transport}://{}\"\n", SocketAddr::new(*address, port));
        }
    }
    let _ = write!(text, "\n[http]\nbind = \"127.0.0.1:{api_port}\"\n\n[media]\naddress = \"0.0.0.0\"\n");
    if let Some(address) = addresses.iter().rfind(|address| !address.is_loopback()) {
        let _ = writeln!(text, "advertise = \"{address}\"");
    }
    text += "\n[trace]\nmemory_mb = 16\n\n[test]\necho = \"*43\"\ntone = \"*44\"\n";
    text
}

/// The address from which this machine would speak to the world. Nothing is sent.
fn first_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // RFC 5737 documentation address: routed as any other, answered by none.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

/// Where the node will listen.
#[derive(Clone, Copy)]
struct Ports {
    /// UDP and TCP, on each address.
    sip: u16,
    /// The API, on loopback.
    api: u16,
    /// The WebSocket of browser phones, on loopback.
    phones: u16,
}

impl Ports {
    /// Those that nobody has. Looked for before anything is written: the passwords are shown once, and a file whose
    /// ports are taken starts no node.
    fn free(addresses: &[IpAddr]) -> Result<Self, Failure> {
        let loopback = [Ipv4Addr::LOCALHOST.into()];
        Ok(Self {
            sip: free_port(&PORTS, |port| has_udp(addresses, port) && has_tcp(addresses, port))?,
            api: free_port(&API_PORTS, |port| has_tcp(&loopback, port))?,
            phones: free_port(&PHONE_PORTS, |port| has_tcp(&loopback, port))?,
        })
    }
}

fn has_udp(addresses: &[IpAddr], port: u16) -> bool {
    addresses.iter().all(|address| UdpSocket::bind((*address, port)).is_ok())
}

fn has_tcp(addresses: &[IpAddr], port: u16) -> bool {
    addresses.iter().all(|address| TcpListener::bind((*address, port)).is_ok())
}

/// The first of them that is free.
fn free_port(ports: &[u16], is_free: impl Fn(u16) -> bool) -> Result<u16, Failure> {
    let none = || {
        let tried: Vec<String> = ports.iter().map(u16::to_string).collect();
        Failure::configuration(format!(
            "other programs have each of the ports {}: nothing was made. End one of them, or write the file by hand",
            tried.join(", ")
        ))
    };
    ports.iter().copied().find(|port| is_free(*port)).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Source;
    use crate::shell::password::{Outcome, Passwords, Settings};

    fn resolve(text: &str) -> crate::config::Resolved {
        let source = Source {
            path: Path::new("/x/segue.toml"),
            text,
            variables: &[],
            hostname: "host",
            read: &|_| Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        source.resolve().unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    #[tokio::test]
    async fn the_file_is_one_that_serves_and_the_passwords_told_are_those_in_it() {
        let addresses = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 7])];
        let ports = Ports { sip: 5060, api: 8080, phones: 5066 };
        let sample = Sample::new(&addresses, ports).unwrap();
        let resolved = resolve(&sample.file);
        assert_eq!(resolved.listens.len(), 5);
        assert_eq!(resolved.accounts.len(), 2);
        let echo = resolved.moving.codes.echo.as_deref();
        assert_eq!((echo, resolved.moving.codes.tone.as_deref()), (Some("*43"), Some("*44")));
        for account in &resolved.accounts {
            for device in &account.devices {
                let line = sample.told.lines().find(|line| line.contains(&*device.auth_user)).unwrap();
                let password = line.split_whitespace().last().unwrap();
                let expected = crate::sip::digest::Ha1s::from_password(&device.auth_user, DOMAIN, password);
                assert_eq!((device.ha1.md5, device.ha1.sha256), (expected.md5, expected.sha256));
                assert!(!sample.file.contains(password));
            }
        }
        let line = sample.told.lines().find(|line| line.starts_with("alice  page login")).unwrap();
        let login = line.split_whitespace().nth(3).unwrap();
        let hash = resolved.accounts[0].login.as_ref().unwrap().as_str();
        let passwords = Passwords::start(Settings::default()).unwrap();
        let outcome = passwords.verify(Zeroizing::new(login.into()), Some(hash.into())).await;
        assert_eq!(outcome, Outcome::Accepted);
    }

    #[test]
    fn a_port_that_another_program_has_is_not_chosen() {
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        // Ports of the system's choice, so that no other test has them.
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = |address: std::io::Result<SocketAddr>| address.unwrap().port();
        let (by_tcp, by_udp) = (port(tcp.local_addr()), port(udp.local_addr()));
        assert!(has_udp(&loopback, by_tcp) || by_tcp == by_udp, "UDP alone does not tell");
        assert!(!has_tcp(&loopback, by_tcp) && !has_udp(&loopback, by_udp));
        let is_free = |port| has_udp(&loopback, port) && has_tcp(&loopback, port);
        let error = free_port(&[by_tcp, by_udp], is_free).unwrap_err();
        assert!(
            error.to_string().contains(&format!("ports {by_tcp}, {by_udp}: nothing was made")),
            "{error}"
        );
        assert_eq!(free_port(&[by_tcp, by_udp, 9], |port| port == 9).unwrap(), 9);
    }

    #[test]
    fn the_port_of_sip_is_free_for_udp_and_tcp_on_each_address() {
        let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from([127, 0, 0, 2])];
        // Whoever has the port, this test or another program: it is not free.
        let _taken = TcpListener::bind((addresses[1], PORTS[0]));
        assert!(Ports::free(&addresses).is_ok_and(|ports| ports.sip != PORTS[0]));
    }

    #[test]
    fn it_is_written_for_its_owner_alone_and_never_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segue.toml");
        let mut out = Vec::new();
        make(&path, &mut out).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir.path().join(DATA_DIR))), (0o600, 0o700));
        assert!(String::from_utf8(out).unwrap().contains("*43"));
        let before = fs::read_to_string(&path).unwrap();
        assert!(make(&path, &mut Vec::new()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
}
