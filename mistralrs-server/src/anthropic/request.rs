//! `/v1/messages`: the request. Fields of sampling beyond Anthropic's own are read by `openai/`.

use super::content::{self, Block, Turn};
use crate::error::ApiError;
use crate::openai::chat::Chat;
use crate::openai::generate::{GenerateBody, check_max_tokens, warn_no_effect};
use crate::openai::thinking::Thinking;
use crate::openai::tool_runs::McpChoice;
use crate::openai::tools::ToolRequest;
use crate::openai::values::{Count, Present, Strings, TextOr};
use crate::openai::{Limits, form};
use crate::search::SearchOptions;
use mistralrs_core::{ChatRequest, Form};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// What a request has beyond [`GenerateBody`].
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct MessagesBody {
    /// The conversation: turns of `user` and `assistant`.
    pub messages: Vec<Turn>,
    /// The system's message: a string, or blocks of text.
    #[schema(value_type = Option<Object>)]
    pub system: Option<TextOr<Block>>,
    /// The answer ends before the first of these (at most 16).
    pub stop_sequences: Option<Strings>,
    /// Tools the model may call: `{"name", "description", "input_schema", "strict"}`; and `{"type": "web_search_…"}` on a server started with `--enable-search`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Map<String, Value>>>,
    /// `{"type": "auto" | "any" | "tool" | "none", "name", "disable_parallel_tool_use"}`.
    pub tool_choice: Option<ToolChoiceBody>,
    /// `{"type": "enabled", "budget_tokens"}`, `{"type": "adaptive"}` or `{"type": "disabled"}` (default).
    pub thinking: Option<ThinkingBody>,
    /// `{"format": {"type": "json_schema", "schema"}, "effort"}`: the form of the answer, and how hard to think.
    pub output_config: Option<OutputConfig>,
    /// The older place of `output_config.format`.
    #[schema(value_type = Option<Object>)]
    pub output_format: Option<Value>,
    /// Further variables for the chat template. An extension.
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Which tools of MCP servers the answer may use, as in a chat. An extension.
    #[schema(value_type = Option<Object>)]
    pub mcp: Option<McpChoice>,
    /// Not supported: configure MCP servers with `--mcp-config`.
    pub mcp_servers: Option<Vec<Present>>,
    /// Not supported.
    pub container: Option<Present>,
    /// Not supported.
    pub context_management: Option<Present>,
    /// Has no effect.
    pub inference_geo: Option<Present>,
    /// Has no effect: prefixes are cached by content.
    pub cache_control: Option<Present>,
}

/// Whether tools may or must be called.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ToolChoiceBody {
    /// `auto`, `any`, `tool` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The tool, with `tool`.
    pub name: Option<String>,
    /// True: the answer ends with its first call.
    pub disable_parallel_tool_use: Option<bool>,
}

/// Whether and how long to think.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ThinkingBody {
    /// `enabled`, `adaptive` or `disabled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Most tokens of thought.
    pub budget_tokens: Option<Count>,
    /// Has no effect: thoughts are shown as they are.
    pub display: Option<Present>,
}

/// The form of the answer, and how hard to think.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct OutputConfig {
    /// `{"type": "json_schema", "schema"}`
    #[schema(value_type = Option<Object>)]
    pub format: Option<Value>,
    /// As `reasoning_effort` of a chat.
    pub effort: Option<String>,
}

/// The whole request.
#[derive(ToSchema)]
pub struct CreateMessageRequest {
    #[schema(inline)]
    #[serde(flatten)]
    _messages: MessagesBody,
    #[schema(inline)]
    #[serde(flatten)]
    _generate: GenerateBody,
}

impl MessagesBody {
    /// Checks the form and translates. `counts` = only the prompt's tokens are to be counted. What has no effect
    /// is added to `warnings`.
    ///
    /// # Errors
    /// [`ApiError`] naming the field.
    pub fn into_core(
        self,
        mut generate: GenerateBody,
        limits: &Limits,
        counts: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Chat, ApiError> {
        self.refuse_unsupported()?;
        let no_effect =
            [("inference_geo", self.inference_geo), ("cache_control", self.cache_control)];
        warn_no_effect(&no_effect, warnings);
        match generate.max_tokens {
            Some(Count(max)) => check_max_tokens("max_tokens", max, limits)?,
            None if counts || generate.max_completion_tokens.is_some() => {}
            None => return Err(ApiError::invalid("max_tokens", "`max_tokens` is missing")),
        }
        if let Some(stop) = self.stop_sequences {
            generate.stop = Some(stop);
        }
        let read = generate.into_core(limits, warnings);
        let mut generate = read.map_err(|error| error.renamed("stop[", "stop_sequences["))?;
        if generate.n != 1 {
            return Err(ApiError::unsupported("n", "a message has one answer: `n` has to be 1"));
        }
        let output = self.output_config.unwrap_or_default();
        if let Some(form) = answer_form(output.format, self.output_format)?
            && generate.options.form.replace(form).is_some()
        {
            let message = "`grammar` and `output_config.format` exclude each other";
            return Err(ApiError::invalid("grammar", message));
        }
        let thinking = read_thinking(self.thinking, output.effort)?;
        let single = self.tool_choice.as_ref().and_then(|it| it.disable_parallel_tool_use);
        let (tools, search) = read_tools(self.tools, self.tool_choice, warnings)?;
        let request = ChatRequest {
            messages: content::messages(self.messages, self.system)?,
            tools: tools.tools,
            tool_choice: tools.choice,
            single_tool_call: single == Some(true),
            template_kwargs: thinking.template_kwargs(self.chat_template_kwargs),
            options: generate.options.clone(),
        };
        Ok(Chat { request, generate, thinking, mcp: self.mcp, search })
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let refused = [
            ("mcp_servers", self.mcp_servers.as_ref().is_some_and(|list| !list.is_empty())),
            ("container", self.container.is_some()),
            ("context_management", self.context_management.is_some()),
        ];
        match refused.iter().find(|(_, given)| *given) {
            Some((field, _)) => {
                Err(ApiError::unsupported(field, format!("`{field}` is not supported")))
            }
            None => Ok(()),
        }
    }
}

fn answer_form(new: Option<Value>, old: Option<Value>) -> Result<Option<Form>, ApiError> {
    let (format, path) = match (new, old) {
        (Some(format), _) => (format, "output_config.format"),
        (None, Some(format)) => (format, "output_format"),
        (None, None) => return Ok(None),
    };
    let inner = "response_format.json_schema";
    match form::response_format(Some(&format)) {
        Ok(form) => Ok(form.map(|mut form| {
            form.field = form.field.replace(inner, path).replace("response_format", path);
            form
        })),
        Err(error) => Err(error.renamed(inner, path).renamed("response_format", path)),
    }
}

/// Who does not ask for thoughts gets none.
fn read_thinking(
    thinking: Option<ThinkingBody>,
    effort: Option<String>,
) -> Result<Thinking, ApiError> {
    let (kind, budget) = match &thinking {
        Some(thinking) => (thinking.kind.as_str(), thinking.budget_tokens),
        None => ("", None),
    };
    let enabled = match (kind, budget) {
        ("enabled", Some(_)) | ("adaptive", None) => Some(true),
        ("disabled", None) => Some(false),
        // An effort is a wish to think; else the server's own setting holds, which is off.
        ("", _) => effort.is_some().then_some(true),
        ("enabled", None) => {
            let text = "`thinking.budget_tokens` is missing";
            return Err(ApiError::invalid("thinking.budget_tokens", text));
        }
        ("adaptive" | "disabled", Some(_)) => {
            let text = "`thinking.budget_tokens` goes with the type `enabled` only";
            return Err(ApiError::invalid("thinking.budget_tokens", text));
        }
        _ => {
            let text = "`thinking.type` has to be `enabled`, `adaptive` or `disabled`";
            return Err(ApiError::invalid("thinking.type", text));
        }
    };
    let thinking = Thinking { enabled, effort, budget: budget.map(|budget| budget.0) };
    thinking.check("output_config.effort")?;
    Ok(thinking)
}

/// Tools in the spelling of a chat; and the search of the web, which runs here.
fn read_tools(
    tools: Option<Vec<Map<String, Value>>>,
    choice: Option<ToolChoiceBody>,
    warnings: &mut Vec<String>,
) -> Result<(ToolRequest, Option<SearchOptions>), ApiError> {
    let mut functions = tools.unwrap_or_default();
    let search = SearchOptions::take(&mut functions, warnings)?;
    let nested = |mut tool: Map<String, Value>| {
        let kind = tool.shift_remove("type").unwrap_or(Value::Null);
        if let Some(schema) = tool.shift_remove("input_schema") {
            tool.insert("parameters".to_owned(), schema);
        }
        tool.shift_remove("cache_control");
        let kind = if kind.is_null() || kind == "custom" { "function".into() } else { kind };
        json!({"type": kind, "function": tool})
    };
    let tools = functions.into_iter().map(nested).collect();
    let choice = choice.map(|choice| match (choice.kind.as_str(), choice.name) {
        ("tool", name) => json!({"type": "function", "function": {"name": name}}),
        ("any", _) => "required".into(),
        (kind @ ("auto" | "none"), _) => kind.into(),
        // Not a word of this dialect: it is refused with the others.
        _ => "".into(),
    });
    Ok((ToolRequest::read(Some(tools), choice).map_err(flat)?, search))
}

/// Errors about tools, in the spelling of this dialect.
pub fn flat(error: ApiError) -> ApiError {
    error
        .renamed(".function.parameters", ".input_schema")
        .renamed(".function.", ".")
        .renamed("web_search_options", "tools")
}
