//! Pieces of an answer → the items of a response, and the events that tell of them. Every event has a number;
//! what the events say, put together, is the response in the last one.

use super::response::{OutputItem, OutputPart, ResponseBody, Status, fresh_id};
use crate::error::ApiError;
use crate::openai::response::{ChatLogprobs, ChatTokenLogprob, UsageBody};
use crate::openai::tool_runs::ToolRunBody;
use crate::stream::{Dialect, Finish, Frame, Opening, Piece};
use mistralrs_core::request::TokenLogprobs;
use mistralrs_core::{FinishReason, ToolCallDelta};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What becomes of a response that has ended.
pub type OnEnd = Box<dyn FnOnce(&ResponseBody) + Send>;

/// Writes responses.
pub struct ResponsesDialect {
    response: ResponseBody,
    logprobs: bool,
    /// Whose tools run here, by the tool's name.
    origins: BTreeMap<String, String>,
    on_end: Option<OnEnd>,
    /// The next event's number.
    sequence: u64,
    /// The last item of the output is still growing.
    growing: bool,
    /// Why the answer ended.
    reason: FinishReason,
}

impl ResponsesDialect {
    /// For a response of which nothing is said yet.
    pub fn new(response: ResponseBody, logprobs: bool, origins: BTreeMap<String, String>) -> Self {
        Self {
            response,
            logprobs,
            origins,
            on_end: None,
            sequence: 0,
            growing: false,
            reason: FinishReason::Stop,
        }
    }

    /// Lets somebody have the response when it has ended.
    pub fn on_end(mut self, on_end: OnEnd) -> Self {
        self.on_end = Some(on_end);
        self
    }

    /// The response as it is.
    pub fn into_response(self) -> ResponseBody {
        self.response
    }

    fn event(&mut self, name: &'static str, fields: Value) -> Frame {
        let mut event = Map::new();
        event.insert("type".to_owned(), name.into());
        event.insert("sequence_number".to_owned(), self.sequence.into());
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.sequence += 1;
        Frame { event: Some(name), data: Value::Object(event).to_string() }
    }

    /// An event about the whole response.
    fn about_response(&mut self, name: &'static str) -> Frame {
        let response = to_json(&self.response);
        self.event(name, json!({ "response": response }))
    }

    /// An event about the item at this place, as it is.
    fn about_item(&mut self, name: &'static str, index: usize) -> Frame {
        let item = self.response.output.get(index).map(to_json);
        self.event(name, json!({"output_index": index, "item": item}))
    }

    /// An event about a part of the last item.
    fn about_last(&mut self, name: &'static str, fields: Value) -> Frame {
        let index = self.response.output.len().saturating_sub(1);
        let id = self.response.output.last().map(|item| item.id().to_owned());
        let mut event = json!({"item_id": id, "output_index": index});
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        self.event(name, event)
    }

    fn begin(&mut self, item: OutputItem) -> Vec<Frame> {
        let mut frames = self.close(Status::Completed);
        self.response.output.push(item);
        self.growing = true;
        frames.push(self.about_item("response.output_item.added", self.response.output.len() - 1));
        frames
    }

    /// A message or thoughts to which text can be added.
    fn begin_text(&mut self, said: bool) -> Vec<Frame> {
        let content = Vec::new();
        let status = Status::InProgress;
        let item = match said {
            true => OutputItem::Message { id: fresh_id("msg"), role: "assistant", content, status },
            false => {
                OutputItem::Reasoning { id: fresh_id("rs"), summary: Vec::new(), content, status }
            }
        };
        let mut frames = self.begin(item);
        let part = match said {
            true => OutputPart::said(String::new(), Vec::new()),
            false => OutputPart::ReasoningText { text: String::new() },
        };
        let fields = json!({"content_index": 0, "part": to_json(&part)});
        frames.push(self.about_last("response.content_part.added", fields));
        if let Some(content) = self.response.output.last_mut().and_then(OutputItem::content) {
            content.push(part);
        }
        frames
    }

    fn text(&mut self, text: &str, logprobs: Vec<ChatTokenLogprob>) -> Vec<Frame> {
        let is_message = matches!(self.response.output.last(), Some(OutputItem::Message { .. }));
        let mut frames =
            if self.growing && is_message { Vec::new() } else { self.begin_text(true) };
        let told = json!({"content_index": 0, "delta": text, "logprobs": to_json(&logprobs)});
        if let Some(OutputItem::Message { content, .. }) = self.response.output.last_mut()
            && let Some(OutputPart::OutputText { text: whole, logprobs: all, .. }) =
                content.last_mut()
        {
            whole.push_str(text);
            all.extend(logprobs);
        }
        frames.push(self.about_last("response.output_text.delta", told));
        frames
    }

    fn reasoning(&mut self, text: &str) -> Vec<Frame> {
        let thinks = matches!(self.response.output.last(), Some(OutputItem::Reasoning { .. }));
        let mut frames = if self.growing && thinks { Vec::new() } else { self.begin_text(false) };
        if let Some(OutputItem::Reasoning { content, .. }) = self.response.output.last_mut()
            && let Some(OutputPart::ReasoningText { text: whole }) = content.last_mut()
        {
            whole.push_str(text);
        }
        let told = json!({"content_index": 0, "delta": text});
        frames.push(self.about_last("response.reasoning_text.delta", told));
        frames
    }

    fn call(&mut self, delta: ToolCallDelta) -> Vec<Frame> {
        match delta {
            ToolCallDelta::Start { id: call_id, name } => self.begin(OutputItem::FunctionCall {
                id: fresh_id("fc"),
                call_id,
                name,
                arguments: String::new(),
                status: Status::InProgress,
            }),
            ToolCallDelta::Arguments(text) => {
                if let Some(OutputItem::FunctionCall { arguments, .. }) =
                    self.response.output.last_mut()
                {
                    arguments.push_str(&text);
                }
                let told = json!({ "delta": text });
                vec![self.about_last("response.function_call_arguments.delta", told)]
            }
            ToolCallDelta::End => self.close(Status::Completed),
            // It was no call: its text comes as text.
            ToolCallDelta::Abort => {
                let frames = self.close(Status::Incomplete);
                self.response.output.pop();
                frames
            }
        }
    }

    /// A tool that runs here: several may run at once, so their items grow beside each other.
    fn run(&mut self, run: ToolRunBody) -> Vec<Frame> {
        let is_it =
            |item: &OutputItem| matches!(item, OutputItem::McpCall { id, .. } if *id == run.id);
        let Some(index) = self.response.output.iter().position(is_it) else {
            return self.begin_run(run);
        };
        let failed = run.is_error == Some(true);
        if let Some(OutputItem::McpCall { output, error, status, .. }) =
            self.response.output.get_mut(index)
        {
            if failed {
                *error = Some(json!({"type": "mcp_tool_execution_error", "content": run.output}));
            } else {
                *output = run.output;
            }
            *status = if failed { Status::Failed } else { Status::Completed };
        }
        let name = if failed { "response.mcp_call.failed" } else { "response.mcp_call.completed" };
        let told = json!({"item_id": run.id, "output_index": index});
        vec![self.event(name, told), self.about_item("response.output_item.done", index)]
    }

    fn begin_run(&mut self, run: ToolRunBody) -> Vec<Frame> {
        let server_label = self.origins.get(&run.name).cloned().unwrap_or_default();
        let mut frames = self.begin(OutputItem::McpCall {
            id: run.id,
            server_label,
            name: run.name,
            arguments: run.arguments.clone(),
            output: None,
            error: None,
            status: Status::InProgress,
        });
        self.growing = false;
        frames.push(self.about_last("response.mcp_call.in_progress", json!({})));
        let told = json!({ "arguments": run.arguments });
        frames.push(self.about_last("response.mcp_call_arguments.done", told));
        frames
    }

    /// Nothing more is added to the last item.
    fn close(&mut self, ended: Status) -> Vec<Frame> {
        if !std::mem::take(&mut self.growing) {
            return Vec::new();
        }
        let Some(item) = self.response.output.last_mut() else { return Vec::new() };
        item.set_status(ended);
        let mut frames = match item.clone() {
            OutputItem::FunctionCall { name, arguments, .. } => {
                let told = json!({"name": name, "arguments": arguments});
                vec![self.about_last("response.function_call_arguments.done", told)]
            }
            OutputItem::Message { content, .. } | OutputItem::Reasoning { content, .. } => {
                content.last().map(|part| self.close_part(part)).unwrap_or_default()
            }
            OutputItem::McpCall { .. } => Vec::new(),
        };
        let last = self.response.output.len().saturating_sub(1);
        frames.push(self.about_item("response.output_item.done", last));
        frames
    }

    fn close_part(&mut self, part: &OutputPart) -> Vec<Frame> {
        let (name, mut told) = match part {
            OutputPart::OutputText { text, logprobs, .. } => {
                ("response.output_text.done", json!({"text": text, "logprobs": to_json(logprobs)}))
            }
            OutputPart::ReasoningText { text } => {
                ("response.reasoning_text.done", json!({ "text": text }))
            }
        };
        told["content_index"] = 0.into();
        let whole = json!({"content_index": 0, "part": to_json(part)});
        vec![self.about_last(name, told), self.about_last("response.content_part.done", whole)]
    }

    fn logprobs(&self, tokens: &[TokenLogprobs]) -> Vec<ChatTokenLogprob> {
        if self.logprobs { ChatLogprobs::from_core(tokens).content } else { Vec::new() }
    }
}

impl OutputItem {
    /// Names the item.
    pub fn id(&self) -> &str {
        match self {
            Self::Message { id, .. }
            | Self::Reasoning { id, .. }
            | Self::FunctionCall { id, .. }
            | Self::McpCall { id, .. } => id,
        }
    }

    fn content(&mut self) -> Option<&mut Vec<OutputPart>> {
        match self {
            Self::Message { content, .. } | Self::Reasoning { content, .. } => Some(content),
            Self::FunctionCall { .. } | Self::McpCall { .. } => None,
        }
    }

    fn set_status(&mut self, new: Status) {
        match self {
            Self::Message { status, .. }
            | Self::Reasoning { status, .. }
            | Self::FunctionCall { status, .. }
            | Self::McpCall { status, .. } => *status = new,
        }
    }
}

/// Wire types always serialize; if one did not, `null` stands there.
fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl Dialect for ResponsesDialect {
    fn open(&mut self, opening: Opening<'_>) -> Vec<Frame> {
        self.response.warnings.extend(opening.warnings);
        ["response.created", "response.in_progress"].map(|name| self.about_response(name)).into()
    }

    fn piece(&mut self, _: usize, piece: Piece, tokens: &[TokenLogprobs]) -> Vec<Frame> {
        match piece {
            // Tokens without text: their log-probabilities belong to the message if there is one.
            Piece::Text(text) if text.is_empty() && !self.logprobs => Vec::new(),
            Piece::Text(text) => {
                let logprobs = self.logprobs(tokens);
                self.text(&text, logprobs)
            }
            Piece::Reasoning(text) if text.is_empty() => Vec::new(),
            Piece::Reasoning(text) => self.reasoning(&text),
            Piece::Call(_, delta) => self.call(delta),
            Piece::Run(run) => self.run(run),
        }
    }

    fn finish(&mut self, _: usize, finish: Finish) -> Vec<Frame> {
        self.reason = finish.reason;
        let cut = finish.reason == FinishReason::Length;
        let status = if cut { Status::Incomplete } else { Status::Completed };
        let mut frames = Vec::new();
        let answers = |item: &OutputItem| {
            matches!(item, OutputItem::Message { .. } | OutputItem::FunctionCall { .. })
        };
        if !cut && !self.response.output.iter().any(answers) {
            frames.extend(self.begin_text(true));
        }
        frames.extend(self.close(status));
        frames
    }

    fn end(&mut self, ending: Result<UsageBody, &ApiError>) -> Vec<Frame> {
        let name = match ending {
            Ok(usage) => {
                self.response.usage = Some(usage.into());
                if self.reason == FinishReason::Length {
                    self.response.incomplete_details = Some(json!({"reason": "max_output_tokens"}));
                    self.response.end(Status::Incomplete);
                    "response.incomplete"
                } else {
                    self.response.end(Status::Completed);
                    "response.completed"
                }
            }
            Err(error) => {
                let code =
                    if error.status().as_u16() == 400 { "invalid_prompt" } else { "server_error" };
                self.response.error = Some(json!({"code": code, "message": error.message()}));
                self.response.end(Status::Failed);
                "response.failed"
            }
        };
        let frame = self.about_response(name);
        if let Some(on_end) = self.on_end.take() {
            on_end(&self.response);
        }
        vec![frame]
    }
}
