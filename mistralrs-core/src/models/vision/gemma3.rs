//! What Gemma 3 sees: SigLIP's patches, pooled to a fixed number of tokens, normed and brought to the
//! text model's width.
//! Source: `modeling_gemma3.py` of Hugging Face transformers; arXiv 2503.19786.

use super::siglip::{SiglipConfig, SiglipTower};
use crate::error::LoadError;
use crate::layers::RmsNorm;
use crate::models::TowerShape;
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use mistralrs_quant::Linear;
use serde_json::{Value, json};
use std::path::Path;

/// The keys that say how Gemma 3 sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemma3VisionConfig {
    tower: SiglipConfig,
    /// Tokens along each side of a picture.
    side: usize,
    /// Width of the text model.
    text_hidden: usize,
}

impl Gemma3VisionConfig {
    /// Reads the whole `config.json`; the path is for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(
        file: &Path,
        json: &Value,
        text_hidden: usize,
    ) -> std::result::Result<Self, LoadError> {
        let tower = SiglipConfig::parse(file, json, json!({}))?;
        let tokens = match json.get("mm_tokens_per_image") {
            None | Some(Value::Null) => Some(256),
            Some(tokens) => tokens.as_u64(),
        };
        let side = tokens.and_then(|tokens| usize::try_from(tokens.isqrt()).ok()).unwrap_or(0);
        if !(1..=tower.patches_per_side()).contains(&side) {
            let reason = format!(
                "`mm_tokens_per_image` is {}, which {} patches on each side cannot make",
                json.get("mm_tokens_per_image").unwrap_or(&Value::Null),
                tower.patches_per_side(),
            );
            return Err(LoadError::BadFile { file: file.to_owned(), reason });
        }
        Ok(Self { tower, side, text_hidden })
    }

    /// Tokens of one picture.
    pub fn tokens_per_image(&self) -> usize {
        self.side * self.side
    }

    /// What looking at one picture or tile costs.
    pub fn shape(&self) -> TowerShape {
        self.tower.shape(self.tokens_per_image())
    }
}

/// The loaded tower and projector.
pub struct Gemma3Vision {
    tower: SiglipTower,
    patches_per_side: usize,
    side: usize,
    mm_soft_emb_norm: RmsNorm,
    /// Stored the other way round, `[vision, text]`; turned when loaded, and an ordinary layer since.
    mm_input_projection: Linear,
}

impl Gemma3Vision {
    /// Reads the tower and the projector, under the names of any release of transformers.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        config: &Gemma3VisionConfig,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, text) = (config.tower.hidden_size, config.text_hidden);
        let weights = weights.of_tower();
        let at = |name: &str| {
            let inner = weights.pp("model").pp(name);
            if inner.has_any() { inner } else { weights.pp(name) }
        };
        let (tower, projector) = (at("vision_tower"), at("multi_modal_projector"));
        // A head that pools for another task.
        tower.pp("head").ignore();
        tower.pp("vision_model").pp("head").ignore();
        let inner = tower.pp("vision_model");
        let tower = if inner.has_any() { inner } else { tower };
        let norm = projector.pp("mm_soft_emb_norm").tensor("weight", &[hidden])?;
        Ok(Self {
            tower: SiglipTower::load(&config.tower, &tower)?,
            patches_per_side: config.tower.patches_per_side(),
            side: config.side,
            mm_soft_emb_norm: RmsNorm::new((norm + 1.0)?, config.tower.layer_norm_eps),
            mm_input_projection: projector.transposed_linear(
                "mm_input_projection_weight",
                hidden,
                text,
            )?,
        })
    }

    /// `[pictures, channels, height, width]` → `[pictures, tokens, text width]`.
    ///
    /// # Errors
    /// When the pictures are of another size.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let patches = self.tower.forward(pixels)?;
        let (pictures, _, hidden) = patches.dims3()?;
        let (whole, side) = (self.patches_per_side, self.side);
        let kernel = whole / side;
        let x = patches.transpose(1, 2)?.reshape((pictures, hidden, whole, whole))?;
        let x = x.avg_pool2d(kernel)?.flatten_from(2)?.transpose(1, 2)?; // [pictures, tokens, hidden]
        let (_, tokens, _) = x.dims3()?;
        let x = x.contiguous()?.reshape((pictures * tokens, hidden))?;
        let x = self.mm_input_projection.forward(&self.mm_soft_emb_norm.forward(&x)?)?;
        x.reshape((pictures, tokens, ()))
    }
}
