//! What Qwen3-VL sees: patches with a table of positions stretched over the picture, layers that see
//! their whole frame, and besides what the last layer gives also what some earlier ones give (DeepStack).
//! Source: `modeling_qwen3_vl.py` of Hugging Face transformers; arXiv 2406.04334 (DeepStack).

use super::grid::PatchGrid;
use super::qwen::{Block, Merger, Mlp, Tower, TowerConfig};
use crate::error::LoadError;
use crate::forward::{Encoded, Media, MediaItem, RopePositions};
use crate::layers::encoder::{LayerNorm, PlainMlp};
use crate::layers::{Conv3dNoBias, RotaryEmbedding};
use crate::models::moe::Keys;
use crate::models::{MediaEncoder, TowerShape};
use crate::weights::Weights;
use candle_core::{Device, Result, Tensor, bail};
use serde_json::{Value, json};
use std::path::Path;
use std::slice::from_ref;

/// Of all norms.
const EPS: f64 = 1e-6;
const MLP: [&str; 2] = ["linear_fc1", "linear_fc2"];

/// The keys of the tower.
#[derive(Debug, Clone, PartialEq)]
pub struct Qwen3TowerConfig {
    tower: TowerConfig,
    /// Rows, and columns, of the table of positions.
    side: usize,
    /// The layers whose output has a merger of its own.
    deepstack: Vec<usize>,
}

/// The loaded tower.
#[derive(Debug)]
pub struct Qwen3Tower {
    config: TowerConfig,
    patch_embed: Conv3dNoBias,
    /// `[hidden]`
    patch_bias: Tensor,
    positions: PositionTable,
    rope: RotaryEmbedding,
    blocks: Vec<Block<LayerNorm>>,
    merger: Merger<LayerNorm>,
    /// Beside the number of the layer.
    deepstack: Vec<(usize, Merger<LayerNorm>)>,
}

impl Tower for Qwen3Tower {
    type Config = Qwen3TowerConfig;

    fn config(
        file: &Path,
        json: &Value,
        out: usize,
    ) -> std::result::Result<Qwen3TowerConfig, LoadError> {
        let keys = Keys::new(
            file,
            json,
            json!({
                "depth": 27, "hidden_size": 1152, "hidden_act": "gelu_pytorch_tanh",
                "intermediate_size": 4304, "num_heads": 16, "in_channels": 3, "patch_size": 16,
                "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304,
                "deepstack_visual_indexes": [8, 16, 24],
            }),
        );
        let widths = (keys.size(&["hidden_size"])?, keys.size(&["intermediate_size"])?);
        let places = keys.size(&["num_position_embeddings"])?;
        let side = places.isqrt();
        if side * side != places {
            let reason =
                format!("vision: `num_position_embeddings` is {places}, which is no square");
            return Err(keys.bad(reason));
        }
        let tower = TowerConfig::read(&keys, widths, out)?;
        let deepstack = keys.numbers("deepstack_visual_indexes")?;
        match deepstack.iter().find(|layer| **layer >= tower.depth) {
            Some(layer) => Err(keys.bad(format!(
                "vision: `deepstack_visual_indexes` has {layer}, of {} layers",
                tower.depth
            ))),
            None => Ok(Qwen3TowerConfig { tower, side, deepstack }),
        }
    }

    fn shape(config: &Qwen3TowerConfig) -> TowerShape {
        config.tower.shape()
    }

    fn load(config: &Qwen3TowerConfig, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let (tower, hidden) = (&config.tower, config.tower.hidden);
        let norm = |weights: &Weights, width| LayerNorm::load(weights, width, EPS, true);
        let widths = [hidden, tower.intermediate, hidden];
        let mlp = |weights: &Weights| {
            PlainMlp::load(weights, MLP, widths, tower.activation).map(Mlp::Plain)
        };
        let merger = weights.pp("merger");
        let last = (norm(&merger.pp("norm"), hidden)?, false);
        let square = hidden * tower.merge * tower.merge;
        let deepstack = |(number, layer): (usize, &usize)| {
            let weights = weights.pp("deepstack_merger_list").pp(number);
            let norm = norm(&weights.pp("norm"), square)?;
            Ok((*layer, Merger::load(tower, &weights, MLP, (norm, true))?))
        };
        let proj = weights.pp("patch_embed").pp("proj");
        let table =
            weights.pp("pos_embed").tensor("weight", &[config.side * config.side, hidden])?;
        let table = table.flatten_all()?.to_vec1::<f32>()?;
        Ok(Self {
            patch_embed: Conv3dNoBias::load(&proj, tower.kernel_shape())?,
            patch_bias: proj.tensor("bias", &[hidden])?,
            positions: PositionTable { table, side: config.side, hidden },
            rope: tower.rotary(weights),
            blocks: tower.blocks(weights, |weights| norm(weights, hidden), mlp)?,
            merger: Merger::load(tower, &merger, MLP, last)?,
            deepstack: config
                .deepstack
                .iter()
                .enumerate()
                .map(deepstack)
                .collect::<std::result::Result<_, LoadError>>()?,
            config: tower.clone(),
        })
    }
}

impl MediaEncoder for Qwen3Tower {
    fn encode(&self, media: &Media) -> Result<Encoded> {
        self.config.frame_by_frame(media, |grid, patches| {
            let rope = self.rope.tables_by_axis(&grid.places())?;
            let whole = 0..grid.patches_per_frame();
            let patches = self.patch_embed.forward(patches)?; // [patches, hidden]
            let mut x = (patches.broadcast_add(&self.patch_bias)? + self.positions.over(grid)?)?;
            let mut deepstack = Vec::with_capacity(self.deepstack.len());
            for (number, block) in self.blocks.iter().enumerate() {
                x = block.forward(&x, from_ref(&whole), &rope)?;
                for (_, merger) in self.deepstack.iter().filter(|(layer, _)| *layer == number) {
                    deepstack.push(merger.forward(&x)?);
                }
            }
            Ok(Encoded { embeddings: self.merger.forward(&x)?, deepstack })
        })
    }

    fn positions(&self, tokens: usize, media: &[MediaItem]) -> Option<RopePositions> {
        Some(self.config.positions(tokens, media, |_| 1.0))
    }

    fn sees_both_ways(&self) -> bool {
        false
    }
}

/// A square table of positions.
#[derive(Debug)]
struct PositionTable {
    /// `[side, side, hidden]`
    table: Vec<f32>,
    side: usize,
    hidden: usize,
}

impl PositionTable {
    /// The table stretched so that its corners are a frame's, in the order of the patches:
    /// `[patches, hidden]`. Between its places it is linear along both axes.
    fn over(&self, grid: &PatchGrid) -> Result<Tensor> {
        let [rows, columns] = grid.size().map(|length| self.taps(length));
        let mut out = Vec::with_capacity(grid.patches_per_frame() * self.hidden);
        for [row, column] in grid.places() {
            let (Some(rows), Some(columns)) =
                (rows.get(row as usize), columns.get(column as usize))
            else {
                bail!("a patch at {row}, {column} of {:?}", grid.size());
            };
            let start = out.len();
            out.resize(start + self.hidden, 0f32);
            for (y, height) in rows {
                for (x, width) in columns {
                    let first = (y * self.side + x) * self.hidden;
                    let entry = self.table.get(first..first + self.hidden).unwrap_or_default();
                    let weight = height * width;
                    for (sum, number) in out.iter_mut().skip(start).zip(entry) {
                        *sum += weight * number;
                    }
                }
            }
        }
        Tensor::from_vec(out, (grid.patches_per_frame(), self.hidden), &Device::Cpu)
    }

    /// For each of `length` places the two rows of the table around it, with their weights.
    fn taps(&self, length: usize) -> Vec<[(usize, f32); 2]> {
        let last = self.side - 1;
        let at = |index: usize| {
            let place = index as f32 * last as f32 / length.saturating_sub(1).max(1) as f32;
            let below = place.floor();
            let beyond = place - below;
            let below = (below as usize).min(last);
            [(below, 1.0 - beyond), ((below + 1).min(last), beyond)]
        };
        (0..length).map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place `(y, x)` holds `10 y + x`, so whatever is linear gives back coordinates.
    fn table(side: usize) -> PositionTable {
        let entry = |i: usize| (10 * (i / side) + i % side) as f32;
        PositionTable { table: (0..side * side).map(entry).collect(), side, hidden: 1 }
    }

    fn over(side: usize, grid: [usize; 3]) -> Vec<f32> {
        let grid = PatchGrid::new(grid, 2).unwrap();
        table(side).over(&grid).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn corners_are_corners_and_between_them_it_is_linear() {
        // As many patches as places: the table itself, square by square.
        let wanted = [0., 1., 10., 11., 2., 3., 12., 13., 20., 21., 30., 31., 22., 23., 32., 33.];
        assert_eq!(over(4, [1, 4, 4]), wanted);
        // Two rows are the first and the last; four columns over three places.
        let found = over(3, [1, 2, 4]);
        let wanted = [0., 2. / 3., 20., 20. + 2. / 3., 4. / 3., 2., 20. + 4. / 3., 22.];
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
        }
    }
}
