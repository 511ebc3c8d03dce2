//! The model as the agent loop wants it: what computes happens on threads that may block.

use futures::StreamExt;
use futures::future::BoxFuture;
use mistralrs_core::agent::{Chat, Deltas};
use mistralrs_core::{ChatRequest, Llm, RequestError};

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
}
