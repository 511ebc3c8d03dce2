//! An encoder's self-attention: q|k|v → (rope) → attend both ways → out.

use crate::attention::{AttentionParams, attend_both_ways};
use crate::layers::RopeTables;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::{Linear, MergedLinear};
use std::ops::Range;

/// How a checkpoint keeps the projections of queries, keys and values.
#[derive(Debug)]
pub enum Projection {
    /// Three matrices.
    Separate(MergedLinear),
    /// One, its rows in that order.
    Fused(Linear),
}

/// One layer's self-attention.
#[derive(Debug)]
pub struct EncoderAttention {
    /// To queries, keys and values.
    pub qkv: Projection,
    /// From the attended.
    pub output: Linear,
    /// Heads, scale, window.
    pub params: AttentionParams,
}

impl EncoderAttention {
    /// `[tokens, hidden]` → the same; with `rope`, queries and keys are turned by it.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    pub fn forward(
        &self,
        x: &Tensor,
        spans: &[Range<usize>],
        rope: Option<&RopeTables>,
    ) -> Result<Tensor> {
        let [mut q, mut k, v] = self.project(x)?;
        if let Some(rope) = rope {
            q = rope.rotate(&q, self.params.head_dim)?;
            k = rope.rotate(&k, self.params.head_dim)?;
        }
        self.output.forward(&attend_both_ways(&q, &k, &v, spans, &self.params)?)
    }

    fn project(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        let AttentionParams { num_heads, num_kv_heads, head_dim, .. } = self.params;
        let (q, kv) = (num_heads * head_dim, num_kv_heads * head_dim);
        match &self.qkv {
            Projection::Separate(parts) => match <[Tensor; 3]>::try_from(parts.forward(x)?) {
                Ok(parts) => Ok(parts),
                Err(parts) => bail!("q, k and v are three, not {}", parts.len()),
            },
            Projection::Fused(linear) => {
                let x = linear.forward(x)?; // [tokens, q + 2 kv]
                let part = |start, len| x.narrow(1, start, len)?.contiguous();
                Ok([part(0, q)?, part(q, kv)?, part(q + kv, kv)?])
            }
        }
    }
}
