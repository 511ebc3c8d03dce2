//! Bytes of a request → wire types, with the path of what is wrong and the list of fields nobody knew.
//! Knows serde and the error body; no route, no model.

mod objects;

pub use objects::Objects;

use crate::app::AppState;
use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Unknown fields beyond this many are no oversight.
const MAX_UNKNOWN_FIELDS: usize = 200;
/// Of what a client wrote, so much comes back in an error.
const MAX_PATH_CHARS: usize = 120;

/// The JSON body of a request, not yet looked into.
#[derive(Debug, Clone)]
pub struct JsonBytes(pub Bytes);

impl FromRequest<Arc<AppState>> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::not_json());
        }
        if let Some(coding) = coding(request.headers()) {
            return Err(ApiError::encoded(&coding));
        }
        read_body(request, state).await.map(Self)
    }
}

/// The bytes of a body, whatever its type.
///
/// # Errors
/// 413 beyond the limit of size, 408 if they do not come in time.
pub async fn read_body(request: Request, state: &Arc<AppState>) -> Result<Bytes, ApiError> {
    let limit_bytes = state.config.max_body_bytes;
    let read = Bytes::from_request(request, state).await;
    read.map_err(|rejection| unreadable(&rejection, limit_bytes))
}

/// A web page of another origin may send other content types without asking first, so they are refused.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// How the body is packed, if it is: nobody unpacks it here.
fn coding(headers: &HeaderMap) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(header::CONTENT_ENCODING)?.as_bytes());
    let packed = !value.trim().is_empty() && !value.trim().eq_ignore_ascii_case("identity");
    packed.then(|| value.chars().take(MAX_PATH_CHARS).collect())
}

fn unreadable(rejection: &BytesRejection, limit_bytes: usize) -> ApiError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::body_too_large(limit_bytes),
        _ => ApiError::body_unreadable(),
    }
}

/// A value and the paths of the fields in its JSON that it has no place for.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// `messages[0].foo` and the like.
    pub unknown: BTreeSet<String>,
}

impl JsonBytes {
    /// Reads one type from the body.
    ///
    /// # Errors
    /// [`ApiError::malformed`], with the path and what was expected there.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<Parsed<T>, ApiError> {
        // In words of its own, for there is no field to name.
        if self.0.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|it| *it != b'{') {
            return Err(ApiError::malformed("", "the body has to be a JSON object: `{…}`"));
        }
        let mut unknown = BTreeSet::new();
        let mut json = serde_json::Deserializer::from_slice(&self.0);
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(Objects(&mut json), &mut track);
        let value = serde_ignored::deserialize(tracked, |path| {
            if unknown.len() <= MAX_UNKNOWN_FIELDS {
                unknown.insert(path_text(&path));
            }
        });
        let value = value.and_then(|value| json.end().map(|()| value));
        match value {
            Ok(value) if unknown.len() <= MAX_UNKNOWN_FIELDS => Ok(Parsed { value, unknown }),
            Ok(_) => Err(ApiError::malformed(
                "",
                format!("more than {MAX_UNKNOWN_FIELDS} unknown fields"),
            )),
            Err(error) => Err(malformed(&track.path().to_string(), &error)),
        }
    }

    /// Reads two types that share one object: what neither of them knows is unknown.
    ///
    /// # Errors
    /// As [`JsonBytes::parse`].
    pub fn parse_both<A: DeserializeOwned, B: DeserializeOwned>(
        &self,
    ) -> Result<(A, B, BTreeSet<String>), ApiError> {
        let first = self.parse::<A>()?;
        let second = self.parse::<B>()?;
        // A nested path is known to the one type that owns its first key; only that one reports it.
        let unknown = first.unknown.union(&second.unknown).filter(|path| {
            let top = path.split(['.', '[']).next().unwrap_or_default();
            let ignored_whole = |set: &BTreeSet<String>| set.contains(top);
            if path.as_str() == top {
                ignored_whole(&first.unknown) && ignored_whole(&second.unknown)
            } else {
                true
            }
        });
        let unknown = unknown.cloned().collect();
        Ok((first.value, second.value, unknown))
    }
}

fn malformed(path: &str, error: &serde_json::Error) -> ApiError {
    // The two names of a place that is not known.
    let path = if path == "." || path == "?" { "" } else { path };
    let path: String = path.chars().take(MAX_PATH_CHARS).collect();
    if path.is_empty() || error.is_syntax() || error.is_eof() {
        return ApiError::malformed(
            path,
            format!("the body is not valid JSON for this route: {error}"),
        );
    }
    ApiError::malformed(path.clone(), format!("`{path}`: {error}"))
}

fn path_text(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", path_text(parent)),
        Path::Map { parent, key } => {
            let parent = path_text(parent);
            let key: String = key.chars().take(60).collect();
            if parent.is_empty() { key } else { format!("{parent}.{key}") }
        }
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => path_text(parent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Item {
        #[expect(dead_code, reason = "only its type is tested")]
        a: u8,
    }

    #[derive(Debug, Deserialize)]
    struct First {
        #[expect(dead_code, reason = "only its type is tested")]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    struct Second {
        #[expect(dead_code, reason = "only its type is tested")]
        temperature: Option<f32>,
    }

    fn bytes(text: &str) -> JsonBytes {
        JsonBytes(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn unknown_fields_are_named_by_path_and_known_ones_are_not() {
        let body = bytes(r#"{"items":[{"a":1,"b":{"c":2}}],"temperature":1,"who":null}"#);
        let (_, _, unknown) = body.parse_both::<First, Second>().unwrap();
        assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["items[0].b", "who"]);
    }

    #[test]
    fn errors_name_the_path() {
        let error = bytes(r#"{"items":[{"a":1},{"a":"x"}]}"#).parse::<First>().unwrap_err();
        assert_eq!(error.field(), Some("items[1].a"));
        assert!(
            error.message().starts_with("`items[1].a`: invalid type: string \"x\""),
            "{}",
            error.message()
        );
    }

    #[test]
    fn hostile_bodies_are_refused() {
        let deep = format!("{{\"items\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_unknown = format!("{{\"items\":[],\"x\":{}", "[".repeat(100_000));
        let many: String = (0..500).map(|i| format!(",\"k{i}\":0")).collect();
        for text in [
            "",
            "{",
            "null",
            "[]",
            "{\"items\":[]} trailing",
            "{\"items\":[{\"a\":1e999}]}",
            &deep,
            &deep_unknown,
            &format!("{{\"items\":[]{many}}}"),
        ] {
            let error = bytes(text).parse::<First>().expect_err(text);
            assert_eq!(error.status().as_u16(), 400);
        }
        let invalid_utf8 = JsonBytes(Bytes::from_static(b"{\"items\":[{\"a\":\"\xff\"}]}"));
        assert!(invalid_utf8.parse::<First>().is_err());
    }

    #[test]
    fn a_list_is_no_object_even_with_the_right_fields() {
        for text in ["[[{\"a\":1}]]", "null", "\"x\"", " 5", "\u{feff}{\"items\":[]}"] {
            let error = bytes(text).parse::<First>().expect_err(text);
            assert_eq!(error.message(), "the body has to be a JSON object: `{…}`", "{text}");
        }
    }

    #[test]
    fn the_place_is_named_if_it_is_known_and_never_at_length() {
        let cut_off = bytes("{\"items\":[]").parse::<First>().unwrap_err();
        assert_eq!(cut_off.field(), None, "{}", cut_off.message());
        let key = "k".repeat(100_000);
        let long = bytes(&format!("{{\"items\":[],\"{key}\":nonsense}}"));
        let error = long.parse::<First>().unwrap_err();
        assert!(error.field().is_none_or(|field| field.len() <= MAX_PATH_CHARS));
    }

    #[test]
    fn content_types() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            is_json(&headers)
        };
        assert!(
            of("application/json")
                && of("Application/JSON; charset=utf-8")
                && of("application/vnd.x+json")
        );
        assert!(
            !of("text/plain")
                && !of("application/x-www-form-urlencoded")
                && !is_json(&HeaderMap::new())
        );
    }
}
