//! `[cdr]`.

use super::resolved::CdrFormat;
use super::tree::Section;

pub(super) fn read(mut section: Section<'_>) -> Vec<CdrFormat> {
    let format = |text: &str| match text {
        "jsonl" => Ok(CdrFormat::JsonLines),
        "csv" => Ok(CdrFormat::Csv),
        "asterisk" => Ok(CdrFormat::Asterisk),
        _ => Err("must be jsonl, csv or asterisk"),
    };
    let formats = section.read_all("formats", format);
    section.finish();
    let Some(formats) = formats else { return vec![CdrFormat::JsonLines] };
    let mut all = Vec::new();
    for format in formats.into_iter().map(|taken| taken.value) {
        if !all.contains(&format) {
            all.push(format);
        }
    }
    all
}
