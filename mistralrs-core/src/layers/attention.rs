//! Self-attention: merged q|k|v → rope → store → attend → out.

use super::Step;
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

/// One layer's self-attention.
#[derive(Debug)]
pub struct Attention {
    qkv: MergedLinear,
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
        Ok(Self {
            qkv: MergedLinear::new(vec![
                linear("q_proj", q)?,
                linear("k_proj", kv)?,
                linear("v_proj", kv)?,
            ]),
            o_proj: weights.pp("o_proj").linear(hidden, q, biases.output)?,
            params,
            layer,
            backend: weights.attention_backend(),
        })
    }

    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    pub fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let parts = self.qkv.forward(x)?;
        let [q, k, v] = parts.as_slice() else { bail!("q, k and v are three") };
        let q = step.rope.rotate(q, self.params.head_dim)?; // [tokens, heads × head_dim]
        let k = step.rope.rotate(k, self.params.head_dim)?; // [tokens, kv_heads × head_dim]
        step.kv.store(self.layer, &k, v, &step.batch.slot_mapping)?;
        let kv = step.kv.layer(self.layer)?;
        let attended = self.backend.attend(&q, kv, step.batch, &self.params)?;
        self.o_proj.forward(&attended)
    }
}
