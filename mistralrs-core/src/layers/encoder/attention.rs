//! An encoder's self-attention: q|k|v → (rope) → attend both ways → out.

use crate::attention::{AttentionParams, attend_both_ways};
use crate::layers::RopeTables;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::{Linear, MergedLinear};
use std::ops::Range;

/// One layer's self-attention.
#[derive(Debug)]
pub struct EncoderAttention {
    /// To queries, keys and values.
    pub qkv: MergedLinear,
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
        let parts = self.qkv.forward(x)?;
        let [q, k, v] = parts.as_slice() else { bail!("q, k and v are three") };
        let (mut q, mut k) = (q.clone(), k.clone());
        if let Some(rope) = rope {
            q = rope.rotate(&q, self.params.head_dim)?;
            k = rope.rotate(&k, self.params.head_dim)?;
        }
        self.output.forward(&attend_both_ways(&q, &k, v, spans, &self.params)?)
    }
}
