//! The loop with a scripted model and scripted tools: what the caller sees, what the model is told.

use super::*;
use crate::request::{
    Content, FinishReason, Message, Part, Role, ToolCallDelta, ToolChoice, Usage,
};
use futures::{FutureExt as _, StreamExt as _};
use std::sync::Mutex;
use tokio::sync::Barrier;

/// Says one line of the script per round and remembers what it was asked.
struct Script {
    rounds: Mutex<Vec<Vec<Result<Delta, RequestError>>>>,
    asked: Mutex<Vec<ChatRequest>>,
}

impl Script {
    fn new(rounds: Vec<Vec<Delta>>) -> Arc<Self> {
        let rounds = rounds.into_iter().map(|round| round.into_iter().map(Ok).collect()).collect();
        Arc::new(Self { rounds: Mutex::new(rounds), asked: Mutex::default() })
    }

    /// Roles and contents of the request of a round.
    fn told(&self, round: usize) -> Vec<String> {
        let line = |message: &Message| {
            let text = match &message.content {
                Content::Text(text) => text.clone(),
                Content::Parts(parts) => parts.iter().map(Part::kind).collect::<Vec<_>>().join("+"),
                Content::None => String::new(),
            };
            let calls = message.extra.get("tool_calls").map(Value::to_string).unwrap_or_default();
            let id = message.extra.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
            format!("{} {id}{calls}: {text}", message.role.as_str())
        };
        self.asked.lock().unwrap()[round].messages.iter().map(line).collect()
    }
}

impl Chat for Script {
    fn chat(&self, request: ChatRequest) -> BoxFuture<'static, Result<Deltas, RequestError>> {
        self.asked.lock().unwrap().push(request);
        let mut rounds = self.rounds.lock().unwrap();
        let said = match rounds.len() {
            0 => Err(RequestError::Overloaded { queued: 1 }),
            _ => Ok(futures::stream::iter(rounds.remove(0)).boxed()),
        };
        std::future::ready(said).boxed()
    }

    /// Sees what begins with `!`.
    fn visible(&self, images: Vec<Image>) -> BoxFuture<'static, Vec<Image>> {
        let seen = images.into_iter().filter(|image| image.bytes.starts_with(b"!")).collect();
        std::future::ready(seen).boxed()
    }
}

/// `echo` gives its text back, `fail` fails, `meet` waits until two of it run.
struct Tools(Barrier);

impl ToolHost for Tools {
    fn list(&self) -> BoxFuture<'_, Vec<ToolSpec>> {
        std::future::ready(specs()).boxed()
    }

    fn call<'a>(
        &'a self,
        name: &'a str,
        arguments: Map<String, Value>,
    ) -> BoxFuture<'a, ToolOutput> {
        async move {
            let text = arguments.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
            match name {
                "fail" => return ToolOutput::error("it broke"),
                "echo" if text.starts_with('!') => {
                    let images = vec![Image::new(text.into_bytes()), Image::new(b"?".to_vec())];
                    return ToolOutput { text: "two".to_owned(), images, is_error: false };
                }
                "meet" => {
                    self.0.wait().await;
                }
                _ => {}
            }
            ToolOutput { text, ..ToolOutput::default() }
        }
        .boxed()
    }
}

fn specs() -> Vec<ToolSpec> {
    let spec = |name: &str, approval| ToolSpec {
        name: name.to_owned(),
        description: None,
        parameters: json!({"type": "object"}),
        origin: "test".to_owned(),
        approval,
    };
    vec![
        spec("echo", Approval::Unsaid),
        spec("fail", Approval::Never),
        spec("meet", Approval::Unsaid),
        spec("ask", Approval::Always),
    ]
}

fn text(text: &str) -> Delta {
    Delta::Text { text: text.to_owned(), token_ids: vec![1], logprobs: vec![] }
}

/// A call in pieces.
fn call(index: usize, name: &str, arguments: &str) -> Vec<Delta> {
    let piece = |delta| Delta::ToolCall { index, delta, token_ids: vec![1], logprobs: vec![] };
    let (first, second) = arguments.split_at(arguments.len() / 2);
    vec![
        piece(ToolCallDelta::Start { id: format!("call_{index}"), name: name.to_owned() }),
        piece(ToolCallDelta::Arguments(first.to_owned())),
        piece(ToolCallDelta::Arguments(second.to_owned())),
        piece(ToolCallDelta::End),
    ]
}

fn prompt() -> Delta {
    Delta::Prompt { prompt_tokens: 5, cached_tokens: 0, truncated_tokens: 0, logprobs: vec![] }
}

fn finished(reason: FinishReason) -> Delta {
    let usage = Usage { prompt_tokens: 5, completion_tokens: 3, ..Usage::default() };
    Delta::Finished { reason, stop_string: None, usage }
}

/// A round that calls.
fn calling(calls: Vec<Vec<Delta>>) -> Vec<Delta> {
    let mut round = vec![prompt()];
    round.extend(calls.into_iter().flatten());
    round.push(finished(FinishReason::ToolCalls));
    round
}

/// A round that only speaks.
fn speaking(said: &str) -> Vec<Delta> {
    vec![prompt(), text(said), finished(FinishReason::Stop)]
}

fn agent(script: &Arc<Script>) -> Agent {
    Agent {
        chat: Arc::clone(script) as Arc<dyn Chat>,
        host: Arc::new(Tools(Barrier::new(2))),
        approver: Arc::new(Unattended),
        max_rounds: 3,
    }
}

fn request() -> ChatRequest {
    ChatRequest { messages: vec![Message::text(Role::User, "hi")], ..ChatRequest::default() }
}

/// What the caller sees, a line per delta.
async fn seen(script: &Arc<Script>, request: ChatRequest) -> Vec<String> {
    let deltas = agent(script).answer(request, specs()).await.unwrap();
    deltas.map(|delta| line(&delta)).collect().await
}

fn line(delta: &Result<Delta, RequestError>) -> String {
    match delta {
        Err(error) => format!("error: {error}"),
        Ok(Delta::Prompt { .. }) => "prompt".to_owned(),
        Ok(Delta::Text { text, .. }) => format!("text {text:?}"),
        Ok(Delta::Reasoning { text, .. }) => format!("thought {text:?}"),
        Ok(Delta::ToolCall { index, delta, .. }) => format!("call {index} {delta:?}"),
        Ok(Delta::ToolProgress(ToolProgress::Started(call))) => {
            format!("runs {} {} {}", call.id, call.name, call.arguments)
        }
        Ok(Delta::ToolProgress(ToolProgress::Finished { call, output })) => {
            let failed = if output.is_error { " failed" } else { "" };
            format!("ran {}{failed}: {}", call.id, output.text)
        }
        Ok(Delta::Finished { reason, usage, .. }) => {
            format!("{reason:?} {}+{}", usage.prompt_tokens, usage.completion_tokens)
        }
    }
}

#[tokio::test]
async fn a_tool_runs_and_the_model_goes_on() {
    let mut first = vec![prompt(), text("Let me see.")];
    first.extend(call(0, "echo", r#"{"text":"12:30"}"#));
    first.push(finished(FinishReason::ToolCalls));
    let script = Script::new(vec![first, speaking("It is 12:30.")]);
    let expected = [
        "prompt",
        "text \"Let me see.\"",
        "runs call_0 echo {\"text\":\"12:30\"}",
        "ran call_0: 12:30",
        "text \"\\n\\nIt is 12:30.\"",
        "Stop 10+6",
    ];
    assert_eq!(seen(&script, request()).await, expected);
    let call = r#"[{"id":"call_0","type":"function","function":{"name":"echo","arguments":"{\"text\":\"12:30\"}"}}]"#;
    let told = ["user : hi", &format!("assistant {call}: Let me see."), "tool call_0: 12:30"];
    assert_eq!(script.told(1), told);
    assert_eq!(script.asked.lock().unwrap()[0].tools.len(), 4);
}

#[tokio::test]
async fn what_a_tool_shows_is_seen_as_far_as_it_can_be() {
    let calls = vec![call(0, "echo", r#"{"text":"!"}"#), call(1, "echo", r#"{"text":"b"}"#)];
    let script = Script::new(vec![calling(calls), speaking("done")]);
    seen(&script, request()).await;
    assert_eq!(script.told(1)[2..], ["tool call_0: two", "tool call_1: b", "user : text+image"]);
    assert_eq!(script.told(1).len(), 5);
}

#[tokio::test]
async fn calls_of_one_round_run_together_and_answer_in_order() {
    let calls = vec![
        call(0, "meet", r#"{"text":"a"}"#),
        call(1, "fail", ""),
        call(2, "meet", r#"{"text":"b"}"#),
    ];
    let script = Script::new(vec![calling(calls), speaking("done")]);
    // Each `meet` waits for the other: one after the other they would never end.
    let seen = tokio::time::timeout(std::time::Duration::from_secs(60), seen(&script, request()));
    assert_eq!(seen.await.expect("they ran one by one").last().unwrap(), "Stop 10+6");
    let told = script.told(1);
    assert_eq!(told[2..], ["tool call_0: a", "tool call_1: Error: it broke", "tool call_2: b"]);
}

#[tokio::test]
async fn failures_are_told_to_the_model() {
    let calls = vec![
        call(0, "ask", "{}"),
        call(1, "echo", "[1]"),
        call(2, "echo", "{nonsense"),
        call(3, "echo", " "),
    ];
    let script = Script::new(vec![calling(calls), speaking("so be it")]);
    seen(&script, request()).await;
    let told = script.told(1);
    let expected = ["needs the consent of a person", "have to be a JSON object", "are no JSON"];
    for (told, expected) in told[2..5].iter().zip(expected) {
        assert!(told.contains("Error: ") && told.contains(expected), "{told}");
    }
    assert_eq!(told[5], "tool call_3: ");
}

#[tokio::test]
async fn rounds_are_limited_and_the_last_one_has_no_tools() {
    let again = || calling(vec![call(0, "echo", "{}")]);
    let script = Script::new(vec![again(), again(), again(), again()]);
    let seen = seen(&script, request()).await;
    assert_eq!(seen.iter().filter(|line| line.starts_with("runs")).count(), 3);
    assert_eq!(seen.last().unwrap(), "Stop 20+12");
    let choices: Vec<_> =
        script.asked.lock().unwrap().iter().map(|asked| asked.tool_choice.clone()).collect();
    assert_eq!(choices, [ToolChoice::Auto, ToolChoice::Auto, ToolChoice::Auto, ToolChoice::None]);
}

#[tokio::test]
async fn a_demanded_call_is_demanded_once() {
    let script = Script::new(vec![calling(vec![call(0, "echo", "{}")]), speaking("done")]);
    seen(&script, ChatRequest { tool_choice: ToolChoice::Required, ..request() }).await;
    let asked = script.asked.lock().unwrap();
    assert_eq!(
        (&asked[0].tool_choice, &asked[1].tool_choice),
        (&ToolChoice::Required, &ToolChoice::Auto)
    );
}

#[tokio::test]
async fn the_callers_own_tools_are_the_callers() {
    let own = json!({"type": "function", "function": {"name": "echo"}});
    let request = ChatRequest { tools: vec![own], ..request() };
    let calls = vec![call(0, "fail", "{}"), call(1, "echo", "{}")];
    let script = Script::new(vec![calling(calls)]);
    let seen = seen(&script, request).await;
    let expected = [
        "prompt",
        "call 0 Start { id: \"call_1\", name: \"echo\" }",
        "call 0 Arguments(\"{\")",
        "call 0 Arguments(\"}\")",
        "call 0 End",
        "ToolCalls 5+3",
    ];
    assert_eq!(seen, expected);
    let asked = script.asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].tools.len()), (1, 4), "ours of the same name is left out");
}

#[tokio::test]
async fn a_call_that_was_none_or_was_cut_off_does_not_run() {
    let abort = Delta::ToolCall {
        index: 0,
        delta: ToolCallDelta::Abort,
        token_ids: vec![],
        logprobs: vec![],
    };
    let mut voided = vec![prompt()];
    voided.extend(call(0, "echo", "{}").into_iter().take(2));
    voided.extend([abort, text("{} is empty"), finished(FinishReason::Stop)]);
    let script = Script::new(vec![voided]);
    assert_eq!(seen(&script, request()).await, ["prompt", "text \"{} is empty\"", "Stop 5+3"]);
    let mut cut = vec![prompt()];
    cut.extend(call(0, "echo", "{}").into_iter().take(3));
    cut.push(finished(FinishReason::Length));
    let script = Script::new(vec![cut]);
    assert_eq!(seen(&script, request()).await, ["prompt", "Length 5+3"]);
}

#[tokio::test]
async fn errors_reach_the_caller_in_every_round() {
    let script = Script::new(vec![]);
    assert!(agent(&script).answer(request(), specs()).await.is_err());
    let script = Script::new(vec![calling(vec![call(0, "echo", "{}")])]);
    let late = seen(&script, request()).await;
    assert!(late.last().unwrap().contains("the server is busy"), "{late:?}");
    let script = Script::new(vec![vec![prompt()]]);
    script.rounds.lock().unwrap()[0].push(Err(RequestError::Internal { id: 7 }));
    assert_eq!(
        seen(&script, request()).await,
        ["prompt", "error: internal error (id 7); the details are in the server's log"]
    );
}

#[tokio::test]
async fn limits_of_tokens_and_time_hold_for_all_rounds_together() {
    let mut limited = request();
    limited.options.max_tokens = Some(4);
    let script = Script::new(vec![calling(vec![call(0, "echo", "{}")]), speaking("x")]);
    seen(&script, limited.clone()).await;
    assert_eq!(script.asked.lock().unwrap()[1].options.max_tokens, Some(1));
    limited.options.max_tokens = Some(3);
    let script = Script::new(vec![calling(vec![call(0, "echo", "{}")])]);
    assert_eq!(seen(&script, limited).await.last().unwrap(), "Length 5+3");
    let mut hurried = request();
    hurried.options.timeout = Some(std::time::Duration::ZERO);
    let script = Script::new(vec![calling(vec![call(0, "echo", "{}")]), speaking("x")]);
    let seen = seen(&script, hurried).await;
    assert!(seen.last().unwrap().contains("`timeout_ms` of 0 ms"), "{seen:?}");
}

/// Row A1: only a conversation with something to call takes the loop.
#[test]
fn only_chats_with_tools_take_the_tool_loop() {
    use RequestKind::{Chat, Completion, Embedding, TokenCompletion, WarmUp};
    for kind in [Chat, Completion, TokenCompletion, Embedding, WarmUp] {
        for (search, tools) in [(false, false), (false, true), (true, false), (true, true)] {
            let expected = match (kind, search, tools) {
                (Chat, false, false) => false,
                (Chat, ..) => true,
                _ => false,
            };
            assert_eq!(takes_tool_loop(kind, search, tools), expected, "{kind:?} {search} {tools}");
        }
    }
}
