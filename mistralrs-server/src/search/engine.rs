//! A search engine with a JSON answer, as SearXNG gives it: `GET URL?q=…&format=json` → `results` of `title`, `url`
//! and `content`. The operator names it. Pages are read only where the operator says so.

use super::{WebSearch, pages};
use crate::fetch::FetchRules;
use crate::mcp::transport::tls;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use mistralrs_core::search::Found;
use reqwest::{Client, Url};
use serde::Deserialize;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);
/// An answer larger than this is none.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The engine at an address.
pub struct MetaSearch {
    address: Url,
    client: Client,
    /// Which pages the model may read.
    pages: FetchRules,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    content: Option<String>,
}

impl MetaSearch {
    /// Checks the address; asks nothing yet. Single pages of `page_hosts` may be read (see [`FetchRules::hosts`]).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(address: &str, page_hosts: Vec<String>) -> Result<Self, String> {
        let url = Url::parse(address).map_err(|error| format!("{address}: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(format!("{address}: it has to begin with http:// or https://"));
        }
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("mistralrs/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(url.scheme() == "https")?)
            .build()
            .map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { address: url, client, pages: pages::rules(page_hosts) })
    }

    async fn ask(&self, query: &str) -> Result<Vec<Found>, String> {
        let mut url = self.address.clone();
        url.query_pairs_mut().append_pair("q", query).append_pair("format", "json");
        let failed = |error: reqwest::Error| {
            tracing::warn!("the search engine does not answer: {}", error.without_url());
            "the search engine does not answer".to_owned()
        };
        let answer = self.client.get(url).send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the search engine answers with status {}", status.as_u16()));
        }
        let mut body = Vec::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            body.extend(piece.map_err(failed)?);
            if body.len() > MAX_ANSWER_BYTES {
                return Err("the search engine's answer is too large".to_owned());
            }
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| "the search engine's answer is not JSON with `results`".to_owned())?;
        let found = |hit: Hit| {
            let content = hit.content.unwrap_or_default();
            let description: String = content.chars().take(200).collect();
            let (title, url) = (hit.title.unwrap_or_default(), hit.url.unwrap_or_default());
            Found { title, description, url, content }
        };
        Ok(answer.results.into_iter().map(found).collect())
    }
}

impl WebSearch for MetaSearch {
    fn search<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<Vec<Found>, String>> {
        Box::pin(self.ask(query))
    }

    fn can_read(&self) -> bool {
        !self.pages.hosts.is_empty()
    }

    fn read<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Found, String>> {
        Box::pin(pages::read(&self.pages, url))
    }
}
