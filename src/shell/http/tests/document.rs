//! Answers are held against the schemas that the document has.

use serde_json::{Value, json};

/// Holds a value against a schema as far as our schemas go.
pub(super) fn check(value: &Value, schema: &Value, document: &Value, at: &str) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let found = document.pointer(reference.trim_start_matches('#'));
        return check(
            value,
            found.unwrap_or_else(|| panic!("{at}: {reference} leads nowhere")),
            document,
            at,
        );
    }
    // Something, or null.
    if let Some(either) = schema.get("oneOf").and_then(Value::as_array) {
        let is_null = |one: &&Value| one["type"] == "null";
        let wanted = either.iter().find(|one| is_null(one) == value.is_null());
        return check(value, wanted.unwrap_or_else(|| panic!("{at}: {value}")), document, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        other => panic!("{at}: type {other}"),
    };
    assert!(
        allowed.contains(&kind) || (kind == "integer" && allowed.contains(&"number")),
        "{at}: {value} is not {allowed:?}"
    );
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            check(item, items, document, &format!("{at}[{index}]"));
        }
    }
    let Some(object) = value.as_object() else { return };
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        assert!(object.contains_key(name.as_str().unwrap()), "{at}: {name} is missing in {value}");
    }
    for (name, value) in object {
        match schema.get("properties").and_then(|properties| properties.get(name)) {
            Some(schema) => check(value, schema, document, &format!("{at}.{name}")),
            None => {
                assert_ne!(schema.get("additionalProperties"), Some(&json!(false)), "{at}: {name} is extra")
            }
        }
    }
}
