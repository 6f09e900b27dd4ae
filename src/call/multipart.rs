//! One part of a multipart body (RFC 2046 5.1), found without copying: the session description among others.

use bytes::Bytes;

/// Parts looked at; more is an attack.
const MAX_PARTS: usize = 16;

/// The content of the first part of `kind`, e.g. `application/sdp`. `content_type` is that of the whole, with its boundary.
#[must_use]
pub(super) fn part(content_type: &str, body: &Bytes, kind: &str) -> Option<Bytes> {
    let boundary = content_type.split(';').skip(1).find_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut at = memchr::memmem::find(body, delimiter.as_bytes())? + delimiter.len();
    for _ in 0..MAX_PARTS {
        let rest = body.get(at..)?;
        if rest.starts_with(b"--") {
            return None;
        }
        let length = memchr::memmem::find(rest, delimiter.as_bytes())?;
        let part = rest.get(..length)?;
        let (head, content) = split_head(part)?;
        if is_of_kind(head, kind) {
            // The line break before the delimiter belongs to the delimiter.
            let end =
                content.strip_suffix(b"\r\n").or_else(|| content.strip_suffix(b"\n")).unwrap_or(content);
            return Some(body.slice_ref(end));
        }
        at += length + delimiter.len();
    }
    None
}

fn split_head(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let (end, gap) = match memchr::memmem::find(part, b"\r\n\r\n") {
        Some(end) => (end, 4),
        None => (memchr::memmem::find(part, b"\n\n")?, 2),
    };
    Some((part.get(..end)?, part.get(end + gap..)?))
}

fn is_of_kind(head: &[u8], kind: &str) -> bool {
    head.split(|byte| *byte == b'\n').any(|line| {
        let Ok(line) = std::str::from_utf8(line) else { return false };
        let Some((name, value)) = line.split_once(':') else { return false };
        let essence = value.split(';').next().unwrap_or_default().trim();
        name.trim().eq_ignore_ascii_case("Content-Type") && essence.eq_ignore_ascii_case(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_found_among_other_parts() {
        let body = Bytes::from_static(
            b"preamble\r\n--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b1\r\ncontent-type: application/sdp;x=y\r\n\r\nv=0\r\no=x\r\n\r\n--b1--\r\n",
        );
        let found = part("multipart/mixed; boundary=\"b1\"", &body, "application/sdp");
        assert_eq!(found.as_deref(), Some(&b"v=0\r\no=x\r\n"[..]));
        assert_eq!(part("multipart/mixed;boundary=b2", &body, "application/sdp"), None);
        assert_eq!(part("multipart/mixed", &body, "application/sdp"), None);
        assert_eq!(part("multipart/mixed;boundary=b1", &body, "application/pidf+xml"), None);
    }
}
