//! A connection to one receiver: kept while it lasts, made anew when it does not. Redirects are not followed, for
//! the operator named the receiver and nobody else does; what a receiver answers beyond its status is not read far.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::WebhookUrl;

/// Most of an answer that is read to keep the connection.
const MAX_ANSWER: usize = 64 * 1024;
/// Time for it.
const REST: Duration = Duration::from_secs(1);
/// Room for the head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// One request.
pub(super) struct Post<'a> {
    pub(super) id: &'a str,
    pub(super) timestamp: u64,
    pub(super) signature: String,
    pub(super) body: Bytes,
}

/// Why an event was not taken. Says nothing of the path of the URL, which may be a secret.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection, or a certificate that proves nothing.
    NoConnection(io::Error),
    /// The connection broke, or what came is no HTTP.
    Broken(hyper::Error),
    /// Any answer but 2xx.
    Refused(StatusCode),
    /// The time is up.
    Slow,
    /// What is configured cannot be written as a request.
    NoRequest(axum::http::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(error) => write!(f, "no connection: {error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Refused(status) => write!(f, "the answer is {status}"),
            Self::Slow => f.write_str("no answer in time"),
            Self::NoRequest(error) => write!(f, "no request: {error}"),
        }
    }
}

/// See the head of the file.
pub(super) struct Line {
    url: WebhookUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    open: Option<Open>,
}

/// A connection, with the task that drives it.
struct Open {
    sender: SendRequest<Body>,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    /// Not yet connected; `tls` where the URL says https.
    pub(super) fn new(url: WebhookUrl, tls: Option<(Arc<ClientConfig>, ServerName<'static>)>) -> Self {
        let tls = tls.map(|(config, name)| (TlsConnector::from(config), name));
        Self { url, tls, open: None }
    }

    /// Sends an event; `Ok` if it was taken. `limit` is for the answer's status: what else it says has a second of its
    /// own, and does not matter.
    pub(super) async fn send(&mut self, post: Post<'_>, limit: Duration) -> Result<(), Failure> {
        let answered = tokio::time::timeout(limit, self.ask(&post)).await;
        let (open, answer) = answered.unwrap_or(Err(Failure::Slow))?;
        let rest = axum::body::to_bytes(answer, MAX_ANSWER);
        // Only what was read whole leaves a connection for the next.
        let is_whole = tokio::time::timeout(REST, rest).await.is_ok_and(|rest| rest.is_ok());
        self.open = is_whole.then_some(open);
        Ok(())
    }

    /// Gives the connection and the rest of the answer where that is 2xx.
    async fn ask(&mut self, post: &Post<'_>) -> Result<(Open, Body), Failure> {
        if let Some(mut open) = self.open.take() {
            // A connection that was idle may be gone without our having heard of it: that is no failure yet.
            match self.exchange(&mut open, post).await {
                Err(Failure::Broken(_)) => {}
                done => return done.map(|rest| (open, rest)),
            }
        }
        let mut open = self.connect().await?;
        let rest = self.exchange(&mut open, post).await?;
        Ok((open, rest))
    }

    async fn exchange(&self, open: &mut Open, post: &Post<'_>) -> Result<Body, Failure> {
        let request = Request::post(self.url.target.expose())
            .header(HOST, &*self.url.authority)
            .header(USER_AGENT, concat!("segue/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", post.id)
            .header("webhook-timestamp", post.timestamp)
            .header("webhook-signature", &post.signature)
            .body(Body::from(post.body.clone()))
            .map_err(Failure::NoRequest)?;
        open.sender.ready().await.map_err(Failure::Broken)?;
        let answer = open.sender.send_request(request).await.map_err(Failure::Broken)?;
        let status = answer.status();
        if status.is_success() { Ok(Body::new(answer.into_body())) } else { Err(Failure::Refused(status)) }
    }

    async fn connect(&self) -> Result<Open, Failure> {
        let stream =
            TcpStream::connect((&*self.url.host, self.url.port)).await.map_err(Failure::NoConnection)?;
        // An event is one small write; a delay is no gain.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => open(stream).await,
            Some((connector, name)) => {
                let secured = connector.connect(name.clone(), stream).await.map_err(Failure::NoConnection)?;
                open(secured).await
            }
        }
    }
}

async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Open, Failure> {
    let (sender, connection) = Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Broken)?;
    // How it ends is seen by who sends.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Open { sender, driver })
}
