//! What answers of all routes share: head, token counts, log-probabilities, model cards.

use crate::error::ApiError;
use crate::stream::{ChoiceAnswer, Frame};
use mistralrs_core::request::{Candidate, TokenLogprobs};
use mistralrs_core::{EmbedderInfo, EmbedderKind, FinishReason, Llm, Modality, ModelInfo, Usage};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;

/// What all chunks of an answer share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Identifies the answer.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answers.
    pub model: String,
    /// Program version and arithmetic.
    pub system_fingerprint: String,
    /// Whether a stream ends with the token counts.
    pub include_usage: bool,
}

impl Head {
    /// A fresh head; `prefix` is `chatcmpl` or `cmpl`.
    pub fn new(prefix: &str, model: &str, fingerprint: &str, include_usage: bool) -> Self {
        Self {
            id: format!("{prefix}-{}", uuid::Uuid::new_v4().simple()),
            created: unix_seconds(),
            model: model.to_owned(),
            system_fingerprint: fingerprint.to_owned(),
            include_usage,
        }
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Token counts and times.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct UsageBody {
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// Where the prompt's tokens came from.
    pub prompt_tokens_details: PromptTokensDetails,
    /// What the generated tokens were for.
    pub completion_tokens_details: CompletionTokensDetails,
    /// Times of the slowest answer.
    pub timings: Timings,
}

/// Where the prompt's tokens came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PromptTokensDetails {
    /// Taken from the prefix cache.
    pub cached_tokens: usize,
}

/// What the generated tokens were for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CompletionTokensDetails {
    /// Thought before the answer.
    pub reasoning_tokens: usize,
}

/// Times in milliseconds; an extension.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Timings {
    /// Waiting for a place in a batch.
    pub queue_ms: f64,
    /// From submission to the first token.
    pub time_to_first_token_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
    /// Tokens per second after the first token.
    pub decode_tokens_per_second: f64,
}

impl Timings {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn of(usage: &Usage) -> Self {
        let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let seconds = usage.decode_time.as_secs_f64();
        let after_first = usage.completion_tokens.saturating_sub(1) as f64;
        let rate = if seconds > 0.0 { after_first / seconds } else { 0.0 };
        Self {
            queue_ms: millis(usage.queue_time),
            time_to_first_token_ms: millis(usage.time_to_first_token),
            decode_ms: millis(usage.decode_time),
            decode_tokens_per_second: (rate * 100.0).round() / 100.0,
        }
    }
}

/// Counts of a request with several answers: each prompt counts once, every answer counts.
pub fn usage(choices: &[ChoiceAnswer]) -> UsageBody {
    let firsts = || choices.iter().filter(|choice| choice.first_of_prompt);
    let prompt_tokens = firsts().map(|choice| choice.usage.prompt_tokens).sum();
    let cached_tokens = firsts().map(|choice| choice.usage.cached_tokens).sum();
    let completion_tokens = choices.iter().map(|choice| choice.usage.completion_tokens).sum();
    let reasoning_tokens = choices.iter().map(|choice| choice.usage.reasoning_tokens).sum();
    let slowest = choices
        .iter()
        .map(|choice| &choice.usage)
        .max_by_key(|usage| usage.time_to_first_token + usage.decode_time);
    UsageBody {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
        prompt_tokens_details: PromptTokensDetails { cached_tokens },
        completion_tokens_details: CompletionTokensDetails { reasoning_tokens },
        timings: slowest.map(Timings::of).unwrap_or_default(),
    }
}

/// OpenAI's word.
pub fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// One chunk, as a list of one. Wire types always serialize; if one did not, the chunk is missing.
pub(super) fn json(chunk: &impl Serialize) -> Vec<Frame> {
    let frame = |data| Frame { event: None, data };
    serde_json::to_string(chunk).into_iter().map(frame).collect()
}

/// The end of a stream: an error if there is one, then the word that nothing follows.
pub(super) fn last_word(ending: Result<Vec<Frame>, &ApiError>) -> Vec<Frame> {
    let mut frames = ending.unwrap_or_else(|error| json(&error.to_body()));
    frames.push(Frame { event: None, data: "[DONE]".to_owned() });
    frames
}

/// Log-probabilities of a chat answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ChatLogprobs {
    /// One per token.
    pub content: Vec<ChatTokenLogprob>,
    /// Always `null`.
    pub refusal: Option<Vec<ChatTokenLogprob>>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChatTokenLogprob {
    /// Its text; bytes that are no character show as `�`.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The best ones at this place.
    pub top_logprobs: Vec<ChatTopLogprob>,
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChatTopLogprob {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl ChatLogprobs {
    /// From the engine's.
    pub fn from_core(tokens: &[TokenLogprobs]) -> Self {
        let top = |candidate: &Candidate| ChatTopLogprob {
            token: lossy(&candidate.bytes),
            logprob: finite(candidate.logprob),
            bytes: candidate.bytes.clone(),
        };
        let one = |token: &TokenLogprobs| ChatTokenLogprob {
            token: lossy(&token.chosen.bytes),
            logprob: finite(token.chosen.logprob),
            bytes: token.chosen.bytes.clone(),
            top_logprobs: token.top.iter().map(top).collect(),
        };
        Self { content: tokens.iter().map(one).collect(), refusal: None }
    }
}

/// Where the bytes stand beside the text, the text may be a sketch.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// JSON has no infinity; OpenAI writes -9999 for "impossible".
pub fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

/// A token's text. Bytes that are part of a character are spelled out, so that two such tokens stay two.
pub fn token_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            bytes.iter().fold("bytes:".to_owned(), |text, byte| text + &format!("\\x{byte:02x}"))
        }
    }
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelBody {
    /// What requests name it by.
    pub id: String,
    /// `model`
    pub object: &'static str,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// `local`
    pub owned_by: &'static str,
    /// Most tokens of prompt and answer together.
    pub max_model_len: usize,
    /// Facts about it.
    pub meta: ModelMeta,
}

/// Facts about a model.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelMeta {
    /// `text`, `embedding` or `reranker`.
    pub kind: &'static str,
    /// Numbers per vector, of an embedding model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// `Qwen2ForCausalLM` and the like.
    pub architecture: String,
    /// Number of weights.
    pub n_params: u64,
    /// Bytes of weights in memory.
    pub size: u64,
    /// The types the weights are stored in.
    pub weight_types: String,
    /// Number of token ids.
    pub n_vocab: usize,
    /// Whether chat requests can be rendered.
    pub has_chat_template: bool,
    /// What a chat can do, of a model that chats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<CapabilitiesBody>,
}

/// What a chat with a model can do; an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CapabilitiesBody {
    /// How the model writes tool calls: `hermes`, `llama3`, …
    pub tool_format: &'static str,
    /// Whether the chat template shows tools; else the server describes them in words.
    pub tools_in_template: bool,
    /// Whether a call written by the template was read back as it was, when the model was loaded.
    pub tool_round_trip: bool,
    /// Whether reasoning is told apart from content (`reasoning_content`).
    pub reasoning: bool,
    /// What a user's message may hold: `text`, and of models that take them `image`, `video`, `audio`.
    pub input: Vec<&'static str>,
}

/// The kinds of parts that a model takes.
fn input(llm: &Llm) -> Vec<&'static str> {
    let media =
        [(Modality::Image, "image"), (Modality::Video, "video"), (Modality::Audio, "audio")];
    let taken = media.into_iter().filter(|(modality, _)| llm.takes(*modality));
    std::iter::once("text").chain(taken.map(|(_, name)| name)).collect()
}

impl ModelBody {
    /// From the engine's facts.
    pub fn from_core(name: &str, created: u64, llm: &Llm) -> Self {
        let mut body = Self::of_text(name, created, llm.info());
        let capabilities = llm.capabilities();
        body.meta.capabilities = Some(CapabilitiesBody {
            tool_format: capabilities.tool_format,
            tools_in_template: capabilities.tools_in_template,
            tool_round_trip: capabilities.tool_round_trip,
            reasoning: capabilities.reasoning,
            input: input(llm),
        });
        body
    }

    /// From an encoder's facts.
    pub fn of_embedder(name: &str, created: u64, info: &EmbedderInfo) -> Self {
        let mut body = Self::of_text(name, created, &info.model);
        (body.meta.kind, body.meta.dimensions) = match info.kind {
            EmbedderKind::Embedding => ("embedding", Some(info.dimensions)),
            EmbedderKind::CrossEncoder => ("reranker", None),
        };
        body
    }

    fn of_text(name: &str, created: u64, info: &ModelInfo) -> Self {
        Self {
            id: name.to_owned(),
            object: "model",
            created,
            owned_by: "local",
            max_model_len: info.max_sequence_length,
            meta: ModelMeta {
                kind: "text",
                dimensions: None,
                architecture: info.architecture.clone(),
                n_params: info.num_parameters,
                size: info.weight_bytes,
                weight_types: info.weight_types.clone(),
                n_vocab: info.vocab_size,
                has_chat_template: info.has_chat_template,
                capabilities: None,
            },
        }
    }
}

/// The loaded models.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelList {
    /// `list`
    pub object: &'static str,
    /// One.
    pub data: Vec<ModelBody>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_characters_keep_their_identity() {
        assert_eq!(token_text("é".as_bytes()), "é");
        assert_eq!(token_text(&[0xc3]), "bytes:\\xc3");
        assert_ne!(token_text(&[0xc3]), token_text(&[0xe2]));
        assert_eq!(token_text(&[]), "");
    }

    #[test]
    fn impossible_is_a_number() {
        assert_eq!(serde_json::to_string(&finite(f32::NEG_INFINITY)).unwrap(), "-9999.0");
    }
}
