//! Many token vectors to one per text.
//! Source of the modes: the Pooling module of sentence-transformers.

use crate::slices::f32_slice;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::ops::Range;

/// How a text's token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's.
    Cls,
    /// The largest number of each column.
    Max,
    /// The mean.
    Mean,
    /// The sum divided by the root of the length.
    MeanSqrtLength,
    /// The mean in which the first token weighs 1, the second 2, and so on.
    WeightedMean,
    /// The last token's.
    LastToken,
}

/// `[tokens, hidden]` → `[texts, hidden × modes]`, the modes side by side.
///
/// # Errors
/// When a span is empty or outside.
pub fn pool(x: &Tensor, spans: &[Range<usize>], modes: &[Pooling]) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Pool { spans, modes })
}

struct Pool<'a> {
    spans: &'a [Range<usize>],
    modes: &'a [Pooling],
}

impl CustomOp1 for Pool<'_> {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, hidden) = layout.shape().dims2()?;
        let x = f32_slice(x, layout, self.name())?;
        let mut out = Vec::with_capacity(self.spans.len() * self.modes.len() * hidden);
        for span in self.spans {
            let text = x.get(span.start * hidden..span.end * hidden).unwrap_or_default();
            if text.is_empty() {
                bail!("pool: rows {span:?} of {:?}", layout.dims());
            }
            for mode in self.modes {
                out.extend(mode.of(text, hidden));
            }
        }
        let shape = (self.spans.len(), self.modes.len() * hidden);
        Ok((CpuStorage::F32(out), shape.into()))
    }
}

impl Pooling {
    /// `text` is `[tokens, hidden]`, at least one token.
    fn of(self, text: &[f32], hidden: usize) -> Vec<f32> {
        let rows = || text.chunks_exact(hidden);
        let length = (text.len() / hidden) as f32;
        match self {
            Self::Cls => text.iter().take(hidden).copied().collect(),
            Self::LastToken => text.iter().skip(text.len() - hidden).copied().collect(),
            Self::Max => rows().fold(vec![f32::NEG_INFINITY; hidden], |mut max, row| {
                for (max, x) in max.iter_mut().zip(row) {
                    *max = max.max(*x);
                }
                max
            }),
            Self::Mean => weighted_sum(rows(), hidden, |_| 1.0 / length),
            Self::MeanSqrtLength => weighted_sum(rows(), hidden, |_| 1.0 / length.sqrt()),
            Self::WeightedMean => {
                let all = length * (length + 1.0) / 2.0;
                weighted_sum(rows(), hidden, |row| (row + 1) as f32 / all)
            }
        }
    }
}

fn weighted_sum<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    hidden: usize,
    weight: impl Fn(usize) -> f32,
) -> Vec<f32> {
    let mut sum = vec![0.0; hidden];
    for (i, row) in rows.enumerate() {
        let weight = weight(i);
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum += weight * x;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn each_mode_by_hand() {
        let x = Tensor::new(&[[1f32, -2.], [5., 0.], [3., 8.], [9., 9.]], &Device::Cpu).unwrap();
        let spans = [0..3, 3..4];
        let pooled = |mode| pool(&x, &spans, &[mode]).unwrap().to_vec2::<f32>().unwrap();
        let near = |mode, wanted: [f32; 2]| {
            let found = pooled(mode);
            for (found, wanted) in found[0].iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-5, "{mode:?}: {found} {wanted}");
            }
            // Of one token every mode is that token.
            assert_eq!(found[1], [9., 9.], "{mode:?}");
        };
        near(Pooling::Cls, [1., -2.]);
        near(Pooling::LastToken, [3., 8.]);
        near(Pooling::Max, [5., 8.]);
        near(Pooling::Mean, [3., 2.]);
        near(Pooling::MeanSqrtLength, [9. / 3f32.sqrt(), 6. / 3f32.sqrt()]);
        near(Pooling::WeightedMean, [(1. + 10. + 9.) / 6., (-2. + 24.) / 6.]);
        let both = pool(&x, &spans, &[Pooling::Cls, Pooling::Max]).unwrap();
        assert_eq!(both.to_vec2::<f32>().unwrap()[0], [1., -2., 5., 8.]);
        for wrong in [4..5, 2..2] {
            assert!(pool(&x, std::slice::from_ref(&wrong), &[Pooling::Mean]).is_err());
        }
    }
}
