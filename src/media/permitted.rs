//! A list of codecs that a side may be offered and may offer, best first.

use std::fmt;

use super::codec::{Codec, Format};

/// Names that stand alone in a list (RFC 3551, and what is registered with IANA as a type of RTP): any other could be a slip
/// of the finger, and is written with its clock.
const REGISTERED: [&str; 59] = [
    "PCMU",
    "PCMA",
    "G722",
    "G729",
    "opus",
    "GSM",
    "iLBC",
    "speex",
    "AMR",
    "AMR-WB",
    "AMR-WB+",
    "EVS",
    "EVRC",
    "EVRC0",
    "EVRC1",
    "EVRCB",
    "EVRCWB",
    "EVRCNW",
    "G711-0",
    "G719",
    "G7221",
    "G723",
    "G726-16",
    "G726-24",
    "G726-32",
    "G726-40",
    "G728",
    "G729D",
    "G729E",
    "GSM-EFR",
    "GSM-HR-08",
    "BV16",
    "BV32",
    "PCMU-WB",
    "PCMA-WB",
    "SILK",
    "ISAC",
    "L8",
    "L16",
    "L20",
    "L24",
    "LPC",
    "DVI4",
    "QCELP",
    "MPA",
    "MP4A-LATM",
    "mpeg4-generic",
    "CLEARMODE",
    "H261",
    "H263",
    "H263-1998",
    "H263-2000",
    "H264",
    "H265",
    "VP8",
    "VP9",
    "AV1",
    "JPEG",
    "t140",
];
/// What is named in an error: those that trunks have.
const USUAL: &str = "PCMA, PCMU, G722, G729, opus, AMR, AMR-WB, EVS, GSM, iLBC, G723, G726-32, speex";
/// Bytes of a name.
const MAX_NAME: usize = 64;

/// A codec by its encoding name, with a clock or with any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    codec: Codec,
    is_any_clock: bool,
}

impl Named {
    /// Reads `NAME` or `NAME/CLOCK`, as the left part of an `a=rtpmap` has them (RFC 8866 6.6). Case does not count.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, clock) = text.split_once('/').map_or((text, None), |(name, clock)| (name, Some(clock)));
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_token) {
            return Err(format!("is written NAME or NAME/CLOCK; usual names are {USUAL}"));
        }
        let clock = match clock {
            None => None,
            Some(clock) if clock.len() <= 6 && clock.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(clock.parse::<u32>().ok().filter(|clock| *clock > 0).ok_or("the clock is in Hz")?)
            }
            Some(_) => return Err("is written NAME or NAME/CLOCK, the clock in Hz".to_owned()),
        };
        let codec = Codec::of_rtpmap(format!("{name}/{}", clock.unwrap_or(8000)).as_bytes());
        let codec = codec.ok_or("is no codec")?;
        if codec.is_telephone_event() || codec.resembles(&Codec::COMFORT_NOISE) {
            return Err("goes along with the codecs that it belongs to, and is not named".to_owned());
        }
        if !codec.is_primary() {
            return Err("carries no media by itself".to_owned());
        }
        if codec.name() == "G722" && clock.is_some_and(|clock| clock != 8000) {
            return Err("the clock of G722 is written 8000 (RFC 3551 4.5.2)".to_owned());
        }
        if clock.is_none() && !REGISTERED.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(format!(
                "is not a name that is registered: one of your own is written NAME/CLOCK; usual ones are {USUAL}"
            ));
        }
        Ok(Self { codec, is_any_clock: clock.is_none() })
    }

    /// Whether it means a codec.
    #[must_use]
    pub fn fits(&self, codec: &Codec) -> bool {
        self.codec.name() == codec.name()
            && (self.is_any_clock || self.codec.clock_rate() == codec.clock_rate())
    }

    /// Whether it means all that `other` means.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.fits(&other.codec) && (self.is_any_clock || !other.is_any_clock)
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codec.spelling())?;
        if self.is_any_clock { Ok(()) } else { write!(f, "/{}", self.codec.clock_rate()) }
    }
}

/// What a side may be offered and may offer, best first; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permitted(Box<[Named]>);

impl Permitted {
    /// A list; `None` for one that names nothing.
    #[must_use]
    pub fn new(named: impl IntoIterator<Item = Named>) -> Option<Self> {
        let named: Box<[Named]> = named.into_iter().collect();
        (!named.is_empty()).then_some(Self(named))
    }

    /// What it names.
    #[must_use]
    pub fn named(&self) -> &[Named] {
        &self.0
    }

    /// The place of a codec in it, 0 the best; `None` for what is not permitted, or never named: DTMF and the like.
    #[must_use]
    pub fn rank(&self, codec: &Codec) -> Option<usize> {
        self.0.iter().position(|named| named.fits(codec))
    }

    /// Those of the formats of one media description that are permitted, best first, and behind them what belongs to them;
    /// nothing, if none could carry the stream. DTMF (RFC 4733 2.1) and comfort noise (RFC 3389 4) belong to a codec of
    /// their clock, DTMF where there is none to any: the digit is in the packet. What repeats or repairs (RFC 2198, RFC
    /// 4588, RFC 5109) speaks of the numbers beside it, and stays where all of those do.
    #[must_use]
    pub fn sift(&self, formats: &[Format]) -> Vec<Format> {
        let speech = || formats.iter().filter(|format| format.codec.is_primary());
        let mut kept: Vec<Format> = speech().filter(|f| self.rank(&f.codec).is_some()).copied().collect();
        if kept.is_empty() {
            return kept;
        }
        kept.sort_by_key(|format| self.rank(&format.codec));
        let is_whole = kept.len() == speech().count();
        let clocks: Vec<u32> = kept.iter().map(|format| format.codec.clock_rate()).collect();
        let has_clock = |format: &&Format| clocks.contains(&format.codec.clock_rate());
        let events = || formats.iter().filter(|format| format.codec.is_telephone_event());
        let lone_event = if events().any(|event| has_clock(&event)) { None } else { events().next() };
        let belongs = |format: &&Format| match format.codec.name() {
            "TELEPHONE-EVENT" => has_clock(format) || lone_event == Some(*format),
            "CN" => has_clock(format),
            // A number that nobody explained could be anything.
            "?" => false,
            _ => is_whole,
        };
        kept.extend(formats.iter().filter(|format| !format.codec.is_primary()).filter(belongs));
        kept
    }
}

impl fmt::Display for Permitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, named) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            named.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Permitted {
        Permitted::new(names.iter().map(|name| Named::parse(name).unwrap())).unwrap()
    }

    fn formats(all: &[(u8, &str)]) -> Vec<Format> {
        let format = |(number, rtpmap): &(u8, &str)| Format {
            number: *number,
            codec: Codec::of_rtpmap(rtpmap.as_bytes()).unwrap(),
        };
        all.iter().map(format).collect()
    }

    fn numbers(list: &Permitted, all: &[(u8, &str)]) -> Vec<u8> {
        list.sift(&formats(all)).iter().map(|format| format.number).collect()
    }

    #[test]
    fn a_name_is_read_as_descriptions_have_it_and_a_slip_is_told() {
        for (text, shown) in [
            ("pcma", "PCMA"),
            ("PCMU/8000", "PCMU/8000"),
            ("Opus", "opus"),
            ("g729", "G729"),
            ("X-codec/16000", "X-CODEC/16000"),
            ("G722/8000", "G722/8000"),
        ] {
            assert_eq!(Named::parse(text).unwrap().to_string(), shown);
        }
        for (text, why) in [
            ("", "NAME or NAME/CLOCK"),
            ("PCMA/", "clock is in Hz"),
            ("PCMA/0", "in Hz"),
            ("PCMA/8k", "the clock in Hz"),
            ("opus/48000/2", "NAME or NAME/CLOCK"),
            ("G.729 A", "NAME or NAME/CLOCK"),
            ("PCAM", "not a name that is registered"),
            ("G711A", "usual ones are PCMA, PCMU"),
            ("telephone-event", "goes along"),
            ("CN", "goes along"),
            ("red/48000", "by itself"),
            ("G722/16000", "written 8000"),
        ] {
            let said = Named::parse(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        let [any, one] = ["L16", "L16/16000"].map(|text| Named::parse(text).unwrap());
        assert!(any.covers(&one) && !one.covers(&any) && one.covers(&one));
    }

    #[test]
    fn what_is_left_is_in_the_order_of_the_list_with_what_belongs_to_it() {
        let phone = [
            (111, "opus/48000/2"),
            (63, "red/48000/2"),
            (0, "PCMU/8000"),
            (8, "PCMA/8000"),
            (18, "G729/8000"),
            (13, "CN/8000"),
            (110, "telephone-event/48000"),
            (101, "telephone-event/8000"),
        ];
        assert_eq!(numbers(&list(&["PCMA", "pcmu"]), &phone), [8, 0, 13, 101]);
        assert_eq!(numbers(&list(&["opus"]), &phone), [111, 110]);
        assert_eq!(numbers(&list(&["G729", "opus"]), &phone), [18, 111, 13, 110, 101]);
        assert_eq!(numbers(&list(&["G722"]), &phone), [] as [u8; 0], "DTMF alone is no call");
        let all = list(&["opus", "G729", "PCMU", "PCMA"]);
        assert_eq!(numbers(&all, &phone), [111, 18, 0, 8, 63, 13, 110, 101]);
        assert_eq!(numbers(&list(&["L16/8000"]), &[(96, "L16/8000"), (97, "L16/16000")]), [96]);
    }

    #[test]
    fn dtmf_of_another_clock_is_better_than_none() {
        let odd = [(111, "opus/48000/2"), (0, "PCMU/8000"), (110, "telephone-event/48000")];
        assert_eq!(numbers(&list(&["PCMU"]), &odd), [0, 110]);
    }
}
