//! What Idefics3 and SmolVLM see: SigLIP's patches, squares of them put side by side (pixel shuffle),
//! and one layer to the text model's width.
//! Source: `modeling_idefics3.py`, `modeling_smolvlm.py` of Hugging Face transformers; arXiv 2408.12637.

use super::siglip::{SiglipConfig, SiglipTower};
use crate::error::LoadError;
use crate::models::TowerShape;
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::Linear;
use serde_json::{Value, json};
use std::path::Path;

/// The keys that say how Idefics3 sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Idefics3VisionConfig {
    tower: SiglipConfig,
    /// Patches along each side of the squares that become one token.
    scale_factor: usize,
    /// Width of the text model.
    text_hidden: usize,
}

impl Idefics3VisionConfig {
    /// Reads the whole `config.json`; the path is for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn parse(
        file: &Path,
        json: &Value,
        text_hidden: usize,
    ) -> std::result::Result<Self, LoadError> {
        let defaults = json!({"hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32});
        let tower = SiglipConfig::parse(file, json, defaults)?;
        let factor = match json.get("scale_factor") {
            None | Some(Value::Null) => Some(2),
            Some(factor) => factor.as_u64().and_then(|factor| usize::try_from(factor).ok()),
        };
        let side = tower.patches_per_side();
        match factor {
            Some(scale_factor @ 1..) if side.is_multiple_of(scale_factor) => {
                Ok(Self { tower, scale_factor, text_hidden })
            }
            _ => Err(LoadError::BadFile {
                file: file.to_owned(),
                reason: format!(
                    "`scale_factor` is {}, which does not divide the {side} patches of a side",
                    json.get("scale_factor").unwrap_or(&Value::Null),
                ),
            }),
        }
    }

    /// Tokens of one whole picture or tile.
    pub fn tokens_per_image(&self) -> usize {
        (self.tower.patches_per_side() / self.scale_factor).pow(2)
    }

    /// What looking at one picture or tile costs.
    pub fn shape(&self) -> TowerShape {
        self.tower.shape(self.tokens_per_image())
    }
}

/// The loaded tower and connector.
pub struct Idefics3Vision {
    tower: SiglipTower,
    patch_size: usize,
    scale_factor: usize,
    projection: Linear,
}

impl Idefics3Vision {
    /// Reads `model.vision_model` and `model.connector`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        config: &Idefics3VisionConfig,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let model = weights.pp("model").of_tower();
        let wide = config.tower.hidden_size * config.scale_factor.pow(2);
        let connector = model.pp("connector").pp("modality_projection").pp("proj");
        Ok(Self {
            tower: SiglipTower::load(&config.tower, &model.pp("vision_model"))?,
            patch_size: config.tower.patch_size,
            scale_factor: config.scale_factor,
            projection: connector.linear(config.text_hidden, wide, false)?,
        })
    }

    /// `[pictures, channels, height, width]` → `[pictures, tokens, text width]`.
    ///
    /// # Errors
    /// When the pictures have more patches on a side than there are positions, or a number of them
    /// that `scale_factor` does not divide.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (pictures, _, height, width) = pixels.dims4()?;
        let (rows, columns, factor) =
            (height / self.patch_size, width / self.patch_size, self.scale_factor);
        if !(rows.is_multiple_of(factor) && columns.is_multiple_of(factor)) {
            bail!("{rows}×{columns} patches cannot be cut into squares of {factor}×{factor}");
        }
        let patches = self.tower.forward(pixels)?;
        let (_, _, hidden) = patches.dims3()?;
        let tokens = (rows / factor) * (columns / factor);
        // [pictures, token rows, rows in a square, token columns, columns in a square × hidden]
        let x = patches.reshape(&[
            pictures,
            rows / factor,
            factor,
            columns / factor,
            factor * hidden,
        ])?;
        let x = x.transpose(2, 3)?.contiguous()?;
        let x = x.reshape((pictures * tokens, factor * factor * hidden))?;
        self.projection.forward(&x)?.reshape((pictures, tokens, ()))
    }
}
