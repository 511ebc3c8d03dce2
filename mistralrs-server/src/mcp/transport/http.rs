//! HTTP clients with a server's own headers and with TLS by ring; streamable HTTP itself is the SDK's.

use crate::mcp::config::Endpoint;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use rmcp::transport::StreamableHttpClientTransport;
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a connection; how long an answer takes is the caller's business.
const CONNECT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 5;

/// Streamable HTTP as the SDK has it.
pub(in crate::mcp) type HttpClient = StreamableHttpClientTransport<reqwest::Client>;

/// A client that sends the endpoint's headers to its host and to no other.
///
/// # Errors
/// A sentence: a header that cannot be sent, no certificates on this machine.
pub(in crate::mcp) fn http_client(endpoint: &Endpoint) -> Result<reqwest::Client, String> {
    let secure = endpoint.url.starts_with("https:");
    reqwest::Client::builder()
        .default_headers(header_map(endpoint)?)
        .user_agent(concat!("mistralrs/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(Policy::custom(|attempt| {
            let same_host = attempt.previous().last().is_some_and(|from| {
                let to = attempt.url();
                (from.scheme(), from.host(), from.port()) == (to.scheme(), to.host(), to.port())
            });
            if same_host && attempt.previous().len() <= MAX_REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }))
        .tls_backend_preconfigured(tls(secure)?)
        .build()
        .map_err(|error| error.to_string())
}

/// The endpoint's headers; what they say is marked as not to be logged.
pub(super) fn header_map(endpoint: &Endpoint) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in &endpoint.headers {
        let key = HeaderName::try_from(name.as_str())
            .map_err(|_| format!("`{name}` is no name of a header"))?;
        let mut value = HeaderValue::try_from(value.0.as_str())
            .map_err(|_| format!("the header `{name}` has a value that cannot be sent"))?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

/// Certificates are checked as this machine does it; without TLS nothing has to be trusted.
pub(crate) fn tls(secure: bool) -> Result<rustls::ClientConfig, String> {
    let failed = |error: rustls::Error| format!("TLS cannot be used: {error}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = if secure {
        builder.with_platform_verifier().map_err(failed)?
    } else {
        builder.with_root_certificates(rustls::RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}
