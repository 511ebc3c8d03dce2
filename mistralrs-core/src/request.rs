//! The domain's words, in and out: what a caller asks for and what comes back.
//! Knows no wire format and no tensor.

use crate::sampling::{Grammar, SamplingParams};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

pub use mistralrs_vision::Detail;

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

/// One part of a message's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Plain text.
    Text(String),
    /// A picture.
    Image(Image),
    /// Pictures in time.
    Video(Video),
    /// Sound.
    Audio(Audio),
}

impl Part {
    /// The text of a text part.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Image(_) | Self::Video(_) | Self::Audio(_) => None,
        }
    }

    /// The kind by the name that chat templates use: `text`, `image`, `video` or `audio`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Image(_) => "image",
            Self::Video(_) => "video",
            Self::Audio(_) => "audio",
        }
    }
}

/// A file's bytes, still encoded (PNG, WAV, …). Cheap to clone; prints as its length.
#[derive(Clone, PartialEq, Eq)]
pub struct MediaBytes(Arc<[u8]>);

impl From<Vec<u8>> for MediaBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl std::ops::Deref for MediaBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for MediaBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A picture as it came: PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub bytes: MediaBytes,
    /// How closely the model is to look.
    pub detail: Detail,
}

impl Image {
    /// A picture to be looked at as the model likes.
    pub fn new(bytes: impl Into<MediaBytes>) -> Self {
        Self { bytes: bytes.into(), detail: Detail::Auto }
    }
}

/// A video as its frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// One picture per frame, in order; or one animated GIF, which stands for all its frames.
    pub frames: Vec<MediaBytes>,
    /// Frames per second of `frames`; `None` = as the model assumes, or as the animation says.
    pub fps: Option<f64>,
}

/// Sound as it came: a WAV, MP3, FLAC or Ogg Vorbis file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// The file.
    pub bytes: MediaBytes,
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
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message of plain text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: Content::Text(text.into()), extra: Map::new() }
    }

    /// What an assistant said (nothing, if `text` is empty) and the calls it made.
    pub fn calling(text: &str, calls: &[ToolCall]) -> Self {
        let content = match text {
            "" => Content::None,
            text => Content::Text(text.to_owned()),
        };
        let mut extra = Map::new();
        extra.insert("tool_calls".to_owned(), calls.iter().map(ToolCall::to_json).collect());
        Self { role: Role::Assistant, content, extra }
    }

    /// What a tool answered to a call.
    pub fn tool_result(call: &ToolCall, text: impl Into<String>) -> Self {
        let mut message = Self::text(Role::Tool, text);
        message.extra.insert("tool_call_id".to_owned(), call.id.clone().into());
        message.extra.insert("name".to_owned(), call.name.clone().into());
        message
    }
}

/// The form an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// What it is.
    pub grammar: Grammar,
    /// The field of the request that demands it, to be named if it cannot be used.
    pub field: String,
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
    /// The form the answer must have; reasoning before it is free.
    pub form: Option<Form>,
    /// Most tokens of reasoning: then its end is written for the model. No effect where the model's reasoning is
    /// not told apart from its content.
    pub thinking_budget: Option<usize>,
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

/// Whether the model may, must or must not call tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// No calls; the tools are not even shown to the model.
    None,
    /// At least one call, of any tool.
    Required,
    /// One call, of this function.
    Named(String),
}

/// A call the model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call in the message that answers it.
    pub id: String,
    /// The function.
    pub name: String,
    /// The text of a JSON object.
    pub arguments: String,
}

impl ToolCall {
    /// As it stands in an assistant's message.
    pub fn to_json(&self) -> Value {
        let function = json!({ "name": self.name, "arguments": self.arguments });
        json!({ "id": self.id, "type": "function", "function": function })
    }
}

/// A conversation to be continued.
#[derive(Debug, Clone, Default)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Function schemas in OpenAI's form, for the template.
    pub tools: Vec<Value>,
    /// Whether they may or must be called.
    pub tool_choice: ToolChoice,
    /// The answer ends with its first call.
    pub single_tool_call: bool,
    /// Further variables for the template, such as `enable_thinking`.
    pub template_kwargs: Map<String, Value>,
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
    /// The model has called tools and waits for their results.
    ToolCalls,
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
    /// Of these, how many came out as reasoning.
    pub reasoning_tokens: usize,
    /// From submission to the first step.
    pub queue_time: Duration,
    /// From submission to the first token.
    pub time_to_first_token: Duration,
    /// From the first token to the last.
    pub decode_time: Duration,
}

/// What happens to a tool call, in this order: start, arguments, end or abort. A call without its end
/// was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolCallDelta {
    /// A function is called.
    Start {
        /// Names the call in the message that answers it.
        id: String,
        /// The function.
        name: String,
    },
    /// More of the arguments' JSON text.
    Arguments(String),
    /// The call is complete: its arguments, joined, are a JSON object.
    End,
    /// It turned out to be no call: it is void, and its text follows as content.
    Abort,
}

/// What a tool answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolOutput {
    /// For the model; says of everything that is no text what it is.
    pub text: String,
    /// Pictures, in order.
    pub images: Vec<Image>,
    /// The tool failed; the text says why.
    pub is_error: bool,
}

impl ToolOutput {
    /// A failure, told to the model.
    pub fn error(text: impl Into<String>) -> Self {
        Self { text: text.into(), images: Vec::new(), is_error: true }
    }
}

/// How far a tool that runs here has come. Sent beside the answer's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolProgress {
    /// The model has called it.
    Started(ToolCall),
    /// It has answered, or was not allowed to run.
    Finished {
        /// The call.
        call: ToolCall,
        /// Its answer.
        output: ToolOutput,
    },
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
    /// What the model thinks before it speaks; as [`Delta::Text`] in all else.
    Reasoning {
        /// The text.
        text: String,
        /// The tokens behind it, in order.
        token_ids: Vec<u32>,
        /// Filled if asked for: one per token.
        logprobs: Vec<TokenLogprobs>,
    },
    /// Something about a call of a tool.
    ToolCall {
        /// Its place among the calls of the answer, from 0.
        index: usize,
        /// What.
        delta: ToolCallDelta,
        /// The tokens behind it, in order.
        token_ids: Vec<u32>,
        /// Filled if asked for: one per token.
        logprobs: Vec<TokenLogprobs>,
    },
    /// How far a tool that runs here has come; only from the agent loop.
    ToolProgress(ToolProgress),
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
