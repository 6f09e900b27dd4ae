//! The vectors of the standards, and what the contexts must refuse.

use super::derive::{Label, derive, keystream};
use super::transform::{Position, Transform};
use super::*;
use crate::base::Random;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn key(suite: Suite, seed: u64) -> MasterKey {
    MasterKey::generate(suite, &mut Random::from_number(seed))
}

/// RTP with `sequence` and SSRC 0xcafebabe.
fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = hex("800f 0000 decafbad cafebabe");
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend(payload);
    packet
}

fn seal(sealer: &mut Sealer, extended: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = [0; 1600];
    let len = sealer.seal_rtp(extended, &rtp(extended as u16, payload), &mut out).unwrap();
    out[..len].to_vec()
}

fn open(opener: &mut Opener, sealed: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = sealed.to_vec();
    let opened = opener.open_rtp(&mut packet);
    if opened.is_err() {
        assert_eq!(packet, sealed, "what is refused is left as it was");
    }
    opened.map(|len| packet[..len].to_vec())
}

/// RFC 3711 appendix B.2.
#[test]
fn the_key_stream_is_that_of_the_standard() {
    use aes::cipher::KeyInit as _;
    let cipher = aes::Aes128Enc::new_from_slice(&hex("2b7e151628aed2a6abf7158809cf4f3c")).unwrap();
    let iv = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000");
    let mut stream = vec![0; 16 * 0xff03];
    keystream(&cipher, iv.as_slice().try_into().unwrap(), &mut stream);
    assert_eq!(stream[..16], hex("e03ead0935c95e80e166b16dd92b4eb4"));
    assert_eq!(stream[16..32], hex("d23513162b02d0f72a43a2fe4a5f97ab"));
    assert_eq!(stream[32..48], hex("41e95b3bb0a2e8dd477901e4fca894c0"));
    assert_eq!(stream[16 * 0xfeff..][..16], hex("ec8cdf7398607cb0f2d21675ea9ea1e4"));
    assert_eq!(stream[16 * 0xff00..][..16], hex("362b7c3c6773516318a077d7fc5073ae"));
}

/// RFC 3711 appendix B.3.
#[test]
fn session_keys_are_those_of_the_standard() {
    let master = hex("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6");
    let master = MasterKey::new(Suite::AesCm128HmacSha1Tag80, &master).unwrap();
    assert_eq!(derive::<16>(&master, Label::RtpEncryption)[..], hex("c61e7a93744f39ee10734afe3ff7a087"));
    assert_eq!(derive::<14>(&master, Label::RtpSalt)[..], hex("30cbbc08863d8c85d49db34a9ae1"));
    let authentication = "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbcee049646c43d9327ad175578ef\
                          72270986371c10c9a369ac2f94a8c5fbcdddc256d6e919a48b610ef17c2041e47403576";
    let derived = derive::<94>(&master, Label::RtpAuthentication);
    assert_eq!(derived[..20], hex(authentication)[..20]);
}

/// RFC 7714 16.1.1 and 16.2.1.
#[test]
fn aead_packets_are_those_of_the_standard() {
    let clear = "8040f17b8041f8d35501a0b2";
    let plain = hex(&format!(
        "{clear} 47616c6c696120657374206f6d6e697320646976697361 20696e207061727465732074726573"
    ));
    for (suite, key_len, expected) in [
        (
            Suite::AeadAes128Gcm,
            16,
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833 899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            Suite::AeadAes256Gcm,
            32,
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b 7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let key: Vec<u8> = (0..key_len).collect();
        let transform = Transform::of_session(suite, &key, &hex("517569642070726f2071756f"));
        let (mut packet, mut tag) = (plain.clone(), [0; 16]);
        let at = Position { ssrc: 0x5501_a0b2, index: 0xf17b };
        transform.seal(at, 12, &mut packet, None, &mut tag).unwrap();
        assert_eq!(packet[12..], hex(expected)[..38]);
        assert_eq!(tag[..], hex(expected)[38..]);
        transform.open(at, 12, &mut packet, None, &tag).unwrap();
        assert_eq!(packet, plain);
    }
}

/// A whole packet as libsrtp seals it under the key of RFC 3711 B.3.
#[test]
fn a_whole_packet_is_what_others_make_of_it() {
    let master = hex("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6");
    let master = MasterKey::new(Suite::AesCm128HmacSha1Tag80, &master).unwrap();
    let sealed = seal(&mut Sealer::new(&master), 0x1234, &[0xab; 16]);
    let expected = "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb";
    assert_eq!(sealed, hex(expected));
    assert_eq!(open(&mut Opener::new(&master), &sealed).unwrap(), rtp(0x1234, &[0xab; 16]));
}

#[test]
fn rollover_is_followed_through_wraps_loss_and_reordering() {
    for suite in Suite::ALL {
        let master = key(suite, 1);
        let (mut sealer, mut opener) = (Sealer::new(&master), Opener::new(&master));
        let mut random = Random::from_number(2);
        for n in (30_000u32..400_000).step_by(997) {
            let mut batch: Vec<Vec<u8>> =
                (n..n + 7).map(|n| seal(&mut sealer, n, &n.to_be_bytes())).collect();
            batch.swap(0, random.below(7) as usize);
            batch.truncate(6);
            for sealed in batch {
                assert!(open(&mut opener, &sealed).is_ok(), "{suite:?} at {n}");
                assert_eq!(open(&mut opener, &sealed), Err(SrtpError::Replayed));
            }
        }
    }
}

#[test]
fn any_changed_bit_is_refused_and_changes_nothing() {
    for suite in Suite::ALL {
        let master = key(suite, 3);
        let (mut sealer, mut opener) = (Sealer::new(&master), Opener::new(&master));
        let sealed = seal(&mut sealer, 5, b"hello");
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut opener, &forged).is_err(), "{suite:?} bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open(&mut opener, &sealed[..len]).is_err(), "{suite:?} cut to {len}");
        }
        assert_eq!(open(&mut opener, &sealed).unwrap(), rtp(5, b"hello"));
    }
}

#[test]
fn no_index_is_sealed_twice() {
    let mut sealer = Sealer::new(&key(Suite::AeadAes128Gcm, 4));
    let mut out = [0; 1600];
    let mut try_seal = |extended: u32, payload: &[u8]| {
        sealer.seal_rtp(extended, &rtp(extended as u16, payload), &mut out).map(|_| ())
    };
    assert_eq!(try_seal(10, b"a"), Ok(()));
    assert_eq!(try_seal(10, b"b"), Err(SrtpError::Replayed));
    assert_eq!(try_seal(65_546, b"c"), Ok(()), "the same number after a rollover is another index");
    assert_eq!(try_seal(65_545, b"d"), Ok(()), "late, but within the window");
    assert_eq!(try_seal(65_546 - 128, b"e"), Err(SrtpError::Replayed), "too late to tell");
}

#[test]
fn a_source_with_a_new_key_may_go_on_counting_or_begin_anew() {
    let (old, new) = (key(Suite::AesCm128HmacSha1Tag80, 5), key(Suite::AesCm128HmacSha1Tag80, 6));
    let (mut sealer, mut opener) = (Sealer::new(&old), Opener::new(&old));
    for n in [40_000, 60_000, 80_000, 100_000, 120_000, 140_000] {
        open(&mut opener, &seal(&mut sealer, n, b"x")).unwrap();
    }
    let mut goes_on = Sealer::new(&new);
    for n in [20_000, 50_000, 70_000, 100_000, 130_000] {
        seal(&mut goes_on, n, b"x");
    }
    let sealed = seal(&mut goes_on, 140_001, b"y");
    assert!(open(&mut opener.rekeyed(&new), &sealed).is_ok());
    let between = key(Suite::AeadAes128Gcm, 7);
    assert!(
        open(&mut opener.rekeyed(&between).rekeyed(&new), &sealed).is_ok(),
        "nothing was said in between"
    );
    let sealed = seal(&mut Sealer::new(&new), 1 << 14, b"y");
    assert!(open(&mut opener.rekeyed(&new), &sealed).is_ok());
}

#[test]
fn a_stream_that_comes_in_mid_life_is_opened_and_strangers_are_guessed_at_a_few_times_only() {
    for suite in [Suite::AesCm128HmacSha1Tag80, Suite::AeadAes128Gcm] {
        let master = key(suite, 9);
        for late in [1u32 << 16, 200_000, (32 << 16) + 65_000] {
            let (mut sealer, mut opener) = (Sealer::new(&master), Opener::new(&master));
            for n in (0..late).step_by(30_000) {
                seal(&mut sealer, n, b"x");
            }
            open(&mut opener, &seal(&mut sealer, late, b"y")).unwrap();
            open(&mut opener, &seal(&mut sealer, late + 1, b"y")).unwrap();
            let mut forged = seal(&mut sealer, late + 2, b"z");
            let mut stranger = Opener::new(&master);
            let last = forged.len() - 1;
            forged[last] ^= 1;
            for _ in 0..64 {
                assert_eq!(open(&mut stranger, &forged), Err(SrtpError::BadTag));
            }
            forged[last] ^= 1;
            let is_near = late == 1 << 16;
            assert_eq!(open(&mut stranger, &forged).is_ok(), is_near, "{late}: no more guesses");
        }
    }
}

#[test]
fn a_recorded_packet_shuts_no_stream_out() {
    let master = key(Suite::AesCm128HmacSha1Tag80, 9);
    for late in [200_000, 600_000] {
        let (mut sealer, mut opener) = (Sealer::new(&master), Opener::new(&master));
        let recorded = seal(&mut sealer, 40_000, b"old");
        for n in (40_000..late).step_by(30_000).skip(1) {
            seal(&mut sealer, n, b"x");
        }
        // However often it comes, the stream is found: at once, or after a second of it.
        assert!(open(&mut opener, &recorded).is_ok());
        let mut besieged = Opener::new(&master);
        assert!(open(&mut besieged, &recorded).is_ok());
        for _ in 0..1000 {
            assert_eq!(open(&mut besieged, &recorded), Err(SrtpError::Replayed));
        }
        let mut later = Sealer::new(&master);
        for n in (0..late).step_by(30_000) {
            seal(&mut later, n, b"x");
        }
        let heard = (late..late + 1000).filter(|n| {
            let _ = open(&mut besieged, &recorded);
            open(&mut besieged, &seal(&mut later, *n, b"y")).is_ok()
        });
        assert!(heard.count() > 500);
        for n in late..late + 10 {
            assert!(open(&mut opener, &seal(&mut sealer, n, b"y")).is_ok(), "{n}");
        }
        assert!(open(&mut opener, &recorded).is_err());
    }
}

#[test]
fn a_source_whose_beginning_was_lost_before_a_wrap_is_found() {
    let master = key(Suite::AesCm128HmacSha1Tag32, 7);
    let (mut sealer, mut opener) = (Sealer::new(&master), Opener::new(&master));
    for n in 65_534..65_537 {
        seal(&mut sealer, n, b"lost");
    }
    assert!(open(&mut opener, &seal(&mut sealer, 65_537, b"heard")).is_ok());
}

#[test]
fn few_sources_are_kept_and_strangers_are_none() {
    let master = key(Suite::AesCm128HmacSha1Tag80, 8);
    let mut opener = Opener::new(&master);
    let mut from = |ssrc: u32, forged: bool| {
        let mut packet = rtp(1, b"x");
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let mut sealed = [0; 64];
        let len = Sealer::new(&master).seal_rtp(1, &packet, &mut sealed).unwrap();
        sealed[len - 1] ^= u8::from(forged);
        opener.open_rtp(&mut sealed[..len]).map(|_| ())
    };
    assert_eq!(from(0, false), Ok(()));
    for ssrc in 1..1000 {
        assert_eq!(from(ssrc, true), Err(SrtpError::BadTag));
    }
    assert_eq!(from(0, false), Err(SrtpError::Replayed), "strangers took no place");
    for ssrc in 1..5 {
        assert_eq!(from(ssrc, false), Ok(()));
    }
    assert_eq!(from(4, false), Err(SrtpError::Replayed));
}

#[test]
fn reports_are_sealed_whole_and_opened_once() {
    let report =
        hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef \
                      deadbeef deadbeef deadbeef");
    for suite in Suite::ALL {
        let master = key(suite, 9);
        let (mut sealer, mut opener) = (Sealer::new(&master), Opener::new(&master));
        let mut sealed = [[0; 128]; 2].map(|mut out| {
            let len = sealer.seal_rtcp(&report, &mut out).unwrap();
            assert_eq!(len, report.len() + 4 + suite.rtcp_tag_len());
            out[..len].to_vec()
        });
        assert_ne!(sealed[0][8..], sealed[1][8..]);
        sealed.reverse();
        for packet in &sealed {
            for bit in 0..packet.len() * 8 {
                let mut forged = packet.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(opener.open_rtcp(&mut forged).is_err(), "{suite:?} bit {bit}");
            }
            for len in 0..packet.len() {
                assert!(opener.open_rtcp(&mut packet[..len].to_vec()).is_err());
            }
            let mut opened = packet.clone();
            assert_eq!(opener.open_rtcp(&mut opened), Ok(report.len()));
            assert_eq!(opened[..report.len()], report);
            assert_eq!(opener.open_rtcp(&mut packet.clone()), Err(SrtpError::Replayed));
        }
    }
}

#[test]
fn a_key_identifier_is_left_out_where_it_stands() {
    for suite in Suite::ALL {
        let master = key(suite, 10);
        let (mut sealer, tag_len) = (Sealer::new(&master), suite.tag_len());
        let mut sealed = seal(&mut sealer, 7, b"hello");
        let at = if suite.salt_len() == 14 { sealed.len() - tag_len } else { sealed.len() };
        sealed.splice(at..at, [0, 0, 0, 1]);
        let mut opener = Opener::new(&master.with_mki(4).unwrap());
        assert_eq!(open(&mut opener, &sealed).unwrap(), rtp(7, b"hello"), "{suite:?}");
    }
}

#[test]
fn keys_have_their_length_and_are_never_shown() {
    for suite in Suite::ALL {
        let master = key(suite, 11);
        let len = suite.key_len() + suite.salt_len();
        assert_eq!(master.expose().len(), len);
        assert_eq!(MasterKey::new(suite, master.expose()).unwrap(), master);
        assert_ne!(master, key(suite, 12));
        assert!(MasterKey::new(suite, &vec![0; len - 1]).is_none());
        assert_eq!(format!("{master:?}"), format!("MasterKey({}, …)", suite.as_str()));
        assert_eq!(Suite::parse(suite.as_str().to_lowercase().as_bytes()), Some(suite));
    }
    assert_eq!(Suite::parse(b"F8_128_HMAC_SHA1_80"), None);
}
