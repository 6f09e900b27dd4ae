//! `segue demo`: a node on loopback, three software phones with real audio, and a call that moves there and back
//! while the far side's packets are measured.

mod play;
mod report;

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::play::Stage;
pub use self::report::Format;
use crate::base::Random;
use crate::config;

/// The domain of the demonstration; it is never resolved.
const DOMAIN: &str = "demo.segue";
/// Long enough that the old handset can be seen to be refused three times, short enough to wait for.
const HOLD_OFF: Duration = Duration::from_secs(2);
/// Ports for media: three legs at a time, and those of a move that are in quarantine.
const MEDIA_PORTS: u16 = 128;
/// The whole play on a slow machine; it takes 4 s on an idle one.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How the outcome is printed.
    pub format: Format,
}

/// Plays the demonstration against the node that `start` makes, and prints it. The node is dropped at the end. The
/// exit code is success only when everything that it claims was seen.
///
/// # Errors
/// When the node or a phone could not be started at all.
pub async fn run<N>(options: Options, start: impl FnOnce(config::Resolved) -> Result<N>) -> Result<ExitCode> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no entropy: {error}"))?;
    let mut random = Random::from_seed(seed);
    let directory = Scratch::new(&random.tag())?;
    let stage = Stage {
        sip: free_address()?,
        domain: DOMAIN.to_owned(),
        password: random.token(),
        hold_off: HOLD_OFF,
    };
    let node = start(resolve(&directory.0, &stage)?).context("the node does not start")?;
    let played = tokio::time::timeout(PATIENCE, play::run(&stage)).await;
    drop(node);
    let report = match played {
        Ok(report) => report?,
        Err(_) => anyhow::bail!("the demonstration did not end within {PATIENCE:?}"),
    };
    print!("{}", report.print(options.format));
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The node's configuration, through the same checks as any other.
fn resolve(directory: &Path, stage: &Stage) -> Result<config::Resolved> {
    let text = configuration(directory, stage)?;
    let source = config::Source {
        path: Path::new("demo.toml"),
        text: &text,
        variables: &[],
        hostname: "demo",
        read: &|_| Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
    };
    source
        .resolve()
        .map_err(|errors| anyhow::anyhow!("{errors}"))
        .context("the demonstration's own configuration")
}

fn configuration(directory: &Path, stage: &Stage) -> Result<String> {
    let Stage { sip, password, .. } = stage;
    let first = free_media_ports()?;
    let data = directory.display().to_string();
    let mut text = format!(
        "[node]\nid = \"demo\"\ndomain = \"{DOMAIN}\"\naliases = [\"127.0.0.1\"]\ndata_dir = {}\n\
         [[listen]]\nuri = \"udp://{sip}\"\n[http]\nbind = \"{}\"\n\
         [media]\naddress = \"127.0.0.1\"\nports = \"{first}-{}\"\n\
         [auth]\nalgorithms = [\"MD5\"]\n[move]\nhold_off_s = {}\n",
        toml::Value::String(data),
        free_address()?,
        first + MEDIA_PORTS - 1,
        stage.hold_off.as_secs(),
    );
    for (name, extension, devices) in
        [("alice", "1001", &["desk", "mobile"][..]), ("bob", "1002", &["phone"])]
    {
        let display = if name == "alice" { "Alice" } else { "Bob" };
        let _ = write!(
            text,
            "[[user]]\nname = \"{name}\"\ndisplay = \"{display}\"\nextension = \"{extension}\"\n"
        );
        for device in devices {
            let auth_user = format!("{name}-{device}");
            let _ = write!(
                text,
                "[[user.device]]\nid = \"{device}\"\nauth_user = \"{auth_user}\"\npassword = \"{password}\"\n"
            );
        }
    }
    Ok(text)
}

/// A loopback address that is free now.
fn free_address() -> Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("no free port on loopback")?;
    Ok(socket.local_addr()?)
}

/// The first of a range of media ports whose ends are free now.
fn free_media_ports() -> Result<u16> {
    let free = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let mut starts = (16_000..32_000).step_by(usize::from(MEDIA_PORTS));
    starts
        .find(|first| free(*first) && free(first + MEDIA_PORTS - 1))
        .context("no free media ports on loopback")
}

/// A directory that goes when the demonstration ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(tag: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("segue-demo-{tag}"));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in a temporary directory is the system's to clear.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_configuration_passes_the_checks() {
        let stage = Stage {
            sip: "127.0.0.1:5060".parse().unwrap(),
            domain: DOMAIN.to_owned(),
            password: "secret".to_owned(),
            hold_off: HOLD_OFF,
        };
        let resolved = resolve(Path::new("/tmp/a \"b\""), &stage).unwrap();
        assert_eq!(resolved.moving.hold_off, HOLD_OFF);
        assert_eq!(resolved.accounts.len(), 2);
    }

    #[test]
    fn a_scratch_directory_goes() {
        let scratch = Scratch::new(&Random::from_number(u64::from(std::process::id())).tag()).unwrap();
        let path = scratch.0.clone();
        assert!(path.is_dir());
        drop(scratch);
        assert!(!path.exists());
    }
}
