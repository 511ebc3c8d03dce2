//! The blocks that models are made of. Each knows its weights and the step's batch; none knows
//! sequences, files or quantisation; of places they know that kernels compute at one and candle's operations at others.

mod altup;
mod attention;
mod conv;
mod decoder;
pub mod encoder;
mod latent;
mod map_conv;
mod media;
mod mlp;
mod moe;
mod norm;
mod patch_conv;
mod rope;
mod shared_kv;

pub use altup::{AltUp, add_to_rest, resized};
pub use attention::{Attention, AttentionBiases, Rotation};
pub use conv::{Conv, ConvSteps};
pub use decoder::{CausalLm, DecoderLayer, Logits, PreNormLayer, SandwichLayer, Sublayer};
pub use latent::{LatentAttention, LatentShape};
pub use map_conv::{FeatureMap, MapConv};
pub use media::{add_deepstack, place_media};
pub use mlp::{Activation, GatedMlp, gated};
pub use moe::{ExpertGroups, FeedForward, Routing, Scores, SharedExpert, SparseMoe};
pub use norm::{Norm, RmsNorm};
pub use patch_conv::Conv3dNoBias;
pub use rope::{RopeTables, RotaryEmbedding};
pub use shared_kv::{KvPlace, SharedKvAttention};

use crate::forward::ForwardBatch;
use crate::kv_cache::KvCache;
use candle_core::{Result, Tensor};
use mistralrs_quant::Place;

/// What the layers of one step share.
pub struct Step<'a> {
    /// The packed tokens.
    pub batch: &'a ForwardBatch,
    /// Rotations of this step's positions.
    pub rope: RopeTables,
    /// The same for layers with a window, where a model turns them otherwise; else `rope` again.
    pub local_rope: RopeTables,
    /// Keys and values of all layers.
    pub kv: &'a mut KvCache,
}

impl Step<'_> {
    /// Goes on at another place, if it is another one, with `x` and what the layers there need beside it.
    ///
    /// # Errors
    /// When a device fails.
    pub fn enter(&mut self, place: &Place, x: Tensor) -> Result<Tensor> {
        if Place::of(&x).is(place) {
            return Ok(x);
        }
        self.rope = self.rope.at(place)?;
        self.local_rope = self.local_rope.at(place)?;
        place.take(&x)
    }
}
