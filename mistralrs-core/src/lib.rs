//! The inference engine as a library. A program holds one [`Llm`] and asks it for answers.
//!
//! The walk of a request is the architecture: see `docs/ARCHITECTURE.md`. Text lives at the rim
//! ([`llm`], [`text`]), tokens at the core ([`engine`], [`kv_cache`], [`sampling`]),
//! tensors below them ([`models`], [`layers`], [`attention`]).
#![forbid(unsafe_code)]

pub mod agent;
pub mod attention;
pub mod embedder;
pub mod engine;
pub mod error;
pub mod forward;
pub mod kv_cache;
pub mod layers;
pub mod llm;
pub mod loading;
pub mod models;
pub mod output;
pub mod places;
pub mod request;
pub mod sampling;
pub mod search;
pub mod sentence;
mod slices;
pub mod text;
pub mod weights;

pub use embedder::{
    Embedder, EmbedderInfo, EmbedderKind, EmbeddingRequest, Embeddings, Pending, RerankRequest,
    Scores,
};
pub use engine::EngineStats;
pub use error::{EngineError, LoadError, RequestError, RequestErrorKind};
pub use forward::Modality;
pub use llm::{Capabilities, Generation, Llm, Look, ModelInfo};
pub use loading::cost::{MatrixCost, TokenCost};
pub use loading::device_map::LayerMap;
pub use loading::isq_name::{IsqNameError, isq_type};
pub use loading::topology::{DeviceName, Topology, TopologyEntry};
pub use loading::{LoadOptions, Loaded, Purpose, load_any};
pub use mistralrs_kernels::Peaks;
pub use mistralrs_quant::QuantType;
pub use models::matformer::MatformerSlice;
pub use request::{
    Audio, Candidate, ChatRequest, CompletionRequest, Content, Delta, Detail, FinishReason, Form,
    GenerateOptions, Image, MediaBytes, Message, Part, Prompt, Role, TokenLogprobs, ToolCall,
    ToolCallDelta, ToolChoice, Usage, Video,
};
pub use sampling::{Grammar, SamplingParams};

/// The instruction set the kernels compute with: `amx`, `avx512bf16`, `avx512vnni`, `avx512`, `avxvnni`, `avx2` or `scalar`.
pub fn instruction_set() -> &'static str {
    mistralrs_kernels::instruction_set()
}

/// Makes the kernels compute with another instruction set than the best: to find out whether a wrong
/// result is theirs. Only before anything has been computed.
///
/// # Errors
/// [`LoadError::Option`] for an unknown name, one this processor has not, or when it is too late.
pub fn force_instruction_set(name: &str) -> Result<(), LoadError> {
    mistralrs_kernels::force_instruction_set(name)
        .map_err(|e| LoadError::Option { option: "--instruction-set", reason: e.to_string() })
}

/// Has the allocator of this process keep the memory of one step for the next, instead of asking the system
/// for new pages each time: for programs that serve a model, once it is loaded.
pub fn keep_freed_memory() {
    mistralrs_kernels::keep_freed_memory();
}

/// How many threads the kernels compute with.
pub fn compute_threads() -> usize {
    mistralrs_kernels::threads()
}

/// Makes the kernels compute with so many threads, the engine's own included, or with one for each core;
/// `pinned` to a core of its own each. Only before anything has been computed.
///
/// # Errors
/// [`LoadError::Option`] when it is too late.
pub fn set_compute_threads(
    threads: Option<std::num::NonZeroUsize>,
    pinned: bool,
) -> Result<(), LoadError> {
    if mistralrs_kernels::set_threads(threads, pinned) {
        return Ok(());
    }
    Err(LoadError::Option { option: "--threads", reason: "kernels have run already".into() })
}

/// Bytes that are read to see how fast memory is: more than caches hold.
const READ_BYTES: u64 = 512 << 20;

/// What this machine gives at most, with the instruction set and the threads that kernels compute with.
/// Takes about a second, and an eighth of the free memory at most.
pub fn measure_peaks() -> Peaks {
    let bytes = READ_BYTES.min(loading::memory::free_bytes() / 8);
    mistralrs_kernels::measure_peaks(usize::try_from(bytes).unwrap_or(0))
}
