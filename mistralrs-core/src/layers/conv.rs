//! Convolutions over one and two axes: the only door to the tensor library's.
//! On the CPU that library convolves no 16-bit types, so weights are widened to F32 once, when they
//! are loaded, and each input when it comes; the result has the input's type again. On other devices
//! everything keeps its type. Knows weights and tensors; how a model pads is the model's affair.

use crate::weights::Weights;
use candle_core::{DType, Result, Tensor, bail};

/// How a kernel walks over its input, on every axis alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSteps {
    /// From one output to the next, in inputs; not 0.
    pub stride: usize,
    /// Zeros before and behind each axis.
    pub padding: usize,
    /// From one number of the kernel to the next, in inputs; not 0.
    pub dilation: usize,
    /// Into how many groups, each with its own kernels, the channels are divided; not 0.
    pub groups: usize,
}

impl Default for ConvSteps {
    fn default() -> Self {
        Self { stride: 1, padding: 0, dilation: 1, groups: 1 }
    }
}

/// One layer's kernels.
#[derive(Debug, Clone)]
pub struct Conv {
    /// `[out, in / groups, length]` or `[out, in / groups, height, width]`
    weight: Tensor,
    /// `[1, out, 1]` or `[1, out, 1, 1]`
    bias: Option<Tensor>,
    steps: ConvSteps,
}

impl Conv {
    /// `weight` is `[out, in / groups, length]` or `[out, in / groups, height, width]`, `bias` `[out]`.
    ///
    /// # Errors
    /// When these shapes or steps are impossible.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>, steps: ConvSteps) -> Result<Self> {
        let dims = weight.dims();
        let ConvSteps { stride, dilation, groups, .. } = steps;
        if !(3..=4).contains(&dims.len()) || dims.contains(&0) || stride * dilation * groups == 0 {
            bail!("a kernel of {dims:?} with {steps:?}");
        }
        let out = weight.dim(0)?;
        if !out.is_multiple_of(groups) {
            bail!("{out} outputs in {groups} groups");
        }
        let kept = |tensor: &Tensor| match tensor.device().is_cpu() {
            true => tensor.to_dtype(DType::F32),
            false => Ok(tensor.clone()),
        };
        let across: &[usize] = if dims.len() == 3 { &[1, out, 1] } else { &[1, out, 1, 1] };
        let bias = bias.map(|bias| kept(&bias.reshape(across)?)).transpose()?;
        Ok(Self { weight: kept(weight)?.contiguous()?, bias, steps })
    }

    /// Reads `weight` of this shape and, if `bias`, `bias`.
    ///
    /// # Errors
    /// When one is missing or misshapen, or the shape is impossible.
    pub fn load(
        weights: &Weights,
        shape: &[usize],
        bias: bool,
        steps: ConvSteps,
    ) -> std::result::Result<Self, crate::error::LoadError> {
        let weight = weights.tensor("weight", shape)?;
        let out = shape.first().copied().unwrap_or(0);
        let bias = bias.then(|| weights.tensor("bias", &[out])).transpose()?;
        Ok(Self::new(&weight, bias.as_ref(), steps)?)
    }

    /// `[batch, in, length]` or `[batch, in, height, width]` → the same with `out` channels, in the
    /// type of `x`.
    ///
    /// # Errors
    /// When shapes disagree, or the padded input is smaller than the kernel.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x.dims())?;
        let ConvSteps { stride, padding, dilation, groups } = self.steps;
        let input = x.to_dtype(self.weight.dtype())?.contiguous()?;
        let mut y = match self.weight.rank() {
            3 => input.conv1d(&self.weight, padding, stride, dilation, groups)?,
            _ => input.conv2d(&self.weight, padding, stride, dilation, groups)?,
        };
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        y.to_dtype(x.dtype())
    }

    /// The library subtracts sizes without looking.
    fn check(&self, dims: &[usize]) -> Result<()> {
        let ConvSteps { padding, dilation, groups, .. } = self.steps;
        let kernel = self.weight.dims();
        let fits = dims.len() == kernel.len()
            && dims.get(1).copied() == kernel.get(1).map(|channels| channels * groups)
            && dims
                .iter()
                .zip(kernel)
                .skip(2)
                .all(|(size, kernel)| size + 2 * padding > dilation * kernel.saturating_sub(1));
        if !fits {
            bail!("a kernel of {kernel:?} with {:?} over {dims:?}", self.steps);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::tests::noise;
    use proptest::prelude::*;

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The definition, one output at a time; one axis is an image of height 1.
    fn slow(x: &Tensor, weight: &Tensor, bias: &[f32], s: ConvSteps) -> Vec<f32> {
        let four = |t: &Tensor| if t.rank() == 3 { t.unsqueeze(2).unwrap() } else { t.clone() };
        let flat = x.rank() == 3;
        let (x, weight) = (four(x), four(weight));
        let (batch, inputs, height, width) = x.dims4().unwrap();
        let (out, per_group, kh, kw) = weight.dims4().unwrap();
        let (x, weight) = (numbers(&x), numbers(&weight));
        let above = if flat { 0 } else { s.padding };
        let steps = |size: usize, pad: usize, kernel: usize| {
            (size + 2 * pad - s.dilation * (kernel - 1) - 1) / s.stride + 1
        };
        let mut sums = Vec::new();
        for (b, o) in (0..batch).flat_map(|b| (0..out).map(move |o| (b, o))) {
            let first = o / (out / s.groups) * per_group;
            for (r, c) in (0..steps(height, above, kh))
                .flat_map(|r| (0..steps(width, s.padding, kw)).map(move |c| (r, c)))
            {
                let mut sum = f64::from(bias[o]);
                for i in 0..per_group {
                    for (y, z) in (0..kh).flat_map(|y| (0..kw).map(move |z| (y, z))) {
                        let row = (r * s.stride + y * s.dilation).wrapping_sub(above);
                        let column = (c * s.stride + z * s.dilation).wrapping_sub(s.padding);
                        if row < height && column < width {
                            let from = ((b * inputs + first + i) * height + row) * width + column;
                            let by = ((o * per_group + i) * kh + y) * kw + z;
                            sum += f64::from(x[from]) * f64::from(weight[by]);
                        }
                    }
                }
                sums.push(sum as f32);
            }
        }
        sums
    }

    /// Channels per group in and out, kernel, size, axes.
    fn check(steps: ConvSteps, inside: (usize, usize), kernel: usize, size: usize, axes: usize) {
        let (input, out) = (inside.0 * steps.groups, inside.1 * steps.groups);
        let shape = |head: [usize; 2], side: usize| [head.to_vec(), vec![side; axes]].concat();
        let x = noise(&shape([2, input], size), 3);
        let weight = noise(&shape([out, inside.0], kernel), 5);
        let bias = noise(&[out], 7);
        for bias in [None, Some(&bias)] {
            let y = Conv::new(&weight, bias, steps).unwrap().forward(&x).unwrap();
            let bias = bias.map_or_else(|| vec![0.; out], numbers);
            let wanted = slow(&x, &weight, &bias, steps);
            assert_eq!(y.elem_count(), wanted.len(), "{steps:?}");
            for (y, wanted) in numbers(&y).into_iter().zip(wanted) {
                assert!((y - wanted).abs() < 1e-4, "{steps:?}: {y} {wanted}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn every_walk_is_the_definition(
            stride in 1usize..4, padding in 0usize..3, dilation in 1usize..3, groups in 1usize..4,
            inside in (1usize..4, 1usize..4), kernel in 1usize..4, more in 0usize..6, axes in 1usize..3,
        ) {
            let reach = dilation * (kernel - 1) + 1;
            let size = reach.saturating_sub(2 * padding).max(1) + more;
            check(ConvSteps { stride, padding, dilation, groups }, inside, kernel, size, axes);
        }
    }

    #[test]
    fn a_kernel_for_every_channel() {
        for axes in [1, 2] {
            let steps = ConvSteps { groups: 5, padding: 1, ..ConvSteps::default() };
            check(steps, (1, 1), 3, 6, axes);
            check(ConvSteps { stride: 2, dilation: 2, ..steps }, (1, 2), 3, 7, axes);
        }
    }

    #[test]
    fn halves_are_widened_and_the_type_comes_back() {
        let steps = ConvSteps { stride: 2, padding: 1, ..ConvSteps::default() };
        let (wide_x, wide_weight, wide_bias) =
            (noise(&[1, 3, 7, 8], 1), noise(&[4, 3, 3, 3], 2), noise(&[4], 3));
        for dtype in [DType::BF16, DType::F16] {
            let held = |t: &Tensor| t.to_dtype(dtype).unwrap();
            let (x, weight, bias) = (held(&wide_x), held(&wide_weight), held(&wide_bias));
            let y = Conv::new(&weight, Some(&bias), steps).unwrap().forward(&x).unwrap();
            assert_eq!(y.dtype(), dtype);
            let wide = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
            let wanted = Conv::new(&wide(&weight), Some(&wide(&bias)), steps).unwrap();
            let wanted = wanted.forward(&wide(&x)).unwrap().to_dtype(dtype).unwrap();
            assert_eq!(numbers(&y), numbers(&wanted));
        }
        // Halves as weights, whole numbers in and out.
        let conv = Conv::new(&wide_weight.to_dtype(DType::BF16).unwrap(), None, steps).unwrap();
        assert_eq!(conv.forward(&wide_x).unwrap().dtype(), DType::F32);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let conv = Conv::new(&noise(&[4, 3, 3, 3], 1), None, ConvSteps::default()).unwrap();
        assert!(conv.forward(&noise(&[1, 3, 3, 3], 2)).is_ok());
        for wrong in [&[1, 3, 2, 3][..], &[1, 3, 3, 2], &[1, 2, 3, 3], &[1, 3, 3], &[1, 3, 0, 3]] {
            assert!(conv.forward(&noise(wrong, 2)).is_err(), "{wrong:?}");
        }
        let new = |shape: &[usize], steps| Conv::new(&noise(shape, 1), None, steps);
        let plain = ConvSteps::default();
        assert!(new(&[4, 3], plain).is_err());
        assert!(new(&[4, 3, 0], plain).is_err());
        for wrong in [
            ConvSteps { stride: 0, ..plain },
            ConvSteps { dilation: 0, ..plain },
            ConvSteps { groups: 0, ..plain },
            ConvSteps { groups: 3, ..plain },
        ] {
            assert!(new(&[4, 3, 3], wrong).is_err(), "{wrong:?}");
        }
        let bias = noise(&[3], 1);
        assert!(Conv::new(&noise(&[4, 3, 3], 1), Some(&bias), plain).is_err());
    }
}
