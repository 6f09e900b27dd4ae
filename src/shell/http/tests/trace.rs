//! The trace of a call over HTTP.

use super::*;

#[tokio::test]
async fn a_trace_is_json_or_a_capture_and_the_administrators_alone() {
    let world = World::start().await;
    let path = "/v1/calls/01/trace";
    let ask =
        async |accept: &str| world.request("GET", path, Some(&world.admin), &[("accept", accept)], "").await;
    for accept in ["*/*", "application/json", "text/html, application/json;q=0.9"] {
        assert_eq!(ask(accept).await.json()["parties"][1]["name"], "bob*desk", "{accept}");
    }
    let capture = ask("application/json;q=0.5, Application/vnd.tcpdump.pcap;q=1").await;
    assert_eq!(capture.header("content-type"), Some("application/vnd.tcpdump.pcap"));
    assert_eq!(capture.header("content-length"), Some("297"), "24, and three times 16 + 20 + 8 + 47");
    let alice = world.login().await;
    assert_eq!(world.get(path, Some(&alice)).await.status, 403);
    assert_eq!(world.get("/v1/calls/09/trace", Some(&world.admin)).await.status, 404);
}
