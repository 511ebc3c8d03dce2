//! Attention over the paged cache, behind one trait. Causal order and raggedness come from the
//! batch's spans: no mask tensor exists outside [`NaiveAttention`].

mod bidirectional;
mod cpu;
mod naive;
mod plain;
mod rows;
mod tensors;

pub use bidirectional::{BidirectionalAttention, attend_both_ways};
pub use cpu::CpuAttention;
pub use naive::NaiveAttention;
pub use plain::{attend_across, attend_plain};
pub use tensors::TensorAttention;

use crate::forward::ForwardBatch;
use crate::kv_cache::LayerKv;
use candle_core::{Result, Tensor, bail};
use mistralrs_kernels::AttentionShape;
use mistralrs_quant::Place;
use std::sync::Arc;

/// The shape and the variations of one layer's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionParams {
    /// Heads of queries; a multiple of `num_kv_heads`.
    pub num_heads: usize,
    /// Heads of keys and values.
    pub num_kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Multiplies the scores before everything else.
    pub scale: f32,
    /// A token sees itself and the `window - 1` before it.
    pub window: Option<usize>,
    /// Scores become `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
}

impl AttentionParams {
    /// As many heads of keys as of queries, scores divided by the root of a head's width, nothing hidden
    /// and nothing capped.
    pub fn plain(num_heads: usize, head_dim: usize) -> Self {
        let scale = 1.0 / (head_dim as f32).sqrt();
        Self { num_heads, num_kv_heads: num_heads, head_dim, scale, window: None, softcap: None }
    }

    /// As the kernels take it, over a cache of blocks of `block_size` positions.
    fn shape(&self, block_size: usize) -> AttentionShape {
        AttentionShape {
            heads: self.num_heads,
            kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            block_size,
            scale: self.scale,
            window: self.window,
            softcap: self.softcap,
        }
    }

    /// Whether the heads are ones that a kernel can share out.
    fn check_heads(&self) -> Result<()> {
        let Self { num_heads, num_kv_heads, head_dim, .. } = *self;
        if num_kv_heads == 0 || !num_heads.is_multiple_of(num_kv_heads) || head_dim == 0 {
            bail!("attention: {num_heads} heads over {num_kv_heads} of {head_dim}");
        }
        Ok(())
    }
}

/// A way to compute attention on one kind of device.
pub trait AttentionBackend: std::fmt::Debug + Send + Sync {
    /// For logs.
    fn name(&self) -> &'static str;

    /// `q` `[tokens, heads × head_dim]` against the cache, which already holds this step's keys and
    /// values → `[tokens, heads × head_dim]`.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    fn attend(
        &self,
        q: &Tensor,
        kv: &LayerKv,
        batch: &ForwardBatch,
        params: &AttentionParams,
    ) -> Result<Tensor>;
}

/// The backend of a place: this project's kernel where it computes, candle's operations everywhere else. There is no
/// fused kernel of candle's behind this, for any type of numbers.
pub fn select(place: &Place) -> Arc<dyn AttentionBackend> {
    match place.has_kernels() {
        true => Arc::new(CpuAttention),
        false => Arc::new(TensorAttention),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::forward::SequenceSpan;
    use crate::kv_cache::{KvCache, KvNumbers, KvSpec};
    use crate::places::LayerPlaces;
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    /// Numbers in −1..1 that look random and are the same every time.
    pub(crate) fn noise(shape: &[usize], seed: u64) -> Tensor {
        let mut state = seed | 1;
        let next = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let numbers: Vec<f32> = (0..shape.iter().product()).map(next).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    /// Keys and values of a layer whose every slot is filled.
    fn kept(cache: [usize; 4], numbers: KvNumbers, seed: u64) -> LayerKv {
        kept_at(Place::default(), cache, numbers, seed)
    }

    fn kept_at(place: Place, cache: [usize; 4], numbers: KvNumbers, seed: u64) -> LayerKv {
        let [blocks, block_size, kv_heads, head_dim] = cache;
        let spec = KvSpec::uniform(1, kv_heads, head_dim);
        let places = LayerPlaces::new(place.clone(), Vec::new());
        let mut cache = KvCache::allocate(&spec, &[blocks], block_size, numbers, &places).unwrap();
        let tokens = blocks * block_size;
        let slot_mapping = vec![(0..tokens).collect()];
        let batch = ForwardBatch { slot_mapping, ..ForwardBatch::default() };
        let rows = |seed| place.take(&noise(&[tokens, kv_heads * head_dim], seed)).unwrap();
        cache.store(0, &rows(seed), &rows(seed ^ 7), &batch).unwrap();
        cache.layer(0).unwrap().clone()
    }

    /// Spans of (rows, tokens before them) over blocks handed out in reverse.
    fn batch(spans: &[(usize, usize)], block_size: usize) -> (ForwardBatch, usize) {
        let blocks = |&(rows, before): &(usize, usize)| (rows + before).div_ceil(block_size);
        let mut next_block: usize = spans.iter().map(blocks).sum();
        let (total, mut batch) = (next_block, ForwardBatch::default());
        for &(rows, before) in spans {
            let start = batch.len();
            batch.token_ids.extend(vec![0; rows]);
            let table = (0..blocks(&(rows, before))).map(|_| {
                next_block -= 1;
                next_block as u32
            });
            batch.spans.push(SequenceSpan {
                query: start..start + rows,
                context_len: rows + before,
                block_tables: vec![table.collect()],
                together: Vec::new(),
            });
        }
        (batch, total)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn the_kernel_agrees_with_the_textbook(
            spans in proptest::collection::vec((1usize..20, 0usize..40), 1..5),
            groups in 1usize..4,
            kv_heads in 1usize..3,
            head_dim in 1usize..40,
            block_size in 1usize..9,
            window in proptest::option::of(1usize..30),
            softcap in proptest::option::of(0.5f32..4.0),
            group in (0usize..40, 0usize..60),
            numbers in proptest::sample::select(&[KvNumbers::F32, KvNumbers::F16, KvNumbers::Q8][..]),
            values_are_keys in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let num_heads = groups * kv_heads;
            let (mut batch, blocks) = batch(&spans, block_size);
            for span in &mut batch.spans {
                let (start, end) = (group.0.min(span.context_len), span.context_len.min(group.1));
                span.together.extend((start < end).then_some(start..end));
            }
            let cache = [blocks, block_size, kv_heads, head_dim];
            let mut kv = kept(cache, numbers, seed);
            if values_are_keys {
                kv.v = None;
            }
            let q = noise(&[batch.len(), num_heads * head_dim], seed ^ 9);
            let scale = 1.0 / (head_dim as f32).sqrt();
            let params = AttentionParams {
                num_heads, num_kv_heads: kv_heads, head_dim, scale, window, softcap,
            };
            let attend = |backend: &dyn AttentionBackend, q: &Tensor, kv: &LayerKv| {
                let attended = backend.attend(q, kv, &batch, &params).unwrap();
                Place::default().take(&attended).unwrap().to_vec2::<f32>().unwrap()
            };
            let (fast, slow) = (attend(&CpuAttention, &q, &kv), attend(&NaiveAttention, &q, &kv));
            for (fast, slow) in fast.iter().flatten().zip(slow.iter().flatten()) {
                prop_assert!((fast - slow).abs() < 1e-4, "{fast} {slow}");
            }
            // Elsewhere; bytes are halves there.
            let place = Place::new(Device::Cpu, DType::F64);
            let mut kv = kept_at(place.clone(), cache, numbers, seed);
            if values_are_keys {
                kv.v = None;
            }
            let there = attend(&*select(&place), &place.take(&q).unwrap(), &kv);
            let bound = if numbers == KvNumbers::Q8 { 2e-2 } else { 1e-3 };
            for (there, slow) in there.iter().flatten().zip(slow.iter().flatten()) {
                prop_assert!((there - slow).abs() < bound, "{there} {slow}");
            }
        }
    }

    /// Row C2: nowhere is a fused kernel that knows halves only.
    #[test]
    fn the_kernel_is_for_one_place_only() {
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
            let name = select(&Place::new(Device::Cpu, dtype)).name();
            assert_eq!(name, if dtype == DType::F32 { "cpu-paged" } else { "tensors" });
        }
    }

    #[test]
    fn a_block_table_that_is_too_short_is_an_error() {
        let (mut batch, blocks) = batch(&[(3, 4)], 2);
        let kv = kept([blocks, 2, 1, 4], KvNumbers::F32, 1);
        let params = AttentionParams {
            num_heads: 1,
            num_kv_heads: 1,
            head_dim: 4,
            scale: 1.0,
            window: None,
            softcap: None,
        };
        let q = noise(&[3, 4], 3);
        assert!(CpuAttention.attend(&q, &kv, &batch, &params).is_ok());
        batch.spans[0].together = vec![2..4, 3..7];
        assert!(CpuAttention.attend(&q, &kv, &batch, &params).is_err());
        batch.spans[0].together = std::iter::once(5..8).collect();
        assert!(CpuAttention.attend(&q, &kv, &batch, &params).is_err());
        batch.spans[0].together.clear();
        batch.spans[0].block_tables[0][0] = 99;
        assert!(CpuAttention.attend(&q, &kv, &batch, &params).is_err());
        batch.spans[0].block_tables[0].truncate(2);
        assert!(CpuAttention.attend(&q, &kv, &batch, &params).is_err());
    }
}
