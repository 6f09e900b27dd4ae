//! Round trips, the document that a phone is shown, hostile documents.

use super::*;

fn example() -> DialogInfo {
    let side = |display: &str, identity: &str| Participant {
        display: display.into(),
        identity: identity.into(),
        target: "sip:m-k3jd9x2a@pbx.example".into(),
    };
    let dialog = Dialog {
        call_id: Some("m-k3jd9x2a-5fa1c9".into()),
        local_tag: Some("l-7d1".into()),
        remote_tag: Some("r-7d1".into()),
        direction: Some(Direction::Recipient),
        local: Some(side("Desk", "sip:alice@pbx.example")),
        remote: Some(side("Bob", "sip:bob@pbx.example")),
        ..Dialog::new("m-k3jd9x2a", DialogState::Confirmed)
    };
    DialogInfo::full(42, "sip:alice@pbx.example", vec![dialog])
}

const EXAMPLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="42" state="full" entity="sip:alice@pbx.example">
 <dialog id="m-k3jd9x2a" call-id="m-k3jd9x2a-5fa1c9" local-tag="l-7d1" remote-tag="r-7d1" direction="recipient">
  <state>confirmed</state>
  <local><identity display="Desk">sip:alice@pbx.example</identity><target uri="sip:m-k3jd9x2a@pbx.example"/></local>
  <remote><identity display="Bob">sip:bob@pbx.example</identity><target uri="sip:m-k3jd9x2a@pbx.example"/></remote>
 </dialog></dialog-info>"#;

#[test]
fn what_phones_are_shown_is_written_byte_for_byte() {
    let one_line: String = EXAMPLE.lines().map(str::trim).collect();
    assert_eq!(example().write(), one_line);
    assert_eq!(DialogInfo::read(EXAMPLE.as_bytes()).unwrap(), example());
}

#[test]
fn everything_comes_back_and_nothing_breaks_out() {
    let hostile = "\"><dialog id='x'/>&amp;]]>\u{1F600}é";
    let mut document = example();
    document.entity = hostile.into();
    document.dialogs[0].id = hostile.into();
    document.dialogs[0].duration = Some(274);
    document.dialogs[0].movable = Some(Movable::No { reason: "hold-off".into(), retry_after: Some(12) });
    document.dialogs[0].local.as_mut().unwrap().display = hostile.into();
    document.dialogs[0].remote.as_mut().unwrap().identity = hostile.into();
    document.dialogs.push(Dialog { movable: Some(Movable::Yes), ..Dialog::new("b", DialogState::Early) });
    document.dialogs.push(Dialog::new("c", DialogState::Terminated));
    assert_eq!(DialogInfo::read(document.write().as_bytes()).unwrap(), document);
}

#[test]
fn characters_that_xml_cannot_carry_are_left_out() {
    let mut document = example();
    document.dialogs[0].remote.as_mut().unwrap().display = "B\0o\u{8}b\r\n\u{ffff}".into();
    let read = DialogInfo::read(document.write().as_bytes()).unwrap();
    assert_eq!(read.dialogs[0].remote.as_ref().unwrap().display, "Bob");
}

#[test]
fn prefixes_unknown_elements_comments_and_partial_state_are_read() {
    let text = r#"<d:dialog-info xmlns:d="urn:ietf:params:xml:ns:dialog-info" version="0" state="partial" entity="sip:a@b">
      <!-- c --><d:unknown><d:dialog id="no"><d:state>confirmed</d:state></d:dialog></d:unknown>
      <d:dialog id="1" direction="sideways"><d:state event="remote-bye" code="200"> terminated </d:state>
        <d:remote><d:identity>sip:b&amp;c@d&#x21;</d:identity><d:target uri="sip:x"><d:param pname="+sip.rendering"/></d:target></d:remote>
        <d:route-set><d:hop>x</d:hop></d:route-set></d:dialog>
      <d:dialog id="2"><d:state>resting</d:state></d:dialog></d:dialog-info>"#;
    let read = DialogInfo::read(text.as_bytes()).unwrap();
    assert_eq!((read.version, read.coverage, read.dialogs.len()), (0, Coverage::Partial, 1));
    assert_eq!(read.dialogs[0].state, DialogState::Terminated);
    assert_eq!(read.dialogs[0].remote.as_ref().unwrap().identity, "sip:b&c@d!");
}

#[test]
fn hostile_documents_are_errors() {
    let root =
        |inside: &str| format!("<dialog-info version='1' state='full' entity='e'>{inside}</dialog-info>");
    let deep = root(&("<a>".repeat(20) + &"</a>".repeat(20)));
    let many = root(&"<dialog id='1'><state>early</state></dialog>".repeat(MANY));
    let bomb = format!("<!DOCTYPE x [<!ENTITY a 'aaaa'>]>{}", root("&a;"));
    let xxe = format!("<!DOCTYPE x SYSTEM 'file:///etc/passwd'>{}", root(""));
    assert!(matches!(DialogInfo::read(deep.as_bytes()), Err(ReadError::TooDeep(_))));
    assert_eq!(DialogInfo::read(many.as_bytes()), Err(ReadError::TooMany));
    assert!(matches!(DialogInfo::read(bomb.as_bytes()), Err(ReadError::Dtd(_))));
    assert!(matches!(DialogInfo::read(xxe.as_bytes()), Err(ReadError::Dtd(_))));
    assert_eq!(DialogInfo::read(&vec![b' '; 65_537]), Err(ReadError::TooLong(65_537)));
    assert_eq!(DialogInfo::read(b""), Err(ReadError::NotDialogInfo("empty")));
    for bad in [
        root("&a;"),
        root("<dialog id='1'><state>early</dialog></state>"),
        root("<dialog id='1' id='2'/>"),
        root("<dialog id=1/>"),
        root("<dialog/>"),
        root("&#0;x&#xD800;"),
        "<dialog-info version='1' state='full' entity='e'>".into(),
        "<dialog-info version='-1' state='full' entity='e'/>".into(),
        "<dialog-info version='1' state='some' entity='e'/>".into(),
        "<dialog-info version='1' state='full'/>".into(),
        "<presence/>".into(),
        root("") + &root(""),
    ] {
        assert!(DialogInfo::read(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(DialogInfo::read(b"\xff\xfe<").is_err());
}

const MANY: usize = 257;

#[test]
fn no_prefix_of_a_document_and_no_changed_byte_panics() {
    let text = example().write();
    for end in 0..text.len() {
        assert!(DialogInfo::read(&text.as_bytes()[..end]).is_err(), "{end}");
        for byte in [0, b'<', b'>', b'&', b'"', 0xff] {
            let mut changed = text.clone().into_bytes();
            changed[end] = byte;
            let _ = DialogInfo::read(&changed);
        }
    }
}
