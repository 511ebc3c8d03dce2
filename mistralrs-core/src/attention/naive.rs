//! The oracle: plain tensor operations, one sequence at a time, with a mask. Slow on purpose.

use super::{AttentionBackend, AttentionParams};
use crate::forward::{ForwardBatch, SequenceSpan};
use crate::kv_cache::LayerKv;
use candle_core::{D, DType, Device, Result, Tensor};
use mistralrs_kernels::scalar::widen_q8;
use std::ops::Range;

/// Gathers each sequence's blocks and computes textbook attention.
#[derive(Debug, Clone, Copy)]
pub struct NaiveAttention;

impl AttentionBackend for NaiveAttention {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn attend(
        &self,
        q: &Tensor,
        kv: &LayerKv,
        batch: &ForwardBatch,
        params: &AttentionParams,
    ) -> Result<Tensor> {
        let outputs = batch
            .spans
            .iter()
            .map(|span| one_sequence(q, kv, span, params))
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&outputs, 0)
    }
}

fn one_sequence(
    q: &Tensor,
    kv: &LayerKv,
    span: &SequenceSpan,
    params: &AttentionParams,
) -> Result<Tensor> {
    let (rows, dim) = (span.query.len(), params.head_dim);
    let q = q.narrow(0, span.query.start, rows)?; // [rows, heads × dim]
    let size = kv.k.dim(3)?;
    let table = span.block_tables.get(kv.group).map_or(&[][..], Vec::as_slice);
    let table: Vec<u32> = table.iter().take(span.context_len.div_ceil(size)).copied().collect();
    let table = Tensor::new(table, q.device())?;
    let k = numbers(&kv.k.index_select(&table, 0)?, dim, size)?;
    let v = match &kv.v {
        Some(v) => numbers(&v.index_select(&table, 0)?, dim, 1)?,
        None => k.clone(),
    };
    let k = in_order(&k, span.context_len)?; // [kv_heads, context, dim]
    let v = in_order(&v, span.context_len)?;
    textbook(&q, &k, &v, &mask(span, 0..rows, params)?, params)
}

/// Attention as textbooks have it: `q` `[rows, heads × dim]`, `k` and `v` `[kv_heads, context, dim]`, `mask`
/// `[rows, context]`, added to the scores → `[rows, heads × dim]`.
pub(super) fn textbook(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Tensor,
    params: &AttentionParams,
) -> Result<Tensor> {
    let (rows, heads, dim) = (q.dim(0)?, params.num_heads, params.head_dim);
    let q = q.reshape((rows, heads, dim))?.transpose(0, 1)?.contiguous()?; // [heads, rows, dim]
    let (k, v) = (repeated(k, params)?, repeated(v, params)?); // [heads, context, dim]
    let mut scores = (q.matmul(&k.t()?.contiguous()?)? * f64::from(params.scale))?;
    if let Some(cap) = params.softcap {
        scores = ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?;
    }
    let scores = scores.broadcast_add(mask)?;
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    weights.matmul(&v)?.transpose(0, 1)?.reshape((rows, heads * dim))
}

/// What blocks of the cache hold, in which so many positions of a head, `together`, lie number by number:
/// `[blocks, kv_heads, block_size, dim]`.
fn numbers(blocks: &Tensor, dim: usize, together: usize) -> Result<Tensor> {
    let (count, heads, ..) = blocks.dims4()?;
    let numbers = match blocks.dtype() {
        DType::U8 => {
            let bytes = blocks.flatten_all()?.to_vec1::<u8>()?;
            Tensor::new(widen_q8(&bytes, dim, together), blocks.device())?
        }
        _ => blocks.to_dtype(DType::F32)?,
    };
    let numbers = numbers.reshape((count, heads, (), dim, together))?.transpose(3, 4)?;
    numbers.reshape((count, heads, (), dim))
}

/// Keys or values of a sequence's blocks, `[blocks, kv_heads, block_size, dim]`, position after position:
/// `[kv_heads, context, dim]`.
fn in_order(blocks: &Tensor, context_len: usize) -> Result<Tensor> {
    let (count, kv_heads, size, dim) = blocks.dims4()?;
    let rows = blocks.transpose(1, 2)?.contiguous()?.reshape((count * size, kv_heads, dim))?;
    rows.narrow(0, 0, context_len)?.transpose(0, 1)
}

/// `[kv_heads, context, dim]`, repeated for grouped heads: `[heads, context, dim]`.
fn repeated(rows: &Tensor, params: &AttentionParams) -> Result<Tensor> {
    let (kv_heads, context, dim) = rows.dims3()?;
    let groups = params.num_heads / kv_heads.max(1);
    let rows = rows.unsqueeze(1)?.expand((kv_heads, groups, context, dim))?;
    rows.reshape((params.num_heads, context, dim))?.contiguous()
}

/// 0 where row `r` of a sequence's rows `of` may look, −∞ elsewhere: `[rows, context]`.
pub(super) fn mask(
    span: &SequenceSpan,
    of: Range<usize>,
    params: &AttentionParams,
) -> Result<Tensor> {
    let (rows, context) = (span.query.len(), span.context_len);
    let shape = (of.len(), context);
    let both = |a: usize, b: usize| span.together.iter().any(|g| g.contains(&a) && g.contains(&b));
    let window = params.window.unwrap_or(usize::MAX);
    let numbers: Vec<f32> = of
        .flat_map(|row| {
            let position = context - rows + row;
            (0..context).map(move |seen| {
                let back = seen <= position && position - seen < window;
                if back || seen > position && both(position, seen) { 0. } else { f32::NEG_INFINITY }
            })
        })
        .collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu)
}
