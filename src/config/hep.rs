//! `[hep]`.

use super::resolved::{Hep, HepServer, HepTransport, HostPort, Secret};
use super::tree::Section;
use super::{Source, listen_tls, sections, users, values};
use crate::wire::sip::Method;

/// Where capture servers listen.
const PORT: u16 = 9060;
/// Longest list of methods that are left out.
const MAX_EXCEPT: usize = 16;

pub(super) fn read(root: &mut Section<'_>, source: &Source<'_>, node: &str) -> Option<Hep> {
    let mut section = root.section("hep")?;
    let server = section.read_needed("server", server).map(|taken| taken.value);
    let capture_id = section.number("capture_id", 0..=u32::MAX).map_or(1, |taken| taken.value);
    let name = section.read("name", sections::name).map_or_else(|| node.into(), |taken| taken.value);
    if section.has("password") && section.has("password_file") {
        section.fault("password", "only one of password and password_file is possible");
    }
    let password = users::secret(&mut section, source).map(Secret::new);
    let ca = section.read("ca", |path| listen_tls::pem(source, path)).map(|taken| taken.value);
    if ca.is_some() && server.as_ref().is_some_and(|server| server.transport != HepTransport::Tls) {
        section.fault("ca", "is for tls:// only");
    }
    let sip = section.flag("sip").unwrap_or(true);
    let method = |text: &str| {
        Method::from_bytes(text.as_bytes()).filter(|_| !text.is_empty()).ok_or("is no method of SIP")
    };
    let except = section.read_all("except", method).unwrap_or_default();
    if except.len() > MAX_EXCEPT {
        section.fault("except", format!("names more than {MAX_EXCEPT} methods"));
    }
    let rtcp = section.flag("rtcp").unwrap_or(true);
    let quality = section.flag("quality").unwrap_or(true);
    if !(sip || rtcp || quality) {
        section.fault("sip", "nothing is left to send: leave [hep] out");
    }
    section.finish();
    let except = except.into_iter().map(|taken| taken.value.as_str().into()).collect();
    Some(Hep { server: server?, capture_id, name, password, ca, sip, except, rtcp, quality })
}

/// `udp://capture.example.com:9060`
fn server(text: &str) -> Result<HepServer, &'static str> {
    const FORM: &str = "must be like udp://192.0.2.9:9060 (udp, tcp or tls, and a host)";
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    let transport = match scheme {
        "udp" => HepTransport::Udp,
        "tcp" => HepTransport::Tcp,
        "tls" => HepTransport::Tls,
        _ => return Err(FORM),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let HostPort { host, port } = values::host_port(rest).map_err(|_| FORM)?;
    Ok(HepServer { transport, host, port: port.unwrap_or(PORT) })
}
