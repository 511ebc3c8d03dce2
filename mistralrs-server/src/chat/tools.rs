//! The model with the tools of MCP servers, as something that answers; and what `/mcp` tells about them.

use super::answer::{Answer, Responder};
use super::consent::{Asker, Person};
use super::session::Ask;
use crate::agent::BlockingChat;
use crate::mcp::McpClient;
use crate::mcp::server::Phase;
use futures::{StreamExt as _, TryStreamExt as _};
use mistralrs_core::agent::{Agent, Approver, Chat, ToolHost, Unattended};
use mistralrs_core::{Llm, RequestError};
use std::sync::Arc;

/// Tools run this often for one answer.
const MAX_ROUNDS: usize = 16;

/// A model and its tools.
pub struct WithTools {
    /// The model.
    pub llm: Llm,
    /// The tools.
    pub client: Arc<McpClient>,
}

impl Responder for WithTools {
    fn respond(&self, ask: Ask, asker: Option<Asker>) -> Result<Answer, RequestError> {
        let request = match ask {
            Ask::Chat(request) => *request,
            complete @ Ask::Complete(_) => return self.llm.respond(complete, asker),
        };
        let chat: Arc<dyn Chat> = Arc::new(BlockingChat(self.llm.clone()));
        let host = Arc::clone(&self.client);
        let approver: Arc<dyn Approver> = match asker {
            Some(asker) => Arc::new(Person(asker)),
            None => Arc::new(Unattended),
        };
        let begin = async move {
            let offered = host.list().await;
            if offered.is_empty() {
                return chat.chat(request).await;
            }
            let agent = Agent { chat, host, approver, max_rounds: MAX_ROUNDS };
            agent.answer(request, offered).await
        };
        Ok(futures::stream::once(begin).try_flatten().boxed())
    }
}

/// Every server, how it is, and the names of its tools.
pub fn report(client: &McpClient) -> String {
    let offers = client.known();
    let mut text = String::from("MCP servers:");
    for server in client.servers() {
        let state = server.state();
        let own: Vec<_> = offers
            .iter()
            .filter(|offer| Arc::ptr_eq(&offer.server, server))
            .map(|offer| offer.name.as_str())
            .collect();
        let more = match (&state.error, state.phase) {
            (Some(error), Phase::Failed) => error.to_string(),
            _ => own.join(", "),
        };
        let (id, kind) = (&server.spec.id, server.transport());
        text += &format!("\n  {id} ({kind}): {}", state.phase.as_str());
        if !more.is_empty() {
            text += &format!(": {more}");
        }
    }
    text
}
