//! Where a chat template comes from: the model's files, or the operator's. Knows file formats,
//! not Jinja. Source: transformers' `chat_template.jinja`, `chat_template.json` and
//! `tokenizer_config.json`; the GGUF keys `tokenizer.chat_template` and `tokenizer.chat_template.tool_use`.

use crate::error::LoadError;
use serde_json::{Map, Value};
use std::path::Path;

/// The text of a template, and of the one to be used when tools are given, if it is another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateSource {
    /// For all requests.
    pub default: String,
    /// For requests with tools.
    pub tool_use: Option<String>,
}

impl TemplateSource {
    /// Reads a template file: Jinja, or JSON with the key `chat_template`.
    ///
    /// # Errors
    /// [`LoadError::Io`] when it cannot be read, [`LoadError::BadFile`] when a `.json` file has
    /// no template.
    pub fn from_file(file: &Path) -> Result<Self, LoadError> {
        if file.extension().is_some_and(|extension| extension == "json") {
            let config = read_json(file)?;
            return Self::from_config(&config).ok_or_else(|| LoadError::BadFile {
                file: file.to_path_buf(),
                reason: "has no `chat_template`".to_owned(),
            });
        }
        let default = std::fs::read_to_string(file)
            .map_err(|source| LoadError::Io { file: file.to_path_buf(), source })?;
        Ok(Self { default, tool_use: None })
    }

    /// Takes the `chat_template` of a JSON file: a string, or a list of `{name, template}`.
    pub fn from_config(config: &Map<String, Value>) -> Option<Self> {
        match config.get("chat_template")? {
            Value::String(text) => Some(Self { default: text.clone(), tool_use: None }),
            Value::Array(list) => {
                let named = |name: &str| {
                    let entry = list.iter().find(|entry| text_of(entry, "name") == Some(name))?;
                    text_of(entry, "template").map(str::to_owned)
                };
                let tool_use = named("tool_use");
                let first = || list.iter().find_map(|entry| text_of(entry, "template"));
                let default = named("default").or_else(|| first().map(str::to_owned))?;
                Some(Self { default, tool_use })
            }
            _ => None,
        }
    }
}

fn text_of<'a>(entry: &'a Value, key: &str) -> Option<&'a str> {
    entry.get(key).and_then(Value::as_str)
}

/// The special tokens of a `tokenizer_config.json` that templates may name (`bos_token`, …):
/// plain strings, or objects with `content`.
pub(super) fn special_tokens(config: &Map<String, Value>) -> Map<String, Value> {
    let token = |(key, value): (&String, &Value)| {
        let text = value.as_str().or_else(|| text_of(value, "content"))?;
        key.ends_with("_token").then(|| (key.clone(), Value::from(text)))
    };
    config.iter().filter_map(token).collect()
}

/// Reads a JSON file that must be an object.
pub(super) fn read_json(file: &Path) -> Result<Map<String, Value>, LoadError> {
    let bytes =
        std::fs::read(file).map_err(|source| LoadError::Io { file: file.to_path_buf(), source })?;
    serde_json::from_slice(&bytes).map_err(|e| LoadError::BadFile {
        file: file.to_path_buf(),
        reason: format!("not a JSON object: {e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn strings_and_lists_are_read() {
        let one = config(json!({"chat_template": "T"}));
        assert_eq!(TemplateSource::from_config(&one).unwrap().default, "T");
        let list = config(json!({"chat_template": [
            {"name": "tool_use", "template": "U"}, {"name": "default", "template": "D"}]}));
        let source = TemplateSource::from_config(&list).unwrap();
        assert_eq!((source.default.as_str(), source.tool_use.as_deref()), ("D", Some("U")));
        for nothing in [json!({}), json!({"chat_template": null}), json!({"chat_template": [1]})] {
            assert_eq!(TemplateSource::from_config(&config(nothing)), None);
        }
    }

    #[test]
    fn special_tokens_are_strings_or_objects() {
        let tokens = special_tokens(&config(json!({
            "bos_token": "<s>",
            "eos_token": {"content": "</s>", "lstrip": false},
            "unk_token": null,
            "add_bos_token": true,
        })));
        assert_eq!(Value::from(tokens), json!({"bos_token": "<s>", "eos_token": "</s>"}));
    }

    #[test]
    fn files_are_jinja_or_json() {
        let folder = tempfile::tempdir().unwrap();
        let jinja = folder.path().join("chat_template.jinja");
        std::fs::write(&jinja, "{{ 1 }}").unwrap();
        assert_eq!(TemplateSource::from_file(&jinja).unwrap().default, "{{ 1 }}");
        let json = folder.path().join("chat_template.json");
        std::fs::write(&json, r#"{"chat_template": "{{ 2 }}"}"#).unwrap();
        assert_eq!(TemplateSource::from_file(&json).unwrap().default, "{{ 2 }}");
        std::fs::write(&json, "{}").unwrap();
        assert!(matches!(TemplateSource::from_file(&json), Err(LoadError::BadFile { .. })));
        let missing = folder.path().join("none.jinja");
        assert!(matches!(TemplateSource::from_file(&missing), Err(LoadError::Io { .. })));
    }
}
