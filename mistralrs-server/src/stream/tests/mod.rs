//! Unit tests of [`super`] with hand-made deltas, in both dialects and both endings.

use super::*;
use crate::metrics::Metrics;
use crate::openai::chat::ChatDialect;
use crate::openai::response::Head;
use futures::stream::{iter, pending};
use mistralrs_core::request::Candidate;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Item = Result<Delta, RequestError>;

fn prompt(tokens: usize, cached: usize, truncated: usize) -> Item {
    Ok(Delta::Prompt {
        prompt_tokens: tokens,
        cached_tokens: cached,
        truncated_tokens: truncated,
        logprobs: Vec::new(),
    })
}

fn text(text: &str, ids: &[u32]) -> Item {
    Ok(Delta::Text { text: text.to_owned(), token_ids: ids.to_vec(), logprobs: Vec::new() })
}

fn finished(reason: FinishReason, completion: usize) -> Item {
    let usage = Usage {
        prompt_tokens: 5,
        cached_tokens: 2,
        completion_tokens: completion,
        ..Usage::default()
    };
    Ok(Delta::Finished { reason, stop_string: None, usage })
}

fn hello() -> Vec<Item> {
    vec![
        prompt(5, 2, 0),
        text("He", &[1]),
        text("", &[2]),
        text("llo", &[3, 4]),
        finished(FinishReason::Stop, 5),
    ]
}

fn choices(answers: Vec<Vec<Item>>, per_prompt: usize) -> (Choices, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let meter = Meter::start(Arc::clone(&metrics));
    (Choices::new(answers.into_iter().map(iter).collect(), per_prompt, meter), metrics)
}

fn dialect(include_usage: bool, logprobs: bool) -> ChatDialect {
    ChatDialect { head: Head::new("chatcmpl", "tiny", "fp", include_usage), logprobs }
}

async fn frames(choices: Choices, include_usage: bool, notes: Notes) -> Vec<Value> {
    let frames = events(choices, dialect(include_usage, false), notes).map(|frame| frame.data);
    let frames: Vec<String> = frames.collect().await;
    assert_eq!(frames.last().map(String::as_str), Some("[DONE]"));
    frames[..frames.len() - 1].iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
}

fn wide() -> Notes {
    Notes { context_tokens: 1000, ..Notes::default() }
}

#[tokio::test]
async fn a_stream_is_role_content_finish_usage_done() {
    let frames = frames(choices(vec![hello()], 1).0, true, wide()).await;
    let of = |i: usize| &frames[i]["choices"][0];
    assert_eq!(of(0)["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(of(1)["delta"], json!({"content": "He"}));
    assert_eq!(of(2)["delta"], json!({"content": "llo"}));
    assert_eq!((&of(3)["delta"], &of(3)["finish_reason"]), (&json!({}), &json!("stop")));
    assert_eq!(frames.len(), 5);
    assert_eq!(frames[4]["choices"], json!([]));
    assert_eq!(frames[4]["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(frames[4]["usage"]["total_tokens"], 10);
    for frame in &frames[..4] {
        assert_eq!(frame["usage"], Value::Null);
        assert!(frame.as_object().unwrap().contains_key("usage"));
        assert_eq!((&frame["id"], &frame["created"]), (&frames[0]["id"], &frames[0]["created"]));
    }
}

#[tokio::test]
async fn without_include_usage_no_chunk_speaks_of_it() {
    let frames = frames(choices(vec![hello()], 1).0, false, wide()).await;
    assert_eq!(frames.len(), 4);
    assert!(frames.iter().all(|frame| frame.get("usage").is_none()));
}

#[tokio::test]
async fn both_endings_say_the_same() {
    let (answer, warnings) = collect(choices(vec![hello()], 1).0, wide()).await.unwrap();
    assert_eq!((answer.choices[0].text.as_str(), warnings.len()), ("Hello", 0));
    let frames = frames(choices(vec![hello()], 1).0, true, wide()).await;
    let text: String =
        frames.iter().filter_map(|f| f["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "Hello");
    let whole = serde_json::to_value(dialect(false, false).response(answer, warnings)).unwrap();
    assert_eq!(whole["usage"]["completion_tokens"], frames[4]["usage"]["completion_tokens"]);
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert!(whole.get("warnings").is_none());
}

#[tokio::test]
async fn several_answers_keep_their_index_and_prompts_count_once() {
    let other = vec![prompt(5, 4, 0), text("Hi", &[9]), finished(FinishReason::Length, 1)];
    let answers = vec![hello(), other.clone(), other.clone(), other];
    let frames = frames(choices(answers.clone(), 2).0, true, wide()).await;
    for (index, expected) in ["Hello", "Hi", "Hi", "Hi"].iter().enumerate() {
        let of_choice = frames.iter().filter(|f| f["choices"][0]["index"] == index);
        let text: String =
            of_choice.filter_map(|f| f["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, *expected);
    }
    let usage = &frames.last().unwrap()["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(10), &json!(8)));
    let (answer, _) = collect(choices(answers, 2).0, wide()).await.unwrap();
    assert_eq!(response::usage(&answer.choices).total_tokens, 18);
}

#[tokio::test]
async fn an_error_is_one_event_then_done() {
    let broken = vec![prompt(5, 0, 0), text("He", &[1]), Err(RequestError::Internal { id: 3 })];
    let (choices, metrics) = choices(vec![broken.clone(), hello()], 2);
    let frames = frames(choices, true, wide()).await;
    let errors: Vec<_> = frames.iter().filter(|frame| frame.get("error").is_some()).collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["error"]["code"], "internal_error");
    assert_eq!(frames.last().unwrap(), errors[0], "nothing follows an error");
    assert!(metrics.render(None).contains("{outcome=\"failed\"} 1\n"));
    let error = collect(self::choices(vec![broken], 1).0, wide()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.status().as_u16(), 500);
}

#[tokio::test]
async fn a_channel_that_closes_without_a_word_is_an_error() {
    let silent = vec![prompt(5, 0, 0), text("He", &[1])];
    let frames = frames(choices(vec![silent.clone()], 1).0, false, wide()).await;
    assert_eq!(frames.last().unwrap()["error"]["type"], "server_error");
    assert!(collect(choices(vec![silent], 1).0, wide()).await.is_err());
}

#[tokio::test]
async fn what_was_cut_or_clamped_is_told() {
    let cut = vec![prompt(90, 0, 7), finished(FinishReason::Length, 1)];
    let notes = Notes {
        warnings: vec!["w".into()],
        max_tokens: Some(20),
        context_tokens: 100,
        strict: false,
    };
    let (_, warnings) =
        collect(choices(vec![cut.clone(), cut.clone()], 2).0, notes.clone()).await.unwrap();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        warnings[1].contains("first 7 tokens") && warnings[2].contains("from 20 to 10"),
        "{warnings:?}"
    );
    let streamed = frames(choices(vec![cut.clone(), cut.clone()], 2).0, false, notes.clone()).await;
    let told: Vec<_> = streamed.iter().filter_map(|f| f["warnings"].as_array()).flatten().collect();
    assert_eq!(
        told,
        warnings.iter().map(|w| json!(w)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );

    let strict = Notes { strict: true, warnings: Vec::new(), ..notes };
    let error =
        collect(choices(vec![cut.clone()], 1).0, strict.clone()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.status().as_u16(), error.code()), (400, Some("strict")));
    let (mut held, _) = choices(vec![cut], 1);
    assert_eq!(held.read_prompts(&mut strict.clone()).await.unwrap_err().code(), Some("strict"));
}

#[tokio::test]
async fn reading_the_prompts_first_loses_nothing() {
    let (mut choices, _) = choices(vec![hello(), hello()], 2);
    choices.read_prompts(&mut wide()).await.unwrap();
    let (answer, _) = collect(choices, wide()).await.unwrap();
    assert_eq!(
        answer.choices.iter().map(|c| c.text.as_str()).collect::<Vec<_>>(),
        ["Hello", "Hello"]
    );
}

#[tokio::test]
async fn every_log_probability_arrives_once() {
    let logprob = |id| TokenLogprobs {
        chosen: Candidate { token_id: id, bytes: vec![0xc3], logprob: -0.5 },
        top: vec![Candidate { token_id: 8, bytes: b"x".to_vec(), logprob: -1.0 }],
    };
    let with = |text: &str, id| {
        Ok(Delta::Text { text: text.to_owned(), token_ids: vec![id], logprobs: vec![logprob(id)] })
    };
    let answer = vec![prompt(1, 0, 0), with("", 1), with("é", 2), finished(FinishReason::Stop, 2)];
    let frames: Vec<String> =
        events(choices(vec![answer.clone()], 1).0, dialect(false, true), wide())
            .map(|frame| frame.data)
            .collect()
            .await;
    let count = |frame: &String| {
        let frame: Value = serde_json::from_str(frame).unwrap_or_default();
        frame["choices"][0]["logprobs"]["content"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(frames.iter().map(count).collect::<Vec<_>>(), [0, 1, 1, 0, 0]);
    let (answer, _) = collect(choices(vec![answer], 1).0, wide()).await.unwrap();
    let whole = serde_json::to_value(dialect(false, true).response(answer, Vec::new())).unwrap();
    let content = &whole["choices"][0]["logprobs"]["content"];
    assert_eq!(content[0]["bytes"], json!([0xc3]));
    assert_eq!(content[1]["top_logprobs"][0]["token"], "x");
    assert_eq!(content.as_array().unwrap().len(), 2);
}

/// A stream that tells when it is dropped.
struct Watched(Arc<AtomicBool>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn endless(dropped: &Arc<AtomicBool>) -> impl Stream<Item = Item> + Send + 'static {
    let watched = Watched(Arc::clone(dropped));
    iter(vec![prompt(1, 0, 0), text("a", &[1])]).chain(pending().map(move |()| {
        let _ = &watched;
        prompt(0, 0, 0)
    }))
}

#[tokio::test]
async fn leaving_cancels_the_work_in_both_endings() {
    for streaming in [true, false] {
        let dropped = Arc::new(AtomicBool::new(false));
        let metrics = Arc::new(Metrics::default());
        let meter = Meter::start(Arc::clone(&metrics));
        let choices = Choices::new(vec![endless(&dropped)], 1, meter);
        let waiting = async {
            if streaming {
                let mut frames = std::pin::pin!(events(choices, dialect(false, false), wide()));
                while frames.next().await.is_some() {}
            } else {
                let _ = collect(choices, wide()).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
        assert!(dropped.load(Ordering::SeqCst));
        assert!(metrics.render(None).contains("{outcome=\"cancelled\"} 1\n"));
    }
}

#[tokio::test]
async fn an_error_in_one_answer_cancels_the_others() {
    let dropped = Arc::new(AtomicBool::new(false));
    let metrics = Arc::new(Metrics::default());
    let broken = iter(vec![Err(RequestError::Shutdown)]).boxed();
    let answers = vec![endless(&dropped).boxed(), broken];
    let mut frames = Box::pin(events(
        Choices::new(answers, 2, Meter::start(metrics)),
        dialect(false, false),
        wide(),
    ));
    let mut last = String::new();
    while let Some(frame) = frames.next().await {
        last = frame.data;
    }
    assert_eq!(last, "[DONE]");
    assert!(dropped.load(Ordering::SeqCst), "before the stream itself is dropped");
}

fn call(index: usize, delta: ToolCallDelta) -> Item {
    Ok(Delta::ToolCall { index, delta, token_ids: vec![7], logprobs: Vec::new() })
}

/// Thinks, speaks, calls twice; between the calls there is one that was none.
fn calling() -> Vec<Item> {
    let start = |name: &str| ToolCallDelta::Start { id: format!("call_{name}"), name: name.into() };
    let arguments = |text: &str| ToolCallDelta::Arguments(text.into());
    vec![
        prompt(5, 2, 0),
        Ok(Delta::Reasoning { text: "Hm.".into(), token_ids: vec![1], logprobs: Vec::new() }),
        text("Sure.", &[2]),
        call(0, start("f")),
        call(0, arguments("{\"a\"")),
        call(0, arguments(": 1}")),
        call(0, ToolCallDelta::End),
        call(1, start("broken")),
        call(1, ToolCallDelta::Abort),
        text("{oops", &[3]),
        call(2, start("g")),
        call(2, arguments("{}")),
        call(2, ToolCallDelta::End),
        finished(FinishReason::ToolCalls, 9),
    ]
}

#[tokio::test]
async fn calls_in_a_whole_answer() {
    let (answer, warnings) = collect(choices(vec![calling()], 1).0, wide()).await.unwrap();
    let response = dialect(false, false).response(answer, warnings);
    let body = serde_json::to_value(&response).unwrap();
    let function = |name: &str, arguments: &str| json!({"id": format!("call_{name}"), "type": "function", "function": {"name": name, "arguments": arguments}});
    let message = json!({"role": "assistant", "content": "Sure.{oops", "refusal": null, "reasoning_content": "Hm.",
        "tool_calls": [function("f", "{\"a\": 1}"), function("g", "{}")]});
    assert_eq!(body["choices"][0]["message"], message);
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn an_answer_of_calls_alone_has_no_content() {
    let items = calling().into_iter().filter(|item| !matches!(item, Ok(Delta::Text { .. })));
    let (answer, _) = collect(choices(vec![items.collect()], 1).0, wide()).await.unwrap();
    let body = serde_json::to_value(dialect(false, false).response(answer, Vec::new())).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], Value::Null);
}

#[tokio::test]
async fn calls_in_a_stream() {
    let frames = frames(choices(vec![calling()], 1).0, false, wide()).await;
    let deltas: Vec<&Value> = frames.iter().map(|frame| &frame["choices"][0]["delta"]).collect();
    let first = |index: usize, name: &str| {
        json!({"tool_calls": [{"index": index, "id": format!("call_{name}"), "type": "function",
            "function": {"name": name, "arguments": ""}}]})
    };
    let more = |index: usize, text: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]});
    let expected = [
        json!({"role": "assistant", "content": ""}),
        json!({"reasoning_content": "Hm."}),
        json!({"content": "Sure."}),
        first(0, "f"),
        more(0, "{\"a\""),
        more(0, ": 1}"),
        first(1, "broken"),
        json!({"content": "{oops"}),
        first(2, "g"),
        more(2, "{}"),
        json!({}),
    ];
    assert_eq!(deltas, expected.iter().collect::<Vec<_>>());
    assert_eq!(frames.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

fn tool_run(arguments: &str, output: &str) -> [Item; 2] {
    use mistralrs_core::agent::ToolOutput;
    let call =
        ToolCall { id: "c".to_owned(), name: "now".to_owned(), arguments: arguments.to_owned() };
    let output = ToolOutput { text: output.to_owned(), ..ToolOutput::default() };
    let started = ToolProgress::Started(call.clone());
    [started, ToolProgress::Finished { call, output }].map(|it| Ok(Delta::ToolProgress(it)))
}

#[tokio::test]
async fn tools_that_run_here_are_told_beside_empty_deltas() {
    let answer = || {
        let [started, ran] = tool_run("{}", "12:30");
        vec![prompt(5, 2, 0), started, ran, text("Noon.", &[1]), finished(FinishReason::Stop, 2)]
    };
    let chunks = frames(choices(vec![answer()], 1).0, false, Notes::default()).await;
    let told: Vec<_> = chunks.iter().filter(|chunk| chunk.get("tool_progress").is_some()).collect();
    let expected = [
        json!({"status": "started", "id": "c", "name": "now", "arguments": "{}"}),
        json!({"status": "finished", "id": "c", "name": "now", "arguments": "{}", "output": "12:30", "is_error": false}),
    ];
    for (chunk, expected) in told.iter().zip(&expected) {
        assert_eq!(chunk["tool_progress"], *expected);
        assert_eq!(chunk["choices"][0]["delta"], json!({}), "clients pass over it");
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
    }
    assert_eq!(told.len(), 2);
    let (whole, _) = collect(choices(vec![answer()], 1).0, Notes::default()).await.unwrap();
    let body = serde_json::to_value(dialect(false, false).response(whole, Vec::new())).unwrap();
    assert_eq!(body["choices"][0]["tool_runs"], json!([expected[1]]));
    assert_eq!(body["choices"][0]["message"]["content"], "Noon.");
}
