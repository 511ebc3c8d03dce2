//! Unit tests of [`super`]: blocks become messages, pieces become blocks and events.

use super::content::{Turn, messages};
use super::events::MessagesDialect;
use super::request::MessagesBody;
use super::response::MessageResponse;
use crate::error::ApiError;
use crate::metrics::{Meter, Metrics};
use crate::openai::Limits;
use crate::openai::chat::Chat;
use crate::stream::{Choices, Frame, Notes, assemble, events};
use futures::StreamExt as _;
use mistralrs_core::agent::{ToolOutput, ToolProgress};
use mistralrs_core::{
    Content, Delta, FinishReason, Message, Part, ToolCall, ToolCallDelta, ToolChoice, Usage,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const LIMITS: Limits = Limits { max_n: 4, max_choices: 8, context_tokens: 5000, vocab_size: 50 };

fn read(changes: Value) -> Result<Chat, ApiError> {
    let mut body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
    }
    let malformed = |error: serde_json::Error| ApiError::malformed("", error.to_string());
    let generate = serde_json::from_value(body.clone()).map_err(malformed)?;
    let body: MessagesBody = serde_json::from_value(body).map_err(malformed)?;
    body.into_core(generate, &LIMITS, false, &mut Vec::new())
}

fn to_messages(turns: Value) -> Result<Vec<Message>, ApiError> {
    let turns: Vec<Turn> = serde_json::from_value(turns).unwrap();
    messages(turns, None)
}

#[test]
fn every_kind_of_block_becomes_messages() {
    let messages = to_messages(json!([
        {"role": "user", "content": [{"type": "text", "text": "u", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "one moment"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [{"type": "text", "text": "two"}]},
            {"type": "text", "text": "and now?"}]},
        {"role": "assistant", "content": [
            {"type": "mcp_tool_use", "id": "m1", "name": "h", "server_name": "s", "input": {}},
            {"type": "mcp_tool_result", "tool_use_id": "m1", "is_error": false, "content": [{"type": "text", "text": "r"}]},
            {"type": "text", "text": "done"}]},
        {"role": "user", "content": "thanks"},
    ]))
    .unwrap();
    let roles: Vec<_> = messages.iter().map(|message| message.role.as_str()).collect();
    let expected =
        ["user", "assistant", "tool", "tool", "user", "assistant", "tool", "assistant", "user"];
    assert_eq!(roles, expected);
    assert_eq!(messages[1].extra["reasoning_content"], "hm");
    assert_eq!(messages[1].extra["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
    assert_eq!(
        (&messages[2].extra["name"], &messages[3].extra["name"]),
        (&json!("f"), &json!("g"))
    );
    let failed = ["Error:", "two"].map(|text| Part::Text(text.to_owned())).to_vec();
    assert_eq!(messages[3].content, Content::Parts(failed));
}

#[test]
fn requests_arrive() {
    let schema = json!({"type": "object"});
    let chat = read(json!({
        "system": [{"type": "text", "text": "s"}], "stop_sequences": ["x"], "top_k": 3,
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"format": {"type": "json_schema", "schema": schema}},
        "tools": [{"name": "f", "description": "d", "input_schema": schema}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true}
    }))
    .unwrap();
    let request = chat.request;
    assert_eq!(request.messages[0].role.as_str(), "system");
    assert_eq!(request.options.stop, ["x"]);
    assert_eq!(request.options.sampling.top_k, Some(3));
    assert_eq!(request.options.form.unwrap().field, "output_config.format.schema");
    assert_eq!(
        request.tools[0]["function"],
        json!({"name": "f", "description": "d", "parameters": schema})
    );
    assert_eq!((request.tool_choice, request.single_tool_call), (ToolChoice::Required, true));
    assert_eq!(request.template_kwargs["enable_thinking"], true);
    assert_eq!(chat.thinking.budget, Some(1024));
    let named = read(
        json!({"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "tool", "name": "f"}}),
    );
    assert_eq!(named.unwrap().request.tool_choice, ToolChoice::Named("f".to_owned()));
    let off = read(json!({"thinking": {"type": "disabled"}})).unwrap();
    assert_eq!(off.request.template_kwargs["enable_thinking"], false);
}

#[test]
fn faults_name_their_field() {
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let table = [
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]}),
            "messages[1].role",
        ),
        (user(json!([])), "messages[0].content"),
        (user(json!([{"type": "document"}])), "messages[0].content[0].type"),
        (user(json!([{"type": "tool_result"}])), "messages[0].content[0].tool_use_id"),
        (
            user(json!([{"type": "image", "source": {"type": "file"}}])),
            "messages[0].content[0].source",
        ),
        (json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}), "tools[0].type"),
        (json!({"tools": [{"name": "f", "input_schema": 3}]}), "tools[0].input_schema"),
        (json!({"tool_choice": {"type": "tool", "name": "f"}}), "tool_choice.name"),
        (json!({"tool_choice": {"type": "maybe"}}), "tool_choice"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "x"}}), "thinking.type"),
        (json!({"stop_sequences": [""]}), "stop_sequences[0]"),
        (json!({"output_format": {"type": "json_schema"}}), "output_format.schema"),
        (json!({"mcp_servers": [{}]}), "mcp_servers"),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "blocked_domains": ["a.org"]}]}),
            "tools[0].blocked_domains",
        ),
    ];
    for (changes, param) in table {
        let error = read(changes.clone()).map(|_| ()).expect_err(&changes.to_string());
        assert_eq!((error.status().as_u16(), error.field()), (400, Some(param)), "{changes}");
    }
}

fn script(reason: FinishReason, stop_string: Option<&str>) -> Vec<Delta> {
    let said =
        |text: &str| Delta::Text { text: text.into(), token_ids: vec![1], logprobs: Vec::new() };
    let called =
        |delta| Delta::ToolCall { index: 0, delta, token_ids: vec![1], logprobs: Vec::new() };
    let start = || called(ToolCallDelta::Start { id: "call_1".into(), name: "f".into() });
    let ran = ToolCall { id: "run_1".into(), name: "r".into(), arguments: "{\"q\": 2}".into() };
    let output = ToolOutput { text: "result".into(), ..ToolOutput::default() };
    let usage =
        Usage { prompt_tokens: 5, cached_tokens: 2, completion_tokens: 9, ..Usage::default() };
    let mut deltas = vec![
        Delta::Prompt {
            prompt_tokens: 5,
            cached_tokens: 2,
            truncated_tokens: 0,
            logprobs: Vec::new(),
        },
        Delta::Reasoning { text: "hm".into(), token_ids: vec![1, 2], logprobs: Vec::new() },
        said("One"),
        said(" moment."),
        Delta::ToolProgress(ToolProgress::Started(ran.clone())),
        Delta::ToolProgress(ToolProgress::Finished { call: ran, output }),
        start(),
        called(ToolCallDelta::Arguments("{".into())),
        called(ToolCallDelta::Abort),
        said("So."),
    ];
    if reason != FinishReason::Stop {
        deltas.extend([start(), called(ToolCallDelta::Arguments("{\"a\"".into()))]);
    }
    if reason == FinishReason::ToolCalls {
        deltas.extend([called(ToolCallDelta::Arguments(":1}".into())), called(ToolCallDelta::End)]);
    }
    deltas.push(Delta::Finished { reason, stop_string: stop_string.map(str::to_owned), usage });
    deltas
}

fn choices(deltas: Vec<Delta>) -> Choices {
    let deltas = futures::stream::iter(deltas.into_iter().map(Ok));
    Choices::new(vec![deltas], 1, Meter::start(Arc::new(Metrics::default())))
}

fn dialect() -> MessagesDialect {
    let origins = BTreeMap::from([("r".to_owned(), "server".to_owned())]);
    MessagesDialect::new(MessageResponse::new("m"), origins)
}

/// Puts blocks together as a client does.
fn put_together(events: &[Value]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for event in events {
        let index = event["index"].as_u64().unwrap_or_default() as usize;
        let delta = &event["delta"];
        match (event["type"].as_str().unwrap(), delta["type"].as_str()) {
            ("content_block_start", _) => {
                assert_eq!(index, blocks.len());
                blocks.push(event["content_block"].clone());
            }
            ("content_block_delta", Some("input_json_delta")) => {
                let told = blocks[index]["json"].as_str().unwrap_or_default().to_owned();
                blocks[index]["json"] = (told + delta["partial_json"].as_str().unwrap()).into();
            }
            ("content_block_delta", Some(kind)) => {
                let key = kind.strip_suffix("_delta").unwrap();
                let told = blocks[index][key].as_str().unwrap().to_owned();
                blocks[index][key] = (told + delta[key].as_str().unwrap()).into();
            }
            _ => {}
        }
    }
    for block in &mut blocks {
        if let Some(Value::String(text)) = block.as_object_mut().unwrap().remove("json") {
            block["input"] = serde_json::from_str(&text).unwrap_or_default();
        }
    }
    blocks
}

#[tokio::test]
async fn events_add_up_to_the_message() {
    let table = [
        (FinishReason::ToolCalls, None, "tool_use"),
        (FinishReason::Length, None, "max_tokens"),
        (FinishReason::Stop, None, "end_turn"),
        (FinishReason::Stop, Some("x"), "stop_sequence"),
    ];
    for (reason, stop, expected) in table {
        let frames: Vec<Frame> =
            events(choices(script(reason, stop)), dialect(), Notes::default()).collect().await;
        let read = |frame: &Frame| {
            let event: Value = serde_json::from_str(&frame.data).unwrap();
            assert_eq!(event["type"].as_str(), frame.event);
            event
        };
        let events: Vec<Value> = frames.iter().map(read).collect();
        let whole = assemble(choices(script(reason, stop)), dialect(), Notes::default()).await;
        let whole = serde_json::to_value(whole.unwrap().into_message()).unwrap();
        assert_eq!(
            (&whole["stop_reason"], &whole["stop_sequence"]),
            (&json!(expected), &json!(stop))
        );
        let usage = json!({"input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 9});
        assert_eq!(whole["usage"], usage);

        let mut blocks = put_together(&events);
        // The call that was none, and the one that was cut off, are not in the whole answer.
        blocks.remove(4);
        if reason == FinishReason::Length {
            blocks.pop();
        }
        assert_eq!(Value::from(blocks), whole["content"], "{reason:?}");
        let kinds: Vec<_> = whole["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["type"].clone())
            .collect();
        assert_eq!(kinds[..5], ["thinking", "text", "mcp_tool_use", "mcp_tool_result", "text"]);
        assert_eq!(events[0]["message"]["usage"]["input_tokens"], 3);
        let end = &events[events.len() - 2..];
        assert_eq!(
            (&end[0]["delta"]["stop_reason"], &end[1]["type"]),
            (&json!(expected), &json!("message_stop"))
        );
    }
}
