//! A message as it may be shown: what proves who somebody is, and what opens their media, is masked.
//!
//! The mask has the length of what it hides, so that every Content-Length still holds. What is hidden does not depend on
//! where in the message it stands: bodies hold messages (RFC 3420) and URIs, and what cannot be read as a message is
//! looked through all the same. The time it takes is linear in the length.

/// What stands where a secret stood.
pub const MASK: u8 = b'*';

/// Headers that prove who somebody is (RFC 7616, RFC 3261 20.7, 20.28, RFC 7615).
const PROOFS: [&[u8]; 4] =
    [b"authorization", b"proxy-authorization", b"authentication-info", b"proxy-authentication-info"];
/// What of a proof says only of which kind it is.
const SCHEMES: [&[u8]; 3] = [b"Digest", b"Basic", b"Bearer"];
/// Lines of a description that hold keys (RFC 4567, RFC 8839, RFC 4566 5.12, RFC 4568).
const KEYS: [&[u8]; 4] = [b"a=key-mgmt:", b"a=ice-pwd:", b"k=", b"a=crypto:"];

/// Masks, in place: the credentials of Authorization and its kin but for their scheme, passwords in URIs (RFC 3261 19.1.1,
/// RFC 3986 3.2.1), proofs among the headers of a URI (RFC 3261 19.1.1), the keys of `a=crypto`, `a=key-mgmt` and `k=`,
/// `a=ice-pwd`, and the digits of an INFO or of KPML (RFC 4730), which may be a PIN.
pub fn redact(bytes: &mut [u8]) {
    let is_info = bytes.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"INFO "));
    let has_digits = is_info && has(bytes, b"dtmf");
    if has(bytes, b"kpml") {
        redact_kpml(bytes);
    }
    let (mut in_body, mut goes_on) = (false, false);
    for line in bytes.split_mut(|byte| *byte == b'\n') {
        // What is but a space is the rest of the line before.
        in_body |= matches!(*line, [] | [b'\r']);
        for line in line.split_mut(|byte| *byte == b'\r') {
            goes_on = redact_line(line, goes_on);
            if in_body && has_digits {
                redact_digits(line);
            }
        }
    }
}

/// Whether the line, or the one that it goes on, held a proof. What stands between two line ends goes on nothing, and ends
/// nothing: so does `\r` before `\n`.
fn redact_line(line: &mut [u8], goes_on: bool) -> bool {
    if line.is_empty() {
        return goes_on;
    }
    if goes_on && matches!(line.first(), Some(b' ' | b'\t')) {
        mask(line);
        return true;
    }
    if let Some(key) = KEYS.into_iter().find(|key| starts(line, key)) {
        let inline = find(line, b"inline:").filter(|_| key == KEYS[3]);
        mask(line.get_mut(inline.map_or(key.len(), |at| at + b"inline:".len())..).unwrap_or_default());
        return false;
    }
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    let name = line.get(..colon).unwrap_or_default().trim_ascii();
    if !PROOFS.into_iter().any(|proof| proof.eq_ignore_ascii_case(name)) {
        line.split_mut(|byte| matches!(byte, b'<' | b'>' | b'"' | b' ' | b'\t')).for_each(redact_uri);
        return false;
    }
    let Some(value) = line.get_mut(colon.saturating_add(1)..) else { return true };
    let lead = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let word = value.iter().skip(lead).take_while(|byte| !byte.is_ascii_whitespace()).count();
    let scheme = value.get(lead..lead + word).unwrap_or_default();
    let is_scheme = SCHEMES.into_iter().any(|known| known.eq_ignore_ascii_case(scheme));
    mask(value.get_mut(if is_scheme { lead + word + 1 } else { lead }..).unwrap_or_default());
    true
}

/// `sip:user:password@host?Authorization=…`, and the same of any `//`. Of several `@` the last counts: more is hidden than
/// must be, if a client does not escape what it ought to.
fn redact_uri(word: &mut [u8]) {
    if let Some(at) = memchr::memrchr(b'@', word) {
        let user = word.get_mut(..at).unwrap_or_default();
        let begin = [&b"sip:"[..], b"sips:", b"//"]
            .iter()
            .filter_map(|mark| Some(find(user, mark)? + mark.len()))
            .min();
        let colon = begin.and_then(|begin| Some(begin + memchr::memchr(b':', user.get(begin..)?)?));
        if let Some(colon) = colon {
            mask(user.get_mut(colon + 1..).unwrap_or_default());
        }
    }
    let mut rest = word;
    while let Some(at) = find(rest, b"authorization=") {
        let value = rest.get_mut(at + b"authorization=".len()..).unwrap_or_default();
        let end = memchr::memchr(b'&', value).unwrap_or(value.len());
        let (secret, after) = value.split_at_mut(end);
        mask(secret);
        rest = after;
    }
}

/// `application/dtmf-relay` names the key in `Signal=`; in `application/dtmf` it is all there is.
fn redact_digits(line: &mut [u8]) {
    let equals = memchr::memchr(b'=', line);
    match equals {
        Some(equals) if starts(line.trim_ascii_start(), b"signal") => {
            mask(line.get_mut(equals + 1..).unwrap_or_default());
        }
        None if line.len() <= 2 => mask(line),
        _ => line
            .iter_mut()
            .filter(|byte| byte.is_ascii_digit() || **byte == b'#')
            .for_each(|byte| *byte = MASK),
    }
}

/// `digits="…"`, with what white space XML allows, over lines too.
fn redact_kpml(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = bytes.get(from..).and_then(|rest| find(rest, b"digits")) {
        from += at + b"digits".len();
        let rest = bytes.get(from..).unwrap_or_default();
        from += rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'=').count();
        let Some(quote @ (b'"' | b'\'')) = bytes.get(from).copied() else { continue };
        let value = bytes.get_mut(from + 1..).unwrap_or_default();
        let end = memchr::memchr(quote, value).unwrap_or(value.len());
        mask(value.get_mut(..end).unwrap_or_default());
        from += 1 + end;
    }
}

fn mask(secret: &mut [u8]) {
    secret.fill(MASK);
}

fn starts(line: &[u8], what: &[u8]) -> bool {
    line.get(..what.len()).is_some_and(|start| start.eq_ignore_ascii_case(what))
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    find(bytes, what).is_some()
}

/// Where `what`, which is in small letters, stands first, in whatever letters.
fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let upper = first.to_ascii_uppercase();
    memchr::memchr2_iter(first, upper, bytes)
        .find(|at| bytes.get(*at..).is_some_and(|rest| starts(rest, what)))
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
        assert!(shown(relay).ends_with("\r\n\r\nSignal=*\r\nDuration=***\r\n"), "{}", shown(relay));
        assert!(shown("INFO sip:a SIP/2.0\r\nc: application/dtmf\r\n\r\n4").ends_with("\r\n\r\n*"));
        let other = "INFO sip:a SIP/2.0\r\nContent-Type: text/plain\r\n\r\n4";
        assert_eq!(shown(other), other);
    }

    #[test]
    fn nobody_hides_a_secret_behind_the_form_of_the_message() {
        for (text, secrets) in [
            // A line with a space alone goes on the one before; it is not the end of the headers.
            (
                "INVITE sip:b SIP/2.0\r\nSubject: x\r\n \r\nAuthorization: Digest r3sponse\r\n\r\n",
                &["r3sponse"][..],
            ),
            ("A: b\r\nAuthorization:\r\n\tDigest r3sponse,\r\n x=s3cond\r\n\r\n", &["r3sponse", "s3cond"]),
            ("A: b\rAuthorization: Digest\tr3sponse=\"a b\"\r\n", &["r3sponse", "a b"]),
            ("Proxy-Authorization: t0ken only\r\n", &["t0ken", "only"]),
            ("Proxy-Authentication-Info: rspauth=\"77aa\"\r\n", &["77aa"]),
            ("To: <sip:alice:s3,cret@host>, sip:bob:hunt;er@host\r\n", &["s3,cret", "hunt;er"]),
            ("To: sip:alice:s3@cret@host\r\n", &["s3", "cret"]),
            ("Call-Info: <https://alice:s3cret@host/x>\r\n", &["s3cret"]),
            ("Refer-To: <sip:a@b?X=y&Proxy-Authorization=Digest%20r3sponse&Z=z>\r\n", &["r3sponse"]),
            // Messages, and what speaks of URIs, in bodies.
            (
                "NOTIFY sip:b SIP/2.0\r\n\r\nINVITE sip:a SIP/2.0\r\nAuthorization: Digest r3sponse\r\n",
                &["r3sponse"],
            ),
            ("NOTIFY sip:b SIP/2.0\r\n\r\n<target uri=\"sip:a:s3cret@b\"/>", &["s3cret"]),
            ("SIP/2.0 200 OK\n\na=key-mgmt:mikey AQAFgM0X\ra=crypto:1 X inline:k3y\n", &["AQAF", "k3y"]),
            (
                "INFO a SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal = A\r\nd=1\r\n",
                &["A\r\nd"],
            ),
            (
                "INFO a SIP/2.0\r\nC: multipart/mixed;boundary=x\r\n\r\n--x\r\nC: application/dtmf\r\n\r\nD\r\n--x--",
                &["\nD\r"],
            ),
            ("Event: kpml\r\n\r\n<kpml-response digits = \"47#\"/>", &["47#"]),
            ("Event: kpml\r\n\r\n<kpml-response digits=\r\n '48#'/>", &["48#"]),
            ("NOTIFY a SIP/2.0\r\nEvent: kpml\r\n\r\n<kpml-response digits=\"47#\" code=\"200\"/>", &["47#"]),
        ] {
            let shown = shown(text);
            for secret in secrets {
                assert!(text.contains(secret) && !shown.contains(secret), "{secret:?} is in\n{shown}");
            }
        }
        let shown = shown("To: <sip:a@b?X=y&Authorization=s&Z=z>\r\nVia: SIP/2.0/UDP h:5060;a=b@c\r\n");
        assert_eq!(shown, "To: <sip:a@b?X=y&Authorization=*&Z=z>\r\nVia: SIP/2.0/UDP h:5060;a=b@c\r\n");
    }

    /// What is not linear would be hours with these.
    #[test]
    fn a_long_line_takes_no_long_time() {
        for unit in ["sip:a:b@", "@", "sip:", ":", "authorization=&", "digits=\"", "kpml ", "s", "\r"] {
            let mut bytes = unit.repeat((4 << 20) / unit.len()).into_bytes();
            redact(&mut bytes);
            assert_eq!(bytes.len(), (4 << 20) / unit.len() * unit.len());
        }
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
