//! Schemas of trunks.

use serde_json::{Value, json};

use super::{REGISTRATION, boolean, integer, list, object, optional, optional_time, reference, string};

/// One of a few words.
fn words(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// Whether a trunk, or a target of it, is there.
fn health() -> Value {
    words(&["up", "down", "unknown"])
}

fn trunk() -> Value {
    let registration = json!({ "oneOf": [reference("TrunkRegistration"), { "type": "null" }] });
    object(&[
        ("name", string()),
        ("state", health()),
        ("targets", list(reference("TrunkTarget"))),
        ("registration", registration),
        ("calls", integer()),
        ("max_calls", optional("integer")),
        ("max_cps", optional("integer")),
        ("ping_s", optional("integer")),
        ("pings_answered", integer()),
        ("pings_failed", integer()),
        ("registers_granted", integer()),
        ("registers_failed", integer()),
        ("trusted", boolean()),
        ("identity", json!({ "type": "string", "enum": ["pai", "rpid", "from", "none"] })),
        ("re_invite", words(&["when-needed", "always", "never"])),
        ("refer", boolean()),
        ("mwi", boolean()),
        ("early_media", words(&["pass", "block"])),
        ("codecs", list(string())),
        ("session_timer", reference("TrunkSessionTimer")),
        ("diversion", words(&["keep", "diversion", "history-info", "both", "none"])),
        ("headers", list(reference("TrunkHeader"))),
        ("rewrites", list(reference("TrunkRewrite"))),
        ("caller_id", optional("string")),
        ("caller_ids", list(string())),
        ("users", integer()),
        ("users_registered", integer()),
    ])
}

/// A trunk and its parts.
pub(super) fn trunks() -> [(&'static str, Value); 6] {
    [
        ("Trunk", trunk()),
        (
            "TrunkSessionTimer",
            object(&[
                ("mode", words(&["ask", "accept", "off"])),
                ("expires_s", integer()),
                ("min_s", integer()),
                ("refresher", words(&["auto", "us", "them"])),
                ("refresh", words(&["update", "re-invite"])),
            ]),
        ),
        (
            "TrunkTarget",
            object(&[
                ("address", string()),
                ("state", health()),
                ("since", optional_time()),
                ("rtt_ms", optional("number")),
                ("reason", optional("string")),
            ]),
        ),
        (
            "TrunkHeader",
            object(&[
                ("direction", json!({ "type": "string", "enum": ["out", "in"] })),
                ("name", string()),
                ("set", optional("string")),
                ("add", optional("string")),
                ("remove", boolean()),
            ]),
        ),
        (
            "TrunkRewrite",
            object(&[
                ("number", json!({ "type": "string", "enum": ["called", "calling"] })),
                ("direction", json!({ "type": "string", "enum": ["out", "in"] })),
                ("match", string()),
                ("with", string()),
                ("emergency", boolean()),
            ]),
        ),
        (
            "TrunkRegistration",
            object(&[
                ("state", json!({ "type": "string", "enum": REGISTRATION })),
                ("reason", optional("string")),
                ("target", optional("string")),
                ("expires_s", optional("integer")),
            ]),
        ),
    ]
}
