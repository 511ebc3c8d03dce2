//! What Qwen2-VL and Qwen2.5-VL see. The second has gates, RMS norms, and in most layers windows instead
//! of the whole frame.
//! Source: `modeling_qwen2_vl.py`, `modeling_qwen2_5_vl.py` of Hugging Face transformers.

use super::qwen::{Block, Merger, Mlp, Tower, TowerConfig};
use crate::error::LoadError;
use crate::forward::{Encoded, Media, MediaItem, Modality, RopePositions};
use crate::layers::encoder::{LayerNorm, PlainMlp};
use crate::layers::{Activation, Conv3dNoBias, GatedMlp, RmsNorm, RotaryEmbedding};
use crate::models::moe::Keys;
use crate::models::{MediaEncoder, TowerShape};
use crate::weights::Weights;
use candle_core::{Device, Result, Tensor};
use serde_json::{Value, json};
use std::path::Path;
use std::slice::from_ref;

/// Of all norms of both towers.
const EPS: f64 = 1e-6;
const MERGER: [&str; 2] = ["mlp.0", "mlp.2"];

/// Qwen2-VL's tower.
#[derive(Debug)]
pub struct Qwen2Tower {
    config: TowerConfig,
    patch_embed: Conv3dNoBias,
    rope: RotaryEmbedding,
    blocks: Vec<Block<LayerNorm>>,
    merger: Merger<LayerNorm>,
}

impl Tower for Qwen2Tower {
    type Config = TowerConfig;

    fn config(
        file: &Path,
        json: &Value,
        out: usize,
    ) -> std::result::Result<TowerConfig, LoadError> {
        let keys = Keys::new(
            file,
            json,
            json!({
                "depth": 32, "embed_dim": 1280, "hidden_act": "quick_gelu", "mlp_ratio": 4,
                "num_heads": 16, "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2,
                "temporal_patch_size": 2,
            }),
        );
        let hidden = keys.size(&["embed_dim"])?;
        // Only what GGUF files become has the number itself.
        let intermediate = match keys.number("intermediate_size")? {
            Some(intermediate) => intermediate,
            None => {
                let ratio = keys.float("mlp_ratio", 4.0)?;
                let intermediate = hidden as f64 * ratio;
                if !(1.0..=(1u64 << 28) as f64).contains(&intermediate) {
                    return Err(keys.bad(format!("vision: `mlp_ratio` is {ratio}")));
                }
                intermediate as usize
            }
        };
        TowerConfig::read(&keys, (hidden, intermediate), out)
    }

    fn shape(config: &TowerConfig) -> TowerShape {
        config.shape()
    }

    fn load(config: &TowerConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let widths = [config.hidden, config.intermediate, config.hidden];
        let norm = |weights: &Weights| LayerNorm::load(weights, config.hidden, EPS, true);
        let mlp = |weights: &Weights| {
            PlainMlp::load(weights, ["fc1", "fc2"], widths, config.activation).map(Mlp::Plain)
        };
        let merger = weights.pp("merger");
        let ln_q = norm(&merger.pp("ln_q"))?;
        let proj = weights.pp("patch_embed").pp("proj");
        Ok(Self {
            patch_embed: Conv3dNoBias::load(&proj, config.kernel_shape())?,
            rope: config.rotary(weights),
            blocks: config.blocks(weights, norm, mlp)?,
            merger: Merger::load(config, &merger, MERGER, (ln_q, false))?,
            config: config.clone(),
        })
    }
}

impl MediaEncoder for Qwen2Tower {
    fn encode(&self, media: &Media) -> Result<Encoded> {
        self.config.frame_by_frame(media, |grid, patches| {
            let rope = self.rope.tables_by_axis(&grid.places())?;
            let whole = 0..grid.patches_per_frame();
            let mut x = self.patch_embed.forward(patches)?; // [patches, hidden]
            for block in &self.blocks {
                x = block.forward(&x, from_ref(&whole), &rope)?;
            }
            Ok(Encoded { embeddings: self.merger.forward(&x)?, deepstack: Vec::new() })
        })
    }

    fn positions(&self, tokens: usize, media: &[MediaItem]) -> Option<RopePositions> {
        Some(self.config.positions(tokens, media, |_| 1.0))
    }

    fn sees_both_ways(&self) -> bool {
        false
    }
}

/// The keys of Qwen2.5-VL's tower.
#[derive(Debug, Clone, PartialEq)]
pub struct Qwen2_5TowerConfig {
    tower: TowerConfig,
    /// Sides of a window, in tokens.
    window: usize,
    /// The layers that see the whole frame.
    whole: Vec<usize>,
    tokens_per_second: f32,
    gate: Activation,
}

/// Qwen2.5-VL's tower.
#[derive(Debug)]
pub struct Qwen2_5Tower {
    config: Qwen2_5TowerConfig,
    patch_embed: Conv3dNoBias,
    rope: RotaryEmbedding,
    blocks: Vec<Block<RmsNorm>>,
    merger: Merger<RmsNorm>,
}

impl Tower for Qwen2_5Tower {
    type Config = Qwen2_5TowerConfig;

    fn config(
        file: &Path,
        json: &Value,
        out: usize,
    ) -> std::result::Result<Qwen2_5TowerConfig, LoadError> {
        let keys = Keys::new(
            file,
            json,
            json!({
                "depth": 32, "hidden_size": 1280, "hidden_act": "silu", "intermediate_size": 3420,
                "num_heads": 16, "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2,
                "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
            }),
        );
        let widths = (keys.size(&["hidden_size"])?, keys.size(&["intermediate_size"])?);
        let tower = TowerConfig::read(&keys, widths, out)?;
        let window = keys.size(&["window_size"])? / tower.patch / tower.merge;
        if window == 0 {
            return Err(keys.bad("vision: `window_size` is less than one token".to_owned()));
        }
        let act = keys.get("hidden_act").and_then(Value::as_str).unwrap_or_default();
        let gate = Activation::named(act).ok_or_else(|| {
            keys.bad(format!("vision: no gate has `hidden_act` {act}; supported: silu"))
        })?;
        Ok(Qwen2_5TowerConfig {
            window,
            gate,
            whole: keys.numbers("fullatt_block_indexes")?,
            tokens_per_second: keys.float("tokens_per_second", 4.0)? as f32,
            tower,
        })
    }

    fn shape(config: &Qwen2_5TowerConfig) -> TowerShape {
        config.tower.shape()
    }

    fn load(
        config: &Qwen2_5TowerConfig,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let tower = &config.tower;
        let norm = |weights: &Weights| Ok(RmsNorm::load(weights, tower.hidden, EPS)?);
        let mlp = |weights: &Weights| {
            let mlp = GatedMlp::load(weights, tower.hidden, tower.intermediate, true)?;
            Ok(Mlp::Gated(mlp.with_activation(config.gate)))
        };
        let merger = weights.pp("merger");
        let ln_q = norm(&merger.pp("ln_q"))?;
        let proj = weights.pp("patch_embed").pp("proj");
        Ok(Self {
            patch_embed: Conv3dNoBias::load(&proj, tower.kernel_shape())?,
            rope: tower.rotary(weights),
            blocks: tower.blocks(weights, norm, mlp)?,
            merger: Merger::load(tower, &merger, MERGER, (ln_q, false))?,
            config: config.clone(),
        })
    }
}

impl Qwen2_5Tower {
    /// The rows of `x` `[patches, …]` in groups of a token, the groups in `order`.
    fn in_order(&self, x: &Tensor, order: &Tensor) -> Result<Tensor> {
        let (patches, width) = x.dims2()?;
        let group = self.config.tower.merge * self.config.tower.merge;
        let groups = x.reshape((patches / group, group * width))?;
        groups.index_select(order, 0)?.reshape((patches, width))
    }
}

impl MediaEncoder for Qwen2_5Tower {
    fn encode(&self, media: &Media) -> Result<Encoded> {
        let group = self.config.tower.merge * self.config.tower.merge;
        self.config.tower.frame_by_frame(media, |grid, patches| {
            let (order, windows) = grid.windows(self.config.window);
            let places = grid.places();
            let places: Vec<[u32; 2]> = order
                .iter()
                .filter_map(|token| places.get(*token as usize * group..))
                .flat_map(|places| places.iter().take(group).copied())
                .collect();
            let rope = self.rope.tables_by_axis(&places)?;
            let whole = 0..grid.patches_per_frame();
            let mut x = self.patch_embed.forward(patches)?; // [patches, hidden]
            x = self.in_order(&x, &Tensor::new(order.as_slice(), &Device::Cpu)?)?;
            for (number, block) in self.blocks.iter().enumerate() {
                let sees_all = self.config.whole.contains(&number);
                let spans = if sees_all { from_ref(&whole) } else { windows.as_slice() };
                x = block.forward(&x, spans, &rope)?;
            }
            let tokens = self.merger.forward(&x)?; // [tokens, out], window by window
            let embeddings = tokens.index_select(&inverse(&order)?, 0)?;
            Ok(Encoded { embeddings, deepstack: Vec::new() })
        })
    }

    fn positions(&self, tokens: usize, media: &[MediaItem]) -> Option<RopePositions> {
        let seconds = |media: &Media| match media.modality() {
            Modality::Video => self.config.tokens_per_second * media.seconds_per_grid(),
            Modality::Image | Modality::Audio => 1.0,
        };
        Some(self.config.tower.positions(tokens, media, seconds))
    }

    fn sees_both_ways(&self) -> bool {
        false
    }
}

/// Where each token has gone: `order[inverse[i]] = i`.
fn inverse(order: &[u32]) -> Result<Tensor> {
    let mut pairs: Vec<(u32, u32)> = order.iter().copied().zip(0u32..).collect();
    pairs.sort_unstable();
    let inverse: Vec<u32> = pairs.into_iter().map(|(_, at)| at).collect();
    Tensor::new(inverse.as_slice(), &Device::Cpu)
}
