//! All configured servers together: one list of tools, and a call to whichever server has the tool.

use super::config::{McpConfig, Prefix};
use super::server::{McpServer, State};
use futures::future::{BoxFuture, join_all};
use mistralrs_core::agent::{ToolHost, ToolOutput, ToolSpec};
use rmcp::model::Tool;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest wait for servers that are just being reached when a list of tools is wanted.
const LIST_WAIT: Duration = Duration::from_secs(10);
/// The same for servers that have failed before.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// After this long the rest is left to its fate.
const STOP_WAIT: Duration = Duration::from_secs(8);
/// OpenAI's limit for a function's name.
const MAX_NAME: usize = 64;

/// The tools of all servers.
pub struct McpClient {
    servers: Vec<Arc<McpServer>>,
    auto_register_tools: bool,
    stop: CancellationToken,
}

/// A tool under the name that models know it by.
#[derive(Clone)]
pub struct Offer {
    /// Unique among all servers.
    pub name: String,
    /// Who has it.
    pub server: Arc<McpServer>,
    /// As its server describes it.
    pub tool: Tool,
}

impl McpClient {
    /// Gets ready to reach the servers; none is reached before it is needed. Only inside a runtime.
    pub fn start(config: McpConfig) -> Self {
        for warning in &config.warnings {
            tracing::warn!("MCP configuration: {warning}");
        }
        let stop = CancellationToken::new();
        let start = |spec| Arc::new(McpServer::start(spec, stop.clone()));
        Self {
            servers: config.servers.into_iter().map(start).collect(),
            auto_register_tools: config.auto_register_tools,
            stop,
        }
    }

    /// In the order of the configuration.
    pub fn servers(&self) -> &[Arc<McpServer>] {
        &self.servers
    }

    /// Whether chats that do not say otherwise are offered the tools.
    pub fn auto_register_tools(&self) -> bool {
        self.auto_register_tools
    }

    /// Begins to reach all servers, without waiting.
    pub fn wake(&self) {
        self.servers.iter().filter(|server| server.spec.enabled).for_each(|server| server.wake());
    }

    /// The tools of the servers that are ready within `limit`; those that have failed before get a moment only.
    pub async fn offers(&self, limit: Duration) -> Vec<Offer> {
        let states = self.servers.iter().map(|server| async move {
            if !server.spec.enabled {
                return None;
            }
            // One that has failed before must not hold everybody up again.
            let known_bad = server.state().error.is_some();
            let limit = if known_bad { limit.min(RETRY_WAIT) } else { limit };
            match server.ready(limit).await {
                Ok(state) => Some((Arc::clone(server), state)),
                Err(reason) => {
                    tracing::debug!("mcp server {}: left out: {reason}", server.spec.id);
                    None
                }
            }
        });
        offers(join_all(states).await.into_iter().flatten().collect())
    }

    /// The tools as last seen, whether their servers are there or not.
    pub fn known(&self) -> Vec<Offer> {
        offers(self.servers.iter().map(|server| (Arc::clone(server), server.state())).collect())
    }

    /// Closes all connections and ends all children.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let ended = join_all(self.servers.iter().map(|server| server.ended()));
        if tokio::time::timeout(STOP_WAIT, ended).await.is_err() {
            tracing::warn!("some MCP servers did not end in time");
        }
    }

    /// Runs a tool by the name it is offered under, or by its server's id and its own name.
    async fn run(&self, name: &str, arguments: Map<String, Value>) -> ToolOutput {
        let found = match find(self.known(), name) {
            Some(offer) => Some(offer),
            // Perhaps nobody has asked its server yet.
            None => find(self.offers(LIST_WAIT).await, name),
        };
        let Some(offer) = found else {
            return ToolOutput::error(format!("there is no tool `{name}`"));
        };
        match offer.server.call(&offer.tool.name, arguments).await {
            Ok(output) => output,
            Err(error) => ToolOutput::error(error.to_string()),
        }
    }
}

impl Drop for McpClient {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Offer {
    fn qualified(&self) -> String {
        function_name(Some(&self.server.spec.id), &self.tool.name)
    }

    /// The tool for a model.
    pub fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.name.clone(),
            description: self.tool.description.as_ref().map(|text| text.to_string()),
            parameters: Value::Object(self.tool.input_schema.as_ref().clone()),
            origin: self.server.spec.id.clone(),
            approval: self.server.spec.approval,
        }
    }
}

impl ToolHost for McpClient {
    fn list(&self) -> BoxFuture<'_, Vec<ToolSpec>> {
        Box::pin(async { self.offers(LIST_WAIT).await.iter().map(Offer::spec).collect() })
    }

    fn call<'a>(
        &'a self,
        name: &'a str,
        arguments: Map<String, Value>,
    ) -> BoxFuture<'a, ToolOutput> {
        Box::pin(self.run(name, arguments))
    }
}

/// The tool of this name, else the one whose server and own name make it up.
fn find(offers: Vec<Offer>, name: &str) -> Option<Offer> {
    let at = offers.iter().position(|offer| offer.name == name);
    let at = at.or_else(|| offers.iter().position(|offer| offer.qualified() == name))?;
    offers.into_iter().nth(at)
}

/// Names every tool: with its server's prefix, or its own name unless two servers share it.
fn offers(states: Vec<(Arc<McpServer>, State)>) -> Vec<Offer> {
    let mut found: Vec<Offer> = Vec::new();
    for (server, state) in states {
        let prefix = match &server.spec.prefix {
            Prefix::Fixed(prefix) => Some(prefix.as_str()),
            Prefix::WhereNeeded => None,
        };
        found.extend(state.tools.iter().map(|tool| Offer {
            name: function_name(prefix, &tool.name),
            server: Arc::clone(&server),
            tool: tool.clone(),
        }));
    }
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for offer in &found {
        *count.entry(offer.name.clone()).or_default() += 1;
    }
    for offer in &mut found {
        if count.get(&offer.name).is_some_and(|count| *count > 1) {
            offer.name = offer.qualified();
        }
    }
    // Whoever has the same name even then comes too late.
    let mut names = std::collections::BTreeSet::new();
    found.retain(|offer| names.insert(offer.name.clone()));
    found
}

/// A name that OpenAI's clients and chat templates take: letters, digits, `_`, `-`, at most 64 of them.
/// Of a longer one the end is kept, where tools differ.
fn function_name(prefix: Option<&str>, name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let full = match prefix {
        Some(prefix) => format!("{prefix}_{name}"),
        None => name,
    };
    let from = full.len().saturating_sub(MAX_NAME);
    full.get(from..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_clients_take() {
        assert_eq!(function_name(None, "read_file"), "read_file");
        assert_eq!(function_name(Some("fs"), "read.file/now"), "fs_read_file_now");
        let long = function_name(Some(&"p".repeat(100)), "end");
        assert!(long.len() == MAX_NAME && long.ends_with("_end"));
        assert_eq!(function_name(None, ""), "");
    }
}
