//! What lies behind an `http(s):` URL that a stranger named: hosts by a list, addresses checked before connecting and
//! pinned, every redirect checked again, size and time bounded. Says nothing about what lies behind a refused address.

mod address;

use crate::mcp::transport::tls;
use address::is_public;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use std::net::SocketAddr;
use std::time::Duration;

const MAX_REDIRECTS: usize = 3;

/// What may be fetched, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRules {
    /// `example.com`, `127.0.0.1:8080`, or `*` for every host with a public address. Empty = nothing is fetched. A
    /// host that is named may have a private address.
    pub hosts: Vec<String>,
    /// Largest body.
    pub max_bytes: usize,
    /// Longest time, redirects included.
    pub timeout: Duration,
    /// The option that names hosts, for messages.
    pub option: &'static str,
}

/// What was there.
#[derive(Debug)]
pub struct Fetched {
    /// The body.
    pub bytes: Vec<u8>,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
}

/// Fetches one URL.
///
/// # Errors
/// A sentence.
pub async fn get(rules: &FetchRules, url: &str) -> Result<Fetched, String> {
    if rules.hosts.is_empty() {
        return Err(format!("URLs are not fetched here ({})", rules.option));
    }
    let limit = rules.timeout;
    match tokio::time::timeout(limit, follow(rules, url)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(format!("it took longer than {} seconds, the limit", limit.as_secs_f32())),
    }
}

/// A sentence about something that is too large.
pub fn too_large(limit: usize) -> String {
    format!("it has more than {limit} bytes, the limit")
}

async fn follow(rules: &FetchRules, url: &str) -> Result<Fetched, String> {
    let mut url = Url::parse(url).map_err(|error| format!("it is no URL: {error}"))?;
    for _ in 0..=MAX_REDIRECTS {
        let response = ask(rules, &url).await?;
        if !response.status().is_redirection() {
            let header = response.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
            let content_type = header.map(str::to_owned);
            let bytes = body(response, rules.max_bytes).await?;
            return Ok(Fetched { bytes, content_type });
        }
        let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|target| url.join(target).ok());
        url = target.ok_or("its server redirects to nowhere")?;
    }
    Err(format!("its server redirects more than {MAX_REDIRECTS} times, the limit"))
}

/// One request, to an address that was looked at.
async fn ask(rules: &FetchRules, url: &Url) -> Result<Response, String> {
    if !["http", "https"].contains(&url.scheme()) {
        return Err("it leads away from http and https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("names and passwords in URLs are not sent".to_owned());
    }
    let (host, addresses) = addresses(rules, url).await?;
    let client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .user_agent(concat!("mistralrs/", env!("CARGO_PKG_VERSION")))
        .resolve_to_addrs(&host, &addresses)
        .tls_backend_preconfigured(tls(url.scheme() == "https")?)
        .build()
        .map_err(|_| "no client can be made for it".to_owned())?;
    client.get(url.clone()).send().await.map_err(|_| "its server does not answer".to_owned())
}

/// Where the host may be reached.
async fn addresses(rules: &FetchRules, url: &Url) -> Result<(String, Vec<SocketAddr>), String> {
    let host = url.host_str().ok_or("it names no host")?.to_owned();
    let port = url.port_or_known_default().ok_or("it names no port")?;
    let bare = host.trim_matches(['[', ']']).to_owned();
    let with_port = format!("{host}:{port}");
    let named = rules.hosts.iter().any(|allowed| {
        let allowed = allowed.to_ascii_lowercase();
        allowed == host || allowed == bare || allowed == with_port
    });
    if !named && !rules.hosts.iter().any(|allowed| allowed == "*") {
        return Err(format!("its host is not allowed ({})", rules.option));
    }
    let found = tokio::net::lookup_host((bare.as_str(), port)).await;
    let found: Vec<SocketAddr> = found.map_err(|_| "its host has no address".to_owned())?.collect();
    // One private address among public ones is a trick.
    if !named && !found.iter().all(|address| is_public(address.ip())) {
        return Err("its host has a private address, which is not allowed".to_owned());
    }
    Ok((host, found))
}

async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let status = response.status();
    if !status.is_success() {
        return Err(format!("its server answers with status {}", status.as_u16()));
    }
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let mut bytes = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|_| "its server broke off".to_owned())?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
}
