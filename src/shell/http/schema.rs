//! JSON schemas of what goes over HTTP, as OpenAPI 3.1 has them. Tests hold real answers against them.

mod dial_plan;
mod trunks;

use serde_json::{Map, Value, json};

/// Every schema by name.
pub(super) fn schemas() -> Map<String, Value> {
    let mut all = Map::new();
    for (name, schema) in requests()
        .into_iter()
        .chain(things())
        .chain(calls())
        .chain(quality())
        .chain(accounts())
        .chain(trunks::trunks())
        .chain(dial_plan::dial_plan())
        .chain(operation())
    {
        all.insert(name.into(), schema);
    }
    for item in ["Call", "Move", "Registration", "User", "Device", "Trunk", "Route", "CallRecord", "Ban"] {
        let page = object(&[("items", list(reference(item))), ("next", optional("string"))]);
        all.insert(format!("{item}List"), page);
    }
    all
}

fn requests() -> Vec<(&'static str, Value)> {
    let mode = json!({ "type": "string", "enum": ["ring", "auto-answer", "refer"], "default": "ring" });
    vec![
        ("Credentials", credentials()),
        ("NewPhone", with_required(object(&[("device", optional("string"))]), &[])),
        (
            "NewMove",
            with_required(
                object(&[("call", string()), ("to_device", string()), ("mode", mode), ("user", string())]),
                &["to_device"],
            ),
        ),
    ]
}

fn things() -> Vec<(&'static str, Value)> {
    vec![
        ("Token", token()),
        (
            "Session",
            with_required(
                object(&[
                    ("user", optional("string")),
                    ("display", optional("string")),
                    ("extension", optional("string")),
                    ("scopes", list(scope())),
                    ("expires", optional_time()),
                    ("browsers", boolean()),
                    ("follow", follow()),
                    ("move", moved_or_none()),
                ]),
                &["user", "display", "extension", "scopes", "expires", "browsers", "follow"],
            ),
        ),
        ("Followed", object(&[("move", moved_or_none())])),
        (
            "Phone",
            object(&[
                ("uri", string()),
                ("auth_user", string()),
                ("password", string()),
                ("device", string()),
                ("ws_uri", string()),
                ("expires", time()),
            ]),
        ),
        ("Accepted", object(&[("id", string()), ("state", move_state())])),
        ("State", object(&[("status", string())])),
        ("Document", json!({ "type": "object" })),
        (
            "Problem",
            with_required(
                object(&[
                    ("type", string()),
                    ("title", string()),
                    ("status", integer()),
                    ("code", string()),
                    ("detail", string()),
                    ("retry_after", integer()),
                ]),
                &["type", "title", "status", "code", "detail"],
            ),
        ),
        (
            "Event",
            object(&[
                ("id", string()),
                ("type", string()),
                ("time", time()),
                ("node", string()),
                ("call", optional("string")),
                ("data", json!({ "type": "object" })),
            ]),
        ),
    ]
}

fn calls() -> Vec<(&'static str, Value)> {
    let call_state = json!({ "type": "string", "enum": ["ringing", "answered", "held", "moving", "ended"] });
    let trigger = json!({ "type": "string", "enum": [
        "star_code", "replaces", "token", "refer", "push_code", "pickup", "http", "cli", "undo", "repair", "follow",
    ] });
    vec![
        (
            "Call",
            object(&[
                ("id", string()),
                ("state", call_state),
                ("direction", string()),
                ("from", string()),
                ("to", string()),
                ("user", optional("string")),
                ("trunk", optional("string")),
                ("started", time()),
                ("answered", optional_time()),
                ("codec", optional("string")),
                ("anchored", boolean()),
                ("moves", integer()),
                ("legs", list(reference("Leg"))),
            ]),
        ),
        (
            "Leg",
            object(&[
                ("role", string()),
                ("state", string()),
                ("user", optional("string")),
                ("device", optional("string")),
                ("trunk", optional("string")),
                ("transport", optional("string")),
                ("address", optional("string")),
                ("user_agent", optional("string")),
                ("held", boolean()),
                ("immovable", optional("string")),
                ("signed_in", optional("string")),
            ]),
        ),
        ("Trace", trace()),
        ("Move", move_view(trigger)),
        ("Report", report()),
        ("Spread", spread()),
        ("Status", status()),
    ]
}

fn quality() -> [(&'static str, Value); 3] {
    [
        (
            "Quality",
            object(&[
                ("call", string()),
                ("streams", list(reference("Stream"))),
                ("silent", optional("string")),
            ]),
        ),
        (
            "Stream",
            object(&[
                ("role", string()),
                ("user", optional("string")),
                ("device", optional("string")),
                ("expected", integer()),
                ("loss", optional("number")),
                ("duplicates", integer()),
                ("reordered", integer()),
                ("bursts", integer()),
                ("burst_loss", optional("number")),
                ("gap_loss", optional("number")),
                ("jitter_ms", optional("number")),
                ("round_trip_ms", optional("number")),
                ("mos", optional("number")),
                ("hears", json!({ "oneOf": [reference("Hears"), { "type": "null" }] })),
            ]),
        ),
        (
            "Hears",
            object(&[
                ("loss", optional("number")),
                ("jitter_ms", optional("number")),
                ("mos", optional("number")),
            ]),
        ),
    ]
}

fn operation() -> Vec<(&'static str, Value)> {
    let segment = object(&[
        ("device", string()),
        ("start", integer()),
        ("end", optional("integer")),
        ("trigger", optional("string")),
        ("gap_ms", optional("number")),
        ("lost", optional("integer")),
        ("codec", optional("string")),
        ("mos", optional("number")),
    ]);
    let record = object(&[
        ("id", string()),
        ("sip_call_id", list(string())),
        ("direction", string()),
        ("from", string()),
        ("to", string()),
        ("user", optional("string")),
        ("transferred_by", optional("string")),
        ("first_device", optional("string")),
        ("last_device", optional("string")),
        ("trunk", optional("string")),
        ("start", integer()),
        ("ring", optional("integer")),
        ("answer", optional("integer")),
        ("end", optional("integer")),
        ("disposition", string()),
        ("sip_code", integer()),
        ("hangup_by", optional("string")),
        ("codecs", list(string())),
        ("srtp", boolean()),
        ("transports", list(string())),
        ("user_agents", list(string())),
        ("moves", integer()),
        ("mos_min", optional("number")),
        ("loss", optional("number")),
        ("jitter", optional("number")),
        ("node", string()),
        ("run", optional("string")),
        ("trunk_from", optional("string")),
        ("trunk_to", optional("string")),
        ("segments", list(segment)),
    ]);
    let ban =
        object(&[("address", string()), ("prefix", integer()), ("until", time()), ("seconds", integer())]);
    let reload = object(&[
        ("applied", boolean()),
        ("changes", list(string())),
        ("restart", list(string())),
        ("notes", list(string())),
    ]);
    vec![("CallRecord", record), ("Ban", ban), ("Reload", reload)]
}

fn trace() -> Value {
    let party = object(&[("name", string()), ("call_id", string())]);
    let message = object(&[
        ("time", time()),
        ("offset_us", integer()),
        ("party", integer()),
        ("way", json!({ "type": "string", "enum": ["in", "out"] })),
        ("transport", string()),
        ("local", string()),
        ("peer", string()),
        ("method", string()),
        ("status", optional("integer")),
        ("reason", optional("string")),
        ("cseq", optional("integer")),
        ("sdp", optional("string")),
        ("repeated", boolean()),
        ("text", string()),
    ]);
    object(&[
        ("call", string()),
        ("node", string()),
        ("parties", list(party)),
        ("messages", list(message)),
        ("left_out", integer()),
    ])
}

fn accounts() -> Vec<(&'static str, Value)> {
    let trust = json!({ "type": "string", "enum": ["personal", "shared"] });
    vec![
        (
            "Registration",
            object(&[
                ("user", string()),
                ("device", string()),
                ("contact", string()),
                ("transport", string()),
                ("address", string()),
                ("user_agent", optional("string")),
                ("instance", optional("string")),
                ("expires", time()),
                ("expires_s", integer()),
                ("pbx", pbx_state()),
                ("signed_in", optional("string")),
            ]),
        ),
        (
            "User",
            object(&[
                ("name", string()),
                ("display", optional("string")),
                ("extension", optional("string")),
                ("origin", json!({ "type": "string", "enum": ["file", "store"] })),
                ("login", boolean()),
                ("pin", boolean()),
                ("devices", list(reference("Device"))),
                ("pbx", json!({ "oneOf": [reference("Pbx"), { "type": "null" }] })),
                ("hot_desk", json!({ "oneOf": [reference("HotDesk"), { "type": "null" }] })),
            ]),
        ),
        ("HotDesk", object(&[("device", string()), ("since", time()), ("until", time())])),
        (
            "Pbx",
            object(&[
                ("trunk", string()),
                ("user", string()),
                ("state", json!({ "type": "string", "enum": REGISTRATION })),
                ("reason", optional("string")),
                ("expires_s", optional("integer")),
            ]),
        ),
        (
            "Device",
            object(&[
                ("user", string()),
                ("id", string()),
                ("address", string()),
                ("auth_user", string()),
                ("trust", trust),
                ("registered", boolean()),
                ("hold_off_s", optional("integer")),
                ("lent", boolean()),
                ("signed_in", optional("string")),
            ]),
        ),
    ]
}

/// How a registration of ours stands.
const REGISTRATION: [&str; 5] = ["registering", "registered", "refused", "unreachable", "unregistered"];

/// How a user stands at a PBX; null of who is behind none.
fn pbx_state() -> Value {
    let words: Vec<Value> = REGISTRATION.into_iter().map(Value::from).chain([Value::Null]).collect();
    json!({ "type": ["string", "null"], "enum": words })
}

fn report() -> Value {
    let counts = || json!({ "type": "object", "additionalProperties": integer() });
    let spread = || reference("Spread");
    let moves = object(&[
        ("begun", integer()),
        ("done", integer()),
        ("rolled_back", integer()),
        ("refused", integer()),
        ("triggers", counts()),
        ("gap_ms", spread()),
        ("lost", spread()),
    ]);
    object(&[
        ("run", string()),
        ("calls", integer()),
        ("begun", optional_time()),
        ("ended", optional_time()),
        ("dispositions", counts()),
        ("sip_codes", counts()),
        ("ring_ms", spread()),
        ("answer_ms", spread()),
        ("duration_s", spread()),
        ("mos", spread()),
        ("without_mos", integer()),
        ("loss_percent", spread()),
        ("jitter_ms", spread()),
        ("moves", moves),
    ])
}

fn spread() -> Value {
    let of = ["mean", "min", "p5", "p50", "p90", "p95", "p99", "max"].map(|name| (name, optional("number")));
    let curve = list(json!({ "type": "number" }));
    let all: Vec<_> = [("count", integer())].into_iter().chain(of).chain([("curve", curve)]).collect();
    object(&all)
}

fn move_view(trigger: Value) -> Value {
    let entry = json!({
        "type": "object",
        "properties": { "at_us": integer(), "event": string() },
        "required": ["at_us", "event"],
    });
    let timeline = with_required(
        object(&[("started", integer()), ("entries", list(entry)), ("dropped", integer())]),
        &["started", "entries"],
    );
    with_required(
        object(&[
            ("id", string()),
            ("call", string()),
            ("user", string()),
            ("from_device", optional("string")),
            ("to_device", optional("string")),
            ("trigger", trigger),
            ("state", move_state()),
            ("reason", optional("string")),
            ("requested", time()),
            ("ended", optional_time()),
            ("gap_ms", optional("number")),
            ("lost", optional("integer")),
            ("hold_off_until", optional_time()),
            ("timeline", timeline),
        ]),
        &[
            "id",
            "call",
            "user",
            "from_device",
            "to_device",
            "trigger",
            "state",
            "reason",
            "requested",
            "ended",
            "gap_ms",
            "lost",
            "hold_off_until",
        ],
    )
}

/// `follow` and `device` are for whoever wants a live call at the device.
fn credentials() -> Value {
    let all = [
        ("user", string()),
        ("password", string()),
        ("scopes", list(scope())),
        ("device", string()),
        ("follow", boolean()),
    ];
    with_required(object(&all), &["user", "password"])
}

/// `move` is there where a live call was to follow, and null where none does.
fn token() -> Value {
    let all =
        [("token", string()), ("expires", time()), ("scopes", list(scope())), ("move", moved_or_none())];
    with_required(object(&all), &["token", "expires", "scopes"])
}

fn moved_or_none() -> Value {
    json!({ "oneOf": [reference("Move"), { "type": "null" }] })
}

/// `move.follow` of the configuration.
fn follow() -> Value {
    json!({ "type": "string", "enum": ["off", "offer", "move"] })
}

fn status() -> Value {
    object(&[
        ("node", string()),
        ("domain", string()),
        ("realm", string()),
        ("version", string()),
        ("started", time()),
        ("uptime_s", integer()),
        ("draining", boolean()),
        ("overload_percent", integer()),
        ("listeners", list(string())),
        ("workers", integer()),
        ("browsers", boolean()),
        ("follow", follow()),
        ("calls_ringing", integer()),
        ("calls_answered", integer()),
        ("calls_transcoded", integer()),
        ("hot_desks", integer()),
        ("moves", integer()),
        ("registrations", integer()),
        ("users", integer()),
        ("ports_free", integer()),
        ("ports_used", integer()),
        ("ports_quarantined", integer()),
        ("store", string()),
    ])
}

fn scope() -> Value {
    json!({ "type": "string", "enum": ["user", "admin"] })
}

fn move_state() -> Value {
    json!({ "type": "string", "enum": [
        "requested", "authorized", "ringing", "negotiating", "switching", "done", "rolled_back", "refused",
    ] })
}

/// An object with exactly these properties, all required.
fn object(properties: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).into(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

fn with_required(mut object: Value, required: &[&str]) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.insert("required".into(), json!(required));
    }
    object
}

/// A schema by its name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn list(items: Value) -> Value {
    let mut schema = json!({ "type": "array" });
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("items".into(), items);
    }
    schema
}

fn string() -> Value {
    json!({ "type": "string" })
}

fn integer() -> Value {
    json!({ "type": "integer" })
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn optional_time() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

fn optional(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}
