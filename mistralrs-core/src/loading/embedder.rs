//! The load walk of encoders: as that of text models, without a KV cache, with what follows the
//! encoder.

use super::memory::{self, MemoryPlan, MemoryRequest};
use super::opened::Opened;
use super::source::ModelFiles;
use super::{LoadOptions, log_decisions, log_plan};
use crate::attention;
use crate::embedder::{Embedder, EmbedderInfo, EmbedderKind, EmbedderParts};
use crate::engine::encoding::{EncodingHandle, EncodingLimits};
use crate::error::LoadError;
use crate::models::encoders::{self, EncoderRow, EncoderShape};
use crate::sentence::{Chain, Head, SentenceModel};
use crate::weights::Weights;
use mistralrs_quant::Place;
use mistralrs_quant::WeightOptions;

/// Loads what `row` describes.
pub(super) fn load(
    options: LoadOptions,
    files: &ModelFiles,
    opened: &Opened,
    row: &EncoderRow,
) -> Result<Embedder, LoadError> {
    if options.kv_cache_tokens.is_some() || options.kv_numbers.is_some() {
        tracing::warn!("an encoder keeps no KV cache: its size and type have no effect");
    }
    let sentence = opened.sentence()?;
    let EncoderShape { mut model, hidden } = (row.shape)(&opened.config_file, &opened.config)?;
    // A shorter length in the files is a default, not a limit: the operator may ask for more.
    let trained = sentence.max_tokens.filter(|_| options.max_seq_len.is_none());
    model.context = trained.map_or(model.context, |tokens| tokens.min(model.context));
    let plan = MemoryPlan::compute(&memory_request(&options, opened, &model))?;
    log_plan(&plan);

    let backend = attention::select(&Place::default());
    let progress = options.progress.clone();
    let report = move |done, of| progress.report("load weights", done as u64, of as u64);
    let (isq, decisions) = options.quantization();
    let stay_mapped = plan.exceeds_memory();
    let treatment = WeightOptions { isq, stay_mapped, ..WeightOptions::default() };
    let weights = Weights::new(opened.checkpoint(), treatment, backend, report);
    let (text, (encoder, head)) = opened.text_beside(files, &options, || {
        let encoder = (row.load)(&opened.config_file, &opened.config, &weights)?;
        let head = match row.head {
            Some(head) => Head::Score(head(&opened.config_file, &opened.config, &weights)?),
            None => Head::Vector(Chain::load(&sentence, hidden, &weights)?),
        };
        weights.check_surplus(encoders::is_ignorable)?;
        Ok((encoder, head))
    })?;
    let (kind, dimensions) = match &head {
        Head::Score(_) => (EmbedderKind::CrossEncoder, 1),
        Head::Vector(chain) => (EmbedderKind::Embedding, chain.width()),
    };
    options.progress.report("load weights", 1, 1);
    log_decisions(&decisions, opened);

    let limits =
        EncodingLimits { max_queue: options.max_queue, batch_tokens: options.prefill_chunk };
    let engine = EncodingHandle::spawn(Box::new(SentenceModel::new(encoder, head)), limits)
        .map_err(|source| LoadError::Io { file: "the encoder's thread".into(), source })?;
    let info = EmbedderInfo {
        model: opened.info(&options, &model, &plan, &text),
        kind,
        dimensions,
        prompts: sentence.prompts,
        default_prompt: sentence.default_prompt,
    };
    let warm_up = options.warm_up;
    let embedder =
        Embedder::new(EmbedderParts { engine, text, info, lower_case: sentence.lower_case });
    if warm_up {
        embedder.warm_up();
    }
    Ok(embedder)
}

fn memory_request(
    options: &LoadOptions,
    opened: &Opened,
    shape: &crate::models::ModelShape,
) -> MemoryRequest {
    // A text longer than a batch is computed alone, and whole.
    let context = options.max_seq_len.unwrap_or(shape.context).min(shape.context);
    let tokens = options.prefill_chunk.max(context);
    let numbers = tokens.saturating_mul(shape.activations_per_token);
    MemoryRequest {
        weight_bytes: opened.weight_bytes(&options.quantization().0),
        activation_bytes: (numbers.saturating_mul(size_of::<f32>())) as u64,
        kv: Vec::new(),
        step_tokens: tokens,
        free_bytes: memory::free_bytes(),
        model_context: shape.context,
        max_seq_len: options.max_seq_len,
        max_seqs: 1,
        kv_cache_tokens: None,
        most_kv_tokens: None,
        block_size: options.block_size,
    }
}
