//! Attention where keys are not as many as queries and nothing is masked or cached: on the CPU by the
//! kernel, elsewhere as the textbook writes it, and never by a fused kernel of the tensor library (rows C2
//! and C7). The textbook's is the kernel's twin.

use super::AttentionParams;
use super::rows::Rows;
use candle_core::{CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Tensor, bail};

/// `q` `[queries, heads × head_dim]` against `k` and `v` `[keys, kv_heads × head_dim]`; every query sees
/// every key → `[queries, heads × head_dim]`, in the type of `q`.
///
/// # Errors
/// When shapes disagree, or the parameters ask for a window or a cap.
pub fn attend_across(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    params: &AttentionParams,
) -> Result<Tensor> {
    if !q.device().is_cpu() || [q, k, v].iter().any(|x| x.dtype() != DType::F32) {
        return attend_plain(q, k, v, params);
    }
    q.contiguous()?.apply_op3_no_bwd(&k.contiguous()?, &v.contiguous()?, &AcrossAttention(params))
}

/// What a model asks of attention that masks nothing.
fn check(params: &AttentionParams) -> Result<()> {
    params.check_heads()?;
    if params.window.is_some() || params.softcap.is_some() {
        bail!("plain attention has no window and no cap");
    }
    Ok(())
}

struct AcrossAttention<'a>(&'a AttentionParams);

impl CustomOp3 for AcrossAttention<'_> {
    fn name(&self) -> &'static str {
        "attention-across"
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
        let p = self.0;
        check(p)?;
        let ((queries, width), (keys, kv_width)) =
            (q_layout.shape().dims2()?, k_layout.shape().dims2()?);
        let wanted = (p.num_heads * p.head_dim, p.num_kv_heads * p.head_dim);
        if (width, kv_width) != wanted || v_layout.dims() != k_layout.dims() {
            bail!("attention: {width}, {kv_width} wide, not {wanted:?}");
        }
        let rows = Rows::new((q, q_layout), (k, k_layout), (v, v_layout), self.name())?;
        let out = rows.attend(&[(0..queries, 0..keys)], p);
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

/// As [`attend_across`], in plain operations.
///
/// # Errors
/// As [`attend_across`].
pub fn attend_plain(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    params: &AttentionParams,
) -> Result<Tensor> {
    check(params)?;
    let AttentionParams { num_heads, num_kv_heads, head_dim, scale, .. } = *params;
    let ((queries, _), (keys, _)) = (q.dims2()?, k.dims2()?);
    let group = num_heads / num_kv_heads;
    // [kv_heads, group × queries, head_dim]: the queries that share a head of keys, together.
    let wide = |x: &Tensor| x.to_dtype(DType::F32);
    let grouped = wide(q)?.reshape((queries, num_kv_heads, group, head_dim))?;
    let grouped = grouped.permute((1, 2, 0, 3))?.contiguous()?;
    let grouped = grouped.reshape((num_kv_heads, group * queries, head_dim))?;
    let of = |x: &Tensor| {
        wide(x)?.reshape((keys, num_kv_heads, head_dim))?.transpose(0, 1)?.contiguous()
    };
    let (k, v) = (of(k)?, of(v)?); // [kv_heads, keys, head_dim]
    let scores = (grouped.matmul(&k.t()?.contiguous()?)? * f64::from(scale))?;
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let weights = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
    let out = weights.matmul(&v)?.reshape((num_kv_heads, group, queries, head_dim))?;
    let out = out.permute((2, 0, 1, 3))?.contiguous()?;
    out.reshape((queries, num_heads * head_dim))?.to_dtype(q.dtype())
}

#[cfg(test)]
mod tests {
    use super::super::attend_both_ways;
    use super::*;
    use crate::attention::tests::noise;
    use proptest::prelude::*;

    fn params(num_kv_heads: usize, group: usize, head_dim: usize) -> AttentionParams {
        AttentionParams {
            num_heads: num_kv_heads * group,
            num_kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            window: None,
            softcap: None,
        }
    }

    /// One number at a time.
    fn slow(q: &[Vec<f32>], k: &[Vec<f32>], v: &[Vec<f32>], p: &AttentionParams) -> Vec<Vec<f64>> {
        let of_head = |row: &[f32], head: usize| row[head * p.head_dim..][..p.head_dim].to_vec();
        let attend = |query: &Vec<f32>| {
            let mut out = Vec::new();
            for head in 0..p.num_heads {
                let shared = head / (p.num_heads / p.num_kv_heads);
                let query = of_head(query, head);
                let weight = |key: &Vec<f32>| {
                    let key = of_head(key, shared);
                    let pairs = query.iter().zip(&key);
                    let dot: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    (dot * f64::from(p.scale)).exp()
                };
                let weights: Vec<f64> = k.iter().map(weight).collect();
                let sum: f64 = weights.iter().sum();
                out.extend((0..p.head_dim).map(|i| {
                    let values = v.iter().map(|row| f64::from(of_head(row, shared)[i]));
                    values.zip(&weights).map(|(value, weight)| value * weight / sum).sum::<f64>()
                }));
            }
            out
        };
        q.iter().map(attend).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn more_and_fewer_keys_than_queries(
            queries in 1usize..9, keys in 1usize..12, kv_heads in 1usize..3, group in 1usize..4,
            head_dim in 1usize..9, seed in any::<u64>(),
        ) {
            let p = params(kv_heads, group, head_dim);
            let q = noise(&[queries, p.num_heads * head_dim], seed);
            let k = noise(&[keys, kv_heads * head_dim], seed ^ 3);
            let v = noise(&[keys, kv_heads * head_dim], seed ^ 5);
            let rows = |x: &Tensor| x.to_vec2::<f32>().unwrap();
            let wanted = slow(&rows(&q), &rows(&k), &rows(&v), &p);
            for attend in [attend_plain, attend_across] {
                let found = rows(&attend(&q, &k, &v, &p).unwrap());
                for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
                    prop_assert!((f64::from(*found) - wanted).abs() < 1e-4, "{found} {wanted}");
                }
            }
        }
    }

    #[test]
    fn where_both_can_it_is_the_kernel() {
        let p = params(2, 2, 8);
        let (q, k, v) = (noise(&[13, 32], 1), noise(&[13, 16], 2), noise(&[13, 16], 3));
        let whole = 0..13;
        let fused = attend_both_ways(&q, &k, &v, std::slice::from_ref(&whole), &p).unwrap();
        let plain = attend_plain(&q, &k, &v, &p).unwrap();
        let worst = (fused - plain).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        assert!(worst.to_scalar::<f32>().unwrap() < 1e-5);
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors_and_types_come_back() {
        let p = params(1, 2, 4);
        let (q, k) = (noise(&[3, 8], 1), noise(&[5, 4], 2));
        for attend in [attend_plain, attend_across] {
            assert!(attend(&q, &k, &k, &p).is_ok());
            assert!(attend(&q, &k, &noise(&[4, 4], 2), &p).is_err());
            assert!(attend(&q, &noise(&[5, 3], 2), &k, &p).is_err());
            assert!(attend(&q, &k, &k, &AttentionParams { window: Some(3), ..p }).is_err());
        }
        let half = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
        let out = attend_across(&half(&q), &half(&k), &half(&k), &p).unwrap();
        assert_eq!(out.dtype(), DType::BF16);
    }
}
