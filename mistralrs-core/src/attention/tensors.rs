//! Attention away from this project's kernels, by candle's operations, sequence by sequence: what an accelerator
//! computes. Rows of a long prompt go a few at a time, so that scores stay small.

use super::naive::{mask, textbook};
use super::{AttentionBackend, AttentionParams};
use crate::forward::{ForwardBatch, SequenceSpan};
use crate::kv_cache::LayerKv;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::Place;

/// Most rows of one sequence whose scores exist at one time.
const ROWS: usize = 1024;

/// Gathers each sequence's blocks and computes textbook attention.
#[derive(Debug, Clone, Copy)]
pub struct TensorAttention;

impl AttentionBackend for TensorAttention {
    fn name(&self) -> &'static str {
        "tensors"
    }

    fn attend(
        &self,
        q: &Tensor,
        kv: &LayerKv,
        batch: &ForwardBatch,
        params: &AttentionParams,
    ) -> Result<Tensor> {
        let mut parts = Vec::with_capacity(batch.spans.len());
        for span in &batch.spans {
            let k = kept(&kv.k, kv, span, q)?;
            let v = kv.v.as_ref().map(|v| kept(v, kv, span, q)).transpose()?;
            for start in (0..span.query.len()).step_by(ROWS) {
                let rows = start..span.query.len().min(start + ROWS);
                let q = q.narrow(0, span.query.start + start, rows.len())?;
                let mask = Place::of(&q).take(&mask(span, rows, params)?)?;
                parts.push(textbook(&q, &k, v.as_ref().unwrap_or(&k), &mask, params)?);
            }
        }
        Tensor::cat(&parts, 0)
    }
}

/// A sequence's keys or values in order, in the numbers of `q`: `[kv_heads, context, head_dim]`.
fn kept(cache: &Tensor, kv: &LayerKv, span: &SequenceSpan, q: &Tensor) -> Result<Tensor> {
    let (_, size, heads, dim) = cache.dims4()?;
    let table = span.block_tables.get(kv.group).map_or(&[][..], Vec::as_slice);
    let Some(table) = table.get(..span.context_len.div_ceil(size)) else {
        bail!("attention: the block table does not cover {} tokens", span.context_len);
    };
    let blocks = cache.index_select(&Tensor::new(table, cache.device())?, 0)?;
    let rows = blocks.reshape(((), heads, dim))?.narrow(0, 0, span.context_len)?;
    rows.transpose(0, 1)?.to_dtype(q.dtype())
}
