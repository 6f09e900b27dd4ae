//! Tones, prompts and silence as a stream of 20 ms packets.

use std::f32::consts::TAU;
use std::time::Duration;

use super::{Prompt, Sound, Voice, g711};
use crate::base::Timestamp;
use crate::wire::rtp::{HEADER, Header};

/// Samples in a packet.
const SAMPLES: usize = 160;
/// The time of a packet.
const FRAME: Duration = Duration::from_millis(20);
/// A thread that comes later than this leaves packets out instead of sending a burst.
const BEHIND: Duration = Duration::from_millis(100);
/// Peak; about -13 dBm0, a pleasant level next to speech.
const LEVEL: f32 = 7000.0;
/// Samples over which a note swells and fades, so that it does not click.
const RAMP: u32 = 40;

/// A note: Hz (0: none) and milliseconds.
type Note = (u16, u16);

const EXTENSION: &[Note] = &[(0, 100), (1000, 200)];
const PIN: &[Note] = &[(0, 100), (1000, 150), (0, 100), (1000, 150)];
const ACCEPTED: &[Note] = &[(800, 120), (1200, 180)];
const WAITING: &[Note] = &[(450, 150), (0, 150), (450, 150), (0, 3550)];
const REFUSED: &[Note] = &[(400, 200), (0, 100), (400, 200), (0, 100), (400, 300)];

/// A sound that is being played.
pub(super) struct Player {
    voice: Voice,
    tone: u16,
    notes: &'static [Note],
    /// What begins anew when the notes are through.
    again: &'static [Note],
    /// Samples into the current note.
    position: u32,
    phase: f32,
    sequence: u32,
    timestamp: u32,
    due: Timestamp,
    prompt: bool,
}

/// A packet of a sound; its header is to be placed in the outgoing stream.
pub(super) struct Frame {
    pub header: Header,
    pub extended: u32,
    pub bytes: [u8; HEADER + SAMPLES],
    /// The last packet of a prompt.
    pub finished: bool,
}

impl Player {
    pub(super) fn new(now: Timestamp, sound: Sound, voice: Voice) -> Self {
        let again = if sound == Sound::Waiting { WAITING } else { &[] };
        let (tone, notes): (u16, &[Note]) = match sound {
            Sound::Tone(hertz) => (hertz.clamp(300, 3400), &[]),
            Sound::Prompt(Prompt::Extension) => (0, EXTENSION),
            Sound::Prompt(Prompt::Pin) => (0, PIN),
            Sound::Prompt(Prompt::Accepted) => (0, ACCEPTED),
            Sound::Prompt(Prompt::Refused) => (0, REFUSED),
            Sound::Waiting => (0, WAITING),
            Sound::Silence => (0, &[]),
        };
        let prompt = matches!(sound, Sound::Prompt(_));
        Self {
            voice,
            tone,
            notes,
            again,
            position: 0,
            phase: 0.0,
            sequence: 0,
            timestamp: 0,
            due: now,
            prompt,
        }
    }

    /// When the next packet is due.
    pub(super) fn due(&self) -> Timestamp {
        self.due
    }

    /// The next packet. What is late by more than a few packets is skipped.
    pub(super) fn next(&mut self, now: Timestamp) -> Frame {
        let behind = now.since(self.due);
        if behind > BEHIND {
            let skipped = (behind.as_millis() / FRAME.as_millis()).min(u128::from(u32::MAX)) as u32;
            self.due = self.due + FRAME * skipped;
            self.timestamp = self.timestamp.wrapping_add(skipped.wrapping_mul(SAMPLES as u32));
        }
        let mut frame = Frame {
            header: Header {
                marker: false,
                payload_type: self.voice.payload,
                sequence: 0,
                timestamp: self.timestamp,
                ssrc: 0,
                payload_at: HEADER as u16,
                payload_end: (HEADER + SAMPLES) as u16,
            },
            extended: self.sequence,
            bytes: [0; HEADER + SAMPLES],
            finished: false,
        };
        for code in frame.bytes.iter_mut().skip(HEADER) {
            *code = g711::encode(self.voice.law, self.sample());
        }
        if self.prompt && self.notes.is_empty() {
            (self.prompt, frame.finished) = (false, true);
        }
        self.due = self.due + FRAME;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(SAMPLES as u32);
        frame
    }

    fn sample(&mut self) -> i16 {
        let (hertz, length) = match self.notes.first() {
            Some((hertz, ms)) => (*hertz, u32::from(*ms) * 8),
            None => (self.tone, u32::MAX),
        };
        let swell = self.position.min(length - self.position).min(RAMP) as f32 / RAMP as f32;
        self.position = self.position.saturating_add(1);
        if self.position >= length {
            self.position = 0;
            self.notes = self.notes.get(1..).unwrap_or_default();
            if self.notes.is_empty() {
                self.notes = self.again;
            }
        }
        if hertz == 0 {
            self.phase = 0.0;
            return 0;
        }
        self.phase = (self.phase + TAU * f32::from(hertz) / 8000.0) % TAU;
        (self.phase.sin() * LEVEL * swell) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::super::Law;
    use super::*;

    const MU: Voice = Voice { law: Law::Mu, payload: 0 };

    fn samples(player: &mut Player, packets: u64) -> Vec<i16> {
        (0..packets)
            .flat_map(|_| player.next(player.due()).bytes[HEADER..].to_vec())
            .map(|code| g711::decode(Law::Mu, code))
            .collect()
    }

    /// Power at `hertz` as a part of the whole (Goertzel's sum written out).
    fn share(samples: &[i16], hertz: f32) -> f32 {
        let (mut re, mut im, mut all) = (0.0f32, 0.0f32, 1.0f32);
        for (n, s) in samples.iter().enumerate() {
            let (s, angle) = (f32::from(*s), TAU * hertz * n as f32 / 8000.0);
            re += s * angle.cos();
            im += s * angle.sin();
            all += s * s;
        }
        2.0 * (re * re + im * im) / (samples.len() as f32 * all)
    }

    #[test]
    fn a_tone_is_one_frequency_without_end() {
        let mut player = Player::new(Timestamp::ZERO, Sound::Tone(440), MU);
        let samples = samples(&mut player, 100);
        assert!(share(&samples, 440.0) > 0.98, "{}", share(&samples, 440.0));
        assert!(share(&samples, 1000.0) < 0.01);
    }

    #[test]
    fn a_prompt_says_once_that_it_is_through_and_then_is_silent() {
        let mut player = Player::new(Timestamp::ZERO, Sound::Prompt(Prompt::Pin), MU);
        let finished: Vec<bool> = (0..40).map(|_| player.next(player.due()).finished).collect();
        assert_eq!(finished.iter().filter(|f| **f).count(), 1);
        assert!(finished[24], "500 ms are 25 packets");
        assert!(samples(&mut player, 5).iter().all(|s| *s == 0));
        let mut silence = Player::new(Timestamp::ZERO, Sound::Silence, MU);
        assert!(samples(&mut silence, 5).iter().all(|s| *s == 0));
        assert!(!silence.next(silence.due()).finished);
    }

    #[test]
    fn a_late_thread_skips_instead_of_bursting() {
        let mut player = Player::new(Timestamp::ZERO, Sound::Tone(440), MU);
        player.next(Timestamp::ZERO);
        let late = Timestamp::from_micros(1_000_000);
        let frame = player.next(late);
        assert_eq!((frame.extended, frame.header.timestamp), (1, 50 * 160));
        assert!(player.due() > late);
    }
}
