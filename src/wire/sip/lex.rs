//! The few lexical rules that every part of the grammar shares (RFC 3261 25.1).

use std::borrow::Cow;

/// `token` of RFC 3261 25.1, one entry for each byte.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let text = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~";
    let mut rest: &[u8] = text;
    while let [first, tail @ ..] = rest {
        #[expect(clippy::indexing_slicing, reason = "a byte indexes 256 entries; evaluated by the compiler")]
        {
            table[*first as usize] = true;
        }
        rest = tail;
    }
    table
};

/// Whether the byte may stand in a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Whether the text is a token: at least one byte, all of them token bytes.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// Linear white space; CR and LF can stand in a header value only as part of a fold.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without the white space around it.
pub(super) const fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    trim_end(text)
}

/// Without the white space behind it.
pub(super) const fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// [`str::split_once`] at an ASCII character, which costs a third of it on texts as short as these.
pub(super) fn split_once(text: &str, at: u8) -> Option<(&str, &str)> {
    let found = memchr::memchr(at, text.as_bytes())?;
    Some((text.get(..found)?, text.get(found + 1..)?))
}

/// Without the white space around it.
pub(super) fn trim_str(text: &str) -> &str {
    let is_edge = |byte: Option<&u8>| byte.copied().is_some_and(is_space);
    // Nearly always there is none, which two bytes tell.
    if !is_edge(text.as_bytes().first()) && !is_edge(text.as_bytes().last()) {
        return text;
    }
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Replaces every fold (CRLF and the white space around it) by one space. For values that were trimmed.
pub(super) fn unfold(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\r', b'\n', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for part in text.split(['\r', '\n']).map(trim_str).filter(|part| !part.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(part);
    }
    Cow::Owned(out)
}

/// Decimal digits only, at least one, at most `max` in value.
pub(super) fn number(text: &[u8], max: u64) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit).filter(|value| *value <= max)
    })
}

/// The position of the first `wanted` byte outside of quoted strings and angle brackets.
/// `None` also when a quoted string or a bracket is never closed.
pub(super) fn find_outside(text: &[u8], wanted: u8) -> Option<usize> {
    let mut outside = Outside::default();
    text.iter().position(|byte| outside.step(*byte) && *byte == wanted)
}

/// Tells for each byte of a value whether it stands outside of quotes and brackets.
#[derive(Default, Clone, Copy)]
pub(super) struct Outside {
    quoted: bool,
    escaped: bool,
    bracket: bool,
}

impl Outside {
    /// Takes the next byte; true when it is plain.
    pub(super) const fn step(&mut self, byte: u8) -> bool {
        if self.escaped {
            self.escaped = false;
            return false;
        }
        match byte {
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            _ if self.quoted => {}
            b'<' => self.bracket = true,
            b'>' => self.bracket = false,
            _ => return !self.bracket,
        }
        false
    }

    /// Whether every quote and bracket was closed.
    pub(super) const fn is_closed(self) -> bool {
        !self.quoted && !self.bracket
    }
}

/// Undoes `%HH`; a `%` without two hexadecimal digits stays as it is.
pub(super) fn percent_decode(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match escape(rest) {
            Some((byte, tail)) => {
                out.push(byte);
                tail
            }
            None => {
                out.push(*first);
                tail
            }
        };
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Reads one `%HH` at the start of the text.
pub(super) fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, tail @ ..] = text else { return None };
    let (high, low) = (char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?);
    Some((u8::try_from(high * 16 + low).ok()?, tail))
}

/// The content of a quoted string without its quotes: `\x` becomes `x`.
pub(super) fn unescape_quoted(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        out.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_digits_only_and_a_bound() {
        assert_eq!(number(b"0068", 255), Some(68));
        assert_eq!(number(b"256", 255), None);
        assert_eq!(number(b"", 255), None);
        assert_eq!(number(b"-1", 255), None);
        assert_eq!(number(b"+1", 255), None);
        assert_eq!(number(b"36893488147419103232", u64::MAX), None);
    }

    #[test]
    fn folds_become_one_space() {
        assert_eq!(unfold("a\r\n\t b  \r\n c"), "a b c");
        assert_eq!(unfold("plain"), "plain");
        assert_eq!(unfold("\r\n a"), "a");
    }

    #[test]
    fn separators_inside_quotes_and_brackets_do_not_count() {
        assert_eq!(find_outside(br#""a,b\",c" <x,y>,z"#, b','), Some(15));
        assert_eq!(find_outside(br#""a,b"#, b','), None);
    }

    #[test]
    fn escapes() {
        assert_eq!(percent_decode("a%20b%zz%4"), "a b%zz%4");
        assert_eq!(percent_decode("plain"), "plain");
        assert_eq!(unescape_quoted(r#"a\"b\\c"#), r#"a"b\c"#);
    }
}
