//! From an id or a path to a running [`crate::Llm`]: the load walk, one screen, top to bottom.

pub mod progress;
pub mod source;

use progress::Progress;
use std::path::PathBuf;

/// What to load and how. `LoadOptions::new("model")` is enough for most.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A folder, a `.gguf` file, or a hub id such as `Qwen/Qwen2.5-0.5B-Instruct`
    /// (`id@revision` picks a revision).
    pub model: String,
    /// With a folder or hub id: the GGUF file(s) in it, if the model is to come from GGUF.
    pub gguf_files: Vec<String>,
    /// Another `tokenizer.json`.
    pub tokenizer_json: Option<PathBuf>,
    /// Used when the model brings no chat template: a `.jinja` or `.json` file.
    pub chat_template: Option<PathBuf>,
    /// Overrides the model's chat template.
    pub jinja_explicit: Option<PathBuf>,
    /// Quantise plain weights to this type while loading.
    pub isq: Option<mistralrs_quant::QuantType>,
    /// Most sequences computed together.
    pub max_seqs: usize,
    /// Most requests waiting.
    pub max_queue: usize,
    /// Context in tokens; `None` = what the model was made for, less if memory does not allow it.
    pub max_seq_len: Option<usize>,
    /// Tokens the KV cache can hold in all; `None` = enough for `max_seqs` within free memory.
    pub kv_cache_tokens: Option<usize>,
    /// Tokens per KV block: 8, 16 or 32.
    pub block_size: usize,
    /// Most prompt tokens computed in one step.
    pub prefill_chunk: usize,
    /// Reuse the KV blocks of earlier requests with the same prefix.
    pub prefix_cache: bool,
    /// Seed of requests that bring none.
    pub seed: Option<u64>,
    /// Compute one token before the first request (row A3).
    pub warm_up: bool,
    /// How the hub is reached.
    pub hub: source::HubOptions,
    /// Who is told how far loading is. The default draws bars on a terminal's standard error.
    pub progress: Progress,
}

impl LoadOptions {
    /// The defaults for a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            gguf_files: Vec::new(),
            tokenizer_json: None,
            chat_template: None,
            jinja_explicit: None,
            isq: None,
            max_seqs: 16,
            max_queue: 256,
            max_seq_len: None,
            kv_cache_tokens: None,
            block_size: 32,
            prefill_chunk: 512,
            prefix_cache: true,
            seed: None,
            warm_up: true,
            hub: source::HubOptions::default(),
            progress: Progress::terminal(),
        }
    }
}
