//! Multi-head latent attention: keys and values of all heads are one latent vector per token, and the
//! cache holds just that and one rotated key.
//!
//! A head's key is `up_k · latent`, so its product with a query is that of `up_kᵀ · query` with the
//! latent: queries are brought down to the latent's width, all heads read the same "keys", which are the
//! values too, and what attention gives is brought up by the head's `up_v`. That costs
//! `kv_rank + rope` multiplications per query, key and head instead of `nope + rope` and `value`,
//! and saves a cache of all heads' keys and values.
//! Source: arXiv 2405.04434, section 2.1.

use super::{RmsNorm, Step, Sublayer};
use crate::attention::{AttentionBackend, AttentionParams};
use crate::kv_cache::{KvSpec, LayerKvSpec};
use crate::weights::Weights;
use candle_core::{D, Result, Tensor, bail};
use mistralrs_quant::{HeadLinear, Linear, MergedLinear, Place};
use std::sync::Arc;

/// The widths of latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentShape {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Heads.
    pub heads: usize,
    /// Width of the queries' own latent, if they have one.
    pub q_rank: Option<usize>,
    /// Width of the latent of keys and values.
    pub kv_rank: usize,
    /// Numbers of a key's head that are not rotated.
    pub nope: usize,
    /// Numbers that are.
    pub rope: usize,
    /// Numbers of a value's head.
    pub value: usize,
}

impl LatentShape {
    /// Numbers kept per token and layer.
    fn cached(&self) -> usize {
        self.kv_rank + self.rope
    }

    /// What such layers keep.
    pub fn kv(&self, num_layers: usize) -> KvSpec {
        let layer = LayerKvSpec {
            num_kv_heads: 1,
            head_dim: self.cached(),
            values_are_keys: true,
            window: None,
        };
        KvSpec { layers: vec![layer; num_layers] }
    }

    /// Numbers per token alive at one moment of a layer.
    pub fn activations(&self) -> usize {
        let queries = self.heads * (2 * (self.nope + self.rope) + 2 * self.cached());
        queries + self.heads * self.cached().max(self.value) + 2 * self.cached()
    }
}

/// One layer's latent attention.
#[derive(Debug)]
pub struct LatentAttention {
    /// The queries (or their latent), and the latent of keys and values with the rotated key.
    down: MergedLinear,
    q_up: Option<(RmsNorm, Linear)>,
    kv_norm: RmsNorm,
    /// `[kv_rank, nope]` per head.
    k_up: HeadLinear,
    /// `[value, kv_rank]` per head.
    v_up: HeadLinear,
    o_proj: Linear,
    shape: LatentShape,
    params: AttentionParams,
    layer: usize,
    backend: Arc<dyn AttentionBackend>,
}

impl LatentAttention {
    /// Reads layer number `layer`; `scale` multiplies the scores, `bias` is that of the projections
    /// from and to the residual stream. The norms of latents have an epsilon of their own.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        weights: &Weights,
        layer: usize,
        shape: LatentShape,
        scale: f32,
        bias: bool,
    ) -> mistralrs_quant::Result<Self> {
        const EPS: f64 = 1e-6;
        let LatentShape { hidden, heads, kv_rank, nope, rope, value, .. } = shape;
        let of = |name| weights.pp(name);
        let q_width = heads * (nope + rope);
        let (q, q_up) = match shape.q_rank {
            None => (of("q_proj").linear(q_width, hidden, false)?, None),
            Some(rank) => {
                let norm = RmsNorm::load(&of("q_a_layernorm"), rank, EPS)?;
                let up = of("q_b_proj").linear(q_width, rank, false)?;
                (of("q_a_proj").linear(rank, hidden, bias)?, Some((norm, up)))
            }
        };
        let kv = of("kv_a_proj_with_mqa").linear(kv_rank + rope, hidden, bias)?;
        let (k_up, v_up) = weights.latent_heads(heads, kv_rank, nope, value)?;
        let params = AttentionParams {
            num_heads: heads,
            num_kv_heads: 1,
            head_dim: shape.cached(),
            scale,
            window: None,
            softcap: None,
        };
        Ok(Self {
            down: MergedLinear::new(vec![q, kv]),
            q_up,
            kv_norm: RmsNorm::load(&of("kv_a_layernorm"), kv_rank, EPS)?,
            k_up,
            v_up,
            o_proj: of("o_proj").linear(hidden, heads * value, bias)?,
            shape,
            params,
            layer,
            backend: weights.attention_backend(),
        })
    }

    /// Queries in the latent's terms: `[tokens, heads × (kv_rank + rope)]`.
    fn queries(&self, q: &Tensor, step: &Step<'_>) -> Result<Tensor> {
        let LatentShape { heads, kv_rank, nope, rope, .. } = self.shape;
        let q = match &self.q_up {
            Some((norm, up)) => up.forward(&norm.forward(q)?)?,
            None => q.clone(),
        };
        let tokens = q.dim(0)?;
        let q = q.reshape((tokens, heads, nope + rope))?;
        let plain = q.narrow(2, 0, nope)?.contiguous()?.reshape((tokens, heads * nope))?;
        let plain = head_by_head(&self.k_up, &plain)?.reshape((tokens, heads, kv_rank))?;
        let turned = q.narrow(2, nope, rope)?.contiguous()?.reshape((tokens, heads * rope))?;
        let turned = step.rope.rotate(&turned, rope)?.reshape((tokens, heads, rope))?;
        Tensor::cat(&[plain, turned], 2)?.reshape((tokens, heads * (kv_rank + rope)))
    }

    /// What is kept of each token: `[tokens, kv_rank + rope]`.
    fn keys(&self, kv: &Tensor, step: &Step<'_>) -> Result<Tensor> {
        let LatentShape { kv_rank, rope, .. } = self.shape;
        let latent = self.kv_norm.forward(&kv.narrow(1, 0, kv_rank)?)?;
        let turned = step.rope.rotate(&kv.narrow(1, kv_rank, rope)?.contiguous()?, rope)?;
        Tensor::cat(&[latent, turned], 1)
    }
}

/// Its product, computed where kernels do, wherever the layer is.
fn head_by_head(heads: &HeadLinear, x: &Tensor) -> Result<Tensor> {
    Place::of(x).take(&heads.forward(&Place::default().take(x)?)?)
}

impl Sublayer for LatentAttention {
    fn forward(&self, x: &Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let LatentShape { heads, kv_rank, .. } = self.shape;
        let parts = self.down.forward(x)?;
        let [q, kv] = parts.as_slice() else { bail!("queries and latents are two") };
        let q = self.queries(q, step)?;
        step.kv.store_keys(self.layer, &self.keys(kv, step)?, step.batch)?;
        let cache = step.kv.layer(self.layer)?;
        let attended = self.backend.attend(&q, cache, step.batch, &self.params)?;
        let tokens = attended.dim(0)?;
        let latents = attended.reshape((tokens, heads, self.shape.cached()))?;
        let latents = latents.narrow(D::Minus1, 0, kv_rank)?.contiguous()?;
        let values = head_by_head(&self.v_up, &latents.reshape((tokens, heads * kv_rank))?)?;
        self.o_proj.forward(&values)
    }
}
