//! Structured output on the wire: `response_format` and `grammar`. Whether a schema can be used is the
//! engine's to say.

use crate::error::ApiError;
use mistralrs_core::{Form, Grammar};
use serde_json::Value;

/// Reads `response_format`; none for plain text.
///
/// # Errors
/// [`ApiError`] with the path of what is wrong.
pub fn response_format(format: Option<&Value>) -> Result<Option<Form>, ApiError> {
    const FIELD: &str = "response_format";
    let Some(format) = format else { return Ok(None) };
    let form = |grammar, field: &str| Ok(Some(Form { grammar, field: field.to_owned() }));
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => form(Grammar::json_object(), FIELD),
        Some("json_schema") => {
            const SCHEMA: &str = "response_format.json_schema.schema";
            let inner = format.get("json_schema");
            let schema =
                inner.and_then(|inner| inner.get("schema")).or_else(|| format.get("schema"));
            match schema {
                Some(schema @ Value::Object(_)) => {
                    form(Grammar::JsonSchema(schema.clone()), SCHEMA)
                }
                _ => Err(ApiError::invalid(SCHEMA, format!("`{SCHEMA}` has to be a JSON schema"))),
            }
        }
        _ => {
            let message = "`response_format.type` has to be `text`, `json_object` or `json_schema`";
            Err(ApiError::invalid("response_format.type", message))
        }
    }
}

/// Reads `grammar`: `{"type": …, "value": …}`.
///
/// # Errors
/// [`ApiError`] with the path of what is wrong.
pub fn grammar(grammar: Option<&Value>) -> Result<Option<Form>, ApiError> {
    let Some(grammar) = grammar else { return Ok(None) };
    let value = grammar.get("value").unwrap_or(&Value::Null);
    let text = || match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(ApiError::invalid("grammar.value", "`grammar.value` has to be a string")),
    };
    let grammar = match grammar.get("type").and_then(Value::as_str) {
        Some("regex") => Grammar::Regex(text()?),
        Some("lark") => Grammar::Lark(text()?),
        Some("llguidance") if value.is_object() => Grammar::Llguidance(value.to_string()),
        Some("llguidance") => Grammar::Llguidance(text()?),
        Some("json_schema") => match value {
            Value::Object(_) => Grammar::JsonSchema(value.clone()),
            _ => {
                let message = "`grammar.value` has to be a JSON schema";
                return Err(ApiError::invalid("grammar.value", message));
            }
        },
        _ => {
            let message = "`grammar.type` has to be `regex`, `lark`, `json_schema` or `llguidance`";
            return Err(ApiError::invalid("grammar.type", message));
        }
    };
    Ok(Some(Form { grammar, field: "grammar".to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_arrives() {
        let schema = || json!({"type": "object"});
        let format = |body: Value| response_format(Some(&body)).unwrap().map(|form| form.grammar);
        assert_eq!(format(json!({"type": "text"})), None);
        assert_eq!(format(json!({"type": "json_object"})), Some(Grammar::JsonSchema(schema())));
        let body = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema()}});
        assert_eq!(format(body), Some(Grammar::JsonSchema(schema())));
        let read = |kind: &str, value: Value| {
            grammar(Some(&json!({"type": kind, "value": value}))).unwrap().unwrap().grammar
        };
        assert_eq!(read("regex", json!("a")), Grammar::Regex("a".into()));
        assert_eq!(read("lark", json!("start: \"a\"")), Grammar::Lark("start: \"a\"".into()));
        assert_eq!(read("json_schema", schema()), Grammar::JsonSchema(schema()));
        assert_eq!(
            read("llguidance", json!({"grammars": []})),
            Grammar::Llguidance("{\"grammars\":[]}".into())
        );
    }

    #[test]
    fn faults_name_their_path() {
        let formats = [
            (json!(5), "response_format.type"),
            (json!({"type": "xml"}), "response_format.type"),
            (json!({"type": "json_schema"}), "response_format.json_schema.schema"),
            (
                json!({"type": "json_schema", "json_schema": {"schema": true}}),
                "response_format.json_schema.schema",
            ),
        ];
        for (body, field) in formats {
            assert_eq!(response_format(Some(&body)).unwrap_err().field(), Some(field), "{body}");
        }
        let grammars = [
            (json!("a"), "grammar.type"),
            (json!({"type": "gbnf", "value": ""}), "grammar.type"),
            (json!({"type": "regex"}), "grammar.value"),
            (json!({"type": "json_schema", "value": "{}"}), "grammar.value"),
        ];
        for (body, field) in grammars {
            assert_eq!(grammar(Some(&body)).unwrap_err().field(), Some(field), "{body}");
        }
    }
}
