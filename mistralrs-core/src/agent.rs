//! The agent loop: the model calls tools, the tools answer, the model goes on, until it has said what it wants.
//!
//! Stands beside [`crate::llm`] and outside of the engine, which never hears of a tool. Knows no protocol and no
//! network: whoever has tools implements [`ToolHost`], whoever continues a conversation [`Chat`].

mod run;

pub use crate::request::{ToolOutput, ToolProgress};

use crate::error::RequestError;
use crate::request::{ChatRequest, Delta, Image, ToolCall};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A tool that can be offered to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// What the model calls it: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON schema of its arguments, whole.
    pub parameters: Value,
    /// Who runs it, for people.
    pub origin: String,
    /// Who has to agree to a call.
    pub approval: Approval,
}

/// Who has to agree to a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Approval {
    /// Nothing was said: where a person sits in front, they are asked; a server goes ahead.
    #[default]
    Unsaid,
    /// Nobody.
    Never,
    /// A person, always; where there is none, the call is refused.
    Always,
}

impl ToolSpec {
    /// The function in OpenAI's form, as chat templates read it.
    pub fn function(&self) -> Value {
        let mut function = Map::new();
        function.insert("name".to_owned(), self.name.clone().into());
        if let Some(description) = &self.description {
            function.insert("description".to_owned(), description.clone().into());
        }
        function.insert("parameters".to_owned(), self.parameters.clone());
        json!({"type": "function", "function": function})
    }
}

/// Somebody who has tools.
pub trait ToolHost: Send + Sync {
    /// The tools that can be called at this moment.
    fn list(&self) -> BoxFuture<'_, Vec<ToolSpec>>;

    /// Runs a tool. A failure of any kind is an answer for the model, and it comes in bounded time.
    fn call<'a>(
        &'a self,
        name: &'a str,
        arguments: Map<String, Value>,
    ) -> BoxFuture<'a, ToolOutput>;
}

/// An answer as it comes.
pub type Deltas = BoxStream<'static, Result<Delta, RequestError>>;

/// Somebody who continues a conversation: the model, or a stand-in for it.
pub trait Chat: Send + Sync {
    /// Begins an answer. Whoever computes for long in it does so on a thread that may block.
    fn chat(&self, request: ChatRequest) -> BoxFuture<'static, Result<Deltas, RequestError>>;

    /// Those of some pictures that a conversation may hold: none for a model that does not see.
    fn visible(&self, images: Vec<Image>) -> BoxFuture<'static, Vec<Image>> {
        drop(images);
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// Whether a call may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not; the model is told why.
    Deny(String),
}

/// Somebody who has to agree to calls.
pub trait Approver: Send + Sync {
    /// Decides about one call; may ask a person and wait.
    fn approve<'a>(&'a self, tool: &'a ToolSpec, call: &'a ToolCall) -> BoxFuture<'a, Verdict>;
}

/// Nobody sits in front: what needs a person's consent is refused, all else runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unattended;

impl Approver for Unattended {
    fn approve<'a>(&'a self, tool: &'a ToolSpec, _: &'a ToolCall) -> BoxFuture<'a, Verdict> {
        let verdict = match tool.approval {
            Approval::Always => {
                let text =
                    "this tool needs the consent of a person, and nobody is there to give it";
                Verdict::Deny(text.to_owned())
            }
            Approval::Unsaid | Approval::Never => Verdict::Allow,
        };
        Box::pin(std::future::ready(verdict))
    }
}

/// Everything a conversation with tools needs.
#[derive(Clone)]
pub struct Agent {
    /// The model.
    pub chat: Arc<dyn Chat>,
    /// Who has the tools.
    pub host: Arc<dyn ToolHost>,
    /// Who has to agree.
    pub approver: Arc<dyn Approver>,
    /// Most times that tools run for one answer; then the model has to do without.
    pub max_rounds: usize,
}

impl Agent {
    /// Answers with the help of `tools`, which run here. Calls of the request's own tools end the answer, as
    /// always: the caller runs those. In an answer that calls both kinds, only the caller's count.
    ///
    /// # Errors
    /// [`RequestError`] when the conversation is refused; later ones come in the stream.
    pub async fn answer(
        &self,
        mut request: ChatRequest,
        tools: Vec<ToolSpec>,
    ) -> Result<Deltas, RequestError> {
        let own: BTreeSet<String> = request.tools.iter().filter_map(function_name).collect();
        let tools: BTreeMap<String, ToolSpec> = tools
            .into_iter()
            .filter(|tool| !own.contains(&tool.name))
            .map(|tool| (tool.name.clone(), tool))
            .collect();
        request.tools.extend(tools.values().map(ToolSpec::function));
        let first = self.chat.chat(request.clone()).await?;
        Ok(run::stream(self.clone(), request, tools, first))
    }
}

/// The name of a function in OpenAI's form.
fn function_name(tool: &Value) -> Option<String> {
    Some(tool.get("function")?.get("name")?.as_str()?.to_owned())
}

/// What a caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A conversation.
    Chat,
    /// A text to be continued.
    Completion,
    /// Token ids to be continued.
    TokenCompletion,
    /// A vector for a text.
    Embedding,
    /// The token that warms the model up.
    WarmUp,
}

/// Whether a request takes the way of the agent loop (row A1): only a conversation, and only if there is a tool
/// to run. Everything else goes straight to the engine.
pub fn takes_tool_loop(kind: RequestKind, web_search: bool, tools: bool) -> bool {
    kind == RequestKind::Chat && (web_search || tools)
}

#[cfg(test)]
mod tests;
