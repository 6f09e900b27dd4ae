//! One header of a message that nobody has parsed: for who only asks whose it is.

use super::header::HeaderName;

/// The value of the first header of that name, in either form; `None` where the head ends before. A value that is
/// folded is read as far as its first line.
#[must_use]
pub fn peek(bytes: &[u8], name: HeaderName) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        let end = memchr::memchr(b'\n', rest)?;
        rest = rest.get(end + 1..)?;
        let line = rest.get(..memchr::memchr(b'\n', rest)?)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return None;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (written, value) = line.split_at_checked(colon)?;
        if HeaderName::from_bytes(written.trim_ascii_end()) == name {
            return Some(value.get(1..)?.trim_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_in_either_form_and_only_in_the_head() {
        let head = "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nCALL-id :  1@h \r\nTo: <sip:a@b>\r\n\r\n";
        assert_eq!(peek(head.as_bytes(), HeaderName::CallId), Some(&b"1@h"[..]));
        assert_eq!(peek(b"SIP/2.0 200 OK\ni:2\nv: x\n\n", HeaderName::CallId), Some(&b"2"[..]));
        assert_eq!(peek(b"BYE sip:a SIP/2.0\r\nTo: b\r\n\r\nCall-ID: 3\r\n", HeaderName::CallId), None);
        for cut in ["", "INVITE", "INVITE sip:a SIP/2.0\r\n", "INVITE sip:a SIP/2.0\r\nCall-ID: 1"] {
            assert_eq!(peek(cut.as_bytes(), HeaderName::CallId), None, "{cut}");
        }
    }
}
