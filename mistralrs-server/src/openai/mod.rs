//! OpenAI's dialect: wire types and their translation to and from the engine's words. Pure: no HTTP, no model.
//!
//! After `into_core` nothing about a request can be wrong in form; what depends on the model's own numbers
//! (sampling ranges, prompt length) is refused by the engine's own validation.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod form;
pub mod generate;
pub mod message;
pub mod part;
pub mod rerank;
pub mod response;
pub mod thinking;
pub mod tool_runs;
pub mod tools;
pub mod values;

/// What a request is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most answers to one prompt (`n`).
    pub max_n: usize,
    /// Most answers to all prompts of one request.
    pub max_choices: usize,
    /// Most tokens of prompt and answer together.
    pub context_tokens: usize,
    /// Number of token ids.
    pub vocab_size: usize,
}
