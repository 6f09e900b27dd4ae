//! `Digest name=value, name="quoted value", …`: the grammar that challenges and credentials share
//! (RFC 7616 3.3 and 3.4, RFC 3261 25.1 `digest-cln`, `digest-response`).

use std::borrow::Cow;

/// How many parameters a header may carry; the RFC names twelve.
const MAX_PARAMS: usize = 32;

/// The parameters of a header value, in order. `None` where it has another scheme than Digest.
///
/// A fault of grammar ends the iteration with `Err`.
pub(super) fn digest_params(value: &[u8]) -> Option<Params<'_>> {
    let (scheme, rest) = value.trim_ascii().split_at_checked(6)?;
    let separated = rest.first().is_some_and(u8::is_ascii_whitespace);
    (scheme.eq_ignore_ascii_case(b"Digest") && separated).then_some(Params { rest, seen: 0 })
}

/// The text is not a list of parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadParams;

/// See [`digest_params`].
pub(super) struct Params<'a> {
    rest: &'a [u8],
    seen: usize,
}

/// One `name=value`, the value without its quotes and escapes.
pub(super) struct Param<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Cow<'a, [u8]>,
}

impl<'a> Params<'a> {
    fn step(&mut self) -> Result<Option<Param<'a>>, BadParams> {
        // Empty list elements are allowed (RFC 9110 5.6.1).
        let start = self.rest.iter().position(|c| !c.is_ascii_whitespace() && *c != b',');
        let Some(text) = start.and_then(|start| self.rest.get(start..)) else { return Ok(None) };
        self.seen += 1;
        if self.seen > MAX_PARAMS {
            return Err(BadParams);
        }
        let equals = memchr::memchr(b'=', text).ok_or(BadParams)?;
        let (name, value) = text.split_at_checked(equals).ok_or(BadParams)?;
        let name = name.trim_ascii_end();
        if name.is_empty() || !name.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.*!%'~".contains(c)) {
            return Err(BadParams);
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii_start();
        let (value, rest) = match value.split_first() {
            Some((b'"', quoted)) => unquote(quoted)?,
            _ => {
                let end = memchr::memchr(b',', value).unwrap_or(value.len());
                let (token, rest) = value.split_at_checked(end).ok_or(BadParams)?;
                let token = token.trim_ascii_end();
                if token.iter().any(|c| c.is_ascii_whitespace() || *c == b'"') {
                    return Err(BadParams);
                }
                (Cow::Borrowed(token), rest)
            }
        };
        // After a value comes a comma or the end.
        let rest = rest.trim_ascii_start();
        if rest.first().is_some_and(|c| *c != b',')
            || value.iter().fold(false, |any, byte| any | byte.is_ascii_control())
        {
            return Err(BadParams);
        }
        self.rest = rest;
        Ok(Some(Param { name, value }))
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Result<Param<'a>, BadParams>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.rest = &[];
        }
        step
    }
}

/// Reads a quoted string after its opening quote: its content without escapes, and what follows it.
fn unquote(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), BadParams> {
    let stop = memchr::memchr2(b'"', b'\\', text).ok_or(BadParams)?;
    let (plain, after) = text.split_at_checked(stop).ok_or(BadParams)?;
    if let Some((b'"', rest)) = after.split_first() {
        return Ok((Cow::Borrowed(plain), rest));
    }
    let mut content = plain.to_vec();
    let mut bytes = after.iter();
    loop {
        match bytes.next().ok_or(BadParams)? {
            b'"' => return Ok((Cow::Owned(content), bytes.as_slice())),
            b'\\' => content.push(*bytes.next().ok_or(BadParams)?),
            byte => content.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Vec<(String, String)>, BadParams> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        digest_params(value.as_bytes())
            .ok_or(BadParams)?
            .map(|param| param.map(|Param { name, value }| (text(name), text(&value))))
            .collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Result<Vec<(String, String)>, BadParams> {
        Ok(list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn tokens_quotes_escapes_and_spaces() {
        assert_eq!(
            read("digest  a = b ,c=\"d, e\" ,, f=\"g\\\"h\\\\\"\t"),
            pairs(&[("a", "b"), ("c", "d, e"), ("f", "g\"h\\")])
        );
        assert_eq!(read("Digest "), Err(BadParams));
        assert_eq!(read("Digest a="), pairs(&[("a", "")]));
        assert_eq!(read("Digest a=\"\""), pairs(&[("a", "")]));
    }

    #[test]
    fn what_is_not_a_list_is_refused() {
        for bad in [
            "Basic abc",
            "Digestive a=b",
            "Digest a",
            "Digest =b",
            "Digest a=\"b",
            "Digest a=\"b\\",
            "Digest a=\"b\" c=d",
            "Digest a b=c",
            "Digest a=b c=d",
            "Digest a=b\"c\"",
            "Digest a=\"b\0c\"",
        ] {
            assert_eq!(read(bad), Err(BadParams), "{bad}");
        }
        let many = "a=b,".repeat(MAX_PARAMS + 1);
        assert_eq!(read(&format!("Digest {many}")), Err(BadParams));
    }
}
