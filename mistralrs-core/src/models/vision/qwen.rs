//! What the towers of Qwen2-VL, Qwen2.5-VL and Qwen3-VL share: pre-norm layers with one projection for
//! queries, keys and values that turn by row and column, and the merger that makes tokens of squares of
//! patches. Norms and feed-forward blocks differ.
//! Source: `modeling_qwen2_vl.py`, `modeling_qwen2_5_vl.py`, `modeling_qwen3_vl.py` of Hugging Face
//! transformers; arXiv 2409.12191, 2502.13923.

use super::grid::{PatchGrid, positions_along_axes};
use crate::attention::AttentionParams;
use crate::error::LoadError;
use crate::forward::{Encoded, Media, MediaItem, RopePositions};
use crate::layers::encoder::{Activation, EncoderAttention, PlainMlp};
use crate::layers::{GatedMlp, Norm, RopeTables, RotaryEmbedding};
use crate::models::moe::Keys;
use crate::models::{MediaEncoder, TowerShape};
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::MergedLinear;
use serde_json::Value;
use std::ops::Range;
use std::path::Path;

/// The base of the rotations of patches.
const THETA: f64 = 10_000.0;

/// A tower: how it is configured and read.
pub trait Tower: MediaEncoder + Send + Sized {
    /// Its keys.
    type Config;

    /// Reads `vision_config`; `out` is the text model's width, the path for messages only.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    fn config(
        file: &Path,
        json: &Value,
        out: usize,
    ) -> std::result::Result<Self::Config, LoadError>;

    /// What looking costs.
    fn shape(config: &Self::Config) -> TowerShape;

    /// Reads its weights.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    fn load(config: &Self::Config, weights: &Weights) -> std::result::Result<Self, LoadError>;
}

/// The keys of `vision_config` that all of them have.
#[derive(Debug, Clone, PartialEq)]
pub struct TowerConfig {
    /// Number of layers.
    pub depth: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the feed-forward blocks.
    pub intermediate: usize,
    heads: usize,
    channels: usize,
    /// Length of a patch in frames.
    frames: usize,
    /// Height and width of a patch in pixels.
    pub patch: usize,
    /// Patches along each side of a square that becomes a token.
    pub merge: usize,
    /// In the feed-forward blocks.
    pub activation: Activation,
    /// Width of the text model.
    pub out: usize,
}

impl TowerConfig {
    /// Reads the keys; `hidden` and `intermediate` have other names in the first generation.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn read(
        keys: &Keys<'_>,
        (hidden, intermediate): (usize, usize),
        out: usize,
    ) -> std::result::Result<Self, LoadError> {
        let heads = keys.size(&["num_heads"])?;
        if !hidden.is_multiple_of(4 * heads) {
            let reason =
                format!("vision: {hidden} in {heads} heads cannot turn by rows and columns");
            return Err(keys.bad(reason));
        }
        let act = keys.get("hidden_act").and_then(|act| act.as_str()).unwrap_or_default();
        let activation = Activation::from_name(act).ok_or_else(|| {
            keys.bad(format!("vision: `hidden_act` is {act}, which is not supported"))
        })?;
        let config = Self {
            depth: keys.size(&["depth"])?,
            hidden,
            intermediate,
            heads,
            channels: keys.size(&["in_channels", "in_chans"])?,
            frames: keys.size(&["temporal_patch_size"])?,
            patch: keys.size(&["patch_size", "spatial_patch_size"])?,
            merge: keys.size(&["spatial_merge_size"])?,
            activation,
            out,
        };
        let sides = [config.channels, config.frames, config.patch, config.patch, config.merge];
        if sides.iter().try_fold(1usize, |all, n| all.checked_mul(*n)).is_none_or(|n| n > 1 << 24) {
            return Err(keys.bad(format!("vision: patches of {sides:?}")));
        }
        Ok(config)
    }

    /// Of the kernel that reads patches.
    pub fn kernel_shape(&self) -> [usize; 5] {
        [self.hidden, self.channels, self.frames, self.patch, self.patch]
    }

    /// What looking costs; of the layers, by far the most of it.
    pub fn shape(&self) -> TowerShape {
        let patches = self.merge * self.merge;
        let per_patch = super::layer_activations(self.hidden, self.intermediate);
        TowerShape { activations_per_token: patches * per_patch, tokens: None }
    }

    fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Positions of a prompt with these media along all axes; `seconds` is how far a step of a medium's
    /// grid is along time, and 1 for a picture.
    pub fn positions(
        &self,
        tokens: usize,
        media: &[MediaItem],
        seconds: impl Fn(&Media) -> f32,
    ) -> RopePositions {
        positions_along_axes(tokens, media, |item: &MediaItem| {
            let grid = self.grid(&item.media);
            grid.map(|grid| grid.token_positions(seconds(&item.media))).unwrap_or_default()
        })
    }

    /// The layers, each with its norms and feed-forward block by the loaders.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn blocks<N: Norm>(
        &self,
        weights: &Weights,
        norm: impl Fn(&Weights) -> std::result::Result<N, LoadError>,
        mlp: impl Fn(&Weights) -> std::result::Result<Mlp, LoadError>,
    ) -> std::result::Result<Vec<Block<N>>, LoadError> {
        let block = |number| {
            let weights = weights.pp("blocks").pp(number);
            Ok(Block {
                norm1: norm(&weights.pp("norm1"))?,
                attn: self.attention(&weights.pp("attn"))?,
                norm2: norm(&weights.pp("norm2"))?,
                mlp: mlp(&weights.pp("mlp"))?,
            })
        };
        (0..self.depth).map(block).collect()
    }

    fn attention(&self, weights: &Weights) -> std::result::Result<EncoderAttention, LoadError> {
        let hidden = self.hidden;
        let qkv = weights.pp("qkv").linear(3 * hidden, hidden, true)?;
        Ok(EncoderAttention {
            qkv: MergedLinear::stacked(qkv, vec![hidden; 3]),
            output: weights.pp("proj").linear(hidden, hidden, true)?,
            params: AttentionParams::plain(self.heads, self.head_dim()),
        })
    }

    /// Half of each head's pairs turn by the row of a patch, half by its column.
    pub fn rotary(&self, weights: &Weights) -> RotaryEmbedding {
        let dim = self.head_dim() / 2;
        let frequency = |pair: usize| THETA.powf(-((2 * pair) as f64) / dim as f64) as f32;
        let one_axis: Vec<f32> = (0..dim / 2).map(frequency).collect();
        let axes = [vec![0; dim / 2], vec![1; dim / 2]].concat();
        RotaryEmbedding::new(one_axis.repeat(2), weights.place()).with_axes(axes)
    }

    /// The grid of a medium, whose values must be as many patches.
    ///
    /// # Errors
    /// When they are not, or patches are of another size.
    pub fn grid(&self, media: &Media) -> Result<PatchGrid> {
        let grid = PatchGrid::new(media.grid(), self.merge)?;
        let width: usize = self.kernel_shape().into_iter().skip(1).product();
        if media.values().dims() != [grid.patches(), width] {
            let (found, wanted) = (media.values().dims(), [grid.patches(), width]);
            bail!("patches {found:?} where the grid says {wanted:?}");
        }
        Ok(grid)
    }

    /// Encodes a medium frame by frame: patches see those of their own frame only, and so no more is alive at a
    /// time than one picture needs. `encode` gets the grid and the patches of a frame.
    ///
    /// # Errors
    /// As [`Self::grid`], and as `encode`.
    pub fn frame_by_frame(
        &self,
        media: &Media,
        encode: impl Fn(&PatchGrid, &Tensor) -> Result<Encoded>,
    ) -> Result<Encoded> {
        let grid = self.grid(media)?;
        let patches = grid.patches_per_frame();
        let encode =
            |frame: usize| encode(&grid, &media.values().narrow(0, frame * patches, patches)?);
        let parts = (0..grid.frames()).map(encode).collect::<Result<Vec<_>>>()?;
        let layers = parts.first().map_or(0, |part| part.deepstack.len());
        let deepstack = (0..layers).map(|layer| {
            let rows: Vec<&Tensor> =
                parts.iter().filter_map(|it| it.deepstack.get(layer)).collect();
            Tensor::cat(&rows, 0)
        });
        let deepstack = deepstack.collect::<Result<_>>()?;
        let embeddings: Vec<&Tensor> = parts.iter().map(|part| &part.embeddings).collect();
        Ok(Encoded { embeddings: Tensor::cat(&embeddings, 0)?, deepstack })
    }
}

/// A layer's feed-forward block.
#[derive(Debug)]
pub enum Mlp {
    /// Without a gate.
    Plain(PlainMlp),
    /// With one.
    Gated(GatedMlp),
}

/// One layer.
#[derive(Debug)]
pub struct Block<N> {
    norm1: N,
    attn: EncoderAttention,
    norm2: N,
    mlp: Mlp,
}

impl<N: Norm> Block<N> {
    /// `[patches, hidden]` → the same; patches see those of their span.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    pub fn forward(&self, x: &Tensor, spans: &[Range<usize>], rope: &RopeTables) -> Result<Tensor> {
        let x = (x + self.attn.forward(&self.norm1.forward(x)?, spans, Some(rope))?)?;
        let normed = self.norm2.forward(&x)?;
        let fed = match &self.mlp {
            Mlp::Plain(mlp) => mlp.forward(&normed)?,
            Mlp::Gated(mlp) => mlp.forward(&normed)?,
        };
        x + fed
    }
}

/// Squares of patches become tokens: norm of each patch (or of each square), then two layers over the
/// patches of a square side by side.
#[derive(Debug)]
pub struct Merger<N> {
    norm: N,
    /// The norm is as wide as a square.
    norms_squares: bool,
    mlp: PlainMlp,
    width: usize,
}

impl<N: Norm> Merger<N> {
    /// Reads the two layers by their names; all mergers have the exact GELU between them.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        config: &TowerConfig,
        weights: &Weights,
        names: [&str; 2],
        (norm, norms_squares): (N, bool),
    ) -> std::result::Result<Self, LoadError> {
        let width = config.hidden * config.merge * config.merge;
        let mlp = PlainMlp::load(weights, names, [width, width, config.out], Activation::Gelu)?;
        Ok(Self { norm, norms_squares, mlp, width })
    }

    /// `[patches, hidden]` → `[tokens, out]`.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let squares = |x: &Tensor| x.reshape(((), self.width)); // [tokens, merge² × hidden]
        let x = match self.norms_squares {
            true => self.norm.forward(&squares(x)?)?,
            false => squares(&self.norm.forward(x)?)?,
        };
        self.mlp.forward(&x)
    }
}
