//! The trace of a call that was moved: a ladder, JSON, and a capture that others read.

use std::process::Command;

use crate::house::{House, SOON};

/// The id of the one live call.
async fn the_call(house: &House) -> String {
    let calls: serde_json::Value =
        serde_json::from_str(&house.node.command(&["-o", "json", "calls"])).unwrap();
    calls[0]["id"].as_str().expect("a call").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_moved_is_told_whole_and_read_by_tshark() {
    let house = House::open().await;
    let talk = house.talk().await;
    let id = the_call(&house).await;
    let mobile = house.pull(&talk).await;
    mobile.hang_up().await.unwrap();
    talk.bob.ended(SOON).await.unwrap();

    let ladder = house.node.command(&["trace", &id, "--width", "140"]);
    for shown in
        ["alice*desk", "alice*mobile", "bob*desk", "segue", "401", "INVITE", "200 BYE", "audio 127.0.0.1:"]
    {
        assert!(ladder.contains(shown), "{shown} is not in\n{ladder}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&house.node.command(&["-o", "json", "trace", &id])).unwrap();
    let messages = json["messages"].as_array().unwrap();
    assert!(messages.len() >= 20, "{}", messages.len());
    let text = json.to_string();
    assert!(!text.contains("response=") && text.contains("Digest ****"), "credentials are masked");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("call.pcap");
    let file = file.to_str().unwrap();
    house.node.command(&["trace", &id, "-w", file]);
    let admin = std::fs::metadata(file).unwrap().len();
    assert!(admin > 24 + 28 * messages.len() as u64);
    let fields = ["-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code", "-e", "_ws.malformed"];
    // The ports of tests are none of SIP's.
    let every =
        ["-d", "udp.port==1-65535,sip", "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
    let run = Command::new("tshark").args(["-n", "-r", file]).args(every).args(fields).output();
    let Ok(run) = run else {
        eprintln!("tshark is not installed: nothing more is checked");
        return;
    };
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let told: Vec<String> = out
        .lines()
        .map(|line| line.split('\t').find(|word| !word.is_empty()).unwrap_or("nothing").to_owned())
        .collect();
    let expected: Vec<String> = messages
        .iter()
        .map(|message| match message["status"].as_u64() {
            Some(status) => status.to_string(),
            None => message["method"].as_str().unwrap().to_owned(),
        })
        .collect();
    assert_eq!(told, expected, "{err}");
    assert!(!out.contains("Malformed"), "{out}");
}
