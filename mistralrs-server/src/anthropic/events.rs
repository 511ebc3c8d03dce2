//! Pieces of an answer → blocks, and the events that tell of them. What the events say, put together, is the
//! whole answer.

use super::error;
use super::response::{MessageResponse, MessageUsage, OutputBlock};
use crate::error::ApiError;
use crate::openai::response::UsageBody;
use crate::openai::tool_runs::ToolRunBody;
use crate::stream::{Dialect, Finish, Frame, Opening, Piece};
use mistralrs_core::request::TokenLogprobs;
use mistralrs_core::{FinishReason, ToolCallDelta};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Writes messages.
pub struct MessagesDialect {
    message: MessageResponse,
    /// Whose tools run here, by the tool's name.
    origins: BTreeMap<String, String>,
    /// The last block is still growing; its events have this number.
    growing: Option<usize>,
    /// Blocks told of so far. One that was taken back keeps its number.
    told: usize,
    /// The text of the arguments of the call that is growing.
    arguments: String,
}

impl MessagesDialect {
    /// For a message in which nothing is said yet.
    pub fn new(message: MessageResponse, origins: BTreeMap<String, String>) -> Self {
        Self { message, origins, growing: None, told: 0, arguments: String::new() }
    }

    /// The message as it is.
    pub fn into_message(self) -> MessageResponse {
        self.message
    }

    fn begin(&mut self, block: OutputBlock) -> Vec<Frame> {
        let mut frames = self.close(false);
        let index = self.told;
        self.told += 1;
        let told = json!({"index": index, "content_block": to_json(&block)});
        frames.push(event("content_block_start", told));
        self.message.content.push(block);
        self.growing = Some(index);
        frames
    }

    fn delta(&self, delta: Value) -> Frame {
        event("content_block_delta", json!({"index": self.growing, "delta": delta}))
    }

    /// Nothing more is added to the last block. A call whose arguments are cut off is taken back.
    fn close(&mut self, cut: bool) -> Vec<Frame> {
        let Some(index) = self.growing.take() else { return Vec::new() };
        let arguments = std::mem::take(&mut self.arguments);
        if let Some(OutputBlock::ToolUse { input, .. }) = self.message.content.last_mut() {
            if cut {
                self.message.content.pop();
            } else {
                *input = object(arguments);
            }
        }
        vec![event("content_block_stop", json!({ "index": index }))]
    }

    fn text(&mut self, text: String) -> Vec<Frame> {
        let is_text = matches!(self.message.content.last(), Some(OutputBlock::Text { .. }));
        let mut frames = match self.growing {
            Some(_) if is_text => Vec::new(),
            _ => self.begin(OutputBlock::Text { text: String::new() }),
        };
        if let Some(OutputBlock::Text { text: whole }) = self.message.content.last_mut() {
            whole.push_str(&text);
        }
        frames.push(self.delta(json!({"type": "text_delta", "text": text})));
        frames
    }

    fn thinking(&mut self, text: String) -> Vec<Frame> {
        let thinks = matches!(self.message.content.last(), Some(OutputBlock::Thinking { .. }));
        let mut frames = match self.growing {
            Some(_) if thinks => Vec::new(),
            _ => self.begin(OutputBlock::Thinking { thinking: String::new(), signature: "" }),
        };
        if let Some(OutputBlock::Thinking { thinking, .. }) = self.message.content.last_mut() {
            thinking.push_str(&text);
        }
        frames.push(self.delta(json!({"type": "thinking_delta", "thinking": text})));
        frames
    }

    fn call(&mut self, delta: ToolCallDelta) -> Vec<Frame> {
        match delta {
            ToolCallDelta::Start { id, name } => {
                self.begin(OutputBlock::ToolUse { id, name, input: Map::new() })
            }
            ToolCallDelta::Arguments(text) => {
                self.arguments.push_str(&text);
                vec![self.delta(json!({"type": "input_json_delta", "partial_json": text}))]
            }
            ToolCallDelta::End => self.close(false),
            // It was no call: its text comes as text.
            ToolCallDelta::Abort => self.close(true),
        }
    }

    fn run(&mut self, run: ToolRunBody) -> Vec<Frame> {
        let mut frames = self.begin(match run.is_error {
            None => OutputBlock::McpToolUse {
                id: run.id,
                server_name: self.origins.get(&run.name).cloned().unwrap_or_default(),
                name: run.name,
                input: object(run.arguments),
            },
            Some(is_error) => OutputBlock::McpToolResult {
                tool_use_id: run.id,
                is_error,
                content: vec![json!({"type": "text", "text": run.output})],
            },
        });
        frames.extend(self.close(false));
        frames
    }
}

/// The arguments of a call. What no JSON number can hold stays text.
fn object(text: String) -> Map<String, Value> {
    if text.trim().is_empty() {
        return Map::new();
    }
    serde_json::from_str(&text)
        .unwrap_or_else(|_| Map::from_iter([("arguments".to_owned(), Value::String(text))]))
}

fn event(name: &'static str, fields: Value) -> Frame {
    let mut event = Map::new();
    event.insert("type".to_owned(), name.into());
    if let Value::Object(fields) = fields {
        event.extend(fields);
    }
    Frame { event: Some(name), data: Value::Object(event).to_string() }
}

/// Wire types always serialize; if one did not, `null` stands there.
fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl Dialect for MessagesDialect {
    fn open(&mut self, opening: Opening<'_>) -> Vec<Frame> {
        self.message.warnings.extend(opening.warnings);
        self.message.usage = MessageUsage::of_prompt(opening.prompt_tokens, opening.cached_tokens);
        vec![event("message_start", json!({"message": to_json(&self.message)}))]
    }

    fn piece(&mut self, _: usize, piece: Piece, _: &[TokenLogprobs]) -> Vec<Frame> {
        match piece {
            Piece::Text(text) | Piece::Reasoning(text) if text.is_empty() => Vec::new(),
            Piece::Text(text) => self.text(text),
            Piece::Reasoning(text) => self.thinking(text),
            Piece::Call(_, delta) => self.call(delta),
            Piece::Run(run) => self.run(run),
        }
    }

    fn finish(&mut self, _: usize, finish: Finish) -> Vec<Frame> {
        let frames = self.close(finish.reason == FinishReason::Length);
        self.message.stop_reason = Some(match (finish.reason, &finish.stop_string) {
            (FinishReason::ToolCalls, _) => "tool_use",
            (FinishReason::Length, _) => "max_tokens",
            (FinishReason::Stop, Some(_)) => "stop_sequence",
            (FinishReason::Stop, None) => "end_turn",
        });
        self.message.stop_sequence =
            finish.stop_string.filter(|_| finish.reason == FinishReason::Stop);
        frames
    }

    fn end(&mut self, ending: Result<UsageBody, &ApiError>) -> Vec<Frame> {
        let usage = match ending {
            Ok(usage) => usage,
            Err(error) => {
                let data = error::body(error, None).to_string();
                return vec![Frame { event: Some("error"), data }];
            }
        };
        self.message.usage = usage.into();
        let MessageResponse { stop_reason, stop_sequence, usage, .. } = &self.message;
        let delta = json!({"stop_reason": stop_reason, "stop_sequence": stop_sequence});
        let told = json!({"delta": delta, "usage": to_json(usage)});
        vec![event("message_delta", told), event("message_stop", json!({}))]
    }
}
