//! Which chats get the help of tools that run here, and which tools.

use crate::agent::{BlockingChat, Hosts};
use crate::app::AppState;
use crate::error::ApiError;
use crate::mcp::config::ToolFilter;
use crate::model::LoadedModel;
use crate::openai::chat::Chat;
use crate::openai::tool_runs::{McpChoice, McpSelection};
use mistralrs_core::ToolChoice;
use mistralrs_core::agent::{Agent, RequestKind, ToolHost, ToolSpec, Unattended, takes_tool_loop};
use std::sync::Arc;

/// Tools run this often for one answer unless the request says otherwise, and never more often than the second.
const DEFAULT_ROUNDS: usize = 8;
const MAX_ROUNDS: usize = 64;

/// The loop and its tools, for a chat that is to use it; `None` = straight to the engine.
///
/// # Errors
/// When it wants to search and this server does not.
pub(super) async fn helped(
    app: &AppState,
    model: &LoadedModel,
    chat: &Chat,
) -> Result<Option<(Agent, Vec<ToolSpec>)>, ApiError> {
    let mut hosts = Hosts::default();
    let searches = chat.search.is_some();
    if let Some(options) = &chat.search {
        let Some(service) = app.search() else {
            let message = "this server does not search the web: start it with --enable-search";
            return Err(ApiError::unsupported("web_search_options", message));
        };
        let tools = Arc::new(service.tools(model.llm.clone(), options.clone()));
        let offered = tools.list().await;
        hosts.add(tools, offered);
    }
    if chat.request.tool_choice == ToolChoice::None {
        return Ok(None);
    }
    let selection = match &chat.mcp {
        Some(McpChoice::Some(selection)) => selection.clone(),
        _ => McpSelection::default(),
    };
    let max_rounds = selection.max_rounds.unwrap_or(DEFAULT_ROUNDS).clamp(1, MAX_ROUNDS);
    if let Some(mcp) = app.mcp().filter(|mcp| match &chat.mcp {
        None => mcp.auto_register_tools(),
        Some(McpChoice::Switch(wanted)) => *wanted,
        Some(McpChoice::Some(_)) => true,
    }) {
        let mut offered = mcp.list().await;
        let filter = ToolFilter { allow: selection.allowed_tools, deny: selection.denied_tools };
        offered.retain(|tool| {
            filter.allows(&tool.name)
                && selection.servers.as_ref().is_none_or(|ids| ids.contains(&tool.origin))
        });
        hosts.add(Arc::clone(mcp) as Arc<dyn ToolHost>, offered);
    }
    let offered = hosts.specs();
    if !takes_tool_loop(RequestKind::Chat, searches, !offered.is_empty()) {
        return Ok(None);
    }
    let agent = Agent {
        chat: Arc::new(BlockingChat(model.llm.clone())),
        host: Arc::new(hosts),
        approver: Arc::new(Unattended),
        max_rounds,
    };
    Ok(Some((agent, offered)))
}
