//! Gemma 3 that sees: SigLIP's patches pooled to a fixed number of tokens per picture, which see each
//! other both ways; Gemma 3's text model.
//! Source: `modeling_gemma3.py` of Hugging Face transformers; arXiv 2503.19786.

use super::gemma::{self, GemmaConfig};
use super::gemma3::Gemma3;
use super::vision::gemma3::{Gemma3Vision, Gemma3VisionConfig};
use super::{Architecture, MediaEncoder, Model, ModelShape, decoder, vision};
use crate::error::LoadError;
use crate::forward::{Encoded, ForwardBatch, Media, MediaItem, RopePositions};
use crate::kv_cache::KvCache;
use crate::weights::Weights;
use candle_core::Tensor;
use serde_json::Value;
use std::path::Path;

/// A loaded Gemma 3 with its eyes.
pub struct Gemma3Vl {
    text: Gemma3,
    vision: Gemma3Vision,
}

impl Architecture for Gemma3Vl {
    type Config = (GemmaConfig, Gemma3VisionConfig);

    const READS: &'static [&'static str] = gemma::READS;

    fn config(file: &Path, json: &Value) -> Result<Self::Config, LoadError> {
        let text = Gemma3::config(file, json)?;
        let vision = Gemma3VisionConfig::parse(file, json, text.text.hidden_size)?;
        Ok((text, vision))
    }

    fn shape((text, vision): &Self::Config) -> ModelShape {
        ModelShape {
            indivisible_tokens: vision.tokens_per_image(),
            tower: Some(vision.shape()),
            ..Gemma3::shape(text)
        }
    }

    fn load((text, vision): &Self::Config, weights: &Weights) -> Result<Self, LoadError> {
        Ok(Self {
            text: Gemma3::load(text, &decoder::text_part(weights))?,
            vision: Gemma3Vision::load(vision, weights)?,
        })
    }
}

impl Model for Gemma3Vl {
    fn forward(&self, batch: &ForwardBatch, kv: &mut KvCache) -> candle_core::Result<Tensor> {
        self.text.forward(batch, kv)
    }

    fn media_encoder(&self) -> Option<&dyn MediaEncoder> {
        Some(self)
    }
}

impl MediaEncoder for Gemma3Vl {
    fn encode(&self, media: &Media) -> candle_core::Result<Encoded> {
        vision::encoded(&self.vision.forward(&vision::pixels(media)?)?)
    }

    fn positions(&self, _: usize, _: &[MediaItem]) -> Option<RopePositions> {
        None
    }

    fn sees_both_ways(&self) -> bool {
        true
    }
}
