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
use crate::config::{Listen, Media, Resolved};
use crate::shell::media;
use crate::sip::Transport;

/// Asked of the system for each datagram socket; it gives what it may.
const SOCKET_BUFFER: usize = 4 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Open files beside those of media: connections, the store, the API.
const OTHER_FILES: u64 = 1024;
/// Open files of a call: RTP and RTCP toward two sides.
const FILES_PER_CALL: u64 = 4;

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
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(failed)
}

/// Raises the limit of open files as far as it may be, and warns where it is too low for the media ports.
pub(super) fn provide_files(media: &Media) {
    match media::raise_file_limit() {
        Ok(limit) => {
            if let Some(warning) = too_few_files(limit, media.ports) {
                tracing::warn!("{warning}");
            }
        }
        Err(error) => tracing::warn!("the limit of open files is unknown: {error}"),
    }
}

fn too_few_files(limit: u64, (first, last): (u16, u16)) -> Option<String> {
    let ports = u64::from(last.saturating_sub(first)) + 1;
    let wanted = ports + OTHER_FILES;
    (limit < wanted).then(|| {
        let calls = limit.saturating_sub(OTHER_FILES) / FILES_PER_CALL;
        format!(
            "{limit} open files are allowed, enough for {calls} calls at once; media.ports {first}-{last} are \
             enough for {}: allow {wanted} (ulimit -n, LimitNOFILE=)",
            ports / FILES_PER_CALL
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_told_with_its_numbers() {
        assert_eq!(too_few_files(1_048_576, (30_000, 39_999)), None);
        assert_eq!(too_few_files(11_024, (30_000, 39_999)), None);
        let told = too_few_files(4096, (30_000, 39_999)).unwrap();
        assert!(told.contains("4096 open files") && told.contains("768 calls"), "{told}");
        assert!(told.contains("for 2500") && told.contains("allow 11024"), "{told}");
        assert!(too_few_files(100, (30_000, 39_999)).unwrap().contains("for 0 calls"));
    }
}
