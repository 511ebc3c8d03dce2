//! The CPU backend: the paged kernel behind a candle operation.

use super::{AttentionBackend, AttentionParams};
use crate::forward::{ForwardBatch, SequenceSpan};
use crate::kv_cache::LayerKv;
use crate::slices::{f16_slice, f32_slice, u8_slice};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use mistralrs_kernels::{AttentionShape, AttentionSpan, CacheSlice, paged_attention};
use std::ops::Range;

/// Reads keys and values where they lie in the cache; bit-equal however a sequence is cut or batched.
#[derive(Debug, Clone, Copy)]
pub struct CpuAttention;

impl AttentionBackend for CpuAttention {
    fn name(&self) -> &'static str {
        "cpu-paged"
    }

    fn attend(
        &self,
        q: &Tensor,
        kv: &LayerKv,
        batch: &ForwardBatch,
        params: &AttentionParams,
    ) -> Result<Tensor> {
        attend_with(paged_attention, q, kv, batch, params)
    }
}

/// A kernel over the paged cache.
pub(super) type Kernel = fn(
    &AttentionShape,
    &[f32],
    CacheSlice<'_>,
    Option<CacheSlice<'_>>,
    &[AttentionSpan<'_>],
) -> Vec<f32>;

/// Runs `kernel`, once its arguments have been checked.
pub(super) fn attend_with(
    kernel: Kernel,
    q: &Tensor,
    kv: &LayerKv,
    batch: &ForwardBatch,
    params: &AttentionParams,
) -> Result<Tensor> {
    let op = PagedAttention {
        kernel,
        batch,
        params,
        group: kv.group,
        block_size: kv.k.dim(3)?,
        values_are_keys: kv.v.is_none(),
    };
    q.contiguous()?.apply_op3_no_bwd(&kv.k, kv.v.as_ref().unwrap_or(&kv.k), &op)
}

struct PagedAttention<'a> {
    kernel: Kernel,
    batch: &'a ForwardBatch,
    params: &'a AttentionParams,
    group: usize,
    block_size: usize,
    /// Then the third operand is the second once more.
    values_are_keys: bool,
}

impl PagedAttention<'_> {
    /// Where this group of layers has a sequence's keys and values.
    fn block_table<'a>(&self, span: &'a SequenceSpan) -> &'a [u32] {
        span.block_tables.get(self.group).map_or(&[], Vec::as_slice)
    }

    /// The kernel trusts its arguments; this does not.
    fn check(&self, q: usize, blocks: Option<usize>) -> Result<()> {
        let p = self.params;
        if q != self.batch.len() * p.num_heads * p.head_dim {
            bail!("attention: {q} numbers of queries for {} tokens", self.batch.len());
        }
        let Some(num_blocks) = blocks else {
            bail!("attention: the cache is not one of {} heads of {}", p.num_kv_heads, p.head_dim);
        };
        for span in &self.batch.spans {
            let blocks = span.context_len.div_ceil(self.block_size);
            let table = self.block_table(span);
            let known = table.iter().take(blocks);
            if table.len() < blocks || known.into_iter().any(|b| *b as usize >= num_blocks) {
                bail!("attention: the block table does not cover {} tokens", span.context_len);
            }
            let ends = span.together.iter().map(|group| group.end);
            if !span.together.is_sorted_by(|a, b| a.end <= b.start)
                || span.together.iter().any(Range::is_empty)
                || ends.max().is_some_and(|end| end > span.context_len)
            {
                bail!("attention: groups {:?} of {}", span.together, span.context_len);
            }
            if span.query.end > self.batch.len() || span.query.len() > span.context_len {
                bail!("attention: rows {:?} of {}", span.query, self.batch.len());
            }
        }
        Ok(())
    }
}

impl CustomOp3 for PagedAttention<'_> {
    fn name(&self) -> &'static str {
        "paged-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let q = f32_slice(q, q_layout, self.name())?;
        let k = cache_slice(k, k_layout, self.name())?;
        let v = cache_slice(v, v_layout, self.name())?;
        let shape = self.params.shape(self.block_size);
        self.check(q.len(), k.blocks(&shape).min(v.blocks(&shape)))?;
        let spans: Vec<_> = self
            .batch
            .spans
            .iter()
            .map(|span| AttentionSpan {
                query_start: span.query.start,
                query_len: span.query.len(),
                context_len: span.context_len,
                block_table: self.block_table(span),
                together: &span.together,
            })
            .collect();
        let v = (!self.values_are_keys).then_some(v);
        let out = (self.kernel)(&shape, q, k, v, &spans);
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

/// Keys or values as the kernel reads them.
fn cache_slice<'a>(storage: &'a CpuStorage, layout: &Layout, op: &str) -> Result<CacheSlice<'a>> {
    match storage {
        CpuStorage::F16(_) => f16_slice(storage, layout, op).map(CacheSlice::F16),
        CpuStorage::U8(_) => u8_slice(storage, layout, op).map(CacheSlice::Q8),
        _ => f32_slice(storage, layout, op).map(CacheSlice::F32),
    }
}
