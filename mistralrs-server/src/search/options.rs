//! `web_search_options`: how much of what was found a chat may read, and where its user is.

use crate::error::ApiError;
use serde_json::{Map, Value};

/// How much of what was found is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are OpenAI's")]
pub enum ContextSize {
    Low,
    #[default]
    Medium,
    High,
}

impl ContextSize {
    /// Most tokens of the chat's model.
    pub fn tokens(self) -> usize {
        match self {
            Self::Low => 4096,
            Self::Medium => 8192,
            Self::High => 16384,
        }
    }
}

/// How a chat searches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchOptions {
    /// How much is read.
    pub size: ContextSize,
    /// Where the user is, roughly.
    pub location: Option<String>,
}

impl SearchOptions {
    /// Reads `{"search_context_size", "user_location"}`; `field` is where it stands. A `type` and a `name`, which the tool
    /// has in other dialects, are passed over; a null is an absent value.
    ///
    /// # Errors
    /// [`ApiError`] with the path of what is wrong.
    pub fn read(options: &Value, field: &str) -> Result<Self, ApiError> {
        let Some(options) = options.as_object() else {
            return Err(ApiError::invalid(field, format!("`{field}` has to be an object")));
        };
        let size = match options.get("search_context_size") {
            None | Some(Value::Null) => ContextSize::Medium,
            Some(size) => match size.as_str() {
                Some("low") => ContextSize::Low,
                Some("medium") => ContextSize::Medium,
                Some("high") => ContextSize::High,
                _ => {
                    let path = format!("{field}.search_context_size");
                    let text = format!("`{path}` has to be `low`, `medium` or `high`");
                    return Err(ApiError::invalid(path, text));
                }
            },
        };
        let known = ["type", "name", "search_context_size", "user_location"];
        match options.iter().find(|(key, value)| !known.contains(&key.as_str()) && !value.is_null())
        {
            Some((key, _)) => {
                let path = format!("{field}.{key}");
                Err(ApiError::unsupported(
                    &path,
                    format!("`{path}` is not supported by the search here"),
                ))
            }
            None => Ok(Self { size, location: options.get("user_location").and_then(place) }),
        }
    }

    /// Takes the search out of a list of tools, where some dialects name it: a `type` that begins with `web_search`.
    /// What has no effect is added to `warnings`.
    ///
    /// # Errors
    /// As [`SearchOptions::read`].
    pub fn take(
        tools: &mut Vec<Map<String, Value>>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, ApiError> {
        let (mut others, mut search) = (Vec::new(), None);
        for (i, mut tool) in tools.drain(..).enumerate() {
            let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
            if !kind.starts_with("web_search") {
                others.push(tool);
                continue;
            }
            for key in ["max_uses", "cache_control"] {
                if tool.shift_remove(key).is_some() {
                    warnings.push(format!("`tools[{i}].{key}` has no effect"));
                }
            }
            search = Some(Self::read(&Value::Object(tool), &format!("tools[{i}]"))?);
        }
        *tools = others;
        Ok(search)
    }
}

/// `Lisbon, Portugal` of a location in either API's form.
fn place(location: &Value) -> Option<String> {
    let inner = location.get("approximate").unwrap_or(location);
    let parts = ["city", "region", "country"];
    let parts = parts.iter().filter_map(|key| inner.get(key).and_then(Value::as_str));
    let parts: Vec<String> = parts.map(|part| part.chars().take(100).collect()).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_a_place() {
        let nested = json!({"user_location": {"type": "approximate", "approximate": {"city": "Lisbon", "country": "PT"}}});
        let flat = json!({"search_context_size": "low", "user_location": {"type": "approximate", "city": "Lisbon", "country": "PT"}});
        let place = Some("Lisbon, PT".to_owned());
        let read = |options: &Value| SearchOptions::read(options, "x").unwrap();
        assert_eq!(
            read(&nested),
            SearchOptions { size: ContextSize::Medium, location: place.clone() }
        );
        assert_eq!(read(&flat), SearchOptions { size: ContextSize::Low, location: place });
        assert_eq!(read(&json!({})), SearchOptions::default());
        assert_eq!(read(&json!({"type": "web_search", "filters": null})), SearchOptions::default());
        for (wrong, field) in [
            (json!(3), "x"),
            (json!({"search_context_size": "all"}), "x.search_context_size"),
            (json!({"filters": {"allowed_domains": ["a.org"]}}), "x.filters"),
        ] {
            assert_eq!(SearchOptions::read(&wrong, "x").unwrap_err().field(), Some(field));
        }
    }
}
