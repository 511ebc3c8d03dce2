//! The domain's words, in and out: what a caller asks for and what comes back.
//! Knows no wire format and no tensor.

use crate::sampling::SamplingParams;
use std::time::Duration;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are OpenAI's roles")]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

impl Role {
    /// The name that chat templates and OpenAI clients use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One part of a message's content. Images and audio will be further variants.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Plain text.
    Text(String),
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A string.
    Text(String),
    /// A list of parts, in order.
    Parts(Vec<Part>),
    /// Nothing: an assistant message that only calls tools.
    None,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content,
    /// Further keys the template may read (`name`, `tool_calls`, `tool_call_id`,
    /// `reasoning_content`), in OpenAI's spelling.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A message of plain text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: Content::Text(text.into()), extra: serde_json::Map::new() }
    }
}

/// How an answer is to be generated; common to chat and plain completion.
#[derive(Debug, Clone, Default)]
pub struct GenerateOptions {
    /// Most tokens to generate; `None` = as many as the context holds.
    pub max_tokens: Option<usize>,
    /// No end-of-sequence or stop token before this many tokens.
    pub min_tokens: usize,
    /// Choice of the next token. Fields left `None` take the model's generation defaults.
    pub sampling: SamplingParams,
    /// The text ends before the first of these strings.
    pub stop: Vec<String>,
    /// Generation ends when one of these ids is drawn.
    pub stop_token_ids: Vec<u32>,
    /// Go on past the model's end-of-sequence tokens.
    pub ignore_eos: bool,
    /// Natural-log probabilities of each drawn token and of this many best ones.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt (switches the prefix cache off for this request).
    pub prompt_logprobs: Option<usize>,
    /// Cut a prompt that is too long (keeps its tail) instead of refusing it.
    pub truncate_sequence: bool,
    /// The whole request must end within this time.
    pub timeout: Option<Duration>,
}

/// A conversation to be continued.
#[derive(Debug, Clone, Default)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Function schemas in OpenAI's form, for the template.
    pub tools: Vec<serde_json::Value>,
    /// Further variables for the template, such as `enable_thinking`.
    pub template_kwargs: serde_json::Map<String, serde_json::Value>,
    /// How to generate.
    pub options: GenerateOptions,
}

/// The text to be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text; the tokenizer adds its usual special tokens (such as BOS).
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
}

/// A plain text to be continued.
#[derive(Debug, Clone)]
pub struct CompletionRequest {
    /// The text.
    pub prompt: Prompt,
    /// How to generate.
    pub options: GenerateOptions,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token, a stop token or a stop string.
    Stop,
    /// `max_tokens` or the context is used up.
    Length,
}

/// One candidate with its natural-log probability before temperature and filters.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token_id: u32,
    /// Its text, as bytes: a token may be part of a character.
    pub bytes: Vec<u8>,
    /// ln p.
    pub logprob: f32,
}

/// Log-probabilities of one position.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token that stands there.
    pub chosen: Candidate,
    /// The best ones, best first; as many as were asked for.
    pub top: Vec<Candidate>,
}

/// What was used and how long it took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt, after truncation.
    pub prompt_tokens: usize,
    /// Of these, how many came from the prefix cache.
    pub cached_tokens: usize,
    /// Tokens generated, the end-of-sequence token included.
    pub completion_tokens: usize,
    /// From submission to the first step.
    pub queue_time: Duration,
    /// From submission to the first token.
    pub time_to_first_token: Duration,
    /// From the first token to the last.
    pub decode_time: Duration,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// The prompt has been computed; sent once, before any text.
    Prompt {
        /// Tokens of the prompt, after truncation.
        prompt_tokens: usize,
        /// How many of its tokens came from the prefix cache.
        cached_tokens: usize,
        /// Tokens cut off its front by `truncate_sequence`.
        truncated_tokens: usize,
        /// One entry per prompt token if asked for; the first token has none.
        logprobs: Vec<Option<TokenLogprobs>>,
    },
    /// Text that can no longer change, with the tokens it came from. The text may be empty
    /// while characters are incomplete; with `logprobs` every token still appears exactly once.
    Text {
        /// The text.
        text: String,
        /// The tokens behind it, in order.
        token_ids: Vec<u32>,
        /// Filled if asked for: one per token.
        logprobs: Vec<TokenLogprobs>,
    },
    /// The end; nothing follows.
    Finished {
        /// Why.
        reason: FinishReason,
        /// The stop string that ended the text, if one did.
        stop_string: Option<String>,
        /// What it took.
        usage: Usage,
    },
}
