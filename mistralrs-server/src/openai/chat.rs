//! `/v1/chat/completions`: the request, the answer and its chunks.

use super::generate::{Generate, GenerateBody, MAX_TOP_LOGPROBS, warn_no_effect};
use super::message::Messages;
use super::response::{ChatLogprobs, Head, UsageBody};
use super::thinking::Thinking;
use super::tool_runs::{McpChoice, ToolRunBody};
use super::tools::{FunctionChunk, ToolCallBody, ToolCallChunk, ToolRequest};
use super::values::{Count, Present};
use super::{Limits, form, response};
use crate::error::ApiError;
use crate::search::SearchOptions;
use crate::stream::{Answer, ChoiceAnswer, Dialect, Finish, Frame, Opening, Piece};
use mistralrs_core::request::TokenLogprobs;
use mistralrs_core::{ChatRequest, ToolCallDelta};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What a chat request has beyond [`GenerateBody`].
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ChatBody {
    /// The conversation so far.
    pub messages: Messages,
    /// Give the log-probability of every token.
    pub logprobs: Option<bool>,
    /// And of this many best ones, 0 to 20.
    pub top_logprobs: Option<Count>,
    /// Further variables for the chat template.
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// The variable `enable_thinking` of the chat template.
    pub enable_thinking: Option<bool>,
    /// The form of the answer: `{"type": "text" | "json_object"}` or `{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}`.
    #[schema(value_type = Option<Object>)]
    pub response_format: Option<Value>,
    /// Functions the model may call: `{"type": "function", "function": {"name", "description", "parameters", "strict"}}`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Value>,
    /// `none`, `auto`, `required`, or an object of type `function` or `allowed_tools`.
    #[schema(value_type = Option<Object>)]
    pub tool_choice: Option<Value>,
    /// False: the answer ends with its first call.
    pub parallel_tool_calls: Option<bool>,
    /// `none` switches thinking off; `minimal`, `low`, `medium`, `high`, `xhigh` or `max` is the variable `reasoning_effort` of the chat template, or, where the template does not read it, at most 256, 1024, 8192 tokens of thought or any number.
    pub reasoning_effort: Option<String>,
    /// Most tokens of thought: then its end is written for the model, and the answer begins. An extension.
    pub thinking_budget: Option<Count>,
    /// Which tools of MCP servers the answer may use: `false`, `true`, or `{"servers", "allowed_tools", "denied_tools", "max_rounds"}`; absent = as the configuration says. An extension.
    #[schema(value_type = Option<Object>)]
    pub mcp: Option<McpChoice>,
    /// `["text"]`.
    #[schema(value_type = Option<Vec<String>>)]
    pub modalities: Option<Value>,
    /// Not supported yet.
    #[schema(value_type = Option<Vec<Object>>)]
    pub functions: Option<Value>,
    /// Not supported yet.
    #[schema(value_type = Option<String>)]
    pub function_call: Option<Value>,
    /// Not supported.
    pub audio: Option<Present>,
    /// Let the model search the web, on a server started with `--enable-search`: `{"search_context_size": "low" | "medium" | "high", "user_location"}`.
    #[schema(value_type = Option<Object>)]
    pub web_search_options: Option<Value>,
    /// Has no effect.
    pub prediction: Option<Present>,
    /// Has no effect.
    pub verbosity: Option<Present>,
}

/// The whole request.
#[derive(ToSchema)]
pub struct ChatCompletionRequest {
    #[schema(inline)]
    #[serde(flatten)]
    _chat: ChatBody,
    #[schema(inline)]
    #[serde(flatten)]
    _generate: GenerateBody,
}

/// A checked chat request.
#[derive(Debug, Clone)]
pub struct Chat {
    /// For the engine.
    pub request: ChatRequest,
    /// How to answer. Its options are those of the request.
    pub generate: Generate,
    /// What it says about thinking.
    pub thinking: Thinking,
    /// Which tools of MCP servers it may use.
    pub mcp: Option<McpChoice>,
    /// How it searches the web, if it does.
    pub search: Option<SearchOptions>,
}

impl ChatBody {
    /// Checks the form and translates. What has no effect is added to `warnings`.
    ///
    /// # Errors
    /// [`ApiError`] naming the field.
    pub fn into_core(
        self,
        generate: GenerateBody,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) -> Result<Chat, ApiError> {
        self.refuse_unsupported()?;
        let no_effect = [("prediction", self.prediction), ("verbosity", self.verbosity)];
        warn_no_effect(&no_effect, warnings);
        let mut generate = generate.into_core(limits, warnings)?;
        generate.options.logprobs = self.top_logprobs()?;
        if let Some(form) = form::response_format(self.response_format.as_ref())?
            && generate.options.form.replace(form).is_some()
        {
            let message = "`grammar` and `response_format` exclude each other";
            return Err(ApiError::invalid("grammar", message));
        }
        let thinking = Thinking {
            enabled: self.enable_thinking,
            effort: self.reasoning_effort,
            budget: self.thinking_budget.map(|budget| budget.0),
        };
        thinking.check("reasoning_effort")?;
        let template_kwargs = thinking.template_kwargs(self.chat_template_kwargs);
        let single_tool_call = self.parallel_tool_calls == Some(false);
        let tools = ToolRequest::read(self.tools, self.tool_choice)?;
        let search = self.web_search_options.as_ref();
        let search = search.map(|options| SearchOptions::read(options, "web_search_options"));
        let request = ChatRequest {
            messages: self.messages.into_core()?,
            tools: tools.tools,
            tool_choice: tools.choice,
            single_tool_call,
            template_kwargs,
            options: generate.options.clone(),
        };
        Ok(Chat { request, generate, thinking, mcp: self.mcp, search: search.transpose()? })
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        let is_word = |value: &Value, words: &[&str]| {
            value.as_str().is_some_and(|word| words.contains(&word))
        };
        let refused = [
            ("functions", self.functions.as_ref().is_some_and(|functions| !is_empty(functions))),
            (
                "function_call",
                self.function_call.as_ref().is_some_and(|call| !is_word(call, &["none", "auto"])),
            ),
            (
                "modalities",
                self.modalities.as_ref().is_some_and(|list| *list != serde_json::json!(["text"])),
            ),
            ("audio", self.audio.is_some()),
        ];
        match refused.iter().find(|(_, refused)| *refused) {
            None => Ok(()),
            Some((field, _)) => Err(ApiError::unsupported(
                field,
                format!("`{field}` with this value is not supported yet"),
            )),
        }
    }

    fn top_logprobs(&self) -> Result<Option<usize>, ApiError> {
        match (self.logprobs.unwrap_or(false), self.top_logprobs.map(|top| top.0)) {
            (false, None | Some(0)) => Ok(None),
            (false, Some(_)) => {
                Err(ApiError::invalid("top_logprobs", "`top_logprobs` needs `logprobs: true`"))
            }
            (true, Some(top)) if top > MAX_TOP_LOGPROBS => Err(ApiError::invalid(
                "top_logprobs",
                format!("`top_logprobs` is {top}; it has to be 0 to {MAX_TOP_LOGPROBS}"),
            )),
            (true, top) => Ok(Some(top.unwrap_or(0))),
        }
    }
}

/// The whole answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatCompletionResponse {
    /// Identifies the answer.
    pub id: String,
    /// `chat.completion`
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// Changes when the same seed may give another answer.
    pub system_fingerprint: String,
    /// One per answer asked for.
    pub choices: Vec<ChatChoice>,
    /// Token counts.
    pub usage: UsageBody,
    /// What was ignored, clamped or overridden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatChoice {
    /// Its place among `n`.
    pub index: usize,
    /// The answer.
    pub message: AssistantMessage,
    /// If asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls`.
    pub finish_reason: &'static str,
    /// Tools of MCP servers that ran for the answer; an extension.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_runs: Vec<ToolRunBody>,
}

/// What the model said.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AssistantMessage {
    /// `assistant`
    pub role: &'static str,
    /// The text; `null` if the model only called tools.
    pub content: Option<String>,
    /// Always `null`: there is no separate channel for refusals.
    pub refusal: Option<String>,
    /// What the model thought before it spoke; an extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The calls it made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallBody>,
}

impl AssistantMessage {
    fn of(choice: &mut ChoiceAnswer) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let tool_calls: Vec<ToolCallBody> =
            std::mem::take(&mut choice.calls).into_iter().map(ToolCallBody::from).collect();
        let text = std::mem::take(&mut choice.text);
        Self {
            role: "assistant",
            content: if tool_calls.is_empty() { Some(text) } else { some(text) },
            refusal: None,
            reasoning_content: some(std::mem::take(&mut choice.reasoning)),
            tool_calls,
        }
    }
}

/// One event of a stream.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatCompletionChunk {
    /// The same in all chunks of an answer.
    pub id: String,
    /// `chat.completion.chunk`
    pub object: &'static str,
    /// Seconds since 1970, the same in all chunks.
    pub created: u64,
    /// The model that answers.
    pub model: String,
    /// As in the whole answer.
    pub system_fingerprint: String,
    /// One, or none in the chunk with the token counts.
    pub choices: Vec<ChunkChoice>,
    /// With `stream_options.include_usage`: `null` but in the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<UsageBody>)]
    pub usage: Option<Option<UsageBody>>,
    /// A tool of an MCP server runs, or has run; an extension, beside an empty delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_progress: Option<ToolRunBody>,
    /// What was ignored, clamped or overridden; in the first or last chunk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A piece of one answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChunkChoice {
    /// Its place among `n`.
    pub index: usize,
    /// What is new.
    pub delta: ChunkDelta,
    /// If asked for: those of the tokens in this chunk.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls` in the last chunk of an answer.
    pub finish_reason: Option<&'static str>,
}

/// What is new.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ChunkDelta {
    /// `assistant`, in the first chunk of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Text to append.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Thoughts to append; an extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// One piece of a call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallChunk>,
}

impl ChunkDelta {
    fn of(piece: Piece) -> Self {
        match piece {
            Piece::Text(text) => Self { content: Some(text), ..Self::default() },
            Piece::Reasoning(text) => Self { reasoning_content: Some(text), ..Self::default() },
            Piece::Call(index, delta) => {
                let (id, name, arguments) = match delta {
                    ToolCallDelta::Start { id, name } => (Some(id), Some(name), String::new()),
                    ToolCallDelta::Arguments(text) => (None, None, text),
                    ToolCallDelta::End | ToolCallDelta::Abort => return Self::default(),
                };
                let kind = id.is_some().then_some("function");
                let function = FunctionChunk { name, arguments };
                let tool_calls = vec![ToolCallChunk { index, id, kind, function }];
                Self { tool_calls, ..Self::default() }
            }
            Piece::Run(_) => Self::default(),
        }
    }
}

/// Writes chat answers.
#[derive(Debug, Clone)]
pub struct ChatDialect {
    /// What all chunks share.
    pub head: Head,
    /// Whether log-probabilities were asked for.
    pub logprobs: bool,
}

impl ChatDialect {
    fn chunk(&self, choice: Option<ChunkChoice>) -> ChatCompletionChunk {
        ChatCompletionChunk {
            id: self.head.id.clone(),
            object: "chat.completion.chunk",
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: self.head.system_fingerprint.clone(),
            choices: choice.into_iter().collect(),
            usage: self.head.include_usage.then_some(None),
            tool_progress: None,
            warnings: Vec::new(),
        }
    }

    fn choice(index: usize, delta: ChunkDelta) -> ChunkChoice {
        ChunkChoice { index, delta, logprobs: None, finish_reason: None }
    }

    fn logprobs(&self, tokens: &[TokenLogprobs]) -> Option<ChatLogprobs> {
        self.logprobs.then(|| ChatLogprobs::from_core(tokens))
    }

    /// The whole answer.
    pub fn response(&self, answer: Answer, warnings: Vec<String>) -> ChatCompletionResponse {
        let usage = response::usage(&answer.choices);
        let choice = |(index, mut choice): (usize, ChoiceAnswer)| ChatChoice {
            index,
            logprobs: self.logprobs(&choice.tokens),
            finish_reason: response::finish_reason(choice.reason),
            tool_runs: std::mem::take(&mut choice.tool_runs),
            message: AssistantMessage::of(&mut choice),
        };
        ChatCompletionResponse {
            id: self.head.id.clone(),
            object: "chat.completion",
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: self.head.system_fingerprint.clone(),
            choices: answer.choices.into_iter().enumerate().map(choice).collect(),
            usage,
            warnings,
        }
    }
}

impl Dialect for ChatDialect {
    fn open(&mut self, opening: Opening<'_>) -> Vec<Frame> {
        let role = Some("assistant");
        let delta = ChunkDelta { role, content: Some(String::new()), ..ChunkDelta::default() };
        let mut chunk = self.chunk(Some(Self::choice(opening.choice, delta)));
        chunk.warnings = opening.warnings;
        response::json(&chunk)
    }

    fn piece(&mut self, choice: usize, piece: Piece, tokens: &[TokenLogprobs]) -> Vec<Frame> {
        let ends = matches!(&piece, Piece::Call(_, ToolCallDelta::End | ToolCallDelta::Abort));
        if ends && (tokens.is_empty() || !self.logprobs) {
            return Vec::new();
        }
        let tool_progress = match &piece {
            Piece::Run(run) => Some(run.clone()),
            _ => None,
        };
        let delta = ChunkDelta::of(piece);
        let logprobs = self.logprobs(tokens);
        let choice = ChunkChoice { logprobs, ..Self::choice(choice, delta) };
        response::json(&ChatCompletionChunk { tool_progress, ..self.chunk(Some(choice)) })
    }

    fn finish(&mut self, choice: usize, finish: Finish) -> Vec<Frame> {
        let finish_reason = Some(response::finish_reason(finish.reason));
        let end = ChunkChoice { finish_reason, ..Self::choice(choice, ChunkDelta::default()) };
        response::json(&self.chunk(Some(end)))
    }

    fn end(&mut self, ending: Result<UsageBody, &ApiError>) -> Vec<Frame> {
        response::last_word(ending.map(|usage| {
            let mut chunk = self.chunk(None);
            chunk.usage = Some(Some(usage));
            if self.head.include_usage { response::json(&chunk) } else { Vec::new() }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LIMITS: Limits = Limits { max_n: 4, max_choices: 8, context_tokens: 100, vocab_size: 50 };

    fn read(mut body: Value) -> Result<(Chat, Vec<String>), ApiError> {
        if body.get("messages").is_none() {
            body["messages"] = json!("hi");
        }
        let generate = serde_json::from_value(body.clone()).unwrap();
        let chat: ChatBody = serde_json::from_value(body).unwrap();
        let mut warnings = Vec::new();
        let chat = chat.into_core(generate, &LIMITS, &mut warnings)?;
        Ok((chat, warnings))
    }

    #[test]
    fn log_probabilities() {
        let asked = |body| read(body).unwrap().0.request.options.logprobs;
        assert_eq!(asked(json!({})), None);
        assert_eq!(asked(json!({"logprobs": true})), Some(0));
        assert_eq!(asked(json!({"logprobs": true, "top_logprobs": 20})), Some(20));
        for body in [json!({"top_logprobs": 1}), json!({"logprobs": true, "top_logprobs": 21})] {
            assert_eq!(read(body).map(|_| ()).unwrap_err().field(), Some("top_logprobs"));
        }
    }

    #[test]
    fn thinking_and_other_template_variables() {
        let (chat, _) =
            read(json!({"chat_template_kwargs": {"a": 1}, "enable_thinking": false})).unwrap();
        assert_eq!(
            Value::Object(chat.request.template_kwargs),
            json!({"a": 1, "enable_thinking": false})
        );
    }

    #[test]
    fn reasoning_effort_reaches_the_template() {
        let kwargs = |body| Value::Object(read(body).unwrap().0.request.template_kwargs);
        assert_eq!(kwargs(json!({"reasoning_effort": "low"})), json!({"reasoning_effort": "low"}));
        assert_eq!(kwargs(json!({"reasoning_effort": "none"})), json!({"enable_thinking": false}));
        let error = read(json!({"reasoning_effort": "huge"})).map(|_| ()).unwrap_err();
        assert_eq!(error.field(), Some("reasoning_effort"));
    }

    #[test]
    fn tools_and_their_choice_arrive() {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let body =
            json!({"tools": [tool], "tool_choice": "required", "parallel_tool_calls": false});
        let request = read(body).unwrap().0.request;
        assert_eq!((request.tools.len(), request.single_tool_call), (1, true));
        assert_eq!(request.tool_choice, mistralrs_core::ToolChoice::Required);
    }

    #[test]
    fn harmless_forms_of_unsupported_fields_pass() {
        let (_, warnings) = read(json!({
            "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "modalities": ["text"],
            "functions": [], "function_call": "none", "verbosity": "low"
        }))
        .unwrap();
        assert_eq!(warnings, ["`verbosity` has no effect here"]);
    }

    #[test]
    fn unsupported_fields_are_refused_by_name() {
        let table = [
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"modalities": ["audio"]}), "modalities"),
            (json!({"audio": {}}), "audio"),
            (json!({"functions": [{}]}), "functions"),
        ];
        for (body, field) in table {
            let error = read(body.clone()).map(|_| ()).expect_err(&body.to_string());
            assert_eq!(
                (error.field(), error.code()),
                (Some(field), Some("unsupported_parameter")),
                "{body}"
            );
        }
    }
}
