//! Payload type translation between two legs, as the packet path uses it.

use super::formats::{codec_of, counterpart};
use crate::media::codec::{Codec, Format};
use crate::media::transcode::Conversion;

/// Payload numbers of packets on their way from one leg to the other. Identity costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PtMap {
    table: Option<Box<[u8; 128]>>,
    conversion: Option<Box<Conversion>>,
}

impl PtMap {
    /// What a table holds for a number that has no meaning on the other side: the packet is dropped.
    pub const DROP: u8 = 0xff;

    /// Every number stays as it is.
    pub const IDENTITY: Self = Self { table: None, conversion: None };

    /// From the numbers that one leg was told to send to the numbers that the other accepts.
    ///
    /// It is the identity if every codec has one number on both and no number means two things; then what was not agreed
    /// passes too. Beside a change of numbers such a number passes if it is static and not otherwise used (comfort noise
    /// is often sent unasked), and is dropped if it is dynamic: it could mean anything.
    pub(super) fn between(sends: &[Format], accepts: &[Format]) -> Self {
        let target = |format: &Format| counterpart(*format, accepts).map(|found| found.number);
        let stays = |format: &Format| match target(format) {
            Some(number) => number == format.number,
            None => codec_of(accepts, format.number).is_none(),
        };
        if sends.iter().all(stays) {
            return Self::IDENTITY;
        }
        let mut table = Box::new([Self::DROP; 128]);
        for (number, entry) in (0..35).zip(table.iter_mut()) {
            if codec_of(accepts, number).is_none() {
                *entry = number;
            }
        }
        for format in sends {
            let Some(entry) = table.get_mut(usize::from(format.number)) else { continue };
            match target(format) {
                Some(number) => *entry = number,
                None if Codec::of_static(format.number) == Some(format.codec) => {}
                None => *entry = Self::DROP,
            }
        }
        Self { table: Some(table), conversion: None }
    }

    /// The same, or what is to be converted where nothing could pass as it is.
    pub(super) fn or_converted(self, sends: &[Format], accepts: &[Format]) -> Self {
        Self { conversion: Conversion::between(sends, accepts).map(Box::new), ..self }
    }

    /// What is to be converted on the way; then no number is mapped.
    #[must_use]
    pub fn conversion(&self) -> Option<&Conversion> {
        self.conversion.as_deref()
    }

    /// Whether every number stays as it is.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.table.is_none() && self.conversion.is_none()
    }

    /// Number on the other side, `None` to drop the packet. The marker bit is not part of `number`.
    #[must_use]
    pub fn map(&self, number: u8) -> Option<u8> {
        match &self.table {
            None => Some(number),
            Some(table) => table.get(usize::from(number)).copied().filter(|n| *n != Self::DROP),
        }
    }

    /// The table for the packet path, `None` for identity. [`PtMap::DROP`] marks numbers to drop.
    #[must_use]
    pub fn into_table(self) -> Option<Box<[u8; 128]>> {
        self.table
    }

    /// Table and conversion.
    #[must_use]
    pub fn into_parts(self) -> (Option<Box<[u8; 128]>>, Option<Box<Conversion>>) {
        (self.table, self.conversion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(number: u8, rtpmap: &str) -> Format {
        Format { number, codec: Codec::of_rtpmap(rtpmap.as_bytes()).unwrap() }
    }

    #[test]
    fn equal_numbers_are_the_identity_and_others_a_table() {
        let desk = [format(0, "PCMU/8000"), format(101, "telephone-event/8000")];
        let more = [format(8, "PCMA/8000"), desk[0], desk[1]];
        assert!(PtMap::between(&desk, &more).is_identity());
        assert!(PtMap::between(&more, &desk).is_identity(), "8 means nothing else there");
        assert!(PtMap::between(&[], &more).is_identity());

        let mobile =
            [format(0, "PCMU/8000"), format(96, "telephone-event/8000"), format(101, "opus/48000/2")];
        let map = PtMap::between(&mobile, &desk);
        assert_eq!([0, 96, 101, 13, 110].map(|n| map.map(n)), [Some(0), Some(101), None, Some(13), None]);
        assert_eq!(map.map(200), None);
        let back = PtMap::between(&desk, &mobile);
        assert_eq!([0, 101, 96].map(|n| back.map(n)), [Some(0), Some(96), None]);
        assert_eq!(back.into_table().unwrap()[96], PtMap::DROP);
    }

    #[test]
    fn events_find_their_clock_first_and_any_clock_then() {
        let wide = [
            format(111, "opus/48000/2"),
            format(110, "telephone-event/48000"),
            format(101, "telephone-event/8000"),
        ];
        let narrow = [format(96, "opus/48000/2"), format(100, "telephone-event/8000")];
        let map = PtMap::between(&wide, &narrow);
        assert_eq!([111, 110, 101].map(|n| map.map(n)), [Some(96), Some(100), Some(100)]);
        let back = PtMap::between(&narrow, &wide);
        assert_eq!(back.map(100), Some(101));
    }

    #[test]
    fn a_static_number_that_means_something_else_there_is_dropped() {
        let map = PtMap::between(&[format(96, "PCMU/8000")], &[format(0, "PCMU/8000"), format(13, "X/8000")]);
        assert_eq!([96, 0, 13, 8].map(|n| map.map(n)), [Some(0), None, None, Some(8)]);
        let odd = [format(96, "PCMU/8000"), format(9, "Y/8000"), format(3, "GSM/8000")];
        let map = PtMap::between(&odd, &[format(0, "PCMU/8000")]);
        assert_eq!([96, 9, 3].map(|n| map.map(n)), [Some(0), None, Some(3)]);
    }
}
