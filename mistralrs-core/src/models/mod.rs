//! The registry: one line per architecture. A model sees [`Weights`] once and [`ForwardBatch`] ever
//! after; it knows no files, sequences or devices.

pub mod audio;
pub mod config;
mod decoder;
mod deepseek;
pub mod encoders;
mod gemma;
mod gemma2;
mod gemma3;
mod gemma3_vl;
mod gemma3n;
pub mod gguf_config;
mod glm4;
mod granite;
mod idefics3;
mod llama;
pub mod matformer;
mod mistral;
mod mixtral;
mod moe;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod qwen_vl;
mod seed_oss;
mod smollm3;
mod starcoder2;
pub mod vision;

use crate::error::LoadError;
use crate::forward::{Encoded, ForwardBatch, Media, MediaItem, RopePositions};
use crate::kv_cache::{KvCache, KvSpec};
use crate::weights::Weights;
use candle_core::Tensor;
use matformer::MatformerSlice;
use mistralrs_quant::Checkpoint;
use mistralrs_vision::Family;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// A loaded model: immutable weights; all state is in the cache.
pub trait Model: Send {
    /// One step → logits `[rows, vocab]` f32 of `batch.logit_rows`.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor>;

    /// Its eyes and ears, if it has any.
    fn media_encoder(&self) -> Option<&dyn MediaEncoder> {
        None
    }
}

/// What makes rows for the decoder of pictures, clips and sounds.
pub trait MediaEncoder {
    /// One medium, by itself: what it gives depends on nothing else.
    ///
    /// # Errors
    /// When the medium is of a kind or shape that the model does not take, or the device fails.
    fn encode(&self, media: &Media) -> candle_core::Result<Encoded>;

    /// Positions of a prompt of `tokens` tokens for models that rotate by time, height and width;
    /// `None` for models that count tokens.
    fn positions(&self, tokens: usize, media: &[MediaItem]) -> Option<RopePositions>;

    /// Whether the tokens of one medium see each other both ways: then they are computed in one step.
    fn sees_both_ways(&self) -> bool;
}

/// Sizes of a model that follow from its config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// What it keeps per token.
    pub kv: KvSpec,
    /// Number of logits.
    pub vocab_size: usize,
    /// Context it was made for, in tokens.
    pub context: usize,
    /// Sequences of more tokens than this have their keys rotated otherwise, all of them (LongRoPE).
    pub short_context: Option<usize>,
    /// Most tokens that are computed in one step however little it may compute: those of a picture that see
    /// each other both ways; else 1.
    pub indivisible_tokens: usize,
    /// Most numbers alive per token at one moment of a step, the logits not counted.
    pub activations_per_token: usize,
    /// What looking costs, where it can.
    pub tower: Option<TowerShape>,
}

/// What the encoder of pictures needs while it looks at one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TowerShape {
    /// Most numbers alive at one moment per token that stands for the picture.
    pub activations_per_token: usize,
    /// Tokens of a picture, or of a piece of one, where it is the same for all; else the processor's
    /// files say it.
    pub tokens: Option<usize>,
}

impl ModelShape {
    /// The same, where layers have such windows.
    #[must_use]
    pub fn with_windows(self, window: impl Fn(usize) -> Option<usize>) -> Self {
        Self { kv: self.kv.with_windows(window), ..self }
    }
}

/// What can be known of a model before it is loaded, and how to load it.
pub trait Architecture: Model + Sized + 'static {
    /// `config.json`, as far as this family reads it.
    type Config;

    /// Keys of `config.json` beyond the common ones that change the arithmetic and that this
    /// family reads; see [`config::check_keys`].
    const READS: &'static [&'static str] = &[];

    /// Reads `config.json`; the path is for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    fn config(file: &Path, json: &Value) -> Result<Self::Config, LoadError>;

    /// Sizes that are needed before the weights are read.
    fn shape(config: &Self::Config) -> ModelShape;

    /// Reads its weights.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen, or the config asks for something unknown.
    fn load(config: &Self::Config, weights: &Weights) -> Result<Self, LoadError>;
}

type LoadModel = fn(&Path, &Value, &Weights) -> Result<Box<dyn Model>, LoadError>;

/// From the config and the checkpoint of a model to those of a slice of it.
type SliceModel = fn(
    &Path,
    &Value,
    Arc<dyn Checkpoint>,
    &MatformerSlice,
) -> Result<(Value, Arc<dyn Checkpoint>), LoadError>;

/// One row of the registry: an [`Architecture`] behind function pointers.
#[derive(Debug, Clone, Copy)]
pub struct ArchitectureRow {
    /// The name in `architectures` of `config.json`.
    pub name: &'static str,
    /// [`Architecture::shape`] of a `config.json`.
    pub shape: fn(&Path, &Value) -> Result<ModelShape, LoadError>,
    /// [`Architecture::load`] of a `config.json`.
    pub load: LoadModel,
    /// How its pictures are prepared and written, if it takes any.
    pub family: Option<Family>,
    /// How it is sliced, if it is a MatFormer.
    pub slice: Option<SliceModel>,
}

impl ArchitectureRow {
    const fn sees_as(self, family: Family) -> Self {
        Self { family: Some(family), ..self }
    }

    const fn sliced_by(self, slice: SliceModel) -> Self {
        Self { slice: Some(slice), ..self }
    }
}

const fn row<A: Architecture>(name: &'static str) -> ArchitectureRow {
    ArchitectureRow {
        name,
        shape: |file, json| {
            config::check_keys(file, json, A::READS)?;
            Ok(A::shape(&A::config(file, json)?))
        },
        load: |file, json, weights| Ok(Box::new(A::load(&A::config(file, json)?, weights)?)),
        family: None,
        slice: None,
    }
}

/// All architectures.
pub const ARCHITECTURES: &[ArchitectureRow] = &[
    row::<gemma2::Gemma2>("Gemma2ForCausalLM"),
    row::<gemma3::Gemma3>("Gemma3ForCausalLM"),
    row::<gemma3_vl::Gemma3Vl>("Gemma3ForConditionalGeneration").sees_as(Family::Gemma3),
    row::<gemma3n::Gemma3n>("Gemma3nForCausalLM").sliced_by(gemma3n::slice),
    row::<gemma3n::Gemma3n>("Gemma3nForConditionalGeneration")
        .sees_as(Family::Gemma3n)
        .sliced_by(gemma3n::slice),
    row::<glm4::Glm4>("Glm4ForCausalLM"),
    row::<granite::Granite>("GraniteForCausalLM"),
    row::<idefics3::Idefics3>("Idefics3ForConditionalGeneration").sees_as(Family::Idefics3),
    row::<idefics3::Idefics3>("SmolVLMForConditionalGeneration").sees_as(Family::Idefics3),
    row::<llama::Llama>("LlamaForCausalLM"),
    row::<mistral::Mistral>("MistralForCausalLM"),
    row::<olmo2::Olmo2>("Olmo2ForCausalLM"),
    row::<phi3::Phi3>("Phi3ForCausalLM"),
    row::<qwen2::Qwen2>("Qwen2ForCausalLM"),
    row::<qwen3::Qwen3>("Qwen3ForCausalLM"),
    row::<qwen_vl::QwenVl<qwen_vl::Second>>("Qwen2VLForConditionalGeneration")
        .sees_as(Family::Qwen2Vl),
    row::<qwen_vl::QwenVl<qwen_vl::SecondAndHalf>>("Qwen2_5_VLForConditionalGeneration")
        .sees_as(Family::Qwen2Vl),
    row::<qwen_vl::QwenVl<qwen_vl::Third>>("Qwen3VLForConditionalGeneration")
        .sees_as(Family::Qwen3Vl),
    row::<qwen_vl::QwenVl<qwen_vl::ThirdMoe>>("Qwen3VLMoeForConditionalGeneration")
        .sees_as(Family::Qwen3Vl),
    row::<seed_oss::SeedOss>("SeedOssForCausalLM"),
    row::<smollm3::SmolLm3>("SmolLM3ForCausalLM"),
    row::<starcoder2::StarCoder2>("Starcoder2ForCausalLM"),
    row::<mixtral::Mixtral>("MixtralForCausalLM"),
    row::<qwen2_moe::Qwen2Moe>("Qwen2MoeForCausalLM"),
    row::<qwen3_moe::Qwen3Moe>("Qwen3MoeForCausalLM"),
    row::<deepseek::DeepSeek<deepseek::V2>>("DeepseekV2ForCausalLM"),
    row::<deepseek::DeepSeek<deepseek::V3>>("DeepseekV3ForCausalLM"),
];

/// The row of an architecture.
///
/// # Errors
/// [`LoadError::UnknownArchitecture`] lists the known ones.
pub fn find(name: &str) -> Result<&'static ArchitectureRow, LoadError> {
    ARCHITECTURES.iter().find(|row| row.name == name).ok_or_else(|| {
        LoadError::UnknownArchitecture {
            found: name.to_owned(),
            supported: ARCHITECTURES.iter().map(|r| r.name).collect::<Vec<_>>().join(", "),
        }
    })
}

/// Tensors that some checkpoints carry and no model needs: tables that are computed anyway, and a
/// head that is the embedding.
pub fn is_ignorable(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
        || name == "lm_head.weight"
        || matches!(
            name,
            "rope_freqs.weight" | "rope_factors_short.weight" | "rope_factors_long.weight"
                // Zeros that the first converter put into Qwen2-VL's towers, which have no such table.
                | "v.position_embd.weight"
        )
}
