//! From an id or a path to a running [`crate::Llm`]: the load walk, one screen, top to bottom.

mod accelerators;
pub mod cost;
pub mod device_map;
mod embedder;
pub mod isq_name;
mod mapping;
pub mod memory;
mod opened;
pub mod progress;
pub mod source;
pub mod topology;

use crate::attention;
use crate::embedder::Embedder;
use crate::engine::{EngineHandle, EngineLimits};
use crate::error::LoadError;
use crate::kv_cache::block_groups::BlockGroups;
use crate::kv_cache::{KvCache, KvNumbers};
use crate::llm::{ChatDialect, Llm, LlmParts, Preparation, Senses};
use crate::models::matformer::MatformerSlice;
use crate::models::{self, ModelShape};
use crate::weights::Weights;
use device_map::LayerMap;
use mapping::Mapping;
use memory::{KvRequest, MemoryPlan, MemoryRequest};
use mistralrs_quant::{Isq, Place, WeightOptions};
use opened::Opened;
pub(crate) use opened::read_json;
use progress::Progress;
use source::ModelFiles;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use topology::{Decisions, Topology};

/// What to load and how. `LoadOptions::new("model")` is enough for most.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A folder, a `.gguf` file, or a hub id such as `Qwen/Qwen2.5-0.5B-Instruct`
    /// (`id@revision` picks a revision).
    pub model: String,
    /// A GGUF file that is part of the program, to be loaded instead; `model` is then only its name.
    pub embedded: Option<&'static [u8]>,
    /// With a folder or hub id: the GGUF file(s) in it, if the model is to come from GGUF.
    pub gguf_files: Vec<String>,
    /// With GGUF: the file of the model's eyes (`mmproj`), a path or a name beside the model. `None` takes the only
    /// one that lies beside it, if it fits.
    pub mmproj: Option<PathBuf>,
    /// Another `tokenizer.json`.
    pub tokenizer_json: Option<PathBuf>,
    /// What the model is to be used for.
    pub purpose: Purpose,
    /// Used when the model brings no chat template: a `.jinja` or `.json` file.
    pub chat_template: Option<PathBuf>,
    /// Overrides the model's chat template.
    pub jinja_explicit: Option<PathBuf>,
    /// Load this slice of a MatFormer (Gemma 3n) instead of the whole.
    pub matformer: Option<MatformerSlice>,
    /// Quantise plain weights to this type while loading.
    pub isq: Option<mistralrs_quant::QuantType>,
    /// What becomes of some layers, or of tensors of some names, instead.
    pub topology: Option<Topology>,
    /// On which devices the layers are to be.
    pub layers: LayerMap,
    /// Most sequences computed together.
    pub max_seqs: usize,
    /// Most requests waiting.
    pub max_queue: usize,
    /// Context in tokens; `None` = what the model was made for, less if memory does not allow it.
    pub max_seq_len: Option<usize>,
    /// Tokens the KV cache can hold in all (layers with a window: no more than windows have); `None` = enough for `max_seqs` within free memory.
    pub kv_cache_tokens: Option<usize>,
    /// How keys and values are kept; `None` = in halves for quantized weights. An encoder keeps none.
    pub kv_numbers: Option<KvNumbers>,
    /// Tokens per KV block: 8, 16 or 32.
    pub block_size: usize,
    /// Most prompt tokens computed in one step.
    pub prefill_chunk: usize,
    /// Most bytes of encoded pictures and sounds that are kept for later requests.
    pub media_cache_bytes: usize,
    /// Bytes of prepared pictures and sounds, of all requests that wait or run, above which requests with more are
    /// refused until some have ended.
    pub media_in_flight_bytes: usize,
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
            embedded: None,
            gguf_files: Vec::new(),
            mmproj: None,
            tokenizer_json: None,
            purpose: Purpose::Detect,
            chat_template: None,
            jinja_explicit: None,
            matformer: None,
            isq: None,
            topology: None,
            layers: LayerMap::Automatic,
            max_seqs: 16,
            max_queue: 256,
            max_seq_len: None,
            kv_cache_tokens: None,
            kv_numbers: None,
            block_size: 32,
            prefill_chunk: 512,
            media_cache_bytes: 256 << 20,
            media_in_flight_bytes: 2 << 30,
            prefix_cache: true,
            seed: None,
            warm_up: true,
            hub: source::HubOptions::default(),
            progress: Progress::terminal(),
        }
    }

    /// What weights become, and who has decided so once they are loaded.
    fn quantization(&self) -> (Isq, Decisions) {
        match &self.topology {
            Some(topology) => topology.isq(self.isq),
            None => (self.isq.into(), Decisions::default()),
        }
    }
}

/// What a model is to be used for. The files of Qwen3 and of Qwen3-Embedding name the same
/// architecture, so that alone does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Purpose {
    /// Whatever its files say (row D1): the files of sentence-transformers beside `config.json`, or
    /// an architecture that only encodes, mean an encoder.
    #[default]
    Detect,
    /// Encoding, as the architecture of this name if there is one, else as `config.json` says.
    Encode(Option<String>),
}

/// A model of either kind.
#[derive(Debug, Clone)]
pub enum Loaded {
    /// It answers.
    Llm(Llm),
    /// It gives vectors or scores.
    Embedder(Embedder),
}

/// Loads a model of whatever kind; blocks until it can answer.
///
/// # Errors
/// [`LoadError`] says what is missing or wrong, and what to do.
pub fn load_any(options: LoadOptions) -> Result<Loaded, LoadError> {
    options.topology.as_ref().map_or(Ok(()), Topology::check_devices)?;
    let files = source::resolve(&options)?;
    let mut opened = Opened::open(&files, &options.purpose)?;
    if let Some(slice) = &options.matformer {
        opened.slice(slice)?;
    }
    match opened.encoder {
        Some(row) => embedder::load(options, &files, &opened, row).map(Loaded::Embedder),
        None => {
            let warm_up = options.warm_up;
            Ok(Loaded::Llm(Llm::new(load(options, &files, &opened)?, warm_up)))
        }
    }
}

/// The load walk.
///
/// # Errors
/// [`LoadError`] in a sentence.
fn load(options: LoadOptions, files: &ModelFiles, opened: &Opened) -> Result<LlmParts, LoadError> {
    let row = models::find(&opened.architecture)?;
    let shape = (row.shape)(&opened.config_file, &opened.config)?;
    // Not an error before a tower is found in the checkpoint: without one nothing is prepared.
    let preparation = row.family.filter(|_| shape.tower.is_some());
    let preparation = preparation.map(|it| opened.preparation(files, it));
    let looking = looking_bytes(&options, &shape, preparation.as_ref());
    let mapping = Mapping::make(&options, opened, &shape)?;
    let request = memory_request(&options, &shape, opened, looking, &mapping);
    let plan = MemoryPlan::compute(&request)?;
    log_plan(&plan);

    let attention = attention::select(&Place::default());
    let progress = options.progress.clone();
    let report = move |done, of| progress.report("load weights", done as u64, of as u64);
    let (isq, decisions) = options.quantization();
    let stay_mapped = plan.exceeds_memory();
    let treatment = WeightOptions { isq, stay_mapped, ..WeightOptions::default() };
    let weights = Weights::new(opened.checkpoint(), treatment, attention, report);
    let weights = weights.with_places(mapping.places.clone());
    let (text, model) = opened.text_beside(files, &options, || {
        let model = (row.load)(&opened.config_file, &opened.config, &weights)?;
        weights.check_surplus(models::is_ignorable)?;
        Ok(model)
    })?;
    let senses = match preparation.filter(|_| model.media_encoder().is_some()) {
        Some(preparation) => {
            Some(Senses::new(preparation?, text.tokenizer(), options.media_in_flight_bytes)?)
        }
        None => None,
    };
    options.progress.report("load weights", 1, 1);
    log_decisions(&decisions, opened);

    let num_blocks: Vec<_> = plan.kv_tokens.iter().map(|it| it / options.block_size).collect();
    let kv = KvCache::allocate(
        &shape.kv,
        &num_blocks,
        options.block_size,
        opened.kv_numbers(&options),
        &mapping.places,
    )?;
    let groups = num_blocks.into_iter().zip(shape.kv.windows());
    let blocks = BlockGroups::new(groups, options.block_size, options.prefix_cache);
    let limits = EngineLimits {
        max_seqs: options.max_seqs,
        max_queue: options.max_queue,
        prefill_chunk: options.prefill_chunk,
        short_context: shape.short_context,
        media_cache_bytes: options.media_cache_bytes,
    };
    let engine = EngineHandle::spawn(model, kv, blocks, limits)
        .map_err(|source| LoadError::Io { file: "the engine's thread".into(), source })?;
    Ok(LlmParts {
        engine,
        info: opened.info(&options, &shape, &plan, &text),
        dialect: ChatDialect::of(&text),
        grammars: OnceLock::new(),
        text,
        senses,
        defaults: opened.sampling_defaults(),
        seed: options.seed.unwrap_or_else(rand::random),
        requests: AtomicU64::new(0),
    })
}

/// What the encoder needs for the largest picture of which a sequence has room, and what is kept of
/// pictures for later requests.
fn looking_bytes(
    options: &LoadOptions,
    shape: &ModelShape,
    preparation: Option<&Result<Preparation, LoadError>>,
) -> u64 {
    let Some(tower) = shape.tower else { return 0 };
    let context = options.max_seq_len.unwrap_or(shape.context);
    let read = || preparation?.as_ref().ok()?.most_tokens();
    let largest = || read().unwrap_or(context);
    let tokens = tower.tokens.unwrap_or_else(largest).min(context);
    let numbers = tokens.saturating_mul(tower.activations_per_token);
    let bytes = numbers.saturating_mul(size_of::<f32>()).saturating_add(options.media_cache_bytes);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn memory_request(
    options: &LoadOptions,
    shape: &ModelShape,
    opened: &Opened,
    looking_bytes: u64,
    mapping: &Mapping,
) -> MemoryRequest {
    let step_tokens = options.prefill_chunk + options.max_seqs;
    // Logits exist twice where log-probabilities are wanted: the sampler changes the rows.
    let logits = 2 * options.max_seqs * shape.vocab_size;
    let numbers = step_tokens * shape.activations_per_token + logits;
    let group = |window| KvRequest {
        bytes_per_token: mapping.kv.bytes_per_token(window, opened.kv_numbers(options)) as u64,
        window: window.map(|window| window as u64),
    };
    MemoryRequest {
        weight_bytes: mapping.weight_bytes,
        activation_bytes: ((numbers * size_of::<f32>()) as u64).saturating_add(looking_bytes),
        kv: shape.kv.windows().into_iter().map(group).collect(),
        step_tokens: step_tokens + shape.indivisible_tokens,
        free_bytes: memory::free_bytes(),
        model_context: shape.context,
        max_seq_len: options.max_seq_len,
        max_seqs: options.max_seqs,
        kv_cache_tokens: options.kv_cache_tokens,
        most_kv_tokens: mapping.most_kv_tokens,
        block_size: options.block_size,
    }
}

fn log_plan(plan: &MemoryPlan) {
    for line in plan.to_string().lines() {
        tracing::info!("{line}");
    }
    if let Some(warning) = &plan.warning {
        tracing::warn!("{warning}");
    }
}

fn log_decisions(decisions: &Decisions, opened: &Opened) {
    for line in decisions.done() {
        tracing::info!("{line}");
    }
    for warning in decisions.warnings(&opened.checkpoint().names()) {
        tracing::warn!("{warning}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mistralrs_testkit::fixture;

    /// A tower's work and what is kept of pictures leave so much less for keys and values.
    #[test]
    fn looking_is_in_the_plan() {
        let folder = fixture("qwen2.5-vl");
        let options = LoadOptions::new(folder.to_string_lossy());
        let files = source::resolve(&options).unwrap();
        let opened = Opened::open(&files, &options.purpose).unwrap();
        let row = models::find(&opened.architecture).unwrap();
        let shape = (row.shape)(&opened.config_file, &opened.config).unwrap();
        let preparation = Preparation::read(&files, row.family.unwrap(), &opened.config);
        let most_tokens = preparation.as_ref().unwrap().most_tokens().unwrap();
        let looking = looking_bytes(&options, &shape, Some(&preparation));
        let tokens = most_tokens.min(shape.context);
        let numbers = tokens * shape.tower.unwrap().activations_per_token;
        assert_eq!(looking, (numbers * size_of::<f32>() + options.media_cache_bytes) as u64);

        let mapping = Mapping::make(&options, &opened, &shape).unwrap();
        let mut request = memory_request(&options, &shape, &opened, looking, &mapping);
        let blind = memory_request(&options, &shape, &opened, 0, &mapping);
        assert_eq!(request.activation_bytes - blind.activation_bytes, looking);
        // Little memory and many sequences: what is left decides.
        request.free_bytes = request.weight_bytes + request.activation_bytes + (1 << 20);
        request.max_seqs = 1 << 20;
        let blind = MemoryRequest { activation_bytes: blind.activation_bytes, ..request.clone() };
        let [with, without] = [request, blind].map(|it| MemoryPlan::compute(&it).unwrap());
        // The cache takes half of what is left.
        let less = without.kv_bytes - with.kv_bytes;
        let block = shape.kv.bytes_per_token(None, opened.kv_numbers(&options));
        let block = (block * options.block_size) as u64;
        assert!(less.abs_diff(looking / 2) <= block, "{less} of {looking}, blocks of {block}");
    }
}
