//! What `[[listen]]` says of TLS and of web pages: certificates, authorities of clients, origins.

use std::path::PathBuf;

use super::Source;
use super::resolved::{Tls, TlsFiles};
use super::tree::{Section, Taken};
use crate::sip::Transport;

/// Identities of one listener.
const MAX_IDENTITIES: usize = 64;

/// `cert`, `key`, `[[listen.certificate]]` and `client_ca`, which belong to tls and wss.
pub(super) fn read(
    section: &mut Section<'_>,
    source: &Source<'_>,
    transport: Option<Transport>,
) -> Option<Tls> {
    let first = identity(section, source);
    let client_ca = section.read("client_ca", |path| pem(source, path)).map(|taken| taken.value);
    let mut identities = Vec::new();
    let mut others = 0;
    section.each("certificate", |mut one| {
        others += 1;
        match identity(&mut one, source) {
            (Some(cert), Some(key)) => identities.push(TlsFiles { cert: cert.value, key: key.value }),
            (Some(_), None) => one.fault("key", "is needed beside cert"),
            (None, _) => one.fault("cert", "is needed"),
        }
        one.finish();
    });
    let transport = transport?;
    if !matches!(transport, Transport::Tls | Transport::Wss) {
        if first.0.is_some() || first.1.is_some() || others > 0 {
            section.fault("cert", "cert and key are for tls and wss only");
        }
        if client_ca.is_some() {
            section.fault("client_ca", "is for tls and wss only");
        }
        return None;
    }
    if others >= MAX_IDENTITIES {
        section.fault("certificate", format!("at most {MAX_IDENTITIES} certificates are possible"));
    }
    if first.0.is_none() && first.1.is_none() {
        section.fault("cert", "cert and key are needed for tls and wss");
    }
    identities.insert(0, both(section, first)?);
    Some(Tls { identities, client_ca })
}

/// `cert` and `key` of `[http]`.
pub(super) fn of_page(section: &mut Section<'_>, source: &Source<'_>) -> Option<Tls> {
    let given = identity(section, source);
    Some(Tls { identities: vec![both(section, given)?], client_ca: None })
}

/// Both of a pair; one without the other is a fault.
fn both(section: &mut Section<'_>, given: (Path, Path)) -> Option<TlsFiles> {
    match given {
        (Some(cert), Some(key)) => return Some(TlsFiles { cert: cert.value, key: key.value }),
        (None, None) => {}
        (Some(_), None) => section.fault("key", "is needed beside cert"),
        (None, Some(_)) => section.fault("cert", "is needed beside key"),
    }
    None
}

/// `origins`, which belongs to ws and wss.
pub(super) fn origins(section: &mut Section<'_>, transport: Option<Transport>) -> Vec<Box<str>> {
    let origins = section.read_all("origins", origin).unwrap_or_default();
    if !origins.is_empty() && !matches!(transport, Some(Transport::Ws | Transport::Wss) | None) {
        section.fault("origins", "is for ws and wss only");
    }
    origins.into_iter().map(|taken| taken.value).collect()
}

/// `https://pbx.example.com`, as a browser writes it (RFC 6454 6.2): a scheme, a host, a port unless it is the usual
/// one. `*` is every page, `null` a page that has no origin, such as a file.
fn origin(text: &str) -> Result<Box<str>, &'static str> {
    const FORM: &str = "must be like https://pbx.example.com or http://localhost:8080, without a path, or *";
    let lower = text.to_ascii_lowercase();
    if lower == "*" || lower == "null" {
        return Ok(lower.into());
    }
    let (scheme, authority) = lower.split_once("://").ok_or(FORM)?;
    let is_scheme =
        scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if scheme.is_empty() || !is_scheme || super::values::host_port(authority).is_err() {
        return Err(FORM);
    }
    // Browsers leave the usual port out.
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Ok(lower.into()),
    };
    Ok(lower.strip_suffix(usual).unwrap_or(&lower).into())
}

type Path = Option<Taken<PathBuf>>;

fn identity(section: &mut Section<'_>, source: &Source<'_>) -> (Path, Path) {
    let cert = section.read("cert", |path| pem(source, path));
    let key = section.read("key", |path| pem(source, path));
    (cert, key)
}

/// The path of a file that can be read and holds PEM.
pub(super) fn pem(source: &Source<'_>, path: &str) -> Result<PathBuf, String> {
    let path = source.beside(path);
    match (source.read)(&path) {
        Ok(text) if text.contains("-----BEGIN ") => Ok(path),
        Ok(_) => Err("holds no PEM (-----BEGIN …)".to_owned()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}
