//! How the phone of the tests describes and protects its media.

use super::Phone;

/// How a phone protects its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// Keys in the description.
    Sdes,
    /// A browser.
    Web,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Sdes, Self::Web];

    fn profile(self) -> &'static str {
        match self {
            Self::Plain => "RTP/AVP",
            Self::Sdes => "RTP/SAVP",
            Self::Web => "UDP/TLS/RTP/SAVPF",
        }
    }

    fn lines(self, port: usize) -> String {
        let digest = ["0A"; 32].join(":");
        match self {
            Self::Plain => String::new(),
            Self::Sdes => {
                format!(
                    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}{port}\r\n",
                    "WVNfX19z".repeat(5).split_at(36).0
                )
            }
            Self::Web => format!(
                "a=mid:0\r\na=ice-ufrag:u{port}\r\na=ice-pwd:0123456789abcdef01234567\r\n\
                 a=fingerprint:sha-256 {digest}\r\na=setup:active\r\na=rtcp-mux\r\n"
            ),
        }
    }
}

/// What a picky phone does with a re-INVITE that has none of its codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Refused,
    /// It is answered without media.
    LineDropped,
    /// It is answered with what it has, which is telephone-event.
    EventsAlone,
}

impl Phone {
    /// A description of this phone; its ports tell the line. It has the m-lines that the other side said last, of which
    /// the phone takes what is in [`Phone::media`]; before that those alone.
    pub(crate) fn sdp(&self, line: usize, direction: &str) -> String {
        let heard = self.lines.get(line).and_then(|line| line.heard.last());
        let heard = heard.map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
        let lines: Vec<(&str, bool)> = (heard.lines())
            .filter_map(|line| {
                let mut words = line.strip_prefix("m=")?.split(' ');
                let (kind, port) = (words.next()?, words.next()?);
                let is_dropped = self.unfit == Unfit::LineDropped && !self.speaks(line.split_once(' ')?.1);
                Some((kind, port != "0" && self.media.contains(&kind) && !is_dropped))
            })
            .collect();
        if lines.is_empty() {
            return self.offer(line, self.media, direction);
        }
        let audio = heard.lines().find_map(|line| line.strip_prefix("m=audio "));
        let is_mute = self.unfit == Unfit::EventsAlone && audio.is_some_and(|audio| !self.speaks(audio));
        self.describe(line, &lines, if is_mute { "101" } else { self.codecs }, direction)
    }

    /// A description with these m-lines.
    pub(crate) fn offer(&self, line: usize, kinds: &[&str], direction: &str) -> String {
        let lines: Vec<(&str, bool)> = kinds.iter().map(|kind| (*kind, true)).collect();
        self.describe(line, &lines, self.codecs, direction)
    }

    fn describe(&self, line: usize, lines: &[(&str, bool)], codecs: &str, direction: &str) -> String {
        let (ip, port) = (self.address.ip(), 4000 + 2 * line);
        let mut sdp = format!("v=0\r\no=- {port} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
        for (kind, is_on) in lines {
            let (port, profile) = (if *is_on { port } else { 0 }, self.kind.profile());
            match (*kind, is_on) {
                ("audio", true) => {
                    sdp += &format!("m=audio {port} {profile} {codecs}\r\n");
                    sdp += &self.kind.lines(port);
                    sdp += &codecs.split(' ').map(rtpmap).collect::<String>();
                    sdp += &format!("a={direction}\r\n");
                }
                ("video", true) => {
                    let port = port + 2000;
                    sdp += &format!("m=video {port} {profile} 96\r\n");
                    sdp += &self.kind.lines(port);
                    sdp += &format!("a=rtpmap:96 H264/90000\r\na={direction}\r\n");
                }
                ("image", _) => sdp += &format!("m=image {port} udptl t38\r\n"),
                (kind, _) => sdp += &format!("m={kind} 0 {profile} 0\r\n"),
            }
        }
        sdp
    }
}

fn rtpmap(number: &str) -> &'static str {
    match number {
        "0" => "a=rtpmap:0 PCMU/8000\r\n",
        "8" => "a=rtpmap:8 PCMA/8000\r\n",
        "9" => "a=rtpmap:9 G722/8000\r\n",
        "96" => "a=rtpmap:96 opus/48000/2\r\n",
        "101" => "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n",
        _ => "",
    }
}
