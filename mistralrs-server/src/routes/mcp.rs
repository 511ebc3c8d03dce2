//! `GET /v1/mcp/servers`: the configured MCP servers, how they are and what they offer.

use crate::app::AppState;
use crate::mcp::client::Offer;
use crate::mcp::server::{McpServer, Phase};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// All servers.
#[derive(Debug, Serialize, ToSchema)]
pub struct McpServerList {
    /// `list`
    object: &'static str,
    /// In the order of the configuration; empty without one.
    data: Vec<McpServerBody>,
    /// Whether chats that do not say otherwise are offered the tools.
    auto_register_tools: bool,
}

/// One server.
#[derive(Debug, Serialize, ToSchema)]
pub struct McpServerBody {
    /// Its id in the configuration.
    id: String,
    /// Its name in the configuration.
    name: String,
    /// `stdio`, `http`, `sse` or `websocket`.
    transport: &'static str,
    /// `disabled`, `idle`, `connecting`, `ready` or `failed`.
    state: &'static str,
    /// What it calls itself, with its version.
    implementation: Option<String>,
    /// Its tools; those last seen while it is gone.
    tools: Vec<McpToolBody>,
    /// Why it failed last; `null` while it is ready.
    last_error: Option<String>,
}

/// One tool.
#[derive(Debug, Serialize, ToSchema)]
pub struct McpToolBody {
    /// What the model calls it.
    name: String,
    /// What it does.
    description: Option<String>,
    /// JSON schema of its arguments.
    #[schema(value_type = Object)]
    parameters: Value,
}

/// The configured MCP servers: state, tools, last error.
#[utoipa::path(get, path = "/v1/mcp/servers", tag = "tools", responses((status = 200, body = McpServerList)))]
pub async fn servers(State(app): State<Arc<AppState>>) -> Json<McpServerList> {
    let mcp = app.mcp();
    let offers = mcp.map(|mcp| mcp.known()).unwrap_or_default();
    let servers = mcp.map(|mcp| mcp.servers()).unwrap_or_default();
    Json(McpServerList {
        object: "list",
        data: servers.iter().map(|server| body(server, &offers)).collect(),
        auto_register_tools: mcp.is_some_and(|mcp| mcp.auto_register_tools()),
    })
}

fn body(server: &Arc<McpServer>, offers: &[Offer]) -> McpServerBody {
    let state = server.state();
    let own = offers.iter().filter(|offer| Arc::ptr_eq(&offer.server, server));
    let tool = |offer: &Offer| {
        let spec = offer.spec();
        McpToolBody { name: spec.name, description: spec.description, parameters: spec.parameters }
    };
    McpServerBody {
        id: server.spec.id.clone(),
        name: server.spec.name.clone(),
        transport: server.transport(),
        state: state.phase.as_str(),
        implementation: state.implementation,
        tools: own.map(tool).collect(),
        last_error: state.error.filter(|_| state.phase != Phase::Ready).map(|it| it.to_string()),
    }
}
