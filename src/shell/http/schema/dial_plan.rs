//! Schemas of the dial plan.

use serde_json::{Value, json};

use super::{boolean, integer, list, object, optional, reference, string};

/// Rules, and what becomes of a call.
pub(super) fn dial_plan() -> [(&'static str, Value); 4] {
    let by =
        json!({ "type": "string", "enum": ["emergency", "code", "own-number", "rule", "pbx", "nothing"] });
    [
        (
            "Route",
            object(&[
                ("place", integer()),
                ("name", optional("string")),
                ("match", optional("string")),
                ("not", optional("string")),
                ("from", optional("string")),
                ("source", list(string())),
                ("when", list(string())),
                ("zone", optional("string")),
                ("override", boolean()),
                ("to", list(string())),
                ("timeout_s", optional("integer")),
            ]),
        ),
        (
            "RouteTest",
            object(&[
                ("from", string()),
                ("to", string()),
                ("source", string()),
                ("at", string()),
                ("by", by),
                ("rule", optional("integer")),
                ("rules", list(reference("RouteVerdict"))),
                ("targets", list(reference("RouteTarget"))),
                ("goes", boolean()),
                ("status", optional("integer")),
                ("reason", optional("string")),
                ("trunk_from", optional("string")),
                ("trunk_to", optional("string")),
            ]),
        ),
        (
            "RouteVerdict",
            object(&[
                ("place", integer()),
                ("name", optional("string")),
                ("holds", boolean()),
                ("followed", boolean()),
                ("why", optional("string")),
                ("to", list(string())),
            ]),
        ),
        (
            "RouteTarget",
            object(&[
                ("turn", integer()),
                ("target", string()),
                ("reached", boolean()),
                ("state", string()),
                ("devices", list(string())),
                ("calls", optional("integer")),
                ("max_calls", optional("integer")),
                ("max_cps", optional("integer")),
                ("timeout_s", optional("integer")),
                ("called", optional("string")),
                ("calling", optional("string")),
            ]),
        ),
    ]
}
