//! A search of the web as tools that run here: the model asks, the best of what was found is its answer.
//! Where is searched is pluggable ([`WebSearch`]); what was found is ranked by `mistralrs_core::search`.

mod engine;
mod html;
pub mod options;
mod pages;

pub use engine::MetaSearch;
pub use options::{ContextSize, SearchOptions};

use futures::future::BoxFuture;
use mistralrs_core::agent::{Approval, ToolHost, ToolOutput, ToolSpec};
use mistralrs_core::search::{Found, Vectors, rank};
use mistralrs_core::{Embedder, Llm, RequestError};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Whose tools these are.
pub const ORIGIN: &str = "web_search";
const SEARCH: &str = "search_the_web";
const READ: &str = "website_content_extractor";
/// Most results that are looked at.
const MAX_RESULTS: usize = 20;

/// Somebody who searches.
pub trait WebSearch: Send + Sync {
    /// What fits a query, within bounded time.
    fn search<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<Vec<Found>, String>>;

    /// Whether single pages can be read as well.
    fn can_read(&self) -> bool {
        false
    }

    /// The text of a page, within bounded time.
    fn read<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Found, String>> {
        let _ = url;
        Box::pin(std::future::ready(Err("pages cannot be read here".to_owned())))
    }
}

/// What a server has to search with.
#[derive(Clone)]
pub struct SearchService {
    /// Who searches.
    pub web: Arc<dyn WebSearch>,
    /// Who ranks; without an encoder words decide.
    pub encoder: Option<Embedder>,
}

impl SearchService {
    /// The tools for one chat.
    pub fn tools(&self, llm: Llm, options: SearchOptions) -> SearchTools {
        SearchTools { service: self.clone(), llm, options }
    }
}

/// The tools of one chat.
pub struct SearchTools {
    service: SearchService,
    llm: Llm,
    options: SearchOptions,
}

impl SearchTools {
    fn specs(&self) -> Vec<ToolSpec> {
        let near = match &self.options.location {
            None => String::new(),
            Some(place) => format!(" The user is near {place}."),
        };
        let search = ToolSpec {
            name: SEARCH.to_owned(),
            description: Some(format!(
                "Searches the web: gives texts of pages that fit the query, the best first.{near}"
            )),
            parameters: one_string("query", "What to search for"),
            origin: ORIGIN.to_owned(),
            approval: Approval::Unsaid,
        };
        let read = ToolSpec {
            name: READ.to_owned(),
            description: Some("Gives the text of one web page.".to_owned()),
            parameters: one_string("url", "The page's address"),
            ..search.clone()
        };
        if self.service.web.can_read() { vec![search, read] } else { vec![search] }
    }

    async fn run(&self, name: &str, arguments: &Map<String, Value>) -> Result<String, String> {
        let argument = |key: &str| match arguments.get(key).and_then(Value::as_str) {
            Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            _ => Err(format!("the argument `{key}` has to be a string that is not empty")),
        };
        let found = match name {
            SEARCH => {
                let query = argument("query")?;
                let mut found = self.service.web.search(&query).await?;
                found.truncate(MAX_RESULTS);
                self.rank(query, found).await?
            }
            READ if self.service.web.can_read() => {
                let page = self.service.web.read(&argument("url")?).await?;
                self.rank(page.title.clone(), vec![page]).await?
            }
            _ => return Err(format!("there is no tool `{name}`")),
        };
        let told = found.iter().map(|one| {
            json!({"title": one.title, "description": one.description, "url": one.url, "content": one.content})
        });
        Ok(json!({"output": told.collect::<Vec<_>>()}).to_string())
    }

    /// Tokenizers and encoders compute: away from the threads that serve.
    async fn rank(&self, query: String, found: Vec<Found>) -> Result<Vec<Found>, String> {
        let (llm, encoder) = (self.llm.clone(), self.service.encoder.clone());
        let budget = self.options.size.tokens().min(llm.info().max_sequence_length / 2);
        let work = move || {
            let tokens = |text: &str| llm.token_offsets(text);
            let encoder = encoder.as_ref().map(|encoder| encoder as &dyn Vectors);
            rank(&query, found, budget, &tokens, encoder)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(ranked) => ranked.map_err(|error: RequestError| error.to_string()),
            Err(error) => {
                tracing::error!("ranking what a search found panicked: {error}");
                Err("what was found could not be ranked".to_owned())
            }
        }
    }
}

fn one_string(name: &str, what: &str) -> Value {
    json!({"type": "object", "properties": {name: {"type": "string", "description": what}},
        "required": [name], "additionalProperties": false})
}

impl ToolHost for SearchTools {
    fn list(&self) -> BoxFuture<'_, Vec<ToolSpec>> {
        Box::pin(std::future::ready(self.specs()))
    }

    fn call<'a>(
        &'a self,
        name: &'a str,
        arguments: Map<String, Value>,
    ) -> BoxFuture<'a, ToolOutput> {
        Box::pin(async move {
            match self.run(name, &arguments).await {
                Ok(text) => ToolOutput { text, ..ToolOutput::default() },
                Err(why) => ToolOutput::error(why),
            }
        })
    }
}

#[cfg(test)]
mod tests;
