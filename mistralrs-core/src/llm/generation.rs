//! An answer in the making: the engine's token events become text that can no longer change.

use super::LlmParts;
use crate::engine::{FailureKind, PositionLogprobs, Timings, TokenEvent};
use crate::error::RequestError;
use crate::output::{Fragment, OutputParser};
use crate::request::{Candidate, Delta, FinishReason, TokenLogprobs, Usage};
use crate::text::{Detokenizer, Piece, TextPipeline};
use futures::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// What is known of an answer before its first token.
pub(super) struct AnswerPlan {
    pub prompt: Vec<u32>,
    pub truncated_tokens: usize,
    pub stop: Vec<String>,
    pub timeout: Option<Duration>,
    pub reading: Option<Reading>,
}

/// How the text is taken apart.
pub(super) struct Reading {
    pub parser: OutputParser,
    /// The answer ends with its first call.
    pub single_call: bool,
}

/// An answer in the making. Dropping it cancels the work.
pub struct Generation {
    events: UnboundedReceiver<TokenEvent>,
    /// Keeps the engine alive until the answer is complete, whoever else lets go of it.
    parts: Arc<LlmParts>,
    detokenizer: Detokenizer,
    plan: AnswerPlan,
    /// Tokens whose text has not been sent yet.
    pending: Pending,
    ready: VecDeque<Result<Delta, RequestError>>,
    done: bool,
    usage: Usage,
    submitted: Instant,
    first_token: Option<Instant>,
}

#[derive(Default)]
struct Pending {
    token_ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
}

impl Generation {
    pub(super) fn new(
        events: UnboundedReceiver<TokenEvent>,
        parts: Arc<LlmParts>,
        plan: AnswerPlan,
    ) -> Self {
        let detokenizer = parts.text.detokenizer(&plan.prompt, &plan.stop);
        let detokenizer = match plan.reading {
            Some(_) => detokenizer.showing(parts.dialect.shown()),
            None => detokenizer,
        };
        Self {
            events,
            detokenizer,
            parts,
            usage: Usage { prompt_tokens: plan.prompt.len(), ..Usage::default() },
            plan,
            pending: Pending::default(),
            ready: VecDeque::new(),
            done: false,
            submitted: Instant::now(),
            first_token: None,
        }
    }

    /// The next piece; `None` after [`Delta::Finished`] or an error.
    pub async fn next(&mut self) -> Option<Result<Delta, RequestError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Like [`Generation::next`], for threads without a runtime.
    pub fn blocking_next(&mut self) -> Option<Result<Delta, RequestError>> {
        loop {
            if let Some(delta) = self.take_ready() {
                return delta;
            }
            let event = self.events.blocking_recv();
            self.receive(event);
        }
    }

    /// The ids of the prompt as it is computed: after truncation, with special tokens.
    pub fn prompt_token_ids(&self) -> &[u32] {
        &self.plan.prompt
    }

    /// What is ready; `Some(None)` at the end; `None` if an event is needed first.
    fn take_ready(&mut self) -> Option<Option<Result<Delta, RequestError>>> {
        match self.ready.pop_front() {
            Some(delta) => Some(Some(delta)),
            None if self.done => Some(None),
            None => None,
        }
    }

    fn receive(&mut self, event: Option<TokenEvent>) {
        match event {
            Some(TokenEvent::Prompt { cached_tokens, logprobs }) => {
                self.usage.cached_tokens = cached_tokens;
                let name =
                    |p: Option<PositionLogprobs>| p.map(|p| name_logprobs(&self.parts.text, p));
                self.ready.push_back(Ok(Delta::Prompt {
                    prompt_tokens: self.plan.prompt.len(),
                    cached_tokens,
                    truncated_tokens: self.plan.truncated_tokens,
                    logprobs: logprobs.into_iter().map(name).collect(),
                }));
            }
            Some(TokenEvent::Token { token_id, logprobs }) => self.push_token(token_id, logprobs),
            Some(TokenEvent::Finished { reason, generated_tokens, timings }) => {
                let Piece { text, stop } = self.detokenizer.finish();
                self.flush(&text);
                let (reason, stop) = match stop.and_then(|index| self.plan.stop.get(index).cloned())
                {
                    Some(stop) => (FinishReason::Stop, Some(stop)),
                    None => (reason, None),
                };
                self.finish(reason, stop, generated_tokens, timings);
            }
            Some(TokenEvent::Failed(kind)) => self.fail(kind),
            None => self.fail(FailureKind::Shutdown),
        }
    }

    fn push_token(&mut self, token_id: u32, logprobs: Option<PositionLogprobs>) {
        self.first_token.get_or_insert_with(Instant::now);
        self.usage.completion_tokens += 1;
        self.pending.token_ids.push(token_id);
        self.pending.logprobs.extend(logprobs.map(|p| name_logprobs(&self.parts.text, p)));
        let piece = self.detokenizer.push(token_id);
        if piece.stop.is_some() || !piece.text.is_empty() {
            self.flush(&piece.text);
        }
        if let Some(index) = piece.stop {
            let stop = self.plan.stop.get(index).cloned();
            self.end_early(stop);
        } else if self.plan.reading.as_ref().is_some_and(Reading::is_enough) {
            self.end_early(None);
        }
    }

    /// Ends before the engine does.
    fn end_early(&mut self, stop: Option<String>) {
        // The engine sees the closed channel at its next commit.
        self.events.close();
        // It has not said its last word, so the times are those of the reader.
        let first = self.first_token.unwrap_or(self.submitted);
        let timings = Timings {
            first_token: first - self.submitted,
            decode: first.elapsed(),
            ..Timings::default()
        };
        self.finish(FinishReason::Stop, stop, self.usage.completion_tokens, timings);
    }

    /// Sends text, or what it settles; tokens wait until something is sent.
    fn flush(&mut self, text: &str) {
        let Some(reading) = &mut self.plan.reading else {
            let Pending { token_ids, logprobs } = std::mem::take(&mut self.pending);
            if !text.is_empty() || !token_ids.is_empty() {
                self.ready.push_back(Ok(Delta::Text {
                    text: text.to_owned(),
                    token_ids,
                    logprobs,
                }));
            }
            return;
        };
        let fragments = reading.parser.push(text);
        self.send(fragments);
    }

    fn send(&mut self, fragments: Vec<Fragment>) {
        for fragment in fragments {
            let Pending { token_ids, logprobs } = std::mem::take(&mut self.pending);
            self.ready.push_back(Ok(match fragment {
                Fragment::Content(text) => Delta::Text { text, token_ids, logprobs },
                Fragment::Reasoning(text) => {
                    self.usage.reasoning_tokens += token_ids.len();
                    Delta::Reasoning { text, token_ids, logprobs }
                }
                Fragment::ToolCall { index, delta } => {
                    Delta::ToolCall { index, delta, token_ids, logprobs }
                }
            }));
        }
    }

    /// The end of the text: sends what was held back, and the tokens that gave no text.
    fn flush_all(&mut self) {
        let fragments = match &mut self.plan.reading {
            Some(reading) => reading.parser.finish(),
            None => Vec::new(),
        };
        self.send(fragments);
        let Pending { token_ids, logprobs } = std::mem::take(&mut self.pending);
        if !token_ids.is_empty() {
            let text = String::new();
            self.ready.push_back(Ok(Delta::Text { text, token_ids, logprobs }));
        }
    }

    fn finish(
        &mut self,
        reason: FinishReason,
        stop_string: Option<String>,
        tokens: usize,
        timings: Timings,
    ) {
        self.flush_all();
        let called = self.plan.reading.as_ref().is_some_and(|r| r.parser.has_calls());
        let reason = match reason {
            FinishReason::Stop if called => FinishReason::ToolCalls,
            reason => reason,
        };
        self.usage.completion_tokens = tokens;
        self.usage.queue_time = timings.queue;
        self.usage.time_to_first_token = timings.first_token;
        self.usage.decode_time = timings.decode;
        self.ready.push_back(Ok(Delta::Finished {
            reason,
            stop_string,
            usage: self.usage.clone(),
        }));
        self.done = true;
    }

    fn fail(&mut self, kind: FailureKind) {
        let timeout_ms = self.plan.timeout.map_or(0, |t| t.as_millis() as u64);
        self.ready.push_back(Err(match kind {
            FailureKind::Timeout => RequestError::Timeout { timeout_ms },
            FailureKind::Shutdown => RequestError::Shutdown,
            FailureKind::Form => RequestError::invalid(
                "response_format",
                "the form demanded of the answer became too complex to follow; simplify it",
            ),
            FailureKind::Internal(id) => RequestError::Internal { id },
        }));
        self.done = true;
    }
}

impl Reading {
    fn is_enough(&self) -> bool {
        self.single_call && self.parser.has_calls()
    }
}

impl Stream for Generation {
    type Item = Result<Delta, RequestError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(delta) = self.take_ready() {
                return Poll::Ready(delta);
            }
            match self.events.poll_recv(context) {
                Poll::Ready(event) => self.receive(event),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Ids become text: bytes, since a token may be part of a character.
fn name_logprobs(text: &TextPipeline, position: PositionLogprobs) -> TokenLogprobs {
    let candidate = |(token_id, logprob): (u32, f32)| Candidate {
        token_id,
        bytes: text.tokenizer().token_bytes(token_id),
        logprob,
    };
    TokenLogprobs {
        chosen: candidate(position.chosen),
        top: position.top.into_iter().map(candidate).collect(),
    }
}
