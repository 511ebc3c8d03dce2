//! A conversation → the prompt, by the model's Jinja template. Knows messages and the Jinja
//! environment, no tokens. Source: transformers' chat templates; what a template wants (content
//! as text or as parts, tool arguments as objects or as text) is found by rendering probes.

use super::jinja::{self, Clock, Raised};
use super::template_source::TemplateSource;
use crate::error::RequestError;
use crate::request::{ChatRequest, Content, Message, Part, Role};
use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value, json};

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";
/// Names under which a message's reasoning is passed; templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A model's chat template, compiled. Immutable.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: TemplateSource,
    special_tokens: Map<String, Value>,
    default: Wishes,
    tool_use: Option<Wishes>,
}

/// What a template wants its messages to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wishes {
    /// Content may be a string.
    text: bool,
    /// Content may be a list of parts.
    parts: bool,
    /// The arguments of tool calls are objects, not JSON text.
    argument_objects: bool,
    /// A message without content has `null`, not an empty string.
    null_content: bool,
    /// The role `developer` is known.
    developer: bool,
    /// The ids of tool calls have nine characters (Mistral).
    short_ids: bool,
}

impl ChatTemplate {
    /// Compiles a template; `special_tokens` are the variables `bos_token`, `eos_token`, ….
    ///
    /// # Errors
    /// A sentence with the line that is not Jinja.
    pub fn new(
        source: TemplateSource,
        special_tokens: Map<String, Value>,
        clock: Clock,
    ) -> Result<Self, String> {
        let mut environment = jinja::environment(clock);
        let tool_use = source.tool_use.as_deref().map(|text| (TOOL_USE, text));
        for (name, text) in [(DEFAULT, source.default.as_str())].into_iter().chain(tool_use) {
            environment
                .add_template_owned(name, jinja::adapt(text))
                .map_err(|e| format!("the chat template cannot be compiled: {}", sentence(&e)))?;
        }
        let mut template =
            Self { environment, source, special_tokens, default: Wishes::NONE, tool_use: None };
        template.default = template.probe(DEFAULT, &template.source.default);
        template.tool_use =
            template.source.tool_use.as_ref().map(|text| template.probe(TOOL_USE, text));
        Ok(template)
    }

    /// The text of the template, for those who look for a tool-call format in it.
    pub fn source(&self) -> &TemplateSource {
        &self.source
    }

    /// The prompt for a conversation.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] with what the template says against the conversation.
    pub fn render(&self, request: &ChatRequest) -> Result<String, RequestError> {
        let (name, wishes) = match self.tool_use {
            Some(wishes) if !request.tools.is_empty() => (TOOL_USE, wishes),
            _ => (DEFAULT, self.default),
        };
        let mut context = Map::new();
        let messages = request.messages.iter().map(|message| wishes.message(message));
        context.insert("messages".to_owned(), messages.collect());
        if !request.tools.is_empty() {
            context.insert("tools".to_owned(), request.tools.clone().into());
        }
        for (key, value) in &request.template_kwargs {
            if ["messages", "tools"].contains(&key.as_str()) {
                let message = format!("`{key}` is a field of the request and cannot be set here");
                return Err(RequestError::invalid("chat_template_kwargs", message));
            }
            context.insert(key.clone(), value.clone());
        }
        self.render_context(name, context)
            .map_err(|reason| RequestError::invalid("messages", reason))
    }

    /// Renders with exactly these variables, besides the special tokens and what transformers
    /// always defines.
    fn render_context(&self, name: &str, context: Map<String, Value>) -> Result<String, String> {
        let mut variables = self.special_tokens.clone();
        variables.insert("tools".to_owned(), Value::Null);
        variables.insert("documents".to_owned(), Value::Null);
        variables.insert("add_generation_prompt".to_owned(), Value::Bool(true));
        variables.extend(context);
        self.environment
            .get_template(name)
            .and_then(|template| template.render(Serde(variables)))
            .map_err(|e| sentence(&e))
    }

    fn probe(&self, name: &str, source: &str) -> Wishes {
        let render = |messages: Value, tools: Value| {
            let context = json!({ "messages": messages, "tools": tools });
            let context = context.as_object().cloned().unwrap_or_default();
            self.render_context(name, context).unwrap_or_default()
        };
        let said = |content: Value| {
            let text = render(json!([{"role": "user", "content": content}]), Value::Null);
            // A template that does not know lists prints them as Python or JSON would.
            text.contains("probe text") && !text.contains("'type'") && !text.contains("\"type\"")
        };
        let called = |content: Value, arguments: Value| {
            let call = json!({"name": "probe_function", "arguments": arguments});
            let messages = json!([
                {"role": "user", "content": "probe text"},
                {"role": "assistant", "content": content, "tool_calls":
                    [{"id": "probe0001", "type": "function", "function": call}]},
                {"role": "tool", "tool_call_id": "probe0001", "name": "probe_function", "content": "probe result"},
            ]);
            let function = json!({"name": "probe_function", "description": "", "parameters":
                {"type": "object", "properties": {}}});
            let text = render(messages, json!([{"type": "function", "function": function}]));
            // Neither Python's spelling nor JSON within JSON.
            text.contains("probe_argument")
                && !text.contains("'probe_argument'")
                && !text.contains("\\\"probe_argument")
                && !text.contains("None")
        };
        let object = || json!({"probe_argument": "value"});
        let text = || json!("{\"probe_argument\": \"value\"}");
        let argument_objects = [json!(""), Value::Null].into_iter().any(|c| called(c, object()));
        let arguments_text = || [json!(""), Value::Null].into_iter().any(|c| called(c, text()));
        let argument_objects = argument_objects || !arguments_text();
        let arguments = if argument_objects { object() } else { text() };
        let silent = || {
            let messages = json!([
                {"role": "user", "content": "probe text"},
                {"role": "assistant", "content": null},
                {"role": "user", "content": "probe text"},
            ]);
            let text = render(messages, Value::Null);
            text.contains("probe text") && !text.contains("None")
        };
        let null_content =
            called(Value::Null, arguments.clone()) || (!called(json!(""), arguments) && silent());
        Wishes {
            text: said(json!("probe text")),
            parts: said(json!([{"type": "text", "text": "probe text"}])),
            argument_objects,
            null_content,
            developer: source.contains("developer"),
            short_ids: source.contains("length != 9") || source.contains("length == 9"),
        }
    }
}

impl Wishes {
    const NONE: Self = Self {
        text: true,
        parts: false,
        argument_objects: true,
        null_content: true,
        developer: false,
        short_ids: false,
    };

    fn message(self, message: &Message) -> Value {
        let role = match message.role {
            Role::Developer if !self.developer => Role::System,
            role => role,
        };
        let mut map = Map::new();
        map.insert("role".to_owned(), role.as_str().into());
        map.insert("content".to_owned(), self.content(&message.content));
        for (key, value) in &message.extra {
            let value = match key.as_str() {
                "tool_calls" => self.calls(value),
                "tool_call_id" if self.short_ids => short_id(value),
                _ => value.clone(),
            };
            map.insert(key.clone(), value);
        }
        let reasoning = REASONING.iter().find_map(|key| map.get(*key).filter(|v| !v.is_null()));
        if let Some(reasoning) = reasoning.cloned() {
            map.entry("thinking").or_insert_with(|| reasoning.clone());
            map.insert("reasoning_content".to_owned(), reasoning);
        }
        map.into()
    }

    fn calls(self, calls: &Value) -> Value {
        let mut calls =
            if self.argument_objects { with_argument_objects(calls) } else { calls.clone() };
        for call in calls.as_array_mut().into_iter().flatten() {
            if let Some(id) = call.get_mut("id").filter(|_| self.short_ids) {
                *id = short_id(id);
            }
        }
        calls
    }

    fn content(self, content: &Content) -> Value {
        let text_part = |text: &str| json!({"type": "text", "text": text});
        // Media are named, not shown: the template writes the mark that stands for them.
        let part = |part: &Part| match part {
            Part::Text(text) => text_part(text),
            medium => json!({"type": medium.kind()}),
        };
        match content {
            Content::Text(text) if self.parts && !self.text => vec![text_part(text)].into(),
            Content::Text(text) => text.as_str().into(),
            Content::Parts(parts) if self.parts => parts.iter().map(part).collect(),
            Content::Parts(parts) => {
                let texts: Vec<&str> = parts.iter().filter_map(Part::as_text).collect();
                texts.join("\n").into()
            }
            Content::None if self.null_content => Value::Null,
            Content::None => "".into(),
        }
    }
}

/// The last nine letters and digits of an id that is not nine characters long: ours are random, so
/// they tell calls apart.
fn short_id(id: &Value) -> Value {
    const CHARS: usize = 9;
    let id = id.as_str().unwrap_or_default();
    if id.chars().count() == CHARS {
        return id.into();
    }
    let sane: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let start = sane.len().saturating_sub(CHARS);
    format!("{:0>CHARS$}", sane.get(start..).unwrap_or_default()).into()
}

/// OpenAI sends the arguments of tool calls as JSON text; most templates want the object.
fn with_argument_objects(calls: &Value) -> Value {
    let mut calls = calls.clone();
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else {
            continue;
        };
        let Some(text) = arguments.as_str() else {
            continue;
        };
        match serde_json::from_str::<Value>(text) {
            Ok(object @ Value::Object(_)) => *arguments = object,
            _ if text.trim().is_empty() => *arguments = json!({}),
            // Not what a function takes; the template may show it as it is.
            _ => {}
        }
    }
    calls
}

/// The template's own words if it raised them, else what failed and where.
fn sentence(error: &minijinja::Error) -> String {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = source {
        if let Some(Raised(message)) = e.downcast_ref() {
            return message.clone();
        }
        source = e.source();
    }
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let line = error.line().map(|line| format!(" (line {line} of the template)"));
    format!("the chat template failed: {}{detail}{}", error.kind(), line.unwrap_or_default())
}

#[cfg(test)]
mod tests;
