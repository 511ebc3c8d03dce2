//! Unit tests of [`super`]: items become messages, pieces become items and events.

use super::events::ResponsesDialect;
use super::input::{Item, items, messages, spelled_out};
use super::request::ResponsesBody;
use super::response::{ResponseBody, Status};
use super::store::Kept;
use crate::error::ApiError;
use crate::metrics::{Meter, Metrics};
use crate::openai::Limits;
use crate::openai::values::TextOr;
use crate::stream::{Choices, Frame, Notes, assemble, events};
use futures::StreamExt as _;
use mistralrs_core::agent::{ToolOutput, ToolProgress};
use mistralrs_core::{
    Content, Delta, FinishReason, Message, Role, ToolCall, ToolCallDelta, ToolChoice, Usage,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const LIMITS: Limits = Limits { max_n: 4, max_choices: 8, context_tokens: 100, vocab_size: 50 };

fn read(body: Value) -> Result<(super::request::Asked, Vec<String>), ApiError> {
    let malformed = |error: serde_json::Error| ApiError::malformed("", error.to_string());
    let generate = serde_json::from_value(body.clone()).map_err(malformed)?;
    let body: ResponsesBody = serde_json::from_value(body).map_err(malformed)?;
    let mut warnings = Vec::new();
    let asked = body.into_core(generate, &[], &LIMITS, &mut warnings)?;
    Ok((asked, warnings))
}

fn to_messages(list: Value) -> Result<Vec<Message>, ApiError> {
    let list: TextOr<Item> = serde_json::from_value(list).unwrap();
    messages(&[], &items(list))
}

#[test]
fn every_kind_of_item_becomes_messages() {
    let messages = to_messages(json!([
        {"role": "developer", "content": "d"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "done", "annotations": [], "logprobs": []}]},
        {"type": "mcp_call", "id": "m1", "server_label": "s", "name": "h", "arguments": "{}", "output": null,
            "error": {"type": "mcp_tool_execution_error", "content": "broken"}},
    ]))
    .unwrap();
    let roles: Vec<_> = messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["developer", "user", "assistant", "tool", "tool", "assistant", "tool"]);
    assert_eq!(messages[2].extra["reasoning_content"], "hm");
    assert_eq!(messages[2].extra["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(messages[4].extra["name"], "g");
    assert_eq!(messages[5].extra["tool_calls"][0]["function"]["name"], "h");
    assert_eq!(messages[6].content, Content::Text("Error: broken".to_owned()));
    assert_eq!(to_messages(json!("hi")).unwrap(), [Message::text(Role::User, "hi")]);
}

#[test]
fn faults_of_items_name_their_path() {
    let table = [
        (json!([{"type": "message", "content": "x"}]), "input[0].role"),
        (json!([{"role": "robot", "content": "x"}]), "input[0].role"),
        (json!([{"type": "function_call", "call_id": "c", "arguments": "{}"}]), "input[0].name"),
        (json!([{"type": "function_call_output", "output": "x"}]), "input[0].call_id"),
        (json!([{"type": "function_call_output", "call_id": "x"}]), "input[0].output"),
        (
            json!([{"role": "user", "content": "x"}, {"type": "item_reference", "id": "a"}]),
            "input[1].type",
        ),
        (json!([{"role": "user", "content": [{"type": "input_file"}]}]), "input[0].content[0]"),
        (
            json!([{"role": "user", "content": [{"type": "input_text"}]}]),
            "input[0].content[0].text",
        ),
    ];
    for (list, param) in table {
        let error = to_messages(list.clone()).map(|_| ()).expect_err(&list.to_string());
        assert_eq!(error.field(), Some(param), "{list}");
    }
}

#[test]
fn requests_arrive() {
    let schema = json!({"type": "object"});
    let (asked, warnings) = read(json!({
        "input": "hi", "instructions": "be brief", "max_output_tokens": 7, "temperature": 0.5, "store": false,
        "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}, "verbosity": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": schema}], "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": false, "reasoning": {"effort": "low"}, "metadata": {"a": "b"}, "truncation": "auto",
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "top_logprobs": 2
    }))
    .unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let request = &asked.chat.request;
    assert_eq!(request.messages[0], Message::text(Role::System, "be brief"));
    assert_eq!((request.options.max_tokens, request.options.logprobs), (Some(7), Some(2)));
    assert_eq!(request.options.form.as_ref().unwrap().field, "text.format.schema");
    assert_eq!(request.tool_choice, ToolChoice::Named("f".to_owned()));
    assert_eq!(request.tools[0]["function"]["name"], "f");
    assert!(request.single_tool_call && request.options.truncate_sequence && !asked.store);
    assert_eq!(asked.draft.metadata["a"], "b");
    assert_eq!(asked.draft.tools[0]["strict"], Value::Null);
    assert_eq!(asked.items.len(), 1, "instructions are not part of the conversation");
}

#[test]
fn faults_of_requests_name_their_field() {
    let table = [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": "a", "max_output_tokens": 0}), "max_output_tokens"),
        (json!({"input": "a", "max_output_tokens": 101}), "max_output_tokens"),
        (json!({"input": "a", "n": 2}), "n"),
        (json!({"input": "a", "text": {"format": {"type": "xml"}}}), "text.format.type"),
        (json!({"input": "a", "text": {"format": {"type": "json_schema"}}}), "text.format.schema"),
        (json!({"input": "a", "tools": [{"type": "file_search"}]}), "tools[0].type"),
        (json!({"input": "a", "tools": [{"type": "function"}]}), "tools[0].name"),
        (
            json!({"input": "a", "tools": [{"type": "function", "name": "f", "parameters": 1}]}),
            "tools[0].parameters",
        ),
        (
            json!({"input": "a", "tool_choice": {"type": "function", "name": "f"}}),
            "tool_choice.name",
        ),
        (json!({"input": "a", "reasoning": {"effort": "huge"}}), "reasoning.effort"),
        (json!({"input": "a", "truncation": "some"}), "truncation"),
        (json!({"input": "a", "background": true, "store": false}), "background"),
        (json!({"input": "a", "conversation": "x"}), "conversation"),
        (json!({"input": "a", "metadata": {"k": "v".repeat(600)}}), "metadata"),
        (json!({"input": "a", "top_logprobs": 21}), "top_logprobs"),
    ];
    for (body, param) in table {
        let error = read(body.clone()).map(|_| ()).expect_err(&body.to_string());
        assert_eq!((error.status().as_u16(), error.field()), (400, Some(param)), "{body}");
    }
}

fn call() -> ToolCall {
    ToolCall { id: "call_1".into(), name: "f".into(), arguments: "{\"a\":1}".into() }
}

fn called(delta: ToolCallDelta) -> Delta {
    Delta::ToolCall { index: 0, delta, token_ids: vec![1], logprobs: Vec::new() }
}

fn said(text: &str) -> Delta {
    Delta::Text { text: text.to_owned(), token_ids: vec![1], logprobs: Vec::new() }
}

/// Thinks, speaks, lets a tool run, begins a call that is none, speaks, calls.
fn script(reason: FinishReason) -> Vec<Delta> {
    let start = || called(ToolCallDelta::Start { id: "call_1".into(), name: "f".into() });
    let output = ToolOutput { text: "result".into(), ..ToolOutput::default() };
    let ran = ToolCall { id: "run_1".into(), name: "r".into(), ..call() };
    let usage =
        Usage { prompt_tokens: 5, completion_tokens: 9, reasoning_tokens: 2, ..Usage::default() };
    let mut deltas = vec![
        Delta::Prompt {
            prompt_tokens: 5,
            cached_tokens: 0,
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
        start(),
        called(ToolCallDelta::Arguments("{\"a\"".into())),
    ];
    if reason != FinishReason::Length {
        deltas.push(called(ToolCallDelta::Arguments(":1}".into())));
        deltas.push(called(ToolCallDelta::End));
    }
    deltas.push(Delta::Finished { reason, stop_string: None, usage });
    deltas
}

fn choices(deltas: Vec<Delta>) -> Choices {
    let deltas = futures::stream::iter(deltas.into_iter().map(Ok));
    Choices::new(vec![deltas], 1, Meter::start(Arc::new(Metrics::default())))
}

fn dialect() -> ResponsesDialect {
    let origins = BTreeMap::from([("r".to_owned(), "server".to_owned())]);
    ResponsesDialect::new(ResponseBody::default(), false, origins)
}

async fn streamed(deltas: Vec<Delta>) -> Vec<Value> {
    let frames: Vec<Frame> = events(choices(deltas), dialect(), Notes::default()).collect().await;
    let read = |(i, frame): (usize, Frame)| {
        let event: Value = serde_json::from_str(&frame.data).unwrap();
        assert_eq!((event["type"].as_str(), &event["sequence_number"]), (frame.event, &json!(i)));
        event
    };
    frames.into_iter().enumerate().map(read).collect()
}

/// Identifiers and times differ between two runs.
fn without_ids(mut response: Value) -> Value {
    for key in ["id", "created_at", "completed_at"] {
        response[key] = Value::Null;
    }
    for item in response["output"].as_array_mut().unwrap() {
        if item["type"] != "mcp_call" {
            item["id"] = Value::Null;
        }
    }
    response
}

#[tokio::test]
async fn events_add_up_to_the_response() {
    for reason in [FinishReason::ToolCalls, FinishReason::Length] {
        let events = streamed(script(reason)).await;
        let last = &events.last().unwrap()["response"];
        let whole = assemble(choices(script(reason)), dialect(), Notes::default()).await.unwrap();
        let whole = serde_json::to_value(whole.into_response()).unwrap();
        assert_eq!(without_ids(last.clone()), without_ids(whole));

        let mut items: Vec<Value> = Vec::new();
        for event in &events {
            let index = event["output_index"].as_u64().map(|index| index as usize);
            match event["type"].as_str().unwrap() {
                "response.output_item.added" => {
                    items.truncate(index.unwrap());
                    items.push(event["item"].clone());
                }
                "response.output_item.done" => items[index.unwrap()] = event["item"].clone(),
                "response.output_text.delta" | "response.reasoning_text.delta" => {
                    let item = &mut items[index.unwrap()];
                    let told = item["text"].as_str().unwrap_or_default().to_owned();
                    item["text"] = (told + event["delta"].as_str().unwrap()).into();
                }
                "response.function_call_arguments.delta" => {
                    let item = &mut items[index.unwrap()];
                    let told = item["arguments"].as_str().unwrap().to_owned();
                    item["arguments"] = (told + event["delta"].as_str().unwrap()).into();
                }
                "response.output_text.done" | "response.reasoning_text.done" => {
                    assert_eq!(items[index.unwrap()]["text"], event["text"]);
                }
                "response.function_call_arguments.done" => {
                    assert_eq!(items[index.unwrap()]["arguments"], event["arguments"]);
                }
                _ => {}
            }
        }
        assert_eq!(Value::from(items), last["output"]);
        let kinds: Vec<_> =
            last["output"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
        assert_eq!(kinds, ["reasoning", "message", "mcp_call", "message", "function_call"]);
        assert_eq!(last["output"][2]["server_label"], "server");
        assert_eq!(last["usage"]["output_tokens_details"]["reasoning_tokens"], 2);
        let cut = reason == FinishReason::Length;
        let (status, call) =
            if cut { ("incomplete", "incomplete") } else { ("completed", "completed") };
        assert_eq!((&last["status"], &last["output"][4]["status"]), (&json!(status), &json!(call)));
    }
}

#[tokio::test]
async fn a_response_goes_back_in_as_it_came() {
    let deltas = script(FinishReason::ToolCalls);
    let whole = assemble(choices(deltas), dialect(), Notes::default()).await.unwrap();
    let asked = spelled_out(items(TextOr::Text("hi".to_owned())).remove(0));
    let kept = Kept::new(&whole.into_response(), Arc::new(vec![asked]));
    assert_eq!(kept.status, Status::Completed);
    let messages = messages(&kept.conversation(), &[]).unwrap();
    let roles: Vec<_> = messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
    assert_eq!(messages[1].extra["reasoning_content"], "hm");
    assert_eq!(messages[2].content, Content::Text("result".to_owned()));
    assert_eq!(messages[3].extra["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
}

#[tokio::test]
async fn a_failure_is_the_last_event() {
    let broken = futures::stream::iter(vec![Err(mistralrs_core::RequestError::Internal { id: 3 })]);
    let meter = Meter::start(Arc::new(Metrics::default()));
    let choices = Choices::new(vec![broken], 1, meter);
    let frames: Vec<Frame> = events(choices, dialect(), Notes::default()).collect().await;
    let last: Value = serde_json::from_str(&frames.last().unwrap().data).unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["status"]),
        (&json!("response.failed"), &json!("failed"))
    );
    assert_eq!(last["response"]["error"]["code"], "server_error");
}
