//! `/v1/completions`: the request, the answer and its chunks.

use super::Limits;
use super::generate::{Generate, GenerateBody, MAX_TOP_LOGPROBS, check_token};
use super::response::{self, Head, UsageBody, finite, token_text};
use super::values::Count;
use crate::error::ApiError;
use crate::stream::{Answer, ChoiceAnswer, Dialect, Finish, Frame, Opening, Piece};
use mistralrs_core::Prompt;
use mistralrs_core::request::TokenLogprobs;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use utoipa::ToSchema;

/// What a completion request has beyond [`GenerateBody`].
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct CompletionBody {
    /// A string, a list of strings, a list of token ids, or a list of such lists.
    pub prompt: Prompts,
    /// Put the prompt before the answer.
    pub echo: Option<bool>,
    /// Give the log-probability of every token and of this many best ones, 0 to 20.
    pub logprobs: Option<Count>,
    /// Not supported: has to be absent or equal to `n`.
    pub best_of: Option<Count>,
    /// Not supported: has to be absent or empty.
    pub suffix: Option<String>,
}

/// The whole request.
#[derive(ToSchema)]
pub struct CompletionRequest {
    #[schema(inline)]
    #[serde(flatten)]
    _completion: CompletionBody,
    #[schema(inline)]
    #[serde(flatten)]
    _generate: GenerateBody,
}

/// One or several prompts.
#[derive(Debug, Clone, PartialEq, ToSchema)]
#[schema(value_type = String)]
pub struct Prompts(pub Vec<PromptBody>);

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptBody {
    /// Text.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// An element of the list `prompt`.
enum Element {
    Text(String),
    Token(u32),
    Tokens(Vec<u32>),
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a token id, or a list of token ids")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Element, E> {
        Ok(Element::Text(value.to_owned()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Element, E> {
        u32::try_from(value)
            .map(Element::Token)
            .map_err(|_| E::custom(format!("{value} is no token id")))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Element, E> {
        Err(E::custom(format!("{value} is no token id")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Element, A::Error> {
        let mut tokens = Vec::new();
        while let Some(token) = list.next_element()? {
            tokens.push(token);
        }
        Ok(Element::Tokens(tokens))
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct PromptsVisitor;

impl<'de> Visitor<'de> for PromptsVisitor {
    type Value = Prompts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list of strings, a list of token ids, or a list of such lists")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Prompts, E> {
        Ok(Prompts(vec![PromptBody::Text(value.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Prompts, A::Error> {
        let mut single = Vec::new();
        let mut several = Vec::new();
        while let Some(element) = list.next_element()? {
            match element {
                Element::Token(token) => single.push(token),
                Element::Text(text) => several.push(PromptBody::Text(text)),
                Element::Tokens(tokens) => several.push(PromptBody::Tokens(tokens)),
            }
            if !single.is_empty() && !several.is_empty() {
                return Err(A::Error::custom(
                    "token ids and whole prompts cannot stand in one list",
                ));
            }
        }
        if !single.is_empty() {
            several.push(PromptBody::Tokens(single));
        }
        Ok(Prompts(several))
    }
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptsVisitor)
    }
}

/// A checked completion request.
#[derive(Debug, Clone)]
pub struct Completion {
    /// For the engine.
    pub prompts: Vec<Prompt>,
    /// How to answer. With `echo`, its options ask for the prompt's log-probabilities too.
    pub generate: Generate,
    /// Put the prompt before the answer.
    pub echo: bool,
    /// `echo` with `max_tokens: 0`: only the prompt is wanted. One token is computed and not shown.
    pub prompt_only: bool,
}

impl CompletionBody {
    /// Checks the form and translates. What has no effect is added to `warnings`.
    ///
    /// # Errors
    /// [`ApiError`] naming the field.
    pub fn into_core(
        self,
        mut generate: GenerateBody,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) -> Result<Completion, ApiError> {
        if self.suffix.is_some_and(|suffix| !suffix.is_empty()) {
            return Err(ApiError::unsupported(
                "suffix",
                "`suffix` is not supported: this model continues text only",
            ));
        }
        let echo = self.echo.unwrap_or(false);
        let prompt_only = echo && generate.max_tokens == Some(Count(0));
        if prompt_only {
            generate.max_tokens = Some(Count(1));
        }
        let mut generate = generate.into_core(limits, warnings)?;
        if self.best_of.is_some_and(|best_of| best_of.0 != generate.n) {
            return Err(ApiError::unsupported(
                "best_of",
                "`best_of` is not supported: leave it out or set it to `n`",
            ));
        }
        let logprobs = self.logprobs.map(|top| top.0);
        if let Some(top) = logprobs.filter(|&top| top > MAX_TOP_LOGPROBS) {
            let message = format!("`logprobs` is {top}; it has to be 0 to {MAX_TOP_LOGPROBS}");
            return Err(ApiError::invalid("logprobs", message));
        }
        generate.options.logprobs = logprobs;
        generate.options.prompt_logprobs = logprobs.filter(|_| echo);
        let prompts = self.prompt.into_core(generate.n, limits)?;
        Ok(Completion { prompts, generate, echo, prompt_only })
    }
}

impl Prompts {
    fn into_core(self, n: usize, limits: &Limits) -> Result<Vec<Prompt>, ApiError> {
        let count = self.0.len();
        if count == 0 {
            return Err(ApiError::invalid("prompt", "`prompt` is an empty list"));
        }
        if count.saturating_mul(n) > limits.max_choices {
            let message = format!(
                "{count} prompts with n = {n} are more than {} answers; send several requests",
                limits.max_choices
            );
            return Err(ApiError::invalid("prompt", message));
        }
        let check = |(i, prompt): (usize, PromptBody)| {
            let path = if count == 1 { "prompt".to_owned() } else { format!("prompt[{i}]") };
            match prompt {
                PromptBody::Text(text) => Ok(Prompt::Text(text)),
                PromptBody::Tokens(tokens) if tokens.is_empty() => {
                    Err(ApiError::invalid(&*path, format!("`{path}` has no tokens")))
                }
                PromptBody::Tokens(tokens) => {
                    for (j, &token) in tokens.iter().enumerate() {
                        check_token(&format!("{path}[{j}]"), token, limits)?;
                    }
                    Ok(Prompt::Tokens(tokens))
                }
            }
        };
        self.0.into_iter().enumerate().map(check).collect()
    }
}

/// The whole answer, or one chunk of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CompletionResponse {
    /// Identifies the answer.
    pub id: String,
    /// `text_completion`
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// Changes when the same seed may give another answer.
    pub system_fingerprint: String,
    /// One per prompt and answer asked for, prompt by prompt.
    pub choices: Vec<CompletionChoice>,
    /// Token counts; in a stream with `include_usage`, `null` but in the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<UsageBody>)]
    pub usage: Option<Option<UsageBody>>,
    /// What was ignored, clamped or overridden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One answer, or a piece of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CompletionChoice {
    /// Its place.
    pub index: usize,
    /// The text.
    pub text: String,
    /// If asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`; `null` before the end of a stream.
    pub finish_reason: Option<&'static str>,
}

/// Log-probabilities, column by column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct CompletionLogprobs {
    /// Texts of the tokens; bytes that are no character show as `bytes:\xNN`.
    pub tokens: Vec<String>,
    /// Natural logarithms of their probabilities; `null` for the first token of a prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// The best ones at each place, and the token that stands there.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where each token begins in the text, in characters.
    pub text_offset: Vec<usize>,
}

impl CompletionLogprobs {
    fn push(&mut self, token: &TokenLogprobs, offset: &mut usize) {
        let candidates = token.top.iter().chain([&token.chosen]);
        let top =
            candidates.map(|candidate| (token_text(&candidate.bytes), finite(candidate.logprob)));
        self.push_column(
            &token.chosen.bytes,
            Some(finite(token.chosen.logprob)),
            Some(top.collect()),
            offset,
        );
    }

    fn push_column(
        &mut self,
        bytes: &[u8],
        logprob: Option<f32>,
        top: Option<BTreeMap<String, f32>>,
        offset: &mut usize,
    ) {
        self.tokens.push(token_text(bytes));
        self.token_logprobs.push(logprob);
        self.top_logprobs.push(top);
        self.text_offset.push(*offset);
        *offset += characters(bytes);
    }
}

/// Characters that begin in these bytes.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0b1100_0000 != 0b1000_0000).count()
}

/// The prompt of an answer that begins with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Echo {
    /// Its text.
    pub text: String,
    /// The bytes of its first token, the one without a log-probability.
    pub first_token: Vec<u8>,
}

/// Writes completion answers.
#[derive(Debug, Clone)]
pub struct CompletionDialect {
    /// What all chunks share.
    pub head: Head,
    /// Whether log-probabilities were asked for.
    pub logprobs: bool,
    /// One per prompt, if prompts are to be repeated.
    pub echoes: Vec<Echo>,
    /// Answers per prompt.
    pub n: usize,
    /// The answer itself is not wanted.
    pub prompt_only: bool,
    /// Characters written, by choice.
    offsets: BTreeMap<usize, usize>,
    /// Warnings that wait for a chunk.
    warnings: Vec<String>,
}

impl CompletionDialect {
    /// Nothing written yet.
    pub fn new(head: Head, completion: &Completion, echoes: Vec<Echo>) -> Self {
        Self {
            head,
            logprobs: completion.generate.options.logprobs.is_some(),
            echoes,
            n: completion.generate.n,
            prompt_only: completion.prompt_only,
            offsets: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    fn envelope(
        &self,
        choices: Vec<CompletionChoice>,
        usage: Option<Option<UsageBody>>,
        warnings: Vec<String>,
    ) -> CompletionResponse {
        CompletionResponse {
            id: self.head.id.clone(),
            object: "text_completion",
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: self.head.system_fingerprint.clone(),
            choices,
            usage,
            warnings,
        }
    }

    fn chunk(&mut self, choice: Option<CompletionChoice>) -> Vec<Frame> {
        let usage = self.head.include_usage.then_some(None);
        let warnings = std::mem::take(&mut self.warnings);
        response::json(&self.envelope(choice.into_iter().collect(), usage, warnings))
    }

    fn echo_of(&self, choice: usize) -> Option<&Echo> {
        self.echoes.get(choice.checked_div(self.n)?)
    }

    /// The repeated prompt of a choice, with its log-probabilities.
    fn echo(
        &mut self,
        choice: usize,
        prompt: &[Option<TokenLogprobs>],
    ) -> Option<(String, Option<CompletionLogprobs>)> {
        let echo = self.echo_of(choice)?.clone();
        let logprobs = self.logprobs.then(|| {
            let mut logprobs = CompletionLogprobs::default();
            let mut offset = 0;
            for token in prompt {
                match token {
                    Some(token) => logprobs.push(token, &mut offset),
                    None => {
                        logprobs.push_column(&echo.first_token, None, None, &mut offset);
                        // A beginning-of-sequence token stands before the text, not in it.
                        if !echo.text.as_bytes().starts_with(&echo.first_token) {
                            offset = 0;
                        }
                    }
                }
            }
            logprobs
        });
        self.offsets.insert(choice, echo.text.chars().count());
        Some((echo.text, logprobs))
    }

    fn logprobs(&mut self, choice: usize, tokens: &[TokenLogprobs]) -> Option<CompletionLogprobs> {
        if !self.logprobs {
            return None;
        }
        let offset = self.offsets.entry(choice).or_default();
        let mut logprobs = CompletionLogprobs::default();
        for token in tokens {
            logprobs.push(token, offset);
        }
        Some(logprobs)
    }

    fn whole_choice(&mut self, index: usize, answer: ChoiceAnswer) -> CompletionChoice {
        let (mut text, mut logprobs) =
            self.echo(index, &answer.prompt_logprobs).unwrap_or_default();
        if !self.prompt_only {
            text.push_str(&answer.text);
            let tail = self.logprobs(index, &answer.tokens);
            logprobs = match (logprobs, tail) {
                (Some(mut head), Some(tail)) => {
                    head.tokens.extend(tail.tokens);
                    head.token_logprobs.extend(tail.token_logprobs);
                    head.top_logprobs.extend(tail.top_logprobs);
                    head.text_offset.extend(tail.text_offset);
                    Some(head)
                }
                (None, tail) => tail,
                (head, None) => head,
            };
        }
        CompletionChoice {
            index,
            text,
            logprobs,
            finish_reason: Some(response::finish_reason(answer.reason)),
        }
    }

    fn true_usage(&self, mut usage: UsageBody) -> UsageBody {
        if self.prompt_only {
            usage.completion_tokens = 0;
            usage.total_tokens = usage.prompt_tokens;
        }
        usage
    }

    /// The whole answer.
    pub fn response(mut self, answer: Answer, warnings: Vec<String>) -> CompletionResponse {
        let usage = self.true_usage(response::usage(&answer.choices));
        let mut choices = Vec::with_capacity(answer.choices.len());
        for (index, choice) in answer.choices.into_iter().enumerate() {
            choices.push(self.whole_choice(index, choice));
        }
        self.envelope(choices, Some(Some(usage)), warnings)
    }
}

impl Dialect for CompletionDialect {
    fn open(&mut self, opening: Opening<'_>) -> Vec<Frame> {
        self.warnings.extend(opening.warnings);
        match self.echo(opening.choice, opening.prompt_logprobs) {
            Some((text, logprobs)) => {
                let index = opening.choice;
                self.chunk(Some(CompletionChoice { index, text, logprobs, finish_reason: None }))
            }
            None => Vec::new(),
        }
    }

    fn piece(&mut self, choice: usize, piece: Piece, tokens: &[TokenLogprobs]) -> Vec<Frame> {
        // Plain completions are not taken apart: all is text.
        let Piece::Text(text) = piece else { return Vec::new() };
        if self.prompt_only {
            return Vec::new();
        }
        let logprobs = self.logprobs(choice, tokens);
        self.chunk(Some(CompletionChoice { index: choice, text, logprobs, finish_reason: None }))
    }

    fn finish(&mut self, choice: usize, finish: Finish) -> Vec<Frame> {
        let finish_reason = Some(response::finish_reason(finish.reason));
        self.chunk(Some(CompletionChoice {
            index: choice,
            text: String::new(),
            logprobs: None,
            finish_reason,
        }))
    }

    fn end(&mut self, ending: Result<UsageBody, &ApiError>) -> Vec<Frame> {
        response::last_word(ending.map(|usage| {
            if !self.head.include_usage {
                return Vec::new();
            }
            let usage = self.true_usage(usage);
            response::json(&self.envelope(Vec::new(), Some(Some(usage)), Vec::new()))
        }))
    }
}

#[cfg(test)]
mod tests;
