//! Bytes of an `http(s):` URL: hosts by a list, addresses checked before connecting and pinned, every
//! redirect checked again, size and time bounded. Says nothing about what lies behind a refused address.

use super::address::is_public;
use super::{MediaConfig, too_large};
use crate::mcp::transport::tls;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use std::net::SocketAddr;

const MAX_REDIRECTS: usize = 3;

/// # Errors
/// A sentence.
pub(super) async fn get(config: &MediaConfig, url: &str) -> Result<Vec<u8>, String> {
    if config.hosts.is_empty() {
        return Err("URLs are not fetched here (--allowed-media-host)".to_owned());
    }
    let limit = config.timeout;
    match tokio::time::timeout(limit, follow(config, url)).await {
        Ok(bytes) => bytes,
        Err(_) => Err(format!("it took longer than {} seconds, the limit", limit.as_secs_f32())),
    }
}

async fn follow(config: &MediaConfig, url: &str) -> Result<Vec<u8>, String> {
    let mut url = Url::parse(url).map_err(|error| format!("it is no URL: {error}"))?;
    for _ in 0..=MAX_REDIRECTS {
        let response = ask(config, &url).await?;
        if !response.status().is_redirection() {
            return body(response, config.max_file_bytes).await;
        }
        let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|target| url.join(target).ok());
        url = target.ok_or("its server redirects to nowhere")?;
    }
    Err(format!("its server redirects more than {MAX_REDIRECTS} times, the limit"))
}

/// One request, to an address that was looked at.
async fn ask(config: &MediaConfig, url: &Url) -> Result<Response, String> {
    if !["http", "https"].contains(&url.scheme()) {
        return Err("it leads away from http and https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("names and passwords in URLs are not sent".to_owned());
    }
    let (host, addresses) = addresses(config, url).await?;
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
async fn addresses(config: &MediaConfig, url: &Url) -> Result<(String, Vec<SocketAddr>), String> {
    let host = url.host_str().ok_or("it names no host")?.to_owned();
    let port = url.port_or_known_default().ok_or("it names no port")?;
    let bare = host.trim_matches(['[', ']']).to_owned();
    let with_port = format!("{host}:{port}");
    let named = config.hosts.iter().any(|allowed| {
        let allowed = allowed.to_ascii_lowercase();
        allowed == host || allowed == bare || allowed == with_port
    });
    if !named && !config.hosts.iter().any(|allowed| allowed == "*") {
        return Err("its host is not allowed (--allowed-media-host)".to_owned());
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
