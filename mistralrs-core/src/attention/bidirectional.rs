//! Attention in which a token also sees what follows: encoders. Over keys and values that are packed
//! like the tokens, and behind [`AttentionBackend`] for decoders that were trained to look both ways.

use super::cpu::attend_with;
use super::rows::Rows;
use super::{AttentionBackend, AttentionParams};
use crate::forward::ForwardBatch;
use crate::kv_cache::LayerKv;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use mistralrs_kernels::bidirectional_attention;
use std::ops::Range;

/// `q` `[tokens, heads × head_dim]` against `k` and `v` `[tokens, kv_heads × head_dim]` of the same
/// tokens, each text by itself → `[tokens, heads × head_dim]`. With a window of `w` a token sees
/// those less than `w` away.
///
/// # Errors
/// When shapes disagree, or the spans do not follow one another.
pub fn attend_both_ways(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    spans: &[Range<usize>],
    params: &AttentionParams,
) -> Result<Tensor> {
    let op = PackedAttention { spans, params };
    q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &op)
}

struct PackedAttention<'a> {
    spans: &'a [Range<usize>],
    params: &'a AttentionParams,
}

impl PackedAttention<'_> {
    /// The kernel trusts its arguments; this does not.
    fn check(&self, tokens: usize, Rows { q, k, v }: &Rows<'_>) -> Result<()> {
        let AttentionParams { num_heads, num_kv_heads, head_dim, .. } = *self.params;
        self.params.check_heads()?;
        let kv = tokens * num_kv_heads * head_dim;
        let (q, k, v) = (q.len(), k.len(), v.len());
        if q != tokens * num_heads * head_dim || k != kv || v != kv {
            bail!("attention: {q}, {k} and {v} numbers of q, k and v for {tokens} tokens");
        }
        let mut next = 0;
        for span in self.spans {
            if span.start != next || span.end < span.start || span.end > tokens {
                bail!("attention: rows {span:?} of {tokens}");
            }
            next = span.end;
        }
        Ok(())
    }
}

impl CustomOp3 for PackedAttention<'_> {
    fn name(&self) -> &'static str {
        "bidirectional-attention"
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
        let (tokens, _) = q_layout.shape().dims2()?;
        let rows = Rows::new((q, q_layout), (k, k_layout), (v, v_layout), self.name())?;
        self.check(tokens, &rows)?;
        let spans: Vec<_> = self.spans.iter().map(|span| (span.clone(), span.clone())).collect();
        let out = rows.attend(&spans, self.params);
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

/// For decoders whose tokens see all of their text. Only whole texts can be computed: what a token
/// was told by those behind it cannot be cached.
#[derive(Debug, Clone, Copy)]
pub struct BidirectionalAttention;

impl AttentionBackend for BidirectionalAttention {
    fn name(&self) -> &'static str {
        "cpu-bidirectional"
    }

    fn attend(
        &self,
        q: &Tensor,
        kv: &LayerKv,
        batch: &ForwardBatch,
        params: &AttentionParams,
    ) -> Result<Tensor> {
        if batch.spans.iter().any(|span| span.query.len() != span.context_len) {
            bail!("attention both ways: a text must be computed whole");
        }
        attend_with(bidirectional_attention, q, kv, batch, params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::tests::noise;
    use candle_core::{D, Device};
    use proptest::prelude::*;

    /// Textbook attention with a mask, one text at a time.
    fn textbook(
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        spans: &[Range<usize>],
        p: &AttentionParams,
    ) -> Tensor {
        let heads = |x: &Tensor, span: &Range<usize>, heads: usize| {
            let x = x.narrow(0, span.start, span.len()).unwrap();
            let x = x.reshape((span.len(), heads, p.head_dim)).unwrap().transpose(0, 1).unwrap();
            let repeat = p.num_heads / heads;
            let x = x.unsqueeze(1).unwrap();
            let x = x.expand((heads, repeat, span.len(), p.head_dim)).unwrap();
            x.reshape((p.num_heads, span.len(), p.head_dim)).unwrap().contiguous().unwrap()
        };
        let one = |span: &Range<usize>| {
            let (q, k, v) = (
                heads(q, span, p.num_heads),
                heads(k, span, p.num_kv_heads),
                heads(v, span, p.num_kv_heads),
            );
            let scores = q.matmul(&k.t().unwrap().contiguous().unwrap()).unwrap();
            let window = p.window.unwrap_or(usize::MAX);
            let n = span.len();
            let mask: Vec<f32> = (0..n * n)
                .map(|i| if (i / n).abs_diff(i % n) < window { 0. } else { f32::NEG_INFINITY })
                .collect();
            let mask = Tensor::from_vec(mask, (n, n), &Device::Cpu).unwrap();
            let scores = (scores * f64::from(p.scale)).unwrap().broadcast_add(&mask).unwrap();
            let weights = scores
                .broadcast_sub(&scores.max_keepdim(D::Minus1).unwrap())
                .unwrap()
                .exp()
                .unwrap();
            let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1).unwrap()).unwrap();
            let out = weights.matmul(&v).unwrap().transpose(0, 1).unwrap();
            out.reshape((n, p.num_heads * p.head_dim)).unwrap()
        };
        Tensor::cat(&spans.iter().map(one).collect::<Vec<_>>(), 0).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn packed_texts_agree_with_the_textbook(
            lengths in proptest::collection::vec(1usize..90, 1..5),
            groups in 1usize..4,
            num_kv_heads in 1usize..3,
            head_dim in 1usize..20,
            window in proptest::option::of(1usize..30),
            seed in any::<u64>(),
        ) {
            let num_heads = groups * num_kv_heads;
            let mut spans = Vec::new();
            let mut tokens = 0;
            for length in lengths {
                spans.push(tokens..tokens + length);
                tokens += length;
            }
            let scale = 1.0 / (head_dim as f32).sqrt();
            let p = AttentionParams { num_heads, num_kv_heads, head_dim, scale, window, softcap: None };
            let q = noise(&[tokens, num_heads * head_dim], seed);
            let k = noise(&[tokens, num_kv_heads * head_dim], seed ^ 5);
            let v = noise(&[tokens, num_kv_heads * head_dim], seed ^ 9);
            let fast = attend_both_ways(&q, &k, &v, &spans, &p).unwrap().to_vec2::<f32>().unwrap();
            let slow = textbook(&q, &k, &v, &spans, &p).to_vec2::<f32>().unwrap();
            for (fast, slow) in fast.iter().flatten().zip(slow.iter().flatten()) {
                prop_assert!((fast - slow).abs() < 1e-4, "{fast} {slow}");
            }
        }
    }

    #[test]
    fn spans_that_do_not_fit_are_errors() {
        let p = AttentionParams {
            num_heads: 1,
            num_kv_heads: 1,
            head_dim: 4,
            scale: 1.0,
            window: None,
            softcap: None,
        };
        let x = noise(&[3, 4], 1);
        let attend = |spans: &[Range<usize>]| attend_both_ways(&x, &x, &x, spans, &p);
        assert!(attend(&[0..1, 1..3]).is_ok());
        let (long, late) = (0..4, 1..3);
        let (long, late) = (std::slice::from_ref(&long), std::slice::from_ref(&late));
        for wrong in [long, late, &[0..2, 1..3]] {
            assert!(attend(wrong).is_err(), "{wrong:?}");
        }
    }
}
