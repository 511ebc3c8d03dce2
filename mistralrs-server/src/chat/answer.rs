//! One answer on its own thread: the engine's stream becomes events of the front end.
//! The only file of the chat that talks to the engine.

use super::consent::Asker;
use super::dialog::News;
use super::session::Ask;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use mistralrs_core::{Delta, Llm, RequestError};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// An answer as it comes in. Dropping it ends the work.
pub type Answer = BoxStream<'static, Result<Delta, RequestError>>;

/// Something that answers: the model, or a stand-in for it.
pub trait Responder: Send + Sync {
    /// Starts an answer; may compute for a moment. `asker` reaches a person who can allow a tool to run.
    ///
    /// # Errors
    /// [`RequestError`] when the request is refused.
    fn respond(&self, ask: Ask, asker: Option<Asker>) -> Result<Answer, RequestError>;
}

impl Responder for Llm {
    fn respond(&self, ask: Ask, _: Option<Asker>) -> Result<Answer, RequestError> {
        let generation = match ask {
            Ask::Chat(request) => self.chat(*request)?,
            Ask::Complete(request) => self.complete(*request)?,
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

/// Says that the answer failed when the thread ends without another last word: it panicked.
struct LastWord<F: Fn(News)> {
    tell: F,
    said: bool,
}

impl<F: Fn(News)> LastWord<F> {
    fn say(mut self, news: News) {
        (self.tell)(news);
        self.said = true;
    }
}

impl<F: Fn(News)> Drop for LastWord<F> {
    fn drop(&mut self) {
        if !self.said {
            (self.tell)(News::Failed(RequestError::Internal { id: 0 }));
        }
    }
}

/// Starts an answer; `tell` hears everything about it, [`News::Closed`] or [`News::Failed`] last.
/// What is told after the [`Stopper`] is gone is to be ignored.
pub fn start(
    responder: Arc<dyn Responder>,
    ask: Ask,
    tell: impl Fn(News) + Send + 'static,
) -> std::io::Result<Stopper> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (stop, mut stopped) = oneshot::channel();
    let (asker, mut questions) = mpsc::unbounded_channel();
    let work = move || {
        let last = LastWord { tell, said: false };
        let mut answer = match responder.respond(ask, Some(asker)) {
            Ok(answer) => answer,
            Err(error) => return last.say(News::Failed(error)),
        };
        let ended = runtime.block_on(async {
            loop {
                tokio::select! {
                    biased;
                    _ = &mut stopped => return News::Closed,
                    Some(consent) = questions.recv() => (last.tell)(News::Consent(Box::new(consent))),
                    next = answer.next() => match next {
                        Some(Ok(delta)) => (last.tell)(News::Delta(delta)),
                        Some(Err(error)) => return News::Failed(error),
                        None => return News::Closed,
                    },
                }
            }
        });
        last.say(ended);
    };
    std::thread::Builder::new().name("answer".to_owned()).spawn(work)?;
    Ok(Stopper { _stop: stop })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    struct Panics;

    impl Responder for Panics {
        fn respond(&self, _: Ask, _: Option<Asker>) -> Result<Answer, RequestError> {
            panic!("on purpose");
        }
    }

    /// Never says anything; tells when it is dropped.
    struct Silent(std::sync::Mutex<Option<std::sync::mpsc::Sender<()>>>);

    impl Responder for Silent {
        fn respond(&self, _: Ask, _: Option<Asker>) -> Result<Answer, RequestError> {
            let sender = self.0.lock().unwrap().take().unwrap();
            Ok(futures::stream::once(async move {
                let _kept = sender;
                futures::future::pending::<Result<Delta, RequestError>>().await
            })
            .boxed())
        }
    }

    #[test]
    fn a_panic_is_a_failed_answer() {
        let (sender, receiver) = channel();
        let tell = move |news| sender.send(news).unwrap();
        let _stopper = start(Arc::new(Panics), Ask::Chat(Box::default()), tell).unwrap();
        assert!(matches!(receiver.recv().unwrap(), News::Failed(RequestError::Internal { .. })));
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn dropping_the_stopper_drops_the_answer_at_once() {
        let (alive, dropped) = channel::<()>();
        let responder = Arc::new(Silent(std::sync::Mutex::new(Some(alive))));
        let stopper = start(responder, Ask::Chat(Box::default()), |_| {}).unwrap();
        assert_eq!(dropped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
        drop(stopper);
        assert!(dropped.recv().is_err());
    }
}
