//! What Gemma 3n sees: MobileNet-V5's map, a token for each of its places.
//! Source: `modeling_gemma3n.py` of Hugging Face transformers.

use super::mobilenet::MobileNet;
use crate::error::LoadError;
use crate::models::TowerShape;
use crate::models::gemma3n::embedder::{EmbedderConfig, MediaEmbedder};
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use serde_json::{Value, json};
use std::path::Path;

/// The keys that say how Gemma 3n sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemma3nVisionConfig {
    embedder: EmbedderConfig,
    /// Tokens along each side of a picture.
    side: usize,
    text_hidden: usize,
}

impl Gemma3nVisionConfig {
    /// Reads the whole `config.json`; the path is for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(
        file: &Path,
        json: &Value,
        text_hidden: usize,
    ) -> std::result::Result<Self, LoadError> {
        const PART: &str = "vision_config";
        let defaults = json!({
            "hidden_size": 2048, "vocab_size": 128, "vocab_offset": 262_144, "rms_norm_eps": 1e-6,
        });
        let keys = crate::models::config::part(json, PART, defaults);
        let bad = |reason: String| LoadError::BadFile { file: file.to_owned(), reason };
        let tower = keys.get("architecture").and_then(Value::as_str);
        if let Some(other) = tower.filter(|name| *name != "mobilenetv5_300m_enc") {
            return Err(bad(format!("`{PART}`: `architecture` {other} is not supported")));
        }
        let tokens = json.get("vision_soft_tokens_per_image");
        let tokens = tokens.map_or(Some(256), Value::as_u64).unwrap_or(0);
        let side = usize::try_from(tokens.isqrt()).unwrap_or(0);
        if side == 0 || side.checked_mul(side).and_then(|n| u64::try_from(n).ok()) != Some(tokens) {
            return Err(bad(format!("`vision_soft_tokens_per_image` is {tokens}, no square")));
        }
        Ok(Self { embedder: EmbedderConfig::parse(file, PART, &keys)?, side, text_hidden })
    }

    /// Tokens of one picture.
    pub fn tokens_per_image(&self) -> usize {
        self.side * self.side
    }

    /// What looking at one picture costs. How wide the tower is, its weights alone say: this is the
    /// published one's at its first stage, where a token stands for 9 × 16² pixels and 128 numbers are
    /// alive for each.
    pub fn shape(&self) -> TowerShape {
        let activations_per_token = 9 * 16 * 16 * 128;
        TowerShape { activations_per_token, tokens: Some(self.tokens_per_image()) }
    }
}

/// The loaded tower and what brings its map to the text model.
pub struct Gemma3nVision {
    tower: MobileNet,
    embedder: MediaEmbedder,
    /// Multiplies the map.
    scale: f64,
}

impl Gemma3nVision {
    /// Reads `model.vision_tower.timm_model` and `model.embed_vision`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        config: &Gemma3nVisionConfig,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let model = weights.pp("model").of_tower();
        let hidden = config.embedder.hidden_size;
        let tower = model.pp("vision_tower").pp("timm_model");
        let embed = model.pp("embed_vision");
        Ok(Self {
            tower: MobileNet::load(&tower, config.side, hidden)?,
            embedder: MediaEmbedder::load(&config.embedder, &embed, config.text_hidden)?,
            scale: (hidden as f64).sqrt(),
        })
    }

    /// One picture `[1, channels, height, width]` → `[tokens, text width]`.
    ///
    /// # Errors
    /// When it is of another size.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        if pixels.dim(0)? != 1 {
            bail!("{} pictures; this tower takes one at a time", pixels.dim(0)?);
        }
        self.embedder.features(&(self.tower.forward(pixels)? * self.scale)?)
    }

    /// What embeds the vocabulary's tokens about pictures.
    pub fn embedder(&self) -> &MediaEmbedder {
        &self.embedder
    }
}
