//! One answer through all its rounds, as a stream: speak, run tools, speak again.

use super::{Agent, Deltas, ToolSpec, Verdict};
use crate::error::RequestError;
use crate::request::{
    ChatRequest, Content, Delta, FinishReason, Image, Message, Part, Role, TokenLogprobs, ToolCall,
    ToolCallDelta, ToolChoice, ToolOutput, ToolProgress, Usage,
};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

type Item = Result<Delta, RequestError>;

/// Most pictures of a round that the model is shown.
const MAX_IMAGES: usize = 8;

/// The whole answer, begun by `first`.
pub(super) fn stream(
    agent: Agent,
    request: ChatRequest,
    tools: BTreeMap<String, ToolSpec>,
    first: Deltas,
) -> Deltas {
    let run = Run {
        agent,
        tools,
        request,
        rounds: 0,
        phase: Phase::Speaking(first),
        said: Said::default(),
        shown_calls: 0,
        opened: false,
        breaks: false,
        usage: Usage::default(),
        ready: VecDeque::new(),
        began: Instant::now(),
    };
    futures::stream::unfold(run, |mut run| async move {
        let item = run.next().await?;
        Some((item, run))
    })
    .boxed()
}

struct Run {
    agent: Agent,
    tools: BTreeMap<String, ToolSpec>,
    /// Grows by the calls and results of every round.
    request: ChatRequest,
    /// How often tools have run.
    rounds: usize,
    phase: Phase,
    /// By the model, in this round.
    said: Said,
    /// Calls passed on to the caller, in this round.
    shown_calls: usize,
    /// The caller has heard of the prompt.
    opened: bool,
    /// Text was shown before the tools ran; what comes now begins a paragraph.
    breaks: bool,
    /// Of all rounds.
    usage: Usage,
    ready: VecDeque<Item>,
    began: Instant,
}

enum Phase {
    Speaking(Deltas),
    Working { running: FuturesUnordered<BoxFuture<'static, Done>>, done: Vec<Done> },
    Ended,
}

/// A call, its place among the calls of the round, its result.
struct Done {
    place: usize,
    call: ToolCall,
    output: ToolOutput,
}

#[derive(Default)]
struct Said {
    text: String,
    reasoning: String,
    calls: Vec<Call>,
}

struct Call {
    call: ToolCall,
    complete: bool,
    /// Its place among the calls that the caller sees; `None` = it runs here.
    shown: Option<usize>,
}

impl Run {
    async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                if item.is_err() {
                    self.phase = Phase::Ended;
                    self.ready.clear();
                }
                return Some(item);
            }
            match &mut self.phase {
                Phase::Ended => return None,
                Phase::Speaking(deltas) => match deltas.next().await {
                    Some(Ok(delta)) => self.hear(delta),
                    Some(Err(error)) => self.ready.push_back(Err(error)),
                    None => self.phase = Phase::Ended,
                },
                Phase::Working { running, done } => match running.next().await {
                    Some(it) => {
                        let (call, output) = (it.call.clone(), it.output.clone());
                        done.push(it);
                        let progress = ToolProgress::Finished { call, output };
                        self.ready.push_back(Ok(Delta::ToolProgress(progress)));
                    }
                    None => {
                        let done = std::mem::take(done);
                        if let Err(error) = self.go_on(done).await {
                            self.ready.push_back(Err(error));
                        }
                    }
                },
            }
        }
    }

    fn hear(&mut self, delta: Delta) {
        match delta {
            Delta::Prompt { .. } if self.opened => {}
            Delta::Prompt { .. } => {
                self.opened = true;
                self.ready.push_back(Ok(delta));
            }
            Delta::Text { text, token_ids, logprobs } => {
                self.said.text.push_str(&text);
                let breaks = self.breaks && !text.is_empty();
                self.breaks &= !breaks;
                let text = if breaks { format!("\n\n{}", text.trim_start()) } else { text };
                self.ready.push_back(Ok(Delta::Text { text, token_ids, logprobs }));
            }
            Delta::Reasoning { ref text, .. } => {
                self.said.reasoning.push_str(text);
                self.ready.push_back(Ok(delta));
            }
            Delta::ToolCall { index: _, delta, token_ids, logprobs } => {
                self.hear_call(delta, token_ids, logprobs);
            }
            Delta::ToolProgress(_) => self.ready.push_back(Ok(delta)),
            Delta::Finished { reason, stop_string, usage } => {
                self.add_usage(usage);
                self.end_of_round(reason, stop_string);
            }
        }
    }

    /// Notes a piece of a call. The caller sees it only if the function is the caller's; of the others it
    /// sees the tokens, if it counts them.
    fn hear_call(
        &mut self,
        delta: ToolCallDelta,
        token_ids: Vec<u32>,
        logprobs: Vec<TokenLogprobs>,
    ) {
        let shown = match &delta {
            ToolCallDelta::Start { id, name } => {
                let shown = (!self.tools.contains_key(name)).then_some(self.shown_calls);
                self.shown_calls += usize::from(shown.is_some());
                let (id, name) = (id.clone(), name.clone());
                let call = ToolCall { id, name, arguments: String::new() };
                self.said.calls.push(Call { call, complete: false, shown });
                shown
            }
            ToolCallDelta::Arguments(text) => self.said.calls.last_mut().and_then(|last| {
                last.call.arguments.push_str(text);
                last.shown
            }),
            ToolCallDelta::End => self.said.calls.last_mut().and_then(|last| {
                last.complete = true;
                last.shown
            }),
            ToolCallDelta::Abort => self.said.calls.pop().and_then(|last| {
                self.shown_calls -= usize::from(last.shown.is_some());
                last.shown
            }),
        };
        match shown {
            Some(index) => {
                self.ready.push_back(Ok(Delta::ToolCall { index, delta, token_ids, logprobs }));
            }
            None if logprobs.is_empty() => {}
            None => {
                let text = String::new();
                self.ready.push_back(Ok(Delta::Text { text, token_ids, logprobs }));
            }
        }
    }

    fn add_usage(&mut self, round: Usage) {
        let first = self.usage.completion_tokens == 0 && self.usage.prompt_tokens == 0;
        self.usage.prompt_tokens += round.prompt_tokens;
        self.usage.cached_tokens += round.cached_tokens;
        self.usage.completion_tokens += round.completion_tokens;
        self.usage.reasoning_tokens += round.reasoning_tokens;
        self.usage.decode_time += round.decode_time;
        if first {
            self.usage.queue_time = round.queue_time;
            self.usage.time_to_first_token = round.time_to_first_token;
        }
    }

    fn end_of_round(&mut self, reason: FinishReason, stop_string: Option<String>) {
        let calls = std::mem::take(&mut self.said.calls);
        let for_caller = calls.iter().any(|call| call.shown.is_some());
        let ours: Vec<ToolCall> = calls
            .into_iter()
            .filter(|it| it.complete && it.shown.is_none())
            .map(|it| it.call)
            .collect();
        let works = reason == FinishReason::ToolCalls
            && !for_caller
            && !ours.is_empty()
            && self.rounds < self.agent.max_rounds;
        if works {
            return self.work(ours);
        }
        let reason = match reason {
            FinishReason::ToolCalls if !for_caller => FinishReason::Stop,
            reason => reason,
        };
        let usage = self.usage.clone();
        self.ready.push_back(Ok(Delta::Finished { reason, stop_string, usage }));
        self.phase = Phase::Ended;
    }

    /// Starts all calls of a round at once.
    fn work(&mut self, calls: Vec<ToolCall>) {
        self.rounds += 1;
        let said = std::mem::take(&mut self.said);
        self.breaks |= !said.text.trim().is_empty();
        let content = match said.text.is_empty() {
            true => Content::None,
            false => Content::Text(said.text),
        };
        let mut message = Message { role: Role::Assistant, content, extra: Map::new() };
        let list: Vec<Value> = calls.iter().map(ToolCall::to_json).collect();
        message.extra.insert("tool_calls".to_owned(), list.into());
        if !said.reasoning.is_empty() {
            message.extra.insert("reasoning_content".to_owned(), said.reasoning.into());
        }
        self.request.messages.push(message);
        let running = FuturesUnordered::new();
        for (place, call) in calls.into_iter().enumerate() {
            let progress = ToolProgress::Started(call.clone());
            self.ready.push_back(Ok(Delta::ToolProgress(progress)));
            let tool = self.tools.get(&call.name).cloned();
            running.push(perform(self.agent.clone(), tool, place, call));
        }
        self.phase = Phase::Working { running, done: Vec::new() };
    }

    /// Shows a model that sees what its tools have shown. Templates know pictures in the user's messages.
    async fn show(&mut self, mut images: Vec<Image>) {
        images.truncate(MAX_IMAGES);
        if images.is_empty() {
            return;
        }
        let images = self.agent.chat.visible(images).await;
        if !images.is_empty() {
            let told = Part::Text("The tools gave these pictures:".to_owned());
            let parts = std::iter::once(told).chain(images.into_iter().map(Part::Image));
            let content = Content::Parts(parts.collect());
            self.request.messages.push(Message { role: Role::User, content, extra: Map::new() });
        }
    }

    /// Tells the model what its tools have answered, in the order of its calls.
    async fn go_on(&mut self, mut done: Vec<Done>) -> Result<(), RequestError> {
        done.sort_by_key(|it| it.place);
        let mut images = Vec::new();
        for Done { call, output, .. } in done {
            images.extend(output.images);
            let text = match output.is_error {
                true => format!("Error: {}", output.text),
                false => output.text,
            };
            self.request.messages.push(Message::tool_result(&call, text));
        }
        self.show(images).await;
        let mut request = self.request.clone();
        // What was demanded has been done; after the last round there is nothing left to call.
        let last = self.rounds >= self.agent.max_rounds;
        request.tool_choice = if last { ToolChoice::None } else { ToolChoice::Auto };
        self.request.tool_choice = request.tool_choice.clone();
        if let Some(limit) = self.request.options.timeout {
            let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            let left = limit.checked_sub(self.began.elapsed());
            request.options.timeout = Some(left.ok_or(RequestError::Timeout { timeout_ms })?);
        }
        if let Some(most) = request.options.max_tokens {
            let left = most.saturating_sub(self.usage.completion_tokens);
            if left == 0 {
                let usage = self.usage.clone();
                let reason = FinishReason::Length;
                self.ready.push_back(Ok(Delta::Finished { reason, stop_string: None, usage }));
                self.phase = Phase::Ended;
                return Ok(());
            }
            request.options.max_tokens = Some(left);
        }
        self.shown_calls = 0;
        self.phase = Phase::Speaking(self.agent.chat.chat(request).await?);
        Ok(())
    }
}

/// Asks for consent, then runs one call.
fn perform(
    agent: Agent,
    tool: Option<ToolSpec>,
    place: usize,
    call: ToolCall,
) -> BoxFuture<'static, Done> {
    Box::pin(async move {
        let Some(tool) = tool else {
            let output = ToolOutput::error(format!("there is no tool `{}`", call.name));
            return Done { place, call, output };
        };
        let output = match agent.approver.approve(&tool, &call).await {
            Verdict::Deny(why) => ToolOutput::error(why),
            Verdict::Allow => match arguments(&call.arguments) {
                Ok(arguments) => Arc::clone(&agent.host).call(&call.name, arguments).await,
                Err(why) => ToolOutput::error(why),
            },
        };
        Done { place, call, output }
    })
}

/// The arguments as an object; models leave them out where there are none.
fn arguments(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("the arguments have to be a JSON object".to_owned()),
        Err(error) => Err(format!("the arguments are no JSON: {error}")),
    }
}
