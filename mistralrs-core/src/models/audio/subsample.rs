//! The front of Gemma 3n's hearing: two convolutions that shorten a mel spectrum to a quarter, each with a
//! norm over everything heard so far.
//! Source: `modeling_gemma3n.py` of Hugging Face transformers; arXiv 2303.01037 (USM).

use crate::error::LoadError;
use crate::layers::{Conv, ConvSteps};
use crate::weights::Weights;
use candle_core::{Result, Tensor, bail};
use mistralrs_quant::Linear;

/// The sizes of the front.
#[derive(Debug, Clone, PartialEq)]
pub struct SubsampleConfig {
    /// Mel bins per frame.
    pub bins: usize,
    /// Channels of the two convolutions.
    pub channels: [usize; 2],
    /// Height (time) and width (mel) of their kernels.
    pub kernels: [[usize; 2]; 2],
    /// Steps of their kernels, in time and in mel alike.
    pub strides: [usize; 2],
    /// Of their norms.
    pub eps: f32,
    /// Width of what comes out.
    pub hidden: usize,
}

impl SubsampleConfig {
    /// Numbers along mel that a convolution makes of `bins`.
    fn bins_after(&self, number: usize, bins: usize) -> usize {
        let [_, width] = self.kernels.get(number).copied().unwrap_or([1, 1]);
        let stride = self.strides.get(number).copied().unwrap_or(1).max(1);
        (bins + 2).saturating_sub(width) / stride + 1
    }
}

/// The loaded front.
pub struct Subsample {
    blocks: Vec<Block>,
    input_proj: Linear,
}

impl Subsample {
    /// Reads `conv_0`, `conv_1` and `input_proj_linear`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        config: &SubsampleConfig,
        weights: &Weights,
    ) -> std::result::Result<Self, LoadError> {
        let (mut input, mut bins, mut blocks) = (1, config.bins, Vec::new());
        for (number, out) in config.channels.into_iter().enumerate() {
            let at = weights.pp(format!("conv_{number}"));
            let [height, width] = config.kernels.get(number).copied().unwrap_or([1, 1]);
            let stride = config.strides.get(number).copied().unwrap_or(1);
            let steps = ConvSteps { stride, ..ConvSteps::default() };
            blocks.push(Block {
                conv: Conv::load(&at.pp("conv"), &[out, input, height, width], false, steps)?,
                height,
                norm: at.pp("norm").tensor("weight", &[out])?.to_vec1()?,
                eps: config.eps,
            });
            (input, bins) = (out, config.bins_after(number, bins));
        }
        let wide = input * bins;
        Ok(Self {
            blocks,
            input_proj: weights.pp("input_proj_linear").linear(config.hidden, wide, false)?,
        })
    }

    /// Mel spectrum `[frames, bins]` → `[steps, hidden]`.
    ///
    /// # Errors
    /// When there are fewer frames or bins than a kernel needs.
    pub fn forward(&self, mel: &Tensor) -> Result<Tensor> {
        let mut x = mel.unsqueeze(0)?.unsqueeze(0)?; // [1, channels, frames, bins]
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let (_, channels, steps, bins) = x.dims4()?;
        let x = x.squeeze(0)?.permute((1, 2, 0))?.contiguous()?; // [steps, bins, channels]
        self.input_proj.forward(&x.reshape((steps, bins * channels))?)
    }
}

struct Block {
    conv: Conv,
    /// Of the kernel, in time.
    height: usize,
    /// `[channels]`
    norm: Vec<f32>,
    eps: f32,
}

impl Block {
    /// One zero on each side of the bins, and behind the frames as many as the kernel looks ahead.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.pad_with_zeros(3, 1, 1)?.pad_with_zeros(2, 0, self.height - 1)?;
        let x = self.conv.forward(&x)?;
        let (_, channels, steps, bins) = x.dims4()?;
        let rows = x.squeeze(0)?.permute((1, 2, 0))?.contiguous()?; // [steps, bins, channels]
        let mut numbers = rows.flatten_all()?.to_vec1::<f32>()?;
        cumulative_norm(&mut numbers, bins * channels, &self.norm, self.eps)?;
        let rows = Tensor::from_vec(numbers, (steps, bins, channels), x.device())?.relu()?;
        rows.permute((2, 0, 1))?.unsqueeze(0)
    }
}

/// Norms each step of `width` numbers by mean and variance of all numbers up to it, where each step's
/// share of the variance is around the mean of its own moment; then multiplies channel by channel.
fn cumulative_norm(x: &mut [f32], width: usize, weight: &[f32], eps: f32) -> Result<()> {
    if width == 0 || weight.is_empty() || !width.is_multiple_of(weight.len()) {
        bail!("a norm of {} channels over steps of {width}", weight.len());
    }
    let (mut sum, mut squares, mut count) = (0f64, 0f64, 0f64);
    for step in x.chunks_exact_mut(width) {
        sum += step.iter().map(|x| f64::from(*x)).sum::<f64>();
        count += width as f64;
        let mean = sum / count;
        squares += step.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>();
        let factor = 1.0 / (squares / count + f64::from(eps)).sqrt();
        for place in step.chunks_exact_mut(weight.len()) {
            for (x, weight) in place.iter_mut().zip(weight) {
                *x = ((f64::from(*x) - mean) * factor) as f32 * weight;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_normed_by_all_before_it() {
        let mut x = [1.0, 3.0, 5.0, 7.0];
        cumulative_norm(&mut x, 2, &[1.0, 2.0], 0.0).unwrap();
        // First: mean 2, variance 1. Then: mean 4, and 1 + 1 + 1 + 9 over 4 numbers.
        let second = 3f32.sqrt();
        for (found, wanted) in x.into_iter().zip([-1.0, 2.0, 1.0 / second, 6.0 / second]) {
            assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
        }
        assert!(cumulative_norm(&mut x, 3, &[1.0, 2.0], 0.0).is_err());
        assert!(cumulative_norm(&mut x, 2, &[], 0.0).is_err());
    }
}
