//! How the loaded model reads and writes tools and reasoning: found once, from its chat template, and
//! proven by a round trip. What a template cannot show is said in words instead.

use crate::error::RequestError;
use crate::output::{Format, Fragment, OutputParser, ThinkTags, Thinking, tool_calls};
use crate::request::{
    ChatRequest, Content, Message, Part, Role, ToolCall, ToolCallDelta, ToolChoice,
};
use crate::sampling::{ThinkingLimit, ThinkingStart, TokenBytes};
use crate::text::{TextPipeline, Tokenizer};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What the model's files make possible in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// The format of tool calls.
    pub tool_format: &'static str,
    /// Whether the chat template shows tools to the model; else the server does so in words.
    pub tools_in_template: bool,
    /// Whether a call written by the template was read back as it was.
    pub tool_round_trip: bool,
    /// Whether reasoning is told apart from content.
    pub reasoning: bool,
    /// Whether the chat template reads `reasoning_effort`.
    pub reasoning_effort: bool,
}

/// The model's way with tools and reasoning.
pub(crate) struct ChatDialect {
    format: &'static Format,
    think: Option<&'static ThinkTags>,
    tools_in_template: bool,
    /// Whether the template takes a system's message.
    system: bool,
    round_trip: bool,
    reads_effort: bool,
    /// Special tokens that the parsers want to see.
    shown: Arc<[u32]>,
}

const PROBE: &str = "probe_function";

impl ChatDialect {
    pub(crate) fn of(text: &TextPipeline) -> Self {
        let source = text.chat_template().map(|template| template.source());
        let spoken = |source: &crate::text::TemplateSource| {
            format!("{}{}", source.default, source.tool_use.as_deref().unwrap_or_default())
        };
        let template = source.map(spoken).unwrap_or_default();
        let format = tool_calls::detect(&template);
        let think = if format.always { None } else { ThinkTags::detect(&template) };
        let marks = format.markers.iter().copied();
        let marks = marks.chain(think.into_iter().flat_map(|tags| [tags.open, tags.close]));
        let special = |name| {
            let id = text.tokenizer().token_id(name)?;
            text.tokenizer().is_special(id).then_some(id)
        };
        let shown = marks.filter_map(special).collect();
        let mut dialect = Self {
            format,
            think,
            tools_in_template: false,
            system: true,
            round_trip: false,
            reads_effort: template.contains("reasoning_effort"),
            shown,
        };
        dialect.tools_in_template = text.chat_template().is_some() && shows_tools(text);
        dialect.system = takes_system(text);
        dialect.round_trip = dialect.makes_the_round_trip(text);
        if dialect.tools_in_template && !dialect.round_trip {
            tracing::warn!(
                format = format.name,
                "the chat template's own tool calls are not read back: calls may be taken for text"
            );
        }
        dialect
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities {
            tool_format: self.format.name,
            tools_in_template: self.tools_in_template,
            tool_round_trip: self.round_trip,
            reasoning: self.think.is_some() || self.format.always,
            reasoning_effort: self.reads_effort,
        }
    }

    pub(super) fn format(&self) -> &'static Format {
        self.format
    }

    /// Whether answers come in channels, reasoning among them.
    pub(super) fn has_channels(&self) -> bool {
        self.format.always
    }

    /// Whether an answer to `prompt` thinks first.
    pub(super) fn thinking(&self, prompt: &str) -> Thinking {
        Thinking::after(prompt, self.think)
    }

    /// How the reasoning in an answer to `prompt` is bounded to so many tokens; none if it cannot be told apart.
    pub(super) fn thinking_limit(
        &self,
        tokenizer: &Arc<Tokenizer>,
        prompt: &str,
        budget: usize,
    ) -> Option<ThinkingLimit> {
        let (start, close, written) = if self.format.always {
            // Channels may think again and again; the written end leads to the answer.
            let start = ThinkingStart::Anywhere("<|channel|>analysis<|message|>".to_owned());
            (start, "<|end|>", "<|end|><|start|>assistant<|channel|>final<|message|>")
        } else {
            match self.thinking(prompt) {
                Thinking::Absent => return None,
                Thinking::Possible(tags) => {
                    (ThinkingStart::First(tags.open.to_owned()), tags.close, tags.close)
                }
                Thinking::Begun(tags) => (ThinkingStart::Begun, tags.close, tags.close),
            }
        };
        let closing = match tokenizer.token_id(written) {
            Some(id) => vec![id],
            None => tokenizer.encode(written, false).ok()?,
        };
        let texts = Arc::clone(tokenizer);
        let bytes: TokenBytes = Arc::new(move |id| texts.token_bytes(id));
        Some(ThinkingLimit::new(start, close, closing, budget, bytes))
    }

    pub(crate) fn shown(&self) -> Arc<[u32]> {
        Arc::clone(&self.shown)
    }

    /// The request as the template is to see it.
    pub(crate) fn prepare(&self, mut request: ChatRequest) -> ChatRequest {
        request.tools = offered(&request).to_vec();
        for tool in &mut request.tools {
            // Templates add it to strings without asking.
            if let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) {
                function.entry("description").or_insert_with(|| "".into());
            }
        }
        if !self.tools_in_template {
            if !request.tools.is_empty() {
                let told = self.instructions(&request.tools);
                self.tell(&mut request.messages, &told);
                request.tools.clear();
            }
            request.messages = self.all_in_words(request.messages);
        }
        request
    }

    /// The parser for an answer to `prompt`; none if there is nothing to look for.
    pub(crate) fn parser(&self, tools: &[Value], prompt: &str) -> Option<OutputParser> {
        let thinking = self.thinking(prompt);
        let wanted = self.format.always || !tools.is_empty();
        if thinking == Thinking::Absent && !wanted {
            return None;
        }
        let names = || tools.iter().filter_map(tool_name).collect();
        let tools = wanted.then(|| (self.format, names()));
        Some(OutputParser::new(thinking, tools))
    }

    /// For templates that know nothing of tools.
    fn instructions(&self, tools: &[Value]) -> String {
        let list: Vec<String> = tools.iter().map(Value::to_string).collect();
        let example = self.format.call.write(&[("FUNCTION", "{\"ARGUMENT\": VALUE}")]);
        format!(
            "You may call these functions:\n{}\nTo call one, answer with nothing but:\n{example}\n\
             The result will be given to you. If no function is needed, answer as usual.",
            list.join("\n")
        )
    }

    /// Results of several calls become one message: roles have to take turns.
    fn all_in_words(&self, messages: Vec<Message>) -> Vec<Message> {
        let mut told: Vec<Message> = Vec::with_capacity(messages.len());
        let mut after_result = false;
        for message in messages {
            let result = message.role == Role::Tool;
            let message = self.in_words(message);
            match told.last_mut() {
                Some(last) if result && after_result => {
                    let before = std::mem::replace(&mut last.content, Content::None);
                    last.content = joined(before, "\n\n", message.content);
                }
                _ => told.push(message),
            }
            after_result = result;
        }
        told
    }

    /// Puts a text before the conversation: into the system's message if there is one, else into a
    /// new one; into the first message for templates that know no system.
    fn tell(&self, messages: &mut Vec<Message>, told: &str) {
        match messages.first_mut() {
            Some(first) if matches!(first.role, Role::System | Role::Developer) => {
                add_text(&mut first.content, told, Edge::End);
            }
            Some(first) if !self.system => {
                add_text(&mut first.content, told, Edge::Start);
            }
            _ => messages.insert(0, Message::text(Role::System, told)),
        }
    }

    /// A message about calls, for templates that know nothing of them.
    fn in_words(&self, mut message: Message) -> Message {
        if message.role == Role::Tool {
            let name = message.extra.get("name").and_then(Value::as_str).unwrap_or("the function");
            let told = Content::Text(format!("The result of {name}:"));
            let content = joined(told, "\n", message.content);
            return Message { role: Role::User, content, extra: Map::new() };
        }
        let Some(Value::Array(calls)) = message.extra.remove("tool_calls") else { return message };
        let read = |call: &Value| {
            let function = call.get("function")?;
            let arguments = match function.get("arguments") {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => "{}".to_owned(),
            };
            Some((function.get("name")?.as_str()?.to_owned(), arguments))
        };
        let calls: Vec<(String, String)> = calls.iter().filter_map(read).collect();
        let calls: Vec<(&str, &str)> =
            calls.iter().map(|(name, arguments)| (name.as_str(), arguments.as_str())).collect();
        let said = plain_text(&message.content);
        let text = [said, self.format.call.write(&calls)];
        let text: Vec<String> = text.into_iter().filter(|text| !text.is_empty()).collect();
        message.content = Content::Text(text.join("\n"));
        message
    }

    /// Lets the template write a call and reads it back.
    fn makes_the_round_trip(&self, text: &TextPipeline) -> bool {
        if text.chat_template().is_none() {
            return false;
        }
        let arguments = json!({"probe_argument": "a \"b\"", "number": 3});
        let call = ToolCall {
            id: "call_0".to_owned(),
            name: PROBE.to_owned(),
            arguments: arguments.to_string(),
        };
        let mut request = probe_request();
        let Ok(before) = render(text, self.prepare(request.clone())) else { return false };
        request.messages.push(Message::calling("", &[call]));
        let Ok(after) = render_without_prompt(text, self.prepare(request)) else { return false };
        let answer = after.get(common_prefix(&before, &after)..).unwrap_or_default();
        let mut parser =
            OutputParser::new(Thinking::Absent, Some((self.format, vec![PROBE.into()])));
        let mut fragments = parser.push(answer);
        fragments.extend(parser.finish());
        let (mut names, mut json) = (Vec::new(), String::new());
        for fragment in fragments {
            match fragment {
                Fragment::ToolCall { delta: ToolCallDelta::Start { name, .. }, .. } => {
                    names.push(name);
                }
                Fragment::ToolCall { delta: ToolCallDelta::Arguments(text), .. } => json += &text,
                _ => {}
            }
        }
        parser.has_calls()
            && names == [PROBE]
            && serde_json::from_str::<Value>(&json).is_ok_and(|read| read == arguments)
    }
}

/// How far two prompts are the same, marks left whole.
fn common_prefix(before: &str, after: &str) -> usize {
    let same = before.chars().zip(after.chars()).take_while(|(a, b)| a == b);
    let length = same.map(|(a, _)| a.len_utf8()).sum();
    let shared = after.get(..length).unwrap_or_default();
    let open = |open: char, close: char| {
        shared.rfind(open).filter(|at| shared.rfind(close).is_none_or(|end| end < *at))
    };
    open('<', '>').or_else(|| open('[', ']')).unwrap_or(length)
}

/// The tools that the model is to know of.
pub(super) fn offered(request: &ChatRequest) -> &[Value] {
    if request.tool_choice == ToolChoice::None { &[] } else { &request.tools }
}

fn probe_request() -> ChatRequest {
    let parameters = json!({"type": "object", "properties": {"probe_argument": {"type": "string"},
        "number": {"type": "integer"}}});
    let function = json!({"name": PROBE, "description": "probe", "parameters": parameters});
    ChatRequest {
        messages: vec![Message::text(Role::User, "probe")],
        tools: vec![json!({"type": "function", "function": function})],
        ..ChatRequest::default()
    }
}

fn render(text: &TextPipeline, request: ChatRequest) -> Result<String, RequestError> {
    text.render(&request)
}

fn render_without_prompt(
    text: &TextPipeline,
    mut request: ChatRequest,
) -> Result<String, RequestError> {
    request.template_kwargs.insert("add_generation_prompt".to_owned(), false.into());
    text.render(&request)
}

/// Whether the name of a tool shows in a prompt.
fn shows_tools(text: &TextPipeline) -> bool {
    render(text, probe_request()).is_ok_and(|prompt| prompt.contains(PROBE))
}

/// Whether a conversation may begin with a system's message.
fn takes_system(text: &TextPipeline) -> bool {
    let messages = [(Role::System, "probe_system"), (Role::User, "probe")];
    let messages = messages.map(|(role, text)| Message::text(role, text)).to_vec();
    let request = ChatRequest { messages, ..ChatRequest::default() };
    render(text, request).is_ok_and(|prompt| prompt.contains("probe_system"))
}

enum Edge {
    Start,
    End,
}

/// Adds a text as a paragraph of its own; pictures and sound stay where they are.
fn add_text(content: &mut Content, text: &str, edge: Edge) {
    match (content, edge) {
        (Content::Parts(parts), Edge::Start) if has_media(parts) => {
            parts.insert(0, Part::Text(format!("{text}\n\n")));
        }
        (Content::Parts(parts), Edge::End) if has_media(parts) => {
            parts.push(Part::Text(format!("\n\n{text}")));
        }
        (content, Edge::Start) => {
            *content = Content::Text(format!("{text}\n\n{}", plain_text(content)));
        }
        (content, Edge::End) => {
            *content = Content::Text(format!("{}\n\n{text}", plain_text(content)));
        }
    }
}

fn has_media(parts: &[Part]) -> bool {
    parts.iter().any(|part| part.as_text().is_none())
}

/// What is said first and then; a text, unless there are pictures or sound.
fn joined(first: Content, between: &str, then: Content) -> Content {
    let in_parts = [&first, &then].iter().any(|content| match content {
        Content::Parts(parts) => has_media(parts),
        _ => false,
    });
    if !in_parts {
        return Content::Text([plain_text(&first), plain_text(&then)].join(between));
    }
    let parts = |content| match content {
        Content::Text(text) => vec![Part::Text(text)],
        Content::Parts(parts) => parts,
        Content::None => Vec::new(),
    };
    let between = vec![Part::Text(between.to_owned())];
    let mut all: Vec<Part> = Vec::new();
    for part in [parts(first), between, parts(then)].into_iter().flatten() {
        // Some templates trim each text.
        if let (Some(Part::Text(before)), Part::Text(text)) = (all.last_mut(), &part) {
            before.push_str(text);
        } else {
            all.push(part);
        }
    }
    Content::Parts(all)
}

fn plain_text(content: &Content) -> String {
    match content {
        Content::Text(text) => text.clone(),
        Content::Parts(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(Part::as_text).collect();
            texts.join("\n")
        }
        Content::None => String::new(),
    }
}

/// The name of the function that a tool is.
pub(super) fn tool_name(tool: &Value) -> Option<String> {
    let function = tool.get("function").unwrap_or(tool);
    function.get("name").and_then(Value::as_str).map(str::to_owned)
}
