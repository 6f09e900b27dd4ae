//! The formats of one media description, each with its codec.

use smallvec::SmallVec;

use crate::media::codec::{Codec, Format};
use crate::wire::sdp::{Attribute, Media, words};

/// Formats in their author's order of preference, each number once.
pub(super) type Formats = Vec<Format>;

/// The formats of `media`. A number that is neither mapped nor static (some phones leave the `a=rtpmap` out when they
/// answer) means what `known` says, or nothing that we could name.
pub(super) fn formats(media: &Media<'_>, known: &[Format]) -> Formats {
    let mut pending: SmallVec<[(u8, Option<Codec>); 8]> = SmallVec::new();
    for number in media.payload_numbers() {
        if !pending.iter().any(|(seen, _)| *seen == number) {
            pending.push((number, None));
        }
    }
    let mut is_distinguished = false;
    for value in media.attributes(Attribute::Rtpmap) {
        let Some((number, rest)) = payload_attribute(value) else { continue };
        if let Some((_, slot @ None)) = pending.iter_mut().find(|(seen, _)| *seen == number) {
            *slot = words(rest).next().and_then(Codec::of_rtpmap);
            is_distinguished |= slot.is_some_and(|codec| codec.has_distinctions());
        }
    }
    if is_distinguished {
        for value in media.attributes(Attribute::Fmtp) {
            let Some((number, rest)) = payload_attribute(value) else { continue };
            if let Some((_, Some(codec))) = pending.iter_mut().find(|(seen, _)| *seen == number) {
                *codec = codec.with_parameters(rest);
            }
        }
    }
    let name = |(number, codec): (u8, Option<Codec>)| {
        let codec = codec
            .or_else(|| codec_of(known, number))
            .or_else(|| Codec::of_static(number))
            .unwrap_or_else(|| Codec::unexplained(number));
        Format { number, codec }
    };
    // Kept as long as the call: of its size, where `collect` would make room for four.
    let mut found = Formats::with_capacity(pending.len());
    found.extend(pending.into_iter().map(name));
    found
}

/// The formats of an answer to `offer`: a number of the offer means what it meant there, even if the answer's `a=fmtp`
/// differs in what it may differ.
pub(super) fn answered_formats(media: &Media<'_>, offer: &[Format]) -> Formats {
    let mut found = formats(media, offer);
    for format in &mut found {
        if let Some(offered) = codec_of(offer, format.number)
            && offered.resembles(&format.codec)
        {
            format.codec = offered;
        }
    }
    found
}

/// What `number` stands for in `formats`.
pub(super) fn codec_of(formats: &[Format], number: u8) -> Option<Codec> {
    formats.iter().find(|format| format.number == number).map(|format| format.codec)
}

/// What stands for `format` among `others`, under the same number if it can be. DTMF at another clock rate is better
/// than none: the digit is in the packet, only its length is counted on another clock.
pub(super) fn counterpart(format: Format, others: &[Format]) -> Option<Format> {
    if others.contains(&format) {
        return Some(format);
    }
    let exact = others.iter().find(|other| other.codec == format.codec);
    let is_event = |other: &&Format| format.codec.is_telephone_event() && other.codec.is_telephone_event();
    exact.or_else(|| others.iter().find(is_event)).copied()
}

/// Splits `96 opus/48000/2` into the number and what follows its blank.
pub(super) fn payload_attribute(value: &[u8]) -> Option<(u8, &[u8])> {
    let end = value.iter().position(|byte| *byte == b' ' || *byte == b'\t').unwrap_or(value.len());
    let number = crate::wire::sdp::payload_number(value.get(..end)?)?;
    Some((number, value.get(end + 1..).unwrap_or_default()))
}
