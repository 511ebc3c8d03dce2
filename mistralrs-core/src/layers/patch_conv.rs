//! A convolution over patches that do not overlap: its kernel is as long as its step, so it is one
//! product of the flattened patches with the flattened kernel. No convolution of the tensor library is
//! involved, and its kernel may be of any length in time.

use crate::weights::Weights;
use candle_core::{Result, Tensor};
use mistralrs_quant::QuantMethod;
use std::sync::Arc;

/// Kernels `[out, channels, frames, height, width]` whose step is their size, without a bias.
#[derive(Debug)]
pub struct Conv3dNoBias {
    /// `[out, channels × frames × height × width]`
    matrix: Arc<dyn QuantMethod>,
    shape: [usize; 5],
}

impl Conv3dNoBias {
    /// Reads `weight` of this shape.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn load(weights: &Weights, shape: [usize; 5]) -> mistralrs_quant::Result<Self> {
        Ok(Self { matrix: weights.flattened(&shape)?, shape })
    }

    /// Patches `[patches, channels × frames × height × width]` → `[patches, out]`.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn forward(&self, patches: &Tensor) -> Result<Tensor> {
        self.matrix.forward(patches)
    }

    /// The kernels as they are stored in a checkpoint, f32.
    ///
    /// # Errors
    /// When the device fails.
    pub fn weight(&self) -> Result<Tensor> {
        self.matrix.dequantize()?.reshape(&self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::CpuAttention;
    use candle_core::Device;
    use mistralrs_quant::{WeightOptions, open_safetensors};
    use mistralrs_testkit::fixture;

    /// Row G3: the kernels of a real fixture, against the sum that a convolution is.
    #[test]
    fn it_is_a_convolution_in_three_dimensions_and_keeps_its_weight() {
        let file = fixture("qwen2-vl").join("model.safetensors");
        let checkpoint = open_safetensors(&[file]).unwrap();
        let weights =
            Weights::new(checkpoint, WeightOptions::default(), Arc::new(CpuAttention), |_, _| ());
        let weights = weights.pp("visual").pp("patch_embed").pp("proj");
        let shape = [16, 3, 2, 4, 4];
        let stored = weights.tensor("weight", &shape).unwrap().flatten_all().unwrap();
        let conv = Conv3dNoBias::load(&weights, shape).unwrap();
        let kept = conv.weight().unwrap();
        assert_eq!(kept.dims(), shape);
        let bits = |x: &Tensor| -> Vec<u32> {
            x.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&kept.flatten_all().unwrap()), bits(&stored));
        let patch: Vec<f32> = (0..2 * 96).map(|i| ((i * 37) % 19) as f32 / 7.0 - 1.0).collect();
        let x = Tensor::from_vec(patch.clone(), (2, 96), &Device::Cpu).unwrap();
        let found = conv.forward(&x).unwrap().to_vec2::<f32>().unwrap();
        let kernels = stored.to_vec1::<f32>().unwrap();
        let at = |c: usize, t: usize, y: usize, x: usize| ((c * 2 + t) * 4 + y) * 4 + x;
        for (number, patch) in patch.chunks(96).enumerate() {
            for (out, kernel) in kernels.chunks(96).enumerate() {
                let mut sum = 0.0f64;
                for c in 0..3 {
                    for t in 0..2 {
                        for y in 0..4 {
                            for x in 0..4 {
                                let i = at(c, t, y, x);
                                sum += f64::from(patch[i]) * f64::from(kernel[i]);
                            }
                        }
                    }
                }
                assert!((f64::from(found[number][out]) - sum).abs() < 1e-5);
            }
        }
        assert!(Conv3dNoBias::load(&weights, [16, 3, 1, 4, 4]).is_err(), "another length in time");
    }
}
