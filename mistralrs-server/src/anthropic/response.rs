//! `/v1/messages`: the answer and its blocks.

use crate::openai::response::UsageBody;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MessageResponse {
    /// Identifies it.
    pub id: String,
    /// `message`
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `assistant`
    pub role: &'static str,
    /// The model that answered.
    pub model: String,
    /// What was thought, said and called, in order.
    pub content: Vec<OutputBlock>,
    /// `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`.
    pub stop_reason: Option<&'static str>,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
    /// Token counts.
    pub usage: MessageUsage,
    /// What was ignored, clamped or overridden; an extension.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl MessageResponse {
    /// Nothing said yet.
    pub fn new(model: &str) -> Self {
        Self {
            id: format!("msg_{}", uuid::Uuid::new_v4().simple()),
            kind: "message",
            role: "assistant",
            model: model.to_owned(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: MessageUsage::default(),
            warnings: Vec::new(),
        }
    }
}

/// One thing that was thought, said or called.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputBlock {
    /// Said.
    Text {
        /// The text.
        text: String,
    },
    /// Thought.
    Thinking {
        /// The thoughts.
        thinking: String,
        /// Always empty: thoughts are not signed.
        signature: &'static str,
    },
    /// A tool that the client is to run.
    ToolUse {
        /// Names the call in the block that answers it.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments.
        #[schema(value_type = Object)]
        input: Map<String, Value>,
    },
    /// A tool of an MCP server that runs here.
    McpToolUse {
        /// Names the call in the block that answers it.
        id: String,
        /// The tool.
        name: String,
        /// Whose tool it is.
        server_name: String,
        /// Its arguments.
        #[schema(value_type = Object)]
        input: Map<String, Value>,
    },
    /// What such a tool answered.
    McpToolResult {
        /// The call.
        tool_use_id: String,
        /// Whether it failed.
        is_error: bool,
        /// Blocks of text.
        #[schema(value_type = Vec<Object>)]
        content: Vec<Value>,
    },
}

/// Token counts. Tokens of the prompt that came from the prefix cache are counted apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct MessageUsage {
    /// Tokens of the prompt that were computed.
    pub input_tokens: usize,
    /// Always 0: filling the cache is not counted.
    pub cache_creation_input_tokens: usize,
    /// Tokens of the prompt that came from the prefix cache.
    pub cache_read_input_tokens: usize,
    /// Tokens generated.
    pub output_tokens: usize,
}

impl MessageUsage {
    /// Of a prompt, before anything is generated.
    pub fn of_prompt(prompt_tokens: usize, cached_tokens: usize) -> Self {
        Self {
            input_tokens: prompt_tokens.saturating_sub(cached_tokens),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached_tokens,
            output_tokens: 0,
        }
    }
}

impl From<UsageBody> for MessageUsage {
    fn from(usage: UsageBody) -> Self {
        let prompt =
            Self::of_prompt(usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens);
        Self { output_tokens: usage.completion_tokens, ..prompt }
    }
}

/// How long a prompt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TokenCount {
    /// Tokens.
    pub input_tokens: usize,
}
