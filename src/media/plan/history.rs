//! Payload numbers that were used in a dialog: none ever changes its codec (RFC 3264 8.3.2).

use smallvec::SmallVec;

use super::formats::{Formats, codec_of};
use crate::media::codec::{Codec, Format};

/// Numbers for dynamic assignment (RFC 3551 6).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// The numbers of one m-line in one dialog.
#[derive(Clone, Debug, Default)]
pub struct PayloadHistory {
    used: Vec<Format>,
}

impl PayloadHistory {
    /// The codec that `number` stands for in this dialog.
    #[must_use]
    pub fn codec(&self, number: u8) -> Option<Codec> {
        codec_of(&self.used, number)
    }

    /// Every number used so far.
    #[must_use]
    pub fn used(&self) -> &[Format] {
        &self.used
    }

    /// The peer's own numbers. If it breaks the rule and gives a number a new codec, we must follow.
    pub(super) fn record(&mut self, formats: &[Format]) {
        self.make_room(formats.len());
        for format in formats {
            match self.used.iter_mut().find(|used| used.number == format.number) {
                Some(used) => used.codec = format.codec,
                None => self.used.push(*format),
            }
        }
    }

    /// Numbers for an offer of ours that carries `source`, one for each, in its order. A codec keeps the number it once
    /// had in this dialog; a new one gets its number of the other dialog if that is free here, else a free dynamic one.
    /// When all 32 are spent there is none, and the format is left out.
    pub(super) fn assign(&mut self, source: &[Format]) -> SmallVec<[Option<u8>; 8]> {
        self.make_room(source.len());
        let mut taken = Formats::new();
        source.iter().map(|format| self.assign_one(*format, &mut taken)).collect()
    }

    /// The first numbers are mostly all that there will be: room for these, and no more.
    fn make_room(&mut self, first: usize) {
        if self.used.is_empty() {
            self.used.reserve_exact(first);
        }
    }

    fn assign_one(&mut self, format: Format, taken: &mut Formats) -> Option<u8> {
        let is_free = |number: &u8| codec_of(taken, *number).is_none();
        let is_unused = |number: &u8| self.codec(*number).is_none() && is_free(number);
        let same =
            Some(format.number).filter(|number| self.codec(*number) == Some(format.codec)).filter(is_free);
        let known = || self.used.iter().find(|used| used.codec == format.codec && is_free(&used.number));
        let number = same
            .or_else(|| known().map(|used| used.number))
            .or_else(|| Some(format.number).filter(is_unused))
            .or_else(|| DYNAMIC.rev().find(is_unused))?;
        let here = Format { number, codec: format.codec };
        if self.codec(number).is_none() {
            self.used.push(here);
        }
        taken.push(here);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(number: u8, rtpmap: &str) -> Format {
        Format { number, codec: Codec::of_rtpmap(rtpmap.as_bytes()).unwrap() }
    }

    #[test]
    fn a_number_keeps_its_codec_and_a_codec_its_number() {
        let mut history = PayloadHistory::default();
        let desk = [format(96, "opus/48000/2"), format(0, "PCMU/8000"), format(101, "telephone-event/8000")];
        assert_eq!(history.assign(&desk).as_slice(), [Some(96), Some(0), Some(101)]);
        // The mobile has opus at 111, DTMF at 96, and something new at 101.
        let mobile =
            [format(111, "OPUS/48000/2"), format(96, "telephone-event/8000"), format(101, "SILK/16000")];
        assert_eq!(history.assign(&mobile).as_slice(), [Some(96), Some(101), Some(127)]);
        // And back again.
        assert_eq!(history.assign(&desk).as_slice(), [Some(96), Some(0), Some(101)]);
        assert_eq!(history.codec(127), Some(mobile[2].codec));
    }

    #[test]
    fn two_formats_of_one_name_stay_two() {
        let mut history = PayloadHistory::default();
        let both = [format(97, "rtx/90000"), format(99, "rtx/90000")];
        assert_eq!(history.assign(&both).as_slice(), [Some(97), Some(99)]);
        let moved = [format(105, "rtx/90000"), format(107, "rtx/90000"), format(109, "rtx/90000")];
        assert_eq!(history.assign(&moved).as_slice(), [Some(97), Some(99), Some(109)]);
    }

    #[test]
    fn spent_numbers_leave_formats_out_and_break_nothing() {
        let mut history = PayloadHistory::default();
        for round in 0..40 {
            let source = [format(96, &format!("codec{round}/8000")), format(0, "PCMU/8000")];
            let numbers = history.assign(&source);
            assert_eq!(numbers[0].is_some(), round < 32, "round {round}");
            assert_eq!(numbers[1], Some(0));
        }
        assert!(history.used().len() <= 128);
    }

    #[test]
    fn a_peer_that_changes_a_number_is_followed() {
        let mut history = PayloadHistory::default();
        history.record(&[format(96, "opus/48000/2")]);
        history.record(&[format(96, "iLBC/8000")]);
        assert_eq!(history.codec(96), Some(format(96, "iLBC/8000").codec));
    }
}
