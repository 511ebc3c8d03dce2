//! One answer on its own thread: the engine's stream becomes events of the front end.
//! The only file of the chat that talks to the engine.

use super::dialog::News;
use super::session::Ask;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use mistralrs_core::{Delta, Llm, RequestError};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An answer as it comes in. Dropping it ends the work.
pub type Answer = BoxStream<'static, Result<Delta, RequestError>>;

/// Something that answers: the model, or a stand-in for it.
pub trait Responder: Send + Sync {
    /// Starts an answer; may compute for a moment.
    ///
    /// # Errors
    /// [`RequestError`] when the request is refused.
    fn respond(&self, ask: Ask) -> Result<Answer, RequestError>;
}

impl Responder for Llm {
    fn respond(&self, ask: Ask) -> Result<Answer, RequestError> {
        let generation = match ask {
            Ask::Chat(request) => self.chat(request)?,
            Ask::Complete(request) => self.complete(request)?,
        };
        Ok(futures::stream::unfold(generation, |mut generation| async move {
            generation.next().await.map(|delta| (delta, generation))
        })
        .boxed())
    }
}

/// Ends the answer at once when dropped, also in the middle of a long prompt.
pub struct Stopper {
    _stop: oneshot::Sender<()>,
}

/// Starts an answer; `tell` hears everything about it, [`News::Closed`] or [`News::Failed`] last.
/// After the [`Stopper`] is gone nothing more is told.
pub fn start(
    responder: Arc<dyn Responder>,
    ask: Ask,
    tell: impl Fn(News) + Send + 'static,
) -> std::io::Result<Stopper> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (stop, mut stopped) = oneshot::channel();
    let work = move || {
        let mut answer = match responder.respond(ask) {
            Ok(answer) => answer,
            Err(error) => return tell(News::Failed(error)),
        };
        runtime.block_on(async {
            loop {
                tokio::select! {
                    biased;
                    _ = &mut stopped => return,
                    next = answer.next() => match next {
                        Some(Ok(delta)) => tell(News::Delta(delta)),
                        Some(Err(error)) => return tell(News::Failed(error)),
                        None => return tell(News::Closed),
                    },
                }
            }
        });
    };
    std::thread::Builder::new().name("answer".to_owned()).spawn(work)?;
    Ok(Stopper { _stop: stop })
}
