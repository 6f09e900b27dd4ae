//! What the node takes of the machine at its start: listeners, a directory, open files.

use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::conduit::{Door, Listening, Pages, Speech};
use super::failure::{StartError, system};
use super::tls::ServerTls;
use super::worker::Listener;
use crate::config::{Listen, Resolved};
use crate::shell::files::{Needs, Shares};
use crate::shell::media;
use crate::sip::Transport;

/// Asked of the system for each datagram socket; it gives what it may.
const SOCKET_BUFFER: usize = 4 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Binds every listener, in the order of the configuration.
pub(super) fn bind_all(listens: &[Listen]) -> Result<Vec<Listener>, StartError> {
    listens.iter().enumerate().map(|(index, listen)| bind(index, listen)).collect()
}

fn bind(index: usize, listen: &Listen) -> Result<Listener, StartError> {
    let transport = listen.transport;
    let failed =
        |source| StartError::Listen { transport: transport.uri_token(), address: listen.bind, index, source };
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        _ => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(listen.bind), kind, Some(protocol)).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    if listen.bind.is_ipv6() {
        socket.set_only_v6(true).map_err(failed)?;
    }
    if transport.is_reliable() {
        // A restart does not wait for the connections of its predecessor to be forgotten.
        socket.set_reuse_address(true).map_err(failed)?;
    } else {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
    socket.bind(&listen.bind.into()).map_err(failed)?;
    if transport.is_reliable() {
        socket.listen(BACKLOG).map_err(failed)?;
    }
    let address = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(listen.bind);
    Ok(Listener { transport, socket: Some(socket), address })
}

/// Serves on the runtime what needs a handshake: its sockets are taken out of `listeners`.
pub(super) fn serve_conduits(
    resolved: &Resolved,
    listeners: &mut [Listener],
    door: &Arc<Door>,
    runtime: &Runtime,
) -> Result<(), StartError> {
    for (index, (listen, listener)) in resolved.listens.iter().zip(listeners).enumerate() {
        let pages = match listen.transport {
            Transport::Udp | Transport::Tcp => continue,
            Transport::Tls => None,
            Transport::Ws | Transport::Wss => Some(Pages::new(&listen.origins, resolved)),
        };
        let loaded = listen.tls.as_ref().map(ServerTls::load).transpose();
        let tls = loaded.map_err(|error| StartError::Tls { index, error: error.to_string() })?.map(Arc::new);
        if let Some(tls) = &tls {
            runtime.spawn(Arc::clone(tls).keep_current());
        }
        let Some(socket) = listener.socket.take() else { continue };
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let listening = Listening { number, transport: listen.transport, speech: Speech { tls, pages } };
        let _inside = runtime.enter();
        let socket = TcpListener::from_std(socket.into()).map_err(system("a listener"))?;
        runtime.spawn(listening.serve(socket, Arc::clone(door)));
    }
    Ok(())
}

/// Makes the data directory where it is not there, and finds out whether it can be written.
pub(super) fn make_data_dir(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = |source| StartError::DataDir { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let probe = path.join(".writable");
    // A file with nothing in it finds room on a full disk.
    std::fs::write(&probe, [0; 4096]).and_then(|()| std::fs::remove_file(&probe)).map_err(failed)
}

/// Raises the limit of open files as far as it may be, shares it out, and tells where it cuts something short.
///
/// # Errors
/// A node could do nothing with so few.
pub(super) fn provide_files(needs: Needs) -> Result<Shares, StartError> {
    let limit = match media::raise_file_limit() {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!("the limit of open files is unknown: {error}");
            u64::MAX
        }
    };
    let shares = needs.share(limit).ok_or(StartError::Files { limit, least: needs.least() })?;
    if let Some(told) = too_few_files(limit, needs, shares) {
        if (shares.calls() as u64) < needs.calls() {
            tracing::warn!("{told}");
        } else {
            tracing::info!("{told}");
        }
    }
    Ok(shares)
}

/// What a limit is enough for, where that is not all that the configuration has room for.
fn too_few_files(limit: u64, needs: Needs, shares: Shares) -> Option<String> {
    let whole = needs.whole();
    (limit < whole).then(|| {
        let (first, last) = needs.ports;
        format!(
            "{limit} open files are allowed, enough for {} calls at once, {} SIP connections and {} of HTTP; \
             media.ports {first}-{last} are enough for {} calls: allow {whole} for all (ulimit -n, LimitNOFILE=)",
            shares.calls(),
            shares.connections,
            shares.pages,
            needs.calls(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_told_with_its_numbers() {
        let needs = Needs { ports: (30_000, 39_999), parts: 6 };
        let told = |limit| too_few_files(limit, needs, needs.share(limit).unwrap());
        assert_eq!((told(1_048_576), told(28_514)), (None, None));
        let low = told(1024).unwrap();
        assert!(low.contains("1024 open files") && low.contains("147 calls"), "{low}");
        assert!(low.contains("221 SIP connections and 117 of HTTP"), "{low}");
        assert!(low.contains("for 2500 calls: allow 28514"), "{low}");
        assert!(told(20_000).unwrap().contains("2500 calls at once, 8370 SIP"));
        let refused = StartError::Files { limit: 50, least: needs.least() }.to_string();
        assert!(refused.contains("50 open files") && refused.contains("least 58"), "{refused}");
    }
}
