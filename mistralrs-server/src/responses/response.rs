//! `/v1/responses`: the response and its items.

use crate::openai::response::{ChatTokenLogprob, UsageBody, unix_seconds};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A name for a thing of this kind that nobody can guess.
pub fn fresh_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

/// How far a response or an item is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are OpenAI's")]
pub enum Status {
    #[default]
    InProgress,
    Completed,
    /// Cut off.
    Incomplete,
    Failed,
    Cancelled,
}

/// A response.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseBody {
    /// Identifies it.
    pub id: String,
    /// `response`
    pub object: &'static str,
    /// Seconds since 1970.
    pub created_at: u64,
    /// When it ended.
    pub completed_at: Option<u64>,
    /// `in_progress`, `completed`, `incomplete`, `failed` or `cancelled`.
    pub status: Status,
    /// Why it failed.
    #[schema(value_type = Option<Object>)]
    pub error: Option<Value>,
    /// Why it is incomplete: `{"reason": "max_output_tokens"}`.
    #[schema(value_type = Option<Object>)]
    pub incomplete_details: Option<Value>,
    /// The system's message.
    pub instructions: Option<String>,
    /// The response that it continues.
    pub previous_response_id: Option<String>,
    /// The model that answers.
    pub model: String,
    /// What was thought, called and said, in order.
    pub output: Vec<OutputItem>,
    /// Most tokens asked for.
    pub max_output_tokens: Option<usize>,
    /// As asked for.
    pub temperature: Option<f64>,
    /// As asked for.
    pub top_p: Option<f64>,
    /// As asked for.
    pub top_logprobs: usize,
    /// Whether it may have several calls.
    pub parallel_tool_calls: bool,
    /// The functions offered.
    #[schema(value_type = Vec<Object>)]
    pub tools: Vec<Value>,
    /// Whether they may or must be called.
    #[schema(value_type = Object)]
    pub tool_choice: Value,
    /// The form of the text.
    #[schema(value_type = Object)]
    pub text: Value,
    /// How hard it thinks.
    #[schema(value_type = Object)]
    pub reasoning: Value,
    /// `auto` or `disabled`.
    pub truncation: String,
    /// Strings of the request.
    pub metadata: BTreeMap<String, String>,
    /// Whether it is kept.
    pub store: bool,
    /// Whether it goes on without its client.
    pub background: bool,
    /// Token counts, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<ResponseUsage>,
    /// What was ignored, clamped or overridden; an extension.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Default for ResponseBody {
    fn default() -> Self {
        Self {
            id: fresh_id("resp"),
            object: "response",
            created_at: unix_seconds(),
            completed_at: None,
            status: Status::InProgress,
            error: None,
            incomplete_details: None,
            instructions: None,
            previous_response_id: None,
            model: String::new(),
            output: Vec::new(),
            max_output_tokens: None,
            temperature: None,
            top_p: None,
            top_logprobs: 0,
            parallel_tool_calls: true,
            tools: Vec::new(),
            tool_choice: "auto".into(),
            text: json!({"format": {"type": "text"}}),
            reasoning: json!({"effort": null, "summary": null}),
            truncation: "disabled".to_owned(),
            metadata: BTreeMap::new(),
            store: true,
            background: false,
            usage: None,
            warnings: Vec::new(),
        }
    }
}

impl ResponseBody {
    /// It has ended.
    pub fn end(&mut self, status: Status) {
        self.status = status;
        self.completed_at = Some(unix_seconds());
    }
}

/// One thing that was thought, called or said.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// Said.
    Message {
        /// Names the item.
        id: String,
        /// `assistant`
        role: &'static str,
        /// The text; empty while it comes.
        content: Vec<OutputPart>,
        /// How far it is.
        status: Status,
    },
    /// Thought.
    Reasoning {
        /// Names the item.
        id: String,
        /// Always empty: thoughts are given whole.
        #[schema(value_type = Vec<Object>)]
        summary: Vec<Value>,
        /// The thoughts; empty while they come.
        content: Vec<OutputPart>,
        /// How far it is.
        status: Status,
    },
    /// A function that the client is to run.
    FunctionCall {
        /// Names the item.
        id: String,
        /// Names the call in the item that answers it.
        call_id: String,
        /// The function.
        name: String,
        /// The text of a JSON object.
        arguments: String,
        /// How far it is.
        status: Status,
    },
    /// A tool that ran here.
    McpCall {
        /// Names the call.
        id: String,
        /// Whose tool it is.
        server_label: String,
        /// The tool.
        name: String,
        /// The text of a JSON object.
        arguments: String,
        /// What it answered.
        output: Option<String>,
        /// Why it failed.
        #[schema(value_type = Option<Object>)]
        error: Option<Value>,
        /// How far it is.
        status: Status,
    },
}

/// Text of an item.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputPart {
    /// Said.
    OutputText {
        /// The text.
        text: String,
        /// Always empty.
        #[schema(value_type = Vec<Object>)]
        annotations: Vec<Value>,
        /// If asked for: one per token.
        logprobs: Vec<ChatTokenLogprob>,
    },
    /// Thought.
    ReasoningText {
        /// The text.
        text: String,
    },
}

impl OutputPart {
    /// A text that was said.
    pub fn said(text: String, logprobs: Vec<ChatTokenLogprob>) -> Self {
        Self::OutputText { text, annotations: Vec::new(), logprobs }
    }
}

/// Token counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ResponseUsage {
    /// Tokens of the prompt.
    pub input_tokens: usize,
    /// Where they came from.
    pub input_tokens_details: InputTokensDetails,
    /// Tokens generated.
    pub output_tokens: usize,
    /// What they were for.
    pub output_tokens_details: OutputTokensDetails,
    /// Both.
    pub total_tokens: usize,
}

/// Where the prompt's tokens came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InputTokensDetails {
    /// Taken from the prefix cache.
    pub cached_tokens: usize,
    /// Always 0: nothing is charged for filling it.
    pub cache_write_tokens: usize,
}

/// What the generated tokens were for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OutputTokensDetails {
    /// Thought before the answer.
    pub reasoning_tokens: usize,
}

impl From<UsageBody> for ResponseUsage {
    fn from(usage: UsageBody) -> Self {
        let cached_tokens = usage.prompt_tokens_details.cached_tokens;
        let reasoning_tokens = usage.completion_tokens_details.reasoning_tokens;
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputTokensDetails { cached_tokens, cache_write_tokens: 0 },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokensDetails { reasoning_tokens },
            total_tokens: usage.total_tokens,
        }
    }
}

/// That a response is gone.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeletedResponse {
    /// Which.
    pub id: String,
    /// `response`
    pub object: &'static str,
    /// `true`
    pub deleted: bool,
}

/// The conversation that a response answered.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ItemList {
    /// `list`
    pub object: &'static str,
    /// The items.
    #[schema(value_type = Vec<Object>)]
    pub data: Vec<super::input::Item>,
    /// Whether there are more in this direction.
    pub has_more: bool,
    /// The first of them.
    pub first_id: String,
    /// The last of them.
    pub last_id: String,
}
