//! [`Llm`]: the one object a program holds. The only file that sees both text and tokens.

use crate::error::{LoadError, RequestError};
use crate::loading::LoadOptions;
use crate::request::{ChatRequest, CompletionRequest, Delta};

/// A loaded model and its engine. Cheap to clone; the last clone to go ends the engine.
#[derive(Clone)]
pub struct Llm {}

/// Facts about the loaded model.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// What the model was asked for by: hub id, folder or file name.
    pub id: String,
    /// `Qwen2ForCausalLM` and the like.
    pub architecture: String,
    /// Most tokens of prompt and answer together (row P-A5).
    pub max_sequence_length: usize,
    /// Number of logits.
    pub vocab_size: usize,
    /// Number of weights.
    pub num_parameters: u64,
    /// Bytes of weights in memory.
    pub weight_bytes: u64,
    /// The types the weights are stored in with the number of tensors, most frequent first: `Q4_K ×140, F32 ×73`.
    pub weight_types: String,
    /// Whether the model came with a chat template.
    pub has_chat_template: bool,
    /// End-of-sequence ids.
    pub eos_token_ids: Vec<u32>,
}

/// A snapshot of the engine's counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it; units are in them")]
pub struct EngineStats {
    pub waiting_requests: usize,
    pub running_requests: usize,
    pub kv_blocks_total: usize,
    pub kv_blocks_used: usize,
    pub kv_blocks_cached: usize,
    pub block_size_tokens: usize,
    pub prompt_tokens_total: u64,
    pub cached_tokens_total: u64,
    pub generated_tokens_total: u64,
    pub preemptions_total: u64,
    pub steps_total: u64,
    pub failed_steps_total: u64,
}

/// An answer in the making. Dropping it cancels the work.
pub struct Generation {}

impl Generation {
    /// The next piece; `None` after [`Delta::Finished`] or an error.
    pub async fn next(&mut self) -> Option<Result<Delta, RequestError>> {
        todo!()
    }

    /// Like [`Generation::next`], for threads without a runtime.
    pub fn blocking_next(&mut self) -> Option<Result<Delta, RequestError>> {
        todo!()
    }
}

impl Llm {
    /// Loads a model; blocks until it can answer.
    ///
    /// # Errors
    /// [`LoadError`] says what is missing or wrong, and what to do.
    pub fn load(options: LoadOptions) -> Result<Self, LoadError> {
        todo!()
    }

    /// Continues a conversation. CPU work (template, tokenizer) happens here, before it returns:
    /// call it from a blocking thread.
    ///
    /// # Errors
    /// [`RequestError`] by kind.
    pub fn chat(&self, request: ChatRequest) -> Result<Generation, RequestError> {
        todo!()
    }

    /// Continues a text.
    ///
    /// # Errors
    /// [`RequestError`] by kind.
    pub fn complete(&self, request: CompletionRequest) -> Result<Generation, RequestError> {
        todo!()
    }

    /// Text to token ids.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when the tokenizer refuses the text.
    pub fn tokenize(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, RequestError> {
        todo!()
    }

    /// Token ids to text.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for an id outside the vocabulary.
    pub fn detokenize(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, RequestError> {
        todo!()
    }

    /// The bytes of one token (for `logprobs`).
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        todo!()
    }

    /// The prompt that [`Llm::chat`] would compute.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] when the template refuses the conversation.
    pub fn apply_template(&self, request: &ChatRequest) -> Result<String, RequestError> {
        todo!()
    }

    /// Facts about the model.
    pub fn info(&self) -> &ModelInfo {
        todo!()
    }

    /// The model's own sampling defaults (`generation_config.json`); all `None` if it brought none.
    pub fn generation_defaults(&self) -> &crate::sampling::SamplingParams {
        todo!()
    }

    /// Counters and gauges of this moment.
    pub fn stats(&self) -> EngineStats {
        todo!()
    }

    /// Ends the engine: running requests get [`RequestError::Shutdown`]. Waits for the thread.
    pub fn shutdown(&self) {
        todo!()
    }
}
