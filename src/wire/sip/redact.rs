//! A message as it may be shown: what proves who somebody is, and what opens their media, is masked.
//!
//! The mask has the length of what it hides, so that every Content-Length still holds.

use super::header::HeaderName;
use super::peek::peek;

/// What stands where a secret stood.
pub const MASK: u8 = b'*';

/// Masks, in place: the credentials of Authorization, Proxy-Authorization and Authentication-Info but for their scheme
/// (RFC 7616), passwords in URIs (RFC 3261 19.1.1), the keys of `a=crypto` (RFC 4568) and `k=`, `a=ice-pwd` (RFC 8839),
/// and the digits of an INFO, which may be a PIN.
///
/// What cannot be read as a message is looked through all the same.
pub fn redact(bytes: &mut [u8]) {
    let has_digits = bytes.starts_with(b"INFO ")
        && peek(bytes, HeaderName::ContentType)
            .is_some_and(|kind| kind.to_ascii_lowercase().windows(4).any(|part| part == b"dtmf"));
    let (mut in_body, mut in_secret) = (false, false);
    for line in bytes.split_mut(|byte| *byte == b'\n') {
        if in_body {
            redact_body(line, has_digits);
        } else if line.trim_ascii().is_empty() {
            in_body = true;
        } else {
            in_secret = redact_header(line, in_secret);
        }
    }
}

/// Whether the line, or the one that it goes on, held credentials.
fn redact_header(line: &mut [u8], goes_on: bool) -> bool {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        if goes_on {
            mask(line);
        }
        return goes_on;
    }
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    let name = line.get(..colon).map_or(HeaderName::Other, |name| HeaderName::from_bytes(name.trim_ascii()));
    let is_secret = matches!(
        name,
        HeaderName::Authorization | HeaderName::ProxyAuthorization | HeaderName::AuthenticationInfo
    );
    if !is_secret {
        redact_uris(line);
        return false;
    }
    let Some(value) = line.get_mut(colon.saturating_add(1)..) else { return true };
    let lead = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let scheme = value.iter().skip(lead).position(|byte| *byte == b' ').map_or(0, |length| length + 1);
    let shown = if name == HeaderName::AuthenticationInfo { lead } else { lead + scheme };
    mask(value.get_mut(shown..).unwrap_or_default());
    true
}

/// `sip:user:password@host`.
fn redact_uris(line: &mut [u8]) {
    let mut from = 0;
    while let Some(found) = line.get(from..).and_then(|rest| memchr::memchr(b':', rest)) {
        let colon = from + found;
        from = colon + 1;
        let before = line.get(..colon).unwrap_or_default().to_ascii_lowercase();
        if !before.ends_with(b"sip") && !before.ends_with(b"sips") {
            continue;
        }
        let Some(rest) = line.get_mut(from..) else { return };
        let is_end = |byte: &u8| matches!(byte, b'@' | b'>' | b'<' | b'"' | b' ' | b'\r' | b',');
        let Some(at) = rest.iter().position(is_end).filter(|at| rest.get(*at) == Some(&b'@')) else {
            continue;
        };
        if let Some(user) = rest.get_mut(..at)
            && let Some(colon) = memchr::memchr(b':', user)
        {
            mask(user.get_mut(colon + 1..).unwrap_or_default());
        }
        from += at;
    }
}

fn redact_body(line: &mut [u8], has_digits: bool) {
    const KEYS: [&[u8]; 3] = [b"a=ice-pwd:", b"k=", b"a=crypto:"];
    if has_digits {
        for byte in line.iter_mut().filter(|byte| byte.is_ascii_digit() || **byte == b'#') {
            *byte = MASK;
        }
        return;
    }
    let starts = |key: &[u8]| line.get(..key.len()).is_some_and(|start| start.eq_ignore_ascii_case(key));
    let Some(key) = KEYS.into_iter().find(|key| starts(key)) else { return };
    let from = match memchr::memmem::find(&line.to_ascii_lowercase(), b"inline:") {
        Some(at) if key == KEYS[2] => at + b"inline:".len(),
        _ => key.len(),
    };
    mask(line.get_mut(from..).unwrap_or_default());
}

/// All but the end of the line.
fn mask(secret: &mut [u8]) {
    for byte in secret.iter_mut().filter(|byte| **byte != b'\r') {
        *byte = MASK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        redact(&mut bytes);
        assert_eq!(bytes.len(), text.len(), "every length still holds");
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn credentials_are_masked_wherever_their_lines_go_on() {
        let text = shown(
            "INVITE sip:bob:hunter2@example.org;x=y SIP/2.0\r\nFrom: \"a:b@c\" <SIPS:alice:s3cret@example.org:5061>;tag=1\r\n\
             Proxy-Authorization: Digest username=\"alice\", response=\"0123abcd\",\r\n nc=00000001\r\n\
             authorization:Digest response=\"fedc\"\r\nAuthentication-Info: rspauth=\"77aa\"\r\nCall-ID: 1\r\n\r\n",
        );
        for secret in ["hunter2", "s3cret", "0123abcd", "fedc", "nc=", "77aa", "username"] {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
        assert!(text.starts_with("INVITE sip:bob:*******@example.org;x=y SIP/2.0\r\n"), "{text}");
        assert!(text.contains("From: \"a:b@c\" <SIPS:alice:******@example.org:5061>;tag=1\r\n"), "{text}");
        assert!(text.contains("Proxy-Authorization: Digest ****"), "{text}");
        assert!(text.contains("\r\nCall-ID: 1\r\n\r\n"), "{text}");
    }

    #[test]
    fn keys_of_media_are_masked_and_the_rest_of_a_description_is_not() {
        let text = shown(
            "SIP/2.0 200 OK\r\nCall-ID: 1\r\n\r\nv=0\r\nk=clear:topsecret\r\nm=audio 4000 RTP/SAVP 0\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20\r\n\
             A=CRYPTO:2 nonsense\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\na=ice-ufrag:8hhY\r\n",
        );
        for secret in ["topsecret", "d0Rm", "2^20", "nonsense", "asd88"] {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
        assert!(text.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:****"), "{text}");
        assert!(
            text.ends_with("a=ice-ufrag:8hhY\r\n") && text.contains("m=audio 4000 RTP/SAVP 0\r\n"),
            "{text}"
        );
    }

    #[test]
    fn digits_of_an_info_are_masked() {
        let relay =
            "INFO sip:a SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=7\r\nDuration=160\r\n";
        assert!(shown(relay).ends_with("\r\n\r\nSignal=*\r\nDuration=***\r\n"));
        assert!(shown("INFO sip:a SIP/2.0\r\nc: application/dtmf\r\n\r\n4").ends_with("\r\n\r\n*"));
        let other = "INFO sip:a SIP/2.0\r\nContent-Type: text/plain\r\n\r\n4";
        assert_eq!(shown(other), other);
    }

    #[test]
    fn nothing_that_comes_from_the_network_is_too_strange() {
        for text in [
            "",
            "\n",
            "Authorization:",
            "Authorization: ",
            "sip:",
            "x sip::@\r\n\r\na=crypto:",
            ": \r\n \r\n",
        ] {
            shown(text);
        }
    }
}
