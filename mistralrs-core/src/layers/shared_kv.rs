//! Attention of which some layers have no keys and values of their own but read those of an earlier
//! layer. Queries, keys and values are each normed head by head.
//! Source: `modeling_gemma3n.py` of Hugging Face transformers.

use super::{RmsNorm, Rotation, Step};
use crate::attention::{AttentionBackend, AttentionParams};
use crate::error::LoadError;
use crate::weights::Weights;
use candle_core::{DType, Device, Tensor, bail};
use mistralrs_quant::{Linear, MergedLinear, Place};
use std::sync::Arc;

/// Where a layer's keys and values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvPlace {
    /// The cache's number.
    pub cache: usize,
    /// They are another layer's.
    pub borrowed: bool,
}

/// One layer's self-attention.
#[derive(Debug)]
pub struct SharedKvAttention {
    /// The queries, and of a layer with its own the keys and values.
    projections: MergedLinear,
    q_norm: RmsNorm,
    /// Of keys and of values.
    kv_norms: Option<(RmsNorm, RmsNorm)>,
    o_proj: Linear,
    params: AttentionParams,
    rotation: Rotation,
    cache: usize,
    backend: Arc<dyn AttentionBackend>,
}

impl SharedKvAttention {
    /// Reads the projections and norms; `k_proj`, `v_proj` and `k_norm` of a layer that borrows may be
    /// in a checkpoint and mean nothing.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        weights: &Weights,
        place: KvPlace,
        hidden: usize,
        params: AttentionParams,
        eps: f64,
    ) -> Result<Self, LoadError> {
        let width = params.head_dim;
        let linear = |name, heads| weights.pp(name).linear(heads * width, hidden, false);
        let norm = |name| RmsNorm::load(&weights.pp(name), width, eps);
        let mut projections = vec![linear("q_proj", params.num_heads)?];
        let kv_norms = if place.borrowed {
            ["k_proj", "v_proj", "k_norm"].iter().for_each(|name| weights.pp(name).ignore());
            None
        } else {
            projections.push(linear("k_proj", params.num_kv_heads)?);
            projections.push(linear("v_proj", params.num_kv_heads)?);
            let ones = weights.place().take(&Tensor::ones(width, DType::F32, &Device::Cpu)?)?;
            Some((norm("k_norm")?, RmsNorm::new(ones, eps)))
        };
        Ok(Self {
            projections: MergedLinear::new(projections),
            q_norm: norm("q_norm")?,
            kv_norms,
            o_proj: weights.pp("o_proj").linear(hidden, params.num_heads * width, false)?,
            rotation: if params.window.is_some() { Rotation::Local } else { Rotation::Global },
            params,
            cache: place.cache,
            backend: weights.attention_of_layer(place.cache),
        })
    }

    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    pub fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> candle_core::Result<Tensor> {
        let parts = self.projections.forward(x)?;
        let width = self.params.head_dim;
        let rotate = |x: &Tensor, step: &Step<'_>| match self.rotation {
            Rotation::Local => step.local_rope.rotate(x, width),
            Rotation::Global => step.rope.rotate(x, width),
            Rotation::None => Ok(x.clone()),
        };
        let q = match (parts.as_slice(), &self.kv_norms) {
            ([q], None) => q,
            ([q, k, v], Some((k_norm, v_norm))) => {
                let k = rotate(&k_norm.forward(k)?, step)?;
                step.kv.store(self.cache, &k, &v_norm.forward(v)?, step.batch)?;
                q
            }
            _ => bail!("queries are one, with keys and values three"),
        };
        let q = rotate(&self.q_norm.forward(q)?, step)?;
        // What is borrowed may lie at another place. Queries and what they found are less than all keys and values.
        let (here, kv) = (Place::of(&q), step.kv.layer(self.cache)?);
        let attended = self.backend.attend(&kv.place.take(&q)?, kv, step.batch, &self.params)?;
        self.o_proj.forward(&here.take(&attended)?)
    }
}
