//! What a connection speaks once it stands: SIP on a stream (RFC 3261 18), or in the messages of a WebSocket (RFC 7118).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{SinkExt as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::stream::last_word;
use crate::sip::Flow;
use crate::wire::sip::{Frame, Limits, StreamFramer};

/// Read at a time.
const CHUNK: usize = 16 * 1024;
/// Room that each WebSocket keeps for what comes in; most messages fit, and thousands of them lie idle.
const READ_BUFFER: usize = 2 * 1024;
/// Messages that a WebSocket keeps for a peer that does not read: the one that is being written, and answers to pings.
/// To the last ping an answer is due, to those before it none (RFC 6455 5.5.3).
const WRITE_BUFFERS: usize = 2;
/// A control frame of a client beside its payload (RFC 6455 5.2): two bytes and the mask.
const CONTROL: usize = 6;

/// What came in.
#[derive(Debug)]
pub(super) enum Came {
    /// A message, whole.
    Message(Bytes),
    /// Something that asks for nothing: the peer is alive.
    Alive,
    /// It asks whether we are (RFC 5626 3.5.1).
    Ping,
    /// The beginning of a message.
    Part,
    /// What cannot be read, and with it all that follows; the last word to the peer.
    Broken(Option<Bytes>),
    /// The end.
    End,
}

/// A connection that stands.
pub(super) trait Wire: Send {
    /// Waits for what comes next. Given up, it has lost nothing.
    fn receive(&mut self) -> impl Future<Output = Came> + Send;
    /// Writes one message.
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// Asks whether the peer is there; false where nobody is asked.
    fn ping(&mut self) -> impl Future<Output = io::Result<bool>> + Send;
    /// Writes nothing more.
    fn close(&mut self, why: Closing) -> impl Future<Output = ()> + Send;
}

/// Why we close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closing {
    /// The node ends.
    Away,
    /// It took too long.
    Late,
    /// It was wrong.
    Wrong,
}

/// SIP on a stream of bytes.
pub(super) struct StreamWire<S> {
    stream: S,
    framer: StreamFramer,
    flow: Flow,
    /// It was told that a message has begun.
    told: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> StreamWire<S> {
    pub(super) fn new(stream: S, limits: Limits, flow: Flow) -> Self {
        Self { stream, framer: StreamFramer::new(limits), flow, told: false }
    }

    /// Reads once. The room for it is that of the thread, not of the connection.
    async fn read(&mut self) -> io::Result<usize> {
        let Self { stream, framer, .. } = self;
        poll_fn(|context| {
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut chunk))?;
            framer.push(chunk.filled());
            Poll::Ready(Ok(chunk.filled().len()))
        })
        .await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for StreamWire<S> {
    async fn receive(&mut self) -> Came {
        loop {
            match self.framer.next_frame() {
                Ok(Some(frame)) => {
                    self.told = false;
                    return match frame {
                        Frame::Message(bytes) => Came::Message(bytes),
                        Frame::Ping => Came::Ping,
                        Frame::Pong => Came::Alive,
                    };
                }
                Ok(None) if self.framer.is_partial() && !self.told => {
                    self.told = true;
                    return Came::Part;
                }
                Ok(None) => {}
                Err(error) => return Came::Broken(last_word(&error, &self.flow)),
            }
            match self.read().await {
                Ok(0) | Err(_) => return Came::End,
                Ok(_) => {}
            }
        }
    }

    async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    async fn ping(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    async fn close(&mut self, _: Closing) {
        let _ = self.stream.shutdown().await;
    }
}

/// SIP in WebSocket messages: each is one (RFC 7118 5), and needs no Content-Length.
pub(super) struct SocketWire<S> {
    socket: WebSocketStream<Metered<S>>,
    told: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> SocketWire<S> {
    /// On a stream that was upgraded; `rest` is what was read of it already.
    pub(super) async fn new(stream: S, rest: Vec<u8>, limits: Limits) -> Self {
        let most = limits.message_bytes;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFERS * most)
            .max_message_size(Some(most))
            .max_frame_size(Some(most));
        let stream = Metered { stream, pending: rest.len() };
        let socket = WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config)).await;
        Self { socket, told: false }
    }

    fn whole(&mut self, bytes: &[u8]) -> Came {
        self.socket.get_mut().pending = 0;
        self.told = false;
        match bytes {
            b"" | b"\r\n" => Came::Alive,
            b"\r\n\r\n" => Came::Ping,
            // The bytes are a part of the reading buffer: a message that is kept must not keep it.
            bytes => Came::Message(Bytes::copy_from_slice(bytes)),
        }
    }

    fn control(&mut self, payload: usize) -> Came {
        let stream = self.socket.get_mut();
        stream.pending = stream.pending.saturating_sub(payload + CONTROL);
        if stream.pending > 0 {
            return Came::Part;
        }
        self.told = false;
        Came::Alive
    }

    async fn say_why(&mut self, error: &Error) -> Came {
        let code = match error {
            Error::Capacity(_) => CloseCode::Size,
            Error::Utf8(_) => CloseCode::Invalid,
            Error::Protocol(_) => CloseCode::Protocol,
            _ => return Came::End,
        };
        let _ = self.socket.close(Some(CloseFrame { code, reason: "".into() })).await;
        Came::End
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for SocketWire<S> {
    async fn receive(&mut self) -> Came {
        loop {
            let next = poll_fn(|context| match Pin::new(&mut self.socket).poll_next(context) {
                Poll::Pending if self.socket.get_ref().pending > 0 && !self.told => {
                    self.told = true;
                    Poll::Ready(None)
                }
                other => other.map(Some),
            });
            match next.await {
                None => return Came::Part,
                Some(Some(Ok(Message::Text(text)))) => return self.whole(text.as_bytes()),
                Some(Some(Ok(Message::Binary(bytes)))) => return self.whole(&bytes),
                Some(Some(Ok(Message::Ping(payload) | Message::Pong(payload)))) => {
                    return self.control(payload.len());
                }
                // Answered by the next look; then the end follows.
                Some(Some(Ok(Message::Close(_) | Message::Frame(_)))) => {}
                Some(Some(Err(error))) => return self.say_why(&error).await,
                Some(None) => return Came::End,
            }
        }
    }

    async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        // Browsers look at text; SIP is text as a rule, and whoever puts other bytes into a body gets them whole.
        let message = match std::str::from_utf8(&bytes) {
            Ok(text) => Message::text(text),
            Err(_) => Message::Binary(bytes),
        };
        self.socket.send(message).await.map_err(io::Error::other)
    }

    async fn ping(&mut self) -> io::Result<bool> {
        self.socket.send(Message::Ping(Bytes::new())).await.map_err(io::Error::other)?;
        Ok(true)
    }

    async fn close(&mut self, why: Closing) {
        let code = match why {
            Closing::Away => CloseCode::Away,
            Closing::Late | Closing::Wrong => CloseCode::Policy,
        };
        let _ = self.socket.close(Some(CloseFrame { code, reason: "".into() })).await;
    }
}

/// A stream that counts what was read since the last message was whole.
pub(super) struct Metered<S> {
    stream: S,
    pending: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.pending += buffer.filled().len() - before;
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    use super::*;

    const PINGS: usize = 500;
    const PAYLOAD: usize = 100;
    const PIPE: usize = 1024;

    #[tokio::test(start_paused = true)]
    async fn answers_to_pings_do_not_pile_up_for_a_peer_that_does_not_read() {
        let limits = Limits { message_bytes: 4096, ..Limits::default() };
        let (mut peer, ours) = tokio::io::duplex(PIPE);
        let mut wire = SocketWire::new(ours, Vec::new(), limits).await;
        // Masked with zeros (RFC 6455 5.3).
        let mut ping = vec![0x89, 0x80 | PAYLOAD as u8, 0, 0, 0, 0];
        ping.extend_from_slice(&[b'x'; PAYLOAD]);
        for _ in 0..PINGS {
            peer.write_all(&ping).await.unwrap();
            let came = wire.receive().await;
            assert!(matches!(came, Came::Alive | Came::Part), "{came:?}");
        }
        // Now it reads all that was kept for it.
        let (mut kept, mut chunk) = (0, [0; PIPE]);
        let reading = async {
            loop {
                kept += peer.read(&mut chunk).await.unwrap();
            }
        };
        let writing = async { while !matches!(wire.receive().await, Came::End) {} };
        let both = async { tokio::join!(reading, writing) };
        let _ = timeout(Duration::from_millis(200), both).await;
        let answer = PAYLOAD + 2;
        // On the way are as many in both directions; some pings are answered only now.
        let most = 2 * PIPE + READ_BUFFER + WRITE_BUFFERS * limits.message_bytes + answer;
        assert!((answer..=most).contains(&kept), "{kept} bytes were kept of {}", PINGS * answer);
    }
}
