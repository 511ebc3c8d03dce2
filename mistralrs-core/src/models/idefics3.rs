//! Idefics3 and SmolVLM: pictures in tiles through SigLIP, squares of patches as tokens; Llama's text
//! model.
//! Source: `modeling_idefics3.py`, `modeling_smolvlm.py` of Hugging Face transformers; arXiv 2408.12637.

use super::config::TextConfig;
use super::llama::Llama;
use super::vision::idefics3::{Idefics3Vision, Idefics3VisionConfig};
use super::{Architecture, MediaEncoder, Model, ModelShape, decoder, vision};
use crate::error::LoadError;
use crate::forward::{Encoded, ForwardBatch, Media, MediaItem, RopePositions};
use crate::kv_cache::KvCache;
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::{Value, json};
use std::path::Path;

/// A loaded Idefics3 or SmolVLM.
pub struct Idefics3 {
    text: Llama,
    vision: Idefics3Vision,
}

impl Architecture for Idefics3 {
    type Config = (TextConfig, Idefics3VisionConfig);

    fn config(file: &Path, json: &Value) -> Result<Self::Config, LoadError> {
        // Older files are silent on what Llama has anyway.
        let defaults = json!({
            "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
        });
        let mut text = TextConfig::parse_with(file, json, defaults)?;
        // It is the whole that says so; text models in it may say otherwise and are not asked.
        text.tie_word_embeddings =
            json.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
        let vision = Idefics3VisionConfig::parse(file, json, text.hidden_size)?;
        Ok((text, vision))
    }

    fn shape((text, vision): &Self::Config) -> ModelShape {
        ModelShape { tower: Some(vision.shape()), ..decoder::shape(text) }
    }

    fn load((text, vision): &Self::Config, weights: &Weights) -> Result<Self, LoadError> {
        Ok(Self {
            text: Llama::load(text, &decoder::text_part(weights))?,
            vision: Idefics3Vision::load(vision, weights)?,
        })
    }
}

impl Model for Idefics3 {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.text.forward(batch, kv)
    }

    fn media_encoder(&self) -> Option<&dyn MediaEncoder> {
        Some(self)
    }
}

impl MediaEncoder for Idefics3 {
    fn encode(&self, media: &Media) -> candle_core::Result<Encoded> {
        vision::encoded(&self.vision.forward(&vision::pixels(media)?)?)
    }

    fn positions(&self, _: usize, _: &[MediaItem]) -> Option<RopePositions> {
        None
    }

    fn sees_both_ways(&self) -> bool {
        false
    }
}
