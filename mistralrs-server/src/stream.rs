//! Deltas of one or several answers → server-sent events, or one whole answer: one path, two endings.
//!
//! Generic over the stream of deltas; knows neither the engine nor a wire format (see [`Dialect`]).
//! Dropping a [`Choices`] drops the generations in it, which cancels them.

use crate::error::ApiError;
use crate::metrics::{Meter, Outcome};
use crate::openai::response::{self, UsageBody};
use crate::openai::tool_runs::ToolRunBody;
use futures::stream::{BoxStream, SelectAll, Stream, StreamExt, select_all, unfold};
use mistralrs_core::agent::ToolProgress;
use mistralrs_core::request::TokenLogprobs;
use mistralrs_core::{Delta, FinishReason, RequestError, ToolCall, ToolCallDelta, Usage};
use std::collections::VecDeque;

/// One piece, and the answer it belongs to.
type Event = (usize, Result<Delta, RequestError>);

/// The deltas of all answers of a request, as they come.
pub struct Choices {
    events: SelectAll<BoxStream<'static, Event>>,
    /// Read ahead by [`Choices::read_prompts`].
    ahead: VecDeque<Result<(usize, Delta), ApiError>>,
    /// Answers that are not finished.
    open: usize,
    total: usize,
    /// Answers to each prompt.
    per_prompt: usize,
    meter: Meter,
}

/// What is told about a request beside its answer.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// Found in the request itself.
    pub warnings: Vec<String>,
    /// Most tokens asked for.
    pub max_tokens: Option<usize>,
    /// The model's context in tokens.
    pub context_tokens: usize,
    /// A warning is an error.
    pub strict: bool,
}

impl Choices {
    /// Answers in order of their index: all of the first prompt, then all of the second.
    pub fn new<S>(answers: Vec<S>, per_prompt: usize, meter: Meter) -> Self
    where
        S: Stream<Item = Result<Delta, RequestError>> + Send + 'static,
    {
        let total = answers.len();
        let tagged = answers
            .into_iter()
            .enumerate()
            .map(|(i, deltas)| deltas.map(move |delta| (i, delta)).boxed());
        Self {
            events: select_all(tagged),
            ahead: VecDeque::new(),
            open: total,
            total,
            per_prompt,
            meter,
        }
    }

    fn first_of_prompt(&self, choice: usize) -> bool {
        choice.checked_rem(self.per_prompt).unwrap_or(0) == 0
    }

    /// The next piece; `None` when all answers are finished. After an error there is nothing more.
    async fn next(&mut self) -> Option<Result<(usize, Delta), ApiError>> {
        if let Some(event) = self.ahead.pop_front() {
            return Some(event);
        }
        if self.open == 0 {
            return None;
        }
        let error = match self.events.next().await {
            Some((choice, Ok(delta))) => {
                self.meter.observe(choice, &delta);
                if matches!(delta, Delta::Finished { .. }) {
                    self.open -= 1;
                }
                return Some(Ok((choice, delta)));
            }
            Some((_, Err(error))) => ApiError::from(error),
            // The engine is gone without a word.
            None => ApiError::internal(),
        };
        self.stop();
        Some(Err(error))
    }

    /// Cancels what is still running.
    fn stop(&mut self) {
        self.meter.end(Outcome::Failed);
        self.events.clear();
        self.open = 0;
    }

    /// Waits until every prompt is computed, so that what is found out there can still be a status.
    ///
    /// # Errors
    /// Whatever came instead.
    pub async fn read_prompts(&mut self, notes: &mut Notes) -> Result<(), ApiError> {
        let mut ahead = VecDeque::new();
        let mut missing = self.total;
        while missing > 0 {
            match self.next().await {
                None => break,
                Some(Err(error)) => return Err(error),
                Some(Ok((choice, delta))) => {
                    if let Delta::Prompt { prompt_tokens, truncated_tokens, .. } = &delta {
                        missing -= 1;
                        notes.at_prompt(*prompt_tokens, *truncated_tokens)?;
                    }
                    ahead.push_back(Ok((choice, delta)));
                }
            }
        }
        self.ahead = ahead;
        Ok(())
    }
}

impl Drop for Choices {
    fn drop(&mut self) {
        if self.open == 0 {
            self.meter.end(Outcome::Answered);
        }
    }
}

impl Notes {
    /// What the length of a prompt gives reason to say.
    fn at_prompt(
        &self,
        prompt_tokens: usize,
        truncated_tokens: usize,
    ) -> Result<Vec<String>, ApiError> {
        let mut warnings = Vec::new();
        if truncated_tokens > 0 {
            warnings.push(format!(
                "the first {truncated_tokens} tokens of the prompt were cut (`truncate_sequence`)"
            ));
        }
        let room = self.context_tokens.saturating_sub(prompt_tokens);
        if let Some(asked) = self.max_tokens.filter(|&asked| asked > room) {
            warnings.push(format!(
                "`max_tokens` was clamped from {asked} to {room}: the prompt has {prompt_tokens} of the context's {} tokens",
                self.context_tokens
            ));
        }
        if self.strict && !warnings.is_empty() {
            Err(ApiError::strict(&warnings))
        } else {
            Ok(warnings)
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// In order of their index.
    pub choices: Vec<ChoiceAnswer>,
}

/// One of the answers to a prompt.
#[derive(Debug, Clone)]
pub struct ChoiceAnswer {
    /// Whether its prompt's tokens are to be counted.
    pub first_of_prompt: bool,
    /// If asked for: one per token of the prompt.
    pub prompt_logprobs: Vec<Option<TokenLogprobs>>,
    /// The text.
    pub text: String,
    /// What the model thought before it spoke.
    pub reasoning: String,
    /// The calls it made; the last one may be cut off if the answer is.
    pub calls: Vec<ToolCall>,
    /// Tools that ran here.
    pub tool_runs: Vec<ToolRunBody>,
    /// If asked for: one per token of the answer.
    pub tokens: Vec<TokenLogprobs>,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

impl ChoiceAnswer {
    fn empty(first_of_prompt: bool) -> Self {
        Self {
            first_of_prompt,
            prompt_logprobs: Vec::new(),
            text: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            tool_runs: Vec::new(),
            tokens: Vec::new(),
            reason: FinishReason::Stop,
            usage: Usage::default(),
        }
    }

    /// Takes a piece of a call. A call that turns out to be none is forgotten: its text is content.
    fn call(&mut self, delta: ToolCallDelta) {
        match delta {
            ToolCallDelta::Start { id, name } => {
                self.calls.push(ToolCall { id, name, arguments: String::new() });
            }
            ToolCallDelta::Arguments(text) => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(&text);
                }
            }
            ToolCallDelta::End => {}
            ToolCallDelta::Abort => drop(self.calls.pop()),
        }
    }
}

/// The first ending: waits for everything. Returns the answer and all warnings.
///
/// # Errors
/// The first error of any answer; the others are cancelled.
pub async fn collect(
    mut choices: Choices,
    mut notes: Notes,
) -> Result<(Answer, Vec<String>), ApiError> {
    let mut answers: Vec<_> =
        (0..choices.total).map(|i| ChoiceAnswer::empty(choices.first_of_prompt(i))).collect();
    while let Some(event) = choices.next().await {
        let (choice, delta) = event?;
        let Some(answer) = answers.get_mut(choice) else {
            return Err(ApiError::internal());
        };
        match delta {
            Delta::Prompt { prompt_tokens, truncated_tokens, logprobs, .. } => {
                if answer.first_of_prompt {
                    let found = notes.at_prompt(prompt_tokens, truncated_tokens)?;
                    notes.warnings.extend(found);
                }
                answer.prompt_logprobs = logprobs;
            }
            Delta::Text { text, logprobs, .. } => {
                answer.text.push_str(&text);
                answer.tokens.extend(logprobs);
            }
            Delta::Reasoning { text, logprobs, .. } => {
                answer.reasoning.push_str(&text);
                answer.tokens.extend(logprobs);
            }
            Delta::ToolCall { delta, logprobs, .. } => {
                answer.call(delta);
                answer.tokens.extend(logprobs);
            }
            Delta::ToolProgress(ToolProgress::Started(_)) => {}
            Delta::ToolProgress(progress) => answer.tool_runs.push(progress.into()),
            Delta::Finished { reason, usage, .. } => {
                answer.reason = reason;
                answer.usage = usage;
            }
        }
    }
    Ok((Answer { choices: answers }, notes.warnings))
}

/// The beginning of one answer in a stream.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Its index.
    pub choice: usize,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Of these, how many came from the prefix cache.
    pub cached_tokens: usize,
    /// If asked for: one per token of the prompt.
    pub prompt_logprobs: &'a [Option<TokenLogprobs>],
    /// What is told beside the answer.
    pub warnings: Vec<String>,
}

/// What an answer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Content.
    Text(String),
    /// What the model thinks before it speaks.
    Reasoning(String),
    /// Something about the call of this place.
    Call(usize, ToolCallDelta),
    /// A tool runs here.
    Run(ToolRunBody),
}

/// Why one answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The kind of reason.
    pub reason: FinishReason,
    /// The stop string that ended the text, if one did.
    pub stop_string: Option<String>,
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its name, in formats that give events one.
    pub event: Option<&'static str>,
    /// JSON, or the word that ends a stream.
    pub data: String,
}

/// How a wire format writes a stream. Every method returns the events to send, often one, at times none.
pub trait Dialect: Send {
    /// An answer begins.
    fn open(&mut self, opening: Opening<'_>) -> Vec<Frame>;
    /// Something to append. A text is never empty unless there are log-probabilities.
    fn piece(&mut self, choice: usize, piece: Piece, tokens: &[TokenLogprobs]) -> Vec<Frame>;
    /// An answer ends.
    fn finish(&mut self, choice: usize, finish: Finish) -> Vec<Frame>;
    /// All answers have ended, or something went wrong: the last word.
    fn end(&mut self, ending: Result<UsageBody, &ApiError>) -> Vec<Frame>;
}

struct Sender<D> {
    choices: Choices,
    dialect: D,
    notes: Notes,
    finished: Vec<ChoiceAnswer>,
    frames: VecDeque<Frame>,
    failure: Option<ApiError>,
    ended: bool,
}

/// The second ending: server-sent events, the last word included. An error is told in that.
pub fn events<D: Dialect>(choices: Choices, dialect: D, notes: Notes) -> impl Stream<Item = Frame> {
    unfold(Sender::new(choices, dialect, notes), |mut sender| async move {
        loop {
            if let Some(frame) = sender.frames.pop_front() {
                return Some((frame, sender));
            }
            if sender.ended {
                return None;
            }
            sender.advance().await;
        }
    })
}

/// The first ending for formats whose dialect puts the answer together: waits for everything and gives the
/// dialect back.
///
/// # Errors
/// The first error of any answer; the others are cancelled.
pub async fn assemble<D: Dialect>(
    choices: Choices,
    dialect: D,
    notes: Notes,
) -> Result<D, ApiError> {
    let mut sender = Sender::new(choices, dialect, notes);
    while !sender.ended {
        sender.advance().await;
        sender.frames.clear();
    }
    match sender.failure.take() {
        None => Ok(sender.dialect),
        Some(error) => Err(error),
    }
}

impl<D: Dialect> Sender<D> {
    fn new(choices: Choices, dialect: D, notes: Notes) -> Self {
        let (finished, frames) = (Vec::new(), VecDeque::new());
        Self { choices, dialect, notes, finished, frames, failure: None, ended: false }
    }

    async fn advance(&mut self) {
        let frames = match self.choices.next().await {
            Some(Ok((choice, delta))) => self.delta(choice, delta),
            Some(Err(error)) => return self.fail(&error),
            None => {
                self.ended = true;
                self.dialect.end(Ok(response::usage(&self.finished)))
            }
        };
        self.frames.extend(frames);
    }

    fn delta(&mut self, choice: usize, delta: Delta) -> Vec<Frame> {
        match delta {
            Delta::Prompt { prompt_tokens, cached_tokens, truncated_tokens, logprobs } => {
                let mut warnings = std::mem::take(&mut self.notes.warnings);
                if self.choices.first_of_prompt(choice) {
                    match self.notes.at_prompt(prompt_tokens, truncated_tokens) {
                        Ok(found) => warnings.extend(found),
                        Err(error) => {
                            self.fail(&error);
                            return Vec::new();
                        }
                    }
                }
                let prompt_logprobs = &logprobs;
                let opening =
                    Opening { choice, prompt_tokens, cached_tokens, prompt_logprobs, warnings };
                self.dialect.open(opening)
            }
            Delta::Text { text, logprobs, .. } if text.is_empty() && logprobs.is_empty() => {
                Vec::new()
            }
            Delta::Text { text, logprobs, .. } => {
                self.dialect.piece(choice, Piece::Text(text), &logprobs)
            }
            Delta::Reasoning { text, logprobs, .. } => {
                self.dialect.piece(choice, Piece::Reasoning(text), &logprobs)
            }
            Delta::ToolCall { index, delta, logprobs, .. } => {
                self.dialect.piece(choice, Piece::Call(index, delta), &logprobs)
            }
            Delta::ToolProgress(progress) => {
                self.dialect.piece(choice, Piece::Run(progress.into()), &[])
            }
            Delta::Finished { reason, stop_string, usage } => {
                let empty = ChoiceAnswer::empty(self.choices.first_of_prompt(choice));
                self.finished.push(ChoiceAnswer { reason, usage, ..empty });
                self.dialect.finish(choice, Finish { reason, stop_string })
            }
        }
    }

    fn fail(&mut self, error: &ApiError) {
        self.choices.stop();
        self.ended = true;
        self.failure = Some(error.clone());
        self.frames.extend(self.dialect.end(Err(error)));
    }
}

#[cfg(test)]
mod tests;
