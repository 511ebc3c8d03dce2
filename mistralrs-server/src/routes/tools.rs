//! Which chats get the help of tools that run here, and which tools.

use crate::agent::BlockingChat;
use crate::app::AppState;
use crate::mcp::config::ToolFilter;
use crate::model::LoadedModel;
use crate::openai::tool_runs::{McpChoice, McpSelection};
use mistralrs_core::agent::{Agent, RequestKind, ToolHost, ToolSpec, Unattended, takes_tool_loop};
use mistralrs_core::{ChatRequest, ToolChoice};
use std::sync::Arc;

/// Tools run this often for one answer unless the request says otherwise, and never more often than the second.
const DEFAULT_ROUNDS: usize = 8;
const MAX_ROUNDS: usize = 64;

/// The loop and its tools, for a chat that is to use it; `None` = straight to the engine.
pub(super) async fn helped(
    app: &AppState,
    model: &LoadedModel,
    request: &ChatRequest,
    choice: Option<McpChoice>,
) -> Option<(Agent, Vec<ToolSpec>)> {
    let mcp = app.mcp()?;
    let wanted = match &choice {
        None => mcp.auto_register_tools(),
        Some(McpChoice::Switch(wanted)) => *wanted,
        Some(McpChoice::Some(_)) => true,
    };
    if !wanted || request.tool_choice == ToolChoice::None {
        return None;
    }
    let selection = match choice {
        Some(McpChoice::Some(selection)) => selection,
        _ => McpSelection::default(),
    };
    let mut offered = mcp.list().await;
    let filter = ToolFilter { allow: selection.allowed_tools, deny: selection.denied_tools };
    offered.retain(|tool| {
        filter.allows(&tool.name)
            && selection.servers.as_ref().is_none_or(|ids| ids.contains(&tool.origin))
    });
    if !takes_tool_loop(RequestKind::Chat, false, !offered.is_empty()) {
        return None;
    }
    let agent = Agent {
        chat: Arc::new(BlockingChat(model.llm.clone())),
        host: Arc::clone(mcp) as Arc<dyn ToolHost>,
        approver: Arc::new(Unattended),
        max_rounds: selection.max_rounds.unwrap_or(DEFAULT_ROUNDS).clamp(1, MAX_ROUNDS),
    };
    Some((agent, offered))
}
