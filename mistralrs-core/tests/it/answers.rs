//! What the tests share: loading a fixture and collecting an answer.

use mistralrs_core::loading::progress::Progress;
use mistralrs_core::{
    ChatRequest, CompletionRequest, Delta, FinishReason, GenerateOptions, Generation, Llm,
    LoadOptions, Prompt, RequestError, SamplingParams, TokenLogprobs, ToolCall, ToolCallDelta,
    Usage,
};
use std::path::Path;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    pub reasoning: String,
    /// Complete ones.
    pub calls: Vec<ToolCall>,
    /// A call that has not ended.
    pub open_call: Option<ToolCall>,
    pub token_ids: Vec<u32>,
    pub logprobs: Vec<TokenLogprobs>,
    pub prompt_logprobs: Vec<Option<TokenLogprobs>>,
    pub reason: FinishReason,
    pub stop_string: Option<String>,
    pub usage: Usage,
}

impl Answer {
    fn call(&mut self, delta: ToolCallDelta) {
        match (delta, &mut self.open_call) {
            (ToolCallDelta::Start { id, name }, None) => {
                self.open_call = Some(ToolCall { id, name, arguments: String::new() });
            }
            (ToolCallDelta::Arguments(text), Some(call)) => call.arguments += &text,
            (ToolCallDelta::End, call) => self.calls.extend(call.take()),
            (ToolCallDelta::Abort, call) => *call = None,
            (delta, call) => assert_eq!(Some(&format!("{delta:?}")), None, "after {call:?}"),
        }
    }

    /// The bits of every log-probability, for exact comparison.
    pub fn bits(&self) -> Vec<(u32, u32)> {
        bits(&self.logprobs)
    }

    /// Those of the prompt, too.
    pub fn all_bits(&self) -> Vec<(u32, u32)> {
        bits(self.prompt_logprobs.iter().flatten().chain(&self.logprobs))
    }
}

fn bits<'a>(logprobs: impl IntoIterator<Item = &'a TokenLogprobs>) -> Vec<(u32, u32)> {
    let chosen = logprobs.into_iter().map(|logprobs| &logprobs.chosen);
    chosen.map(|chosen| (chosen.token_id, chosen.logprob.to_bits())).collect()
}

/// Quiet defaults for a model, which is going to be loaded with [`instruction_set`].
pub fn options(model: &Path) -> LoadOptions {
    instruction_set();
    let mut options = LoadOptions::new(model.to_str().unwrap());
    options.progress = Progress::silent();
    options.warm_up = false;
    options.seed = Some(1);
    options
}

/// The instruction set that these tests compute with: the CI runs them once more with another than the best.
/// Who computes first decides for the whole process, so whatever a test computes, it asks here before.
pub fn instruction_set() -> &'static str {
    if let Ok(name) = std::env::var("MISTRALRS_CPU") {
        mistralrs_core::force_instruction_set(&name).unwrap();
    }
    mistralrs_core::instruction_set()
}

/// Loads with changed options.
pub fn load(model: &Path, change: impl FnOnce(&mut LoadOptions)) -> Llm {
    let mut options = options(model);
    change(&mut options);
    Llm::load(options).unwrap()
}

pub fn greedy(max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens: Some(max_tokens),
        sampling: SamplingParams { temperature: Some(0.), ..SamplingParams::default() },
        ..GenerateOptions::default()
    }
}

pub fn start(llm: &Llm, prompt: &[u32], options: GenerateOptions) -> Generation {
    let prompt = Prompt::Tokens(prompt.to_vec());
    llm.complete(CompletionRequest { prompt, options }).unwrap()
}

pub fn ask(llm: &Llm, prompt: &[u32], options: GenerateOptions) -> Answer {
    collect(start(llm, prompt, options)).unwrap()
}

pub fn chat(llm: &Llm, request: &ChatRequest) -> Answer {
    collect(llm.chat(request.clone()).unwrap()).unwrap()
}

pub fn collect(mut generation: Generation) -> Result<Answer, RequestError> {
    let mut answer = Answer {
        text: String::new(),
        reasoning: String::new(),
        calls: Vec::new(),
        open_call: None,
        token_ids: Vec::new(),
        logprobs: Vec::new(),
        prompt_logprobs: Vec::new(),
        reason: FinishReason::Length,
        stop_string: None,
        usage: Usage::default(),
    };
    while let Some(delta) = generation.blocking_next() {
        match delta? {
            Delta::Prompt { logprobs, .. } => answer.prompt_logprobs = logprobs,
            Delta::Text { text, token_ids, logprobs } => {
                answer.text += &text;
                answer.token_ids.extend(token_ids);
                answer.logprobs.extend(logprobs);
            }
            Delta::Reasoning { text, token_ids, logprobs } => {
                answer.reasoning += &text;
                answer.token_ids.extend(token_ids);
                answer.logprobs.extend(logprobs);
            }
            Delta::ToolCall { delta, token_ids, logprobs, .. } => {
                answer.call(delta);
                answer.token_ids.extend(token_ids);
                answer.logprobs.extend(logprobs);
            }
            Delta::ToolProgress(_) => {}
            Delta::Finished { reason, stop_string, usage } => {
                (answer.reason, answer.stop_string, answer.usage) = (reason, stop_string, usage);
            }
        }
    }
    Ok(answer)
}

/// Numbers that look random and are the same every time (an xorshift).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}
