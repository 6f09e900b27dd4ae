//! What an operator must know of a certificate and rustls does not tell: its names and its last moment.
//!
//! Nothing rests on it but log lines and the choice among our own certificates.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The names and addresses that it is for, lower case.
    pub(super) names: Vec<String>,
    /// Seconds since 1970 of the last moment at which it is valid.
    pub(super) not_after: i64,
}

impl Certificate {
    /// Reads a certificate (RFC 5280 4.1); `None` where it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let stated = certificate.subject_alternative_name().ok().flatten();
        let names = stated.iter().flat_map(|stated| &stated.value.general_names).filter_map(shown).collect();
        Some(Self { names, not_after: certificate.validity().not_after.timestamp() })
    }

    /// Whether it is for `name` (RFC 6125 6.4): a wildcard stands for one label, the leftmost.
    pub(super) fn is_for(&self, name: &str) -> bool {
        is_for(&self.names, name)
    }
}

/// As [`Certificate::is_for`]. An address is looked for among addresses (RFC 2818 3.1), however it is written, and no
/// wildcard stands for a part of it.
pub(super) fn is_for(names: &[String], name: &str) -> bool {
    if let Ok(address) = name.parse::<IpAddr>() {
        return names.iter().any(|own| own.parse() == Ok(address));
    }
    names.iter().any(|own| match own.strip_prefix("*.") {
        Some(suffix) => name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(suffix)),
        None => own.eq_ignore_ascii_case(name),
    })
}

/// A host name, or an address (RFC 5280 4.2.1.6); we have no use for the other kinds.
fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        // An address that stands among the names counts for nothing, here as with clients.
        GeneralName::DNSName(name) if name.parse::<IpAddr>().is_ok() => None,
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_the_last_moment_are_read_from_a_real_certificate() {
        let mut params = rcgen::CertificateParams::new(
            ["PBX.example.com", "*.example.net", "192.0.2.7", "2001:db8::1"].map(String::from),
        )
        .unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 28);
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap();
        let read = Certificate::read(der.der()).unwrap();
        assert_eq!(read.names, ["pbx.example.com", "*.example.net", "192.0.2.7", "2001:db8::1"]);
        assert_eq!(read.not_after, 1_930_003_200);
        assert!(read.is_for("PBX.EXAMPLE.com") && read.is_for("sip.example.net"));
        assert!(
            !read.is_for("example.net") && !read.is_for("a.b.example.net") && !read.is_for("pbx.example.org")
        );
        assert!(read.is_for("192.0.2.7") && read.is_for("2001:DB8:0::1"), "however it is written");
        assert!(!read.is_for("192.0.2.8") && !read.is_for("2001:db8::2"));
        let names = ["*.0.2.7", "*.example.com"].map(String::from);
        assert!(!is_for(&names, "192.0.2.7"), "a wildcard is for names");
        // Whatever is cut off or changed, nothing panics.
        for end in 0..der.der().len() {
            let _ = Certificate::read(&der.der()[..end]);
        }
        let mut bytes = der.der().to_vec();
        for at in 0..bytes.len() {
            let kept = std::mem::replace(&mut bytes[at], 0xff);
            let _ = Certificate::read(&bytes);
            bytes[at] = kept;
        }
    }
}
