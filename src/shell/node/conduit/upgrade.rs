//! The opening of a WebSocket (RFC 6455 4.2, RFC 7118 4): who may upgrade, and what everyone else is told.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};

/// Longest head of the request. A browser with cookies sends one or two thousand bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Why there is no WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// 400: no HTTP, or no request for a WebSocket.
    NotWebSocket,
    /// 400: it does not offer the subprotocol `sip` (RFC 7118 4.1).
    NoSubprotocol,
    /// 403: the page that asks is not one of ours (RFC 6455 10.2).
    Origin,
    /// 431: too long.
    TooLong,
    /// The peer went away.
    Gone,
}

impl Refused {
    /// Status line and a word for who looks at it.
    const fn answer(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::NotWebSocket => Some(("400 Bad Request", "this port speaks SIP over WebSocket (RFC 7118)")),
            Self::NoSubprotocol => {
                Some(("400 Bad Request", "the WebSocket subprotocol sip is needed (RFC 7118)"))
            }
            Self::Origin => Some((
                "403 Forbidden",
                "pages of this origin may not connect: origins of the listener lists who may",
            )),
            Self::TooLong => Some(("431 Request Header Fields Too Large", "the request is too long")),
            Self::Gone => None,
        }
    }
}

/// Reads the request and answers it: a page must be of a welcome origin. What was read beyond it belongs to the WebSocket.
pub(super) async fn upgrade<S, W>(stream: &mut S, is_welcome: &W) -> Result<Vec<u8>, Refused>
where
    S: AsyncRead + AsyncWrite + Unpin,
    W: Fn(&str) -> bool,
{
    let mut head = Vec::with_capacity(1024);
    let judged = loop {
        if head.len() >= MAX_HEAD {
            break Err(Refused::TooLong);
        }
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return Err(Refused::Gone),
            Ok(_) => {}
        }
        // What comes in single bytes is parsed once.
        if memchr::memmem::find(&head, b"\r\n\r\n").is_some() {
            break judge(&head, is_welcome);
        }
    };
    let (answer, result) = match judged {
        Ok((length, answer)) => (answer, Ok(head.split_off(length.min(head.len())))),
        Err(refused) => (refusal(refused), Err(refused)),
    };
    if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
        return Err(Refused::Gone);
    }
    if result.is_err() {
        let _ = stream.shutdown().await;
    }
    result
}

/// The length of the request, and the 101 that it gets.
fn judge(head: &[u8], is_welcome: impl Fn(&str) -> bool) -> Result<(usize, Vec<u8>), Refused> {
    let (length, request) = Request::try_parse(head).ok().flatten().ok_or(Refused::NotWebSocket)?;
    let mut response = create_response(&request).map_err(|_| Refused::NotWebSocket)?;
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    // The origin comes first: a page that is not ours learns nothing else.
    if text("origin").is_some_and(|origin| !is_welcome(origin)) {
        return Err(Refused::Origin);
    }
    let offered = request.headers().get_all("sec-websocket-protocol");
    let mut offered = offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    if !offered.any(|name| name.trim().eq_ignore_ascii_case("sip")) {
        return Err(Refused::NoSubprotocol);
    }
    response
        .headers_mut()
        .insert("sec-websocket-protocol", "sip".parse().map_err(|_| Refused::NotWebSocket)?);
    let mut answer = Vec::with_capacity(256);
    write_response(&mut answer, &response).map_err(|_| Refused::NotWebSocket)?;
    Ok((length, answer))
}

fn refusal(refused: Refused) -> Vec<u8> {
    let Some((status, word)) = refused.answer() else { return Vec::new() };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nSec-WebSocket-Version: 13\r\n\
         Connection: close\r\n\r\n{word}\n",
        word.len() + 1
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(more: &str) -> String {
        format!(
            "GET /ws HTTP/1.1\r\nHost: pbx.example.com:8443\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    }

    fn judged(more: &str) -> Result<String, Refused> {
        let judged = judge(request(more).as_bytes(), |origin| origin == "https://pbx.example.com");
        judged.map(|(_, answer)| String::from_utf8(answer).unwrap())
    }

    const SIP: &str = "Sec-WebSocket-Protocol: sip\r\n";

    #[test]
    fn the_subprotocol_is_required_and_echoed() {
        let answer = judged(SIP).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        assert!(answer.contains("sec-websocket-protocol: sip\r\n"), "{answer}");
        // RFC 6455 1.3: the accept key of its example.
        assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        assert!(judged("Sec-WebSocket-Protocol: mqtt, SIP\r\n").is_ok());
        assert!(judged("Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: sip\r\n").is_ok());
        for wrong in ["", "Sec-WebSocket-Protocol: mqtt\r\n", "Sec-WebSocket-Protocol: sipx\r\n"] {
            assert_eq!(judged(wrong), Err(Refused::NoSubprotocol), "{wrong}");
        }
    }

    #[test]
    fn a_page_that_is_not_welcome_learns_nothing_else() {
        let from = |origin: &str| judged(&format!("{SIP}Origin: {origin}\r\n")).map(drop);
        assert_eq!(from("https://pbx.example.com"), Ok(()));
        // The host that it asked for is the one that it chose.
        assert_eq!(from("https://pbx.example.com:8443"), Err(Refused::Origin));
        assert_eq!(judged("Origin: https://evil.example\r\n"), Err(Refused::Origin), "before anything else");
        // A client that is no browser has no origin.
        assert!(judged(SIP).is_ok());
    }

    #[test]
    fn what_is_no_upgrade_is_told_so() {
        for wrong in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "OPTIONS sip:a SIP/2.0\r\n\r\n".to_owned(),
            "\r\n\r\n".to_owned(),
            request(SIP).replace("GET", "POST"),
            request(SIP).replace("13", "8"),
            request(SIP).replace("HTTP/1.1", "HTTP/1.0"),
            request(SIP).replace("Sec-WebSocket-Key", "Sec-WebSocket-Kex"),
        ] {
            assert_eq!(judge(wrong.as_bytes(), |_| true).map(drop), Err(Refused::NotWebSocket), "{wrong}");
        }
        let answer = String::from_utf8(refusal(Refused::NotWebSocket)).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("RFC 7118"),
            "{answer}"
        );
        assert!(
            String::from_utf8(refusal(Refused::Origin)).unwrap().starts_with("HTTP/1.1 403 Forbidden\r\n")
        );
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let (mut client, mut server) = tokio::io::duplex(64 * 1024);
        client.write_all(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD)).as_bytes()).await.unwrap();
        assert_eq!(upgrade(&mut server, &|_: &str| true).await, Err(Refused::TooLong));
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test]
    async fn what_follows_the_request_is_kept() {
        let (mut client, mut server) = tokio::io::duplex(4096);
        client.write_all(format!("{}rest", request(SIP)).as_bytes()).await.unwrap();
        assert_eq!(upgrade(&mut server, &|_: &str| true).await.unwrap(), b"rest");
    }
}
