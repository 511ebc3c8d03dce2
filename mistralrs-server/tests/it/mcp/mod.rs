//! MCP: the client against servers that misbehave, over every transport; the check; the model as a server.

mod check;
pub mod fake;
mod real;
mod remote;
mod served;
mod stdio;

use mistralrs_core::agent::{ToolHost, ToolOutput};
use mistralrs_server::mcp::{McpClient, McpConfig};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A client of these servers.
fn client(servers: Value) -> McpClient {
    client_of(json!({ "mcpServers": servers }))
}

fn client_of(file: Value) -> McpClient {
    McpClient::start(McpConfig::parse(&file.to_string(), &|_| None).unwrap())
}

/// `entry` with further keys.
fn with(mut entry: Value, keys: Value) -> Value {
    entry.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    entry
}

async fn names(client: &McpClient) -> Vec<String> {
    client.list().await.into_iter().map(|tool| tool.name).collect()
}

async fn call(client: &McpClient, tool: &str, text: &str) -> ToolOutput {
    let mut arguments = Map::new();
    arguments.insert("text".to_owned(), text.into());
    let called = client.call(tool, arguments);
    let ended = tokio::time::timeout(Duration::from_secs(60), called).await;
    ended.unwrap_or_else(|_| panic!("the call of {tool} hangs"))
}

/// A success's text.
async fn text(client: &McpClient, tool: &str, given: &str) -> String {
    let output = call(client, tool, given).await;
    assert!(!output.is_error, "{output:?}");
    output.text
}

/// A failure's text.
async fn failure(client: &McpClient, tool: &str, given: &str) -> String {
    let output = call(client, tool, given).await;
    assert!(output.is_error, "{output:?}");
    output.text
}
