//! The model as the agent loop wants it: what computes happens on threads that may block. And several hosts of
//! tools as one.

use futures::StreamExt;
use futures::future::BoxFuture;
use mistralrs_core::agent::{Chat, Deltas, ToolHost, ToolOutput, ToolSpec};
use mistralrs_core::{ChatRequest, Image, Llm, RequestError};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A model whose templates and tokenizer run away from the threads that serve.
pub struct BlockingChat(pub Llm);

impl Chat for BlockingChat {
    fn chat(&self, request: ChatRequest) -> BoxFuture<'static, Result<Deltas, RequestError>> {
        let llm = self.0.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || llm.chat(request)).await {
                Ok(begun) => begun.map(StreamExt::boxed),
                Err(error) => {
                    tracing::error!("preparing a request panicked: {error}");
                    Err(RequestError::Internal { id: 0 })
                }
            }
        })
    }

    fn visible(&self, images: Vec<Image>) -> BoxFuture<'static, Vec<Image>> {
        let llm = self.0.clone();
        Box::pin(async move {
            let looked = move || {
                let seen = |image: &Image| llm.look(image).is_ok_and(|look| look.is_some());
                images.into_iter().filter(seen).collect()
            };
            match tokio::task::spawn_blocking(looked).await {
                Ok(images) => images,
                Err(error) => {
                    tracing::error!("looking at a tool's pictures panicked: {error}");
                    Vec::new()
                }
            }
        })
    }
}

/// Several hosts of tools as one: the first that has a name keeps it.
#[derive(Default)]
pub struct Hosts {
    tools: BTreeMap<String, (ToolSpec, Arc<dyn ToolHost>)>,
}

impl Hosts {
    /// These tools are run by this host.
    pub fn add(&mut self, host: Arc<dyn ToolHost>, tools: Vec<ToolSpec>) {
        for tool in tools {
            self.tools.entry(tool.name.clone()).or_insert_with(|| (tool, Arc::clone(&host)));
        }
    }

    /// All of them.
    pub fn specs(&self) -> Vec<ToolSpec> {
        self.tools.values().map(|(tool, _)| tool.clone()).collect()
    }
}

impl ToolHost for Hosts {
    fn list(&self) -> BoxFuture<'_, Vec<ToolSpec>> {
        Box::pin(std::future::ready(self.specs()))
    }

    fn call<'a>(
        &'a self,
        name: &'a str,
        arguments: Map<String, Value>,
    ) -> BoxFuture<'a, ToolOutput> {
        match self.tools.get(name) {
            Some((_, host)) => host.call(name, arguments),
            None => {
                let unknown = ToolOutput::error(format!("there is no tool `{name}`"));
                Box::pin(std::future::ready(unknown))
            }
        }
    }
}
