//! `/v1/responses`: the request. What it shares with a chat (sampling, tools, forms) is read by `openai/`.

use super::input::{self, Item};
use super::response::ResponseBody;
use crate::error::ApiError;
use crate::openai::chat::Chat;
use crate::openai::generate::{GenerateBody, MAX_TOP_LOGPROBS, check_max_tokens, warn_no_effect};
use crate::openai::thinking::Thinking;
use crate::openai::tool_runs::McpChoice;
use crate::openai::tools::ToolRequest;
use crate::openai::values::{Count, Present, TextOr};
use crate::openai::{Limits, form};
use crate::search::SearchOptions;
use mistralrs_core::{ChatRequest, Message, Role};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Most pairs of `metadata`, and longest value; OpenAI's bounds.
const MAX_METADATA: usize = 16;
const MAX_METADATA_CHARS: usize = 512;

/// What a request has beyond [`GenerateBody`].
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ResponsesBody {
    /// What is to be answered: a string, or items of type `message`, `function_call`, `function_call_output`, `reasoning` or `mcp_call`.
    #[schema(value_type = Option<Object>)]
    pub input: Option<TextOr<Item>>,
    /// The system's message; holds for this response only.
    pub instructions: Option<String>,
    /// The response that this one continues.
    pub previous_response_id: Option<String>,
    /// Most tokens to generate, reasoning included.
    pub max_output_tokens: Option<Count>,
    /// The form of the text: `{"format": {"type": "text" | "json_object"}}` or `{"format": {"type": "json_schema", "name", "schema", "strict"}}`.
    pub text: Option<TextBody>,
    /// How hard to think: `{"effort"}`, as `reasoning_effort` of a chat.
    pub reasoning: Option<ReasoningBody>,
    /// Functions the model may call: `{"type": "function", "name", "description", "parameters", "strict"}`; and `{"type": "web_search"}` on a server started with `--enable-search`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Map<String, Value>>>,
    /// `none`, `auto`, `required`, or an object of type `function` or `allowed_tools`.
    #[schema(value_type = Option<Object>)]
    pub tool_choice: Option<Value>,
    /// False: the answer ends with its first call.
    pub parallel_tool_calls: Option<bool>,
    /// Keep the response, so that it can be read, continued and deleted (default: true).
    pub store: Option<bool>,
    /// Answer at once and go on working; needs `store`. Not together with `stream`.
    pub background: Option<bool>,
    /// Strings that come back with the response.
    pub metadata: Option<BTreeMap<String, String>>,
    /// `disabled`, or `auto`: cut the front of a conversation that is too long.
    pub truncation: Option<String>,
    /// `message.output_text.logprobs` gives log-probabilities; the others have no effect.
    pub include: Option<Vec<String>>,
    /// Give this many best tokens with the log-probabilities, 0 to 20.
    pub top_logprobs: Option<Count>,
    /// Further variables for the chat template. An extension.
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// The variable `enable_thinking` of the chat template. An extension.
    pub enable_thinking: Option<bool>,
    /// Most tokens of thought, as in a chat. An extension.
    pub thinking_budget: Option<Count>,
    /// Which tools of MCP servers the answer may use, as in a chat. An extension.
    #[schema(value_type = Option<Object>)]
    pub mcp: Option<McpChoice>,
    /// Not supported: use `previous_response_id`.
    pub conversation: Option<Present>,
    /// Not supported.
    pub prompt: Option<Present>,
    /// Not supported.
    pub context_management: Option<Present>,
    /// Not supported.
    pub max_tool_calls: Option<Present>,
    /// Not supported.
    pub moderation: Option<Present>,
}

/// The form of the text.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct TextBody {
    /// As `response_format` of a chat, with the schema one level higher.
    #[schema(value_type = Option<Object>)]
    pub format: Option<Value>,
    /// Has no effect.
    pub verbosity: Option<Present>,
}

/// How hard to think.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct ReasoningBody {
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`.
    pub effort: Option<String>,
    /// Has no effect: thoughts are given whole.
    pub summary: Option<Present>,
    /// Has no effect.
    pub generate_summary: Option<Present>,
}

/// The whole request.
#[derive(ToSchema)]
pub struct CreateResponseRequest {
    #[schema(inline)]
    #[serde(flatten)]
    _responses: ResponsesBody,
    #[schema(inline)]
    #[serde(flatten)]
    _generate: GenerateBody,
}

/// A checked request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The conversation and how to answer it.
    pub chat: Chat,
    /// The response, before anything is said.
    pub draft: ResponseBody,
    /// The conversation as it is kept: what came before, then the input.
    pub items: Vec<Item>,
    /// Keep it.
    pub store: bool,
    /// Answer at once and go on working.
    pub background: bool,
}

impl ResponsesBody {
    /// Checks the form and translates. `before` = the conversation of the previous response. What has no effect
    /// is added to `warnings`.
    ///
    /// # Errors
    /// [`ApiError`] naming the field.
    pub fn into_core(
        self,
        mut generate: GenerateBody,
        before: &[Item],
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) -> Result<Asked, ApiError> {
        self.refuse_unsupported()?;
        self.warn(warnings);
        // Here they have an effect.
        (generate.metadata, generate.store) = (None, None);
        if let Some(Count(max)) = self.max_output_tokens {
            check_max_tokens("max_output_tokens", max, limits)?;
            generate.max_completion_tokens = self.max_output_tokens;
        }
        let draft = self.draft(&generate);
        let mut generate = generate.into_core(limits, warnings)?;
        if generate.n != 1 {
            return Err(ApiError::unsupported("n", "a response has one answer: `n` has to be 1"));
        }
        generate.options.truncate_sequence |= self.truncation.as_deref() == Some("auto");
        generate.options.logprobs = self.logprobs()?;
        let format = self.text.as_ref().and_then(|text| text.format.as_ref());
        if let Some(form) = text_format(format)?
            && generate.options.form.replace(form).is_some()
        {
            let message = "`grammar` and `text.format` exclude each other";
            return Err(ApiError::invalid("grammar", message));
        }
        let thinking = Thinking {
            enabled: self.enable_thinking,
            effort: self.reasoning.and_then(|reasoning| reasoning.effort),
            budget: self.thinking_budget.map(|budget| budget.0),
        };
        thinking.check("reasoning.effort")?;
        let template_kwargs = thinking.template_kwargs(self.chat_template_kwargs);
        let (tools, search) = read_tools(self.tools, self.tool_choice, warnings)?;
        let Some(input) = self.input else {
            return Err(ApiError::invalid(
                "input",
                "`input` is missing: a string or a list of items",
            ));
        };
        let input = input::items(input);
        let mut messages = input::messages(before, &input)?;
        if messages.is_empty() {
            return Err(ApiError::invalid("input", "`input` has no message"));
        }
        if let Some(text) = &self.instructions {
            messages.insert(0, Message::text(Role::System, text));
        }
        let request = ChatRequest {
            messages,
            tools: tools.tools,
            tool_choice: tools.choice,
            single_tool_call: self.parallel_tool_calls == Some(false),
            template_kwargs,
            options: generate.options.clone(),
        };
        let items = before.iter().cloned().chain(input.into_iter().map(input::spelled_out));
        Ok(Asked {
            chat: Chat { request, generate, thinking, mcp: self.mcp, search },
            draft,
            items: items.collect(),
            store: self.store.unwrap_or(true),
            background: self.background.unwrap_or(false),
        })
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let refused = [
            ("conversation", self.conversation.is_some()),
            ("prompt", self.prompt.is_some()),
            ("context_management", self.context_management.is_some()),
            ("max_tool_calls", self.max_tool_calls.is_some()),
            ("moderation", self.moderation.is_some()),
        ];
        if let Some((field, _)) = refused.iter().find(|(_, given)| *given) {
            return Err(ApiError::unsupported(field, format!("`{field}` is not supported")));
        }
        if self.background == Some(true) && self.store == Some(false) {
            let message = "`background` needs `store`: the response has to be kept to be fetched";
            return Err(ApiError::invalid("background", message));
        }
        if !matches!(self.truncation.as_deref(), None | Some("auto" | "disabled")) {
            let message = "`truncation` has to be `auto` or `disabled`";
            return Err(ApiError::invalid("truncation", message));
        }
        let metadata = self.metadata.iter().flatten();
        let long = |(key, value): (&String, &String)| {
            key.chars().count().max(value.chars().count()) > MAX_METADATA_CHARS
        };
        let pairs = self.metadata.as_ref().map_or(0, BTreeMap::len);
        if pairs > MAX_METADATA || metadata.into_iter().any(long) {
            let message = format!(
                "`metadata` may have {MAX_METADATA} pairs of at most {MAX_METADATA_CHARS} characters"
            );
            return Err(ApiError::invalid("metadata", message));
        }
        Ok(())
    }

    fn warn(&self, warnings: &mut Vec<String>) {
        let text = self.text.clone().unwrap_or_default();
        let reasoning = self.reasoning.clone().unwrap_or_default();
        let no_effect = [
            ("text.verbosity", text.verbosity),
            ("reasoning.summary", reasoning.summary),
            ("reasoning.generate_summary", reasoning.generate_summary),
        ];
        warn_no_effect(&no_effect, warnings);
        for include in self.include.iter().flatten().filter(|include| *include != LOGPROBS) {
            let include: String = include.chars().take(60).collect();
            warnings.push(format!("`{include}` in `include` has no effect here"));
        }
    }

    fn logprobs(&self) -> Result<Option<usize>, ApiError> {
        let wanted = self.include.iter().flatten().any(|include| include == LOGPROBS);
        match self.top_logprobs.map(|top| top.0) {
            Some(top) if top > MAX_TOP_LOGPROBS => Err(ApiError::invalid(
                "top_logprobs",
                format!("`top_logprobs` is {top}; it has to be 0 to {MAX_TOP_LOGPROBS}"),
            )),
            Some(top) if wanted || top > 0 => Ok(Some(top)),
            Some(_) | None => Ok(wanted.then_some(0)),
        }
    }

    /// What comes back of the request.
    fn draft(&self, generate: &GenerateBody) -> ResponseBody {
        let format = self.text.as_ref().and_then(|text| text.format.clone());
        let effort = self.reasoning.as_ref().and_then(|reasoning| reasoning.effort.clone());
        let max_tokens = generate.max_completion_tokens.or(generate.max_tokens);
        let spelled_out = |tool: &Map<String, Value>| {
            let mut tool = tool.clone();
            for key in ["strict", "parameters"] {
                tool.entry(key).or_insert(Value::Null);
            }
            Value::Object(tool)
        };
        ResponseBody {
            instructions: self.instructions.clone(),
            previous_response_id: self.previous_response_id.clone(),
            max_output_tokens: max_tokens.map(|max| max.0),
            temperature: generate.temperature.map(|it| f64::from(it.0)),
            top_p: generate.top_p.map(|it| f64::from(it.0)),
            top_logprobs: self.top_logprobs.map_or(0, |top| top.0),
            parallel_tool_calls: self.parallel_tool_calls.unwrap_or(true),
            tools: self.tools.iter().flatten().map(spelled_out).collect(),
            tool_choice: self.tool_choice.clone().unwrap_or_else(|| "auto".into()),
            text: json!({"format": format.unwrap_or_else(|| json!({"type": "text"}))}),
            reasoning: json!({"effort": effort, "summary": null}),
            truncation: self.truncation.clone().unwrap_or_else(|| "disabled".to_owned()),
            metadata: self.metadata.clone().unwrap_or_default(),
            store: self.store.unwrap_or(true),
            background: self.background.unwrap_or(false),
            ..ResponseBody::default()
        }
    }
}

const LOGPROBS: &str = "message.output_text.logprobs";

/// A form in the spelling of a chat, with the fields' names in this one.
fn text_format(format: Option<&Value>) -> Result<Option<mistralrs_core::Form>, ApiError> {
    let named = |name: &str| {
        name.replace("response_format.json_schema", "text.format")
            .replace("response_format", "text.format")
    };
    match form::response_format(format) {
        Ok(form) => Ok(form.map(|mut form| {
            form.field = named(&form.field);
            form
        })),
        Err(error) => Err(error
            .renamed("response_format.json_schema", "text.format")
            .renamed("response_format", "text.format")),
    }
}

/// Functions in the spelling of a chat: one level deeper.
fn read_tools(
    tools: Option<Vec<Map<String, Value>>>,
    choice: Option<Value>,
    warnings: &mut Vec<String>,
) -> Result<(ToolRequest, Option<SearchOptions>), ApiError> {
    let mut functions = tools.unwrap_or_default();
    let search = SearchOptions::take(&mut functions, warnings)?;
    let nested = |mut tool: Map<String, Value>| {
        let kind = tool.shift_remove("type").unwrap_or(Value::Null);
        json!({"type": kind, "function": tool})
    };
    let tools = functions.into_iter().map(nested).collect();
    Ok((ToolRequest::read(Some(tools), choice).map_err(flat)?, search))
}

/// Errors about tools, in the spelling of this dialect.
pub fn flat(error: ApiError) -> ApiError {
    error.renamed(".function.", ".").renamed("web_search_options", "tools")
}
