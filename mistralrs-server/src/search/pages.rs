//! Reads single pages of the web as text. What may be fetched is [`FetchRules`]' business; knows kinds of pages and character sets.

use super::html;
use crate::fetch::{self, FetchRules, Fetched};
use encoding_rs::{Encoding, UTF_8};
use mistralrs_core::search::Found;
use std::time::Duration;

/// A page larger than this is not read.
const MAX_PAGE_BYTES: usize = 4 << 20;
const TIMEOUT: Duration = Duration::from_secs(20);
/// Most characters of a title.
const MAX_TITLE: usize = 300;

/// The rules for pages of these hosts.
pub fn rules(hosts: Vec<String>) -> FetchRules {
    FetchRules { hosts, max_bytes: MAX_PAGE_BYTES, timeout: TIMEOUT, option: "--allowed-page-host" }
}

/// The text of a page.
///
/// # Errors
/// A sentence.
pub async fn read(rules: &FetchRules, url: &str) -> Result<Found, String> {
    let page = fetch::get(rules, url).await?;
    let address = url.to_owned();
    // Parsing computes: away from the threads that serve.
    match tokio::task::spawn_blocking(move || text_of(&page, address)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!("reading a page panicked: {error}");
            Err("the page cannot be read".to_owned())
        }
    }
}

fn text_of(page: &Fetched, url: String) -> Result<Found, String> {
    let header = page.content_type.as_deref().unwrap_or("text/html");
    let (kind, parameters) = header.split_once(';').unwrap_or((header, ""));
    let text = decoded(&page.bytes, parameters);
    match kind.trim().to_ascii_lowercase().as_str() {
        "text/html" | "application/xhtml+xml" => {
            let (title, content) = html::read(&text);
            let title = title.chars().take(MAX_TITLE).collect();
            Ok(Found { title, content, url, ..Found::default() })
        }
        kind if kind.starts_with("text/") || kind == "application/json" => {
            Ok(Found { content: text, url, ..Found::default() })
        }
        other => Err(format!("the page is no text but `{other}`")),
    }
}

/// Bytes as text: by a byte order mark, else by the header's `charset`, else UTF-8. What does not fit is replaced.
fn decoded(bytes: &[u8], parameters: &str) -> String {
    let charset = parameters.split(';').filter_map(|one| one.split_once('='));
    let charset = charset.filter(|(key, _)| key.trim().eq_ignore_ascii_case("charset"));
    let mut named = charset.filter_map(|(_, name)| {
        Encoding::for_label(name.trim().trim_matches(['"', '\'']).as_bytes())
    });
    named.next().unwrap_or(UTF_8).decode(bytes).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(kind: &str, bytes: &[u8]) -> Result<Found, String> {
        let page = Fetched { bytes: bytes.to_vec(), content_type: Some(kind.to_owned()) };
        text_of(&page, "http://x".to_owned())
    }

    #[test]
    fn kinds_of_pages_and_character_sets() {
        let html = page("text/html; charset=utf-8", b"<title>T</title><p>a").unwrap();
        assert_eq!(
            (html.title.as_str(), html.content.as_str(), html.url.as_str()),
            ("T", "a", "http://x")
        );
        assert_eq!(
            page("text/plain; charset=\"iso-8859-1\"", b"caf\xe9").unwrap().content,
            "caf\u{e9}"
        );
        assert_eq!(page("application/json", b"{}").unwrap().content, "{}");
        assert_eq!(page("text/plain", b"\xff\xfea\0").unwrap().content, "a");
        assert!(page("image/png", b"x").unwrap_err().contains("image/png"));
    }
}
