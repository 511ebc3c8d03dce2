//! Self-attention: merged q|k|v → (norm of q and k) → rope → store → attend → out.

use super::{RmsNorm, Step};
use crate::attention::{AttentionBackend, AttentionParams};
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::{Linear, MergedLinear};
use std::sync::Arc;

/// Which projections carry a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionBiases {
    /// `q_proj`, `k_proj`, `v_proj`.
    pub qkv: bool,
    /// `o_proj`.
    pub output: bool,
}

/// By which of the step's tables a layer rotates its queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Those of all layers, or of the layers that see everything.
    Global,
    /// Those of the layers with a window, where they have their own.
    Local,
    /// Not at all.
    None,
}

/// One layer's self-attention.
#[derive(Debug)]
pub struct Attention {
    qkv: MergedLinear,
    /// Of queries and of keys: as wide as a head, or as all heads together.
    norms: Option<(RmsNorm, RmsNorm)>,
    rotation: Rotation,
    o_proj: Linear,
    params: AttentionParams,
    layer: usize,
    backend: Arc<dyn AttentionBackend>,
}

impl Attention {
    /// Reads `q_proj`, `k_proj`, `v_proj` and `o_proj` of layer number `layer`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        weights: &Weights,
        layer: usize,
        hidden: usize,
        params: AttentionParams,
        biases: AttentionBiases,
    ) -> mistralrs_quant::Result<Self> {
        let (q, kv) = (params.num_heads * params.head_dim, params.num_kv_heads * params.head_dim);
        let linear = |name, rows| weights.pp(name).linear(rows, hidden, biases.qkv);
        let qkv = MergedLinear::new(vec![
            linear("q_proj", q)?,
            linear("k_proj", kv)?,
            linear("v_proj", kv)?,
        ]);
        let o_proj = weights.pp("o_proj").linear(hidden, q, biases.output)?;
        Ok(Self::new(weights, layer, params, qkv, o_proj))
    }

    /// Reads `qkv_proj`, the three in one, and `o_proj`, without biases.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load_stacked(
        weights: &Weights,
        layer: usize,
        hidden: usize,
        params: AttentionParams,
    ) -> mistralrs_quant::Result<Self> {
        let (q, kv) = (params.num_heads * params.head_dim, params.num_kv_heads * params.head_dim);
        let whole = weights.pp("qkv_proj").linear(q + 2 * kv, hidden, false)?;
        let qkv = MergedLinear::stacked(whole, vec![q, kv, kv]);
        let o_proj = weights.pp("o_proj").linear(hidden, q, false)?;
        Ok(Self::new(weights, layer, params, qkv, o_proj))
    }

    fn new(
        weights: &Weights,
        layer: usize,
        params: AttentionParams,
        qkv: MergedLinear,
        o_proj: Linear,
    ) -> Self {
        let backend = weights.attention_backend();
        Self { qkv, norms: None, rotation: Rotation::Global, o_proj, params, layer, backend }
    }

    /// Norms queries and keys before they are rotated: head by head, or all heads as one row,
    /// by the width of the norms.
    #[must_use]
    pub fn with_norms(self, q_norm: RmsNorm, k_norm: RmsNorm) -> Self {
        Self { norms: Some((q_norm, k_norm)), ..self }
    }

    /// Rotates by other tables than those of all layers.
    #[must_use]
    pub fn with_rotation(self, rotation: Rotation) -> Self {
        Self { rotation, ..self }
    }

    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    pub fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let parts = self.qkv.forward(x)?;
        let [q, k, v] = parts.as_slice() else { bail!("q, k and v are three") };
        let norms = self.norms.as_ref();
        let q = self.rotate(q, norms.map(|norms| &norms.0), step)?; // [tokens, heads × head_dim]
        let k = self.rotate(k, norms.map(|norms| &norms.1), step)?; // [tokens, kv_heads × head_dim]
        step.kv.store(self.layer, &k, v, step.batch)?;
        let kv = step.kv.layer(self.layer)?;
        let attended = self.backend.attend(&q, kv, step.batch, &self.params)?;
        self.o_proj.forward(&attended)
    }

    fn rotate(&self, x: &Tensor, norm: Option<&RmsNorm>, step: &Step<'_>) -> Result<Tensor> {
        let x = norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))?;
        match self.rotation {
            Rotation::Global => step.rope.rotate(&x, self.params.head_dim),
            Rotation::Local => step.local_rope.rotate(&x, self.params.head_dim),
            Rotation::None => Ok(x),
        }
    }
}
