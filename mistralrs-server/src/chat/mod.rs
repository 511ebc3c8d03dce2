//! Terminal chat. Talks to an [`Llm`] and to the terminal; knows no HTTP, no arguments, no environment.

mod answer;
mod commands;
mod dialog;
mod editor;
mod history;
mod lines;
mod markdown;
mod session;
mod surface;
mod width;

pub use history::history_path;
use mistralrs_core::{Llm, SamplingParams};
use std::path::PathBuf;

/// How the chat starts. `ChatOptions::default()` is a fresh conversation in whatever mode fits the terminal.
#[derive(Debug, Clone, Default)]
pub struct ChatOptions {
    /// Answer this once (only the answer on standard output) and return.
    pub prompt: Option<String>,
    /// The system text the conversation starts with.
    pub system: Option<String>,
    /// Sampling asked for on the command line; fields set here win over the model's and the chat's own.
    pub sampling: SamplingParams,
    /// Most tokens per answer; `None` = as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Further variables for the template, such as `enable_thinking`.
    pub template_kwargs: serde_json::Map<String, serde_json::Value>,
    /// Where the input history lives; `None` = it is not kept. See [`history_path`].
    pub history_file: Option<PathBuf>,
    /// Line mode even on a terminal (`TERM=dumb`).
    pub plain: bool,
}

/// Runs the chat until the user leaves or the input ends. Blocks: call it outside of an async runtime.
///
/// # Errors
/// When the terminal cannot be used, and, with [`ChatOptions::prompt`], when there is no answer.
pub fn run(llm: Llm, options: ChatOptions) -> anyhow::Result<()> {
    let _ = (llm, options);
    anyhow::bail!("the terminal chat is not built yet")
}
