//! API keys: `Authorization: Bearer KEY` or `x-api-key: KEY`, compared in constant time. No keys = everybody may
//! ask.

use crate::app::AppState;
use crate::error::ApiError;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::Response;
use std::fmt;
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq};

/// Where the Messages API puts a key.
const PLAIN_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The keys that are accepted. Never printed.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<String>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} API keys", self.0.len())
    }
}

impl ApiKeys {
    /// Blank keys are left out.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        let keys = keys.into_iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        Self(keys.collect())
    }

    /// Whether no key is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with every key, so that the time does not tell which one was near.
    fn accepts(&self, given: &str) -> bool {
        let found = self
            .0
            .iter()
            .fold(Choice::from(0), |found, key| found | key.as_bytes().ct_eq(given.as_bytes()));
        found.into()
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.is_empty() {
            return Ok(());
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (value, plain) = (text(header::AUTHORIZATION), text(PLAIN_KEY));
        let bearer = value
            .and_then(|value| value.split_once(' '))
            .and_then(|(scheme, key)| scheme.eq_ignore_ascii_case("bearer").then(|| key.trim()));
        // Clients of the Messages API may send both, one of them empty.
        if [bearer, plain].into_iter().flatten().any(|key| self.accepts(key)) {
            return Ok(());
        }
        Err(ApiError::unauthorized(value.is_some() || plain.is_some()))
    }
}

/// The layer over all routes but the open ones.
///
/// # Errors
/// 401 without a valid key.
pub async fn require_key(
    State(app): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    app.config.api_keys.check(request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[&str], header_value: Option<&str>) -> Result<(), ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header_value {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        ApiKeys::new(keys.iter().map(|key| (*key).to_owned())).check(&headers)
    }

    #[test]
    fn keys() {
        assert!(check(&[], None).is_ok());
        assert!(check(&["", "  "], None).is_ok());
        assert!(check(&["a", "b"], Some("Bearer b")).is_ok());
        assert!(check(&["a"], Some("bearer a")).is_ok());
        for given in [
            None,
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer ab"),
            Some("Bearer A"),
            Some("Basic a"),
            Some("a"),
        ] {
            assert_eq!(check(&["a"], given).unwrap_err().status().as_u16(), 401, "{given:?}");
        }
    }

    #[test]
    fn a_key_may_stand_in_a_header_of_its_own() {
        let check = |key: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PLAIN_KEY, key.parse().unwrap());
            ApiKeys::new(["a".to_owned()]).check(&headers)
        };
        assert!(check("a").is_ok());
        assert_eq!(check("b").unwrap_err().status().as_u16(), 401);
        assert_eq!(check("Bearer a").unwrap_err().status().as_u16(), 401);
    }

    #[test]
    fn keys_are_not_printed() {
        assert_eq!(format!("{:?}", ApiKeys::new(["secret".to_owned()])), "1 API keys");
    }
}
