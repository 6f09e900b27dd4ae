//! Values with every field set, so that one that is not kept is seen.

use std::time::Duration;

use crate::base::{Now, UnixMillis};
use crate::call::record::{CallRecord, Direction, Disposition, HangupBy, Segment};
use crate::engine::store::FailureCounter;
use crate::engine::view::{MoveState, MoveView, Time, Trigger};
use crate::moving::hold_off::{Row, Scope};
use crate::moving::snapshot::{DialogState, Hold, MediaState, Snapshot};
use crate::moving::timeline::Timeline;
use crate::registrar::accounts::{Account, Device, Origin, PhcString, Pull, Tenure, Trust};
use crate::registrar::hot_desk::{SavedDesk, SignIn};
use crate::registrar::{SavedAor, SavedBinding};
use crate::sip::digest::{Algorithm, Ha1s};

/// The wall clock of the tests.
pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// The hash part of logins and PINs: no log may show it.
pub(super) const HASH: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMg";
/// What SQL, JSON and C would stumble over.
pub(super) const ODD: &str = "O'Hara \"x\"; DROP TABLE accounts; -- \\ \u{0}\r\n 😀";

pub(super) fn after(ms: u64) -> UnixMillis {
    UnixMillis(NOW.0 + ms)
}

pub(super) fn device(id: &str, auth_user: &str) -> Device {
    Device {
        id: id.into(),
        auth_user: auth_user.into(),
        ha1: Ha1s::from_password(auth_user, "pbx", "secret"),
        trust: Trust::Shared,
        auto_answer: true,
        pull: Pull::Direct,
        tenure: Tenure::Kept,
    }
}

/// `alice` has the devices `alice-desk` and `alice-mobile`.
pub(super) fn account(name: &str, extension: &str) -> Account {
    let phc = |t| PhcString::parse(&format!("$argon2id$v=19$m=8,t={t},p=1$c29tZXNhbHRzb21l${HASH}")).unwrap();
    let mut mobile = device("mobile", &format!("{name}-mobile"));
    (mobile.ha1.md5, mobile.trust, mobile.auto_answer) = (None, Trust::Personal, false);
    Account {
        name: name.into(),
        display: Some(ODD.into()),
        extension: (!extension.is_empty()).then(|| extension.into()),
        algorithms: vec![Algorithm::Sha512_256, Algorithm::Md5],
        login: Some(phc(1)),
        admin: true,
        pin: Some(phc(2)),
        hold_off: Some(Duration::from_millis(7001)),
        watchers: vec!["boss".into(), ODD.into()],
        devices: vec![device("desk", &format!("{name}-desk")), mobile],
        pbx: None,
        origin: Origin::Store,
    }
}

/// Nothing set that need not be.
pub(super) fn bare_account(name: &str) -> Account {
    Account {
        display: None,
        extension: None,
        algorithms: Vec::new(),
        login: None,
        admin: false,
        pin: None,
        hold_off: None,
        watchers: Vec::new(),
        devices: vec![Device { ha1: Ha1s::default(), ..device("desk", &format!("{name}-desk")) }],
        ..account(name, "")
    }
}

pub(super) fn binding(contact: &str, expires: UnixMillis) -> SavedBinding {
    SavedBinding {
        contact: contact.into(),
        instance: Some("<urn:uuid:1>".into()),
        reg_id: Some(u32::MAX),
        q: Some(500),
        features: ";audio".into(),
        expires,
        registered: NOW,
        call_id: ODD.into(),
        cseq: 3,
        transport: "udp".into(),
        listener: u16::MAX,
        peer: "192.0.2.1:5060".into(),
        path: vec!["<sip:p1;lr>".into(), "<sip:p2;lr>".into()],
        user_agent: "".into(),
        device: "desk".into(),
    }
}

/// Two bindings, the second with nothing set that need not be.
pub(super) fn aor(user: &str) -> SavedAor {
    let second = SavedBinding {
        instance: None,
        reg_id: None,
        q: None,
        path: Vec::new(),
        ..binding("sip:a@192.0.2.2", after(120_000))
    };
    SavedAor { user: user.into(), bindings: vec![binding("sip:z@192.0.2.1", after(60_000)), second] }
}

pub(super) fn counter(kind: &str, key: &str, count: u32) -> FailureCounter {
    let banned_until = (count > 2).then(|| after(5));
    FailureCounter { kind: kind.into(), key: key.into(), count, window: NOW, banned_until }
}

pub(super) fn hold_off(move_id: &str, length_ms: u64) -> Row {
    Row {
        move_id: move_id.into(),
        user: "alice".into(),
        device: "desk".into(),
        call_id: "c1".into(),
        scope: Scope::System,
        started: NOW,
        length_ms,
    }
}

pub(super) fn snapshot(move_id: &str) -> Snapshot {
    let dialog = DialogState {
        call_id: "dialog-id".into(),
        local_description: "v=0\r\ns=-\r\n".into(),
        route_set: vec!["<sip:p1;lr>".into()],
        local_cseq: 4,
        ..DialogState::default()
    };
    Snapshot {
        move_id: move_id.into(),
        call_id: "c1".into(),
        taken: NOW,
        user: "alice".into(),
        old_device: "desk".into(),
        new_device: "mobile".into(),
        old: dialog.clone(),
        far: dialog,
        media: vec![MediaState { far_port: 2, old_port: 4, ssrc: 9, payload_type: 8, hold: Hold::ByFar }],
    }
}

pub(super) fn a_move(id: &str, user: &str, state: MoveState) -> MoveView {
    MoveView {
        id: id.into(),
        call: "c1".into(),
        user: user.into(),
        from_device: Some("desk".into()),
        to_device: None,
        trigger: Trigger::StarCode,
        state,
        reason: Some("hold_off".into()),
        requested: Time(NOW),
        ended: Some(Time(after(900))),
        gap_ms: Some(20.5),
        lost: Some(3),
        hold_off_until: Some(Time(after(30_000))),
        timeline: Some(Timeline::new(Now { unix: NOW, ..Now::default() })),
    }
}

pub(super) fn record(id: &str, user: Option<&str>) -> CallRecord {
    let segment = |device: &str| Segment {
        device: device.into(),
        start: NOW,
        end: Some(after(5)),
        trigger: Some("star_code".into()),
        gap_ms: Some(1.5),
        lost: Some(2),
        codec: Some("opus".into()),
        mos: Some(4.25),
    };
    CallRecord {
        id: id.into(),
        sip_call_id: vec!["a@x".into(), "b@y".into()],
        direction: Direction::Inbound,
        from: "+4930123".into(),
        to: "1001".into(),
        user: user.map(Into::into),
        first_device: Some("alice*desk".into()),
        last_device: Some("alice*mobile".into()),
        trunk: Some("carrier".into()),
        transferred_by: Some("alice".into()),
        trunk_from: Some("030123".into()),
        trunk_to: Some("+49301001".into()),
        start: NOW,
        ring: Some(after(1)),
        answer: Some(after(2)),
        end: Some(after(3)),
        disposition: Disposition::NoAnswer,
        sip_code: 200,
        hangup_by: Some(HangupBy::System),
        codecs: vec!["opus".into(), "PCMU".into()],
        srtp: true,
        transports: vec!["udp".into()],
        user_agents: vec![ODD.into()],
        moves: 1,
        mos_min: Some(3.5),
        loss: Some(0.25),
        jitter: Some(1.25),
        node: "edge1".into(),
        run: Some("night-1".into()),
        segments: vec![segment("alice*desk"), segment("alice*mobile"), Segment::default()],
    }
}

pub(super) fn hot_desk(device: &str, length_ms: u64) -> SavedDesk {
    let sign_in = SignIn { user: ODD.into(), proof: "p".into(), since: NOW, length_ms };
    SavedDesk { device: device.into(), sign_in: Some(sign_in) }
}
