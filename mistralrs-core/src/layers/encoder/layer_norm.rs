//! LayerNorm. Source: Ba, Kiros and Hinton, arXiv 1607.06450.

use crate::error::LoadError;
use crate::slices::f32_slice;
use crate::weights::Weights;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use mistralrs_quant::{Place, has_kernels};

/// `(x - mean(x)) / √(variance(x) + eps) · weight + bias`, row by row.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    eps: f32,
}

impl LayerNorm {
    /// Reads `weight` and, if `bias`, `bias` `[hidden]`. Checkpoints of BERT's first years call them
    /// `gamma` and `beta`.
    ///
    /// # Errors
    /// When one is missing or misshapen.
    pub fn load(
        weights: &Weights,
        hidden: usize,
        eps: f64,
        bias: bool,
    ) -> std::result::Result<Self, LoadError> {
        let old = weights.contains("gamma");
        let (weight_name, bias_name) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let read = |name: &str| -> std::result::Result<Vec<f32>, LoadError> {
            Ok(Place::default().take(&weights.tensor(name, &[hidden])?)?.to_vec1()?)
        };
        let bias = bias.then(|| read(bias_name)).transpose()?;
        Ok(Self { weight: read(weight_name)?, bias, eps: eps as f32 })
    }

    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !has_kernels(x) {
            return self.by_tensors(x);
        }
        x.contiguous()?.apply_op1_no_bwd(&LayerNormOp(self))
    }

    fn by_tensors(&self, x: &Tensor) -> Result<Tensor> {
        let place = Place::of(x);
        let vector = |numbers: &[f32]| place.take(&Tensor::new(numbers, place.device())?);
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + f64::from(self.eps))?.sqrt()?)?;
        let x = x.broadcast_mul(&vector(&self.weight)?)?;
        match &self.bias {
            Some(bias) => x.broadcast_add(&vector(bias)?),
            None => Ok(x),
        }
    }
}

struct LayerNormOp<'a>(&'a LayerNorm);

impl CustomOp1 for LayerNormOp<'_> {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let norm = self.0;
        let x = f32_slice(x, layout, self.name())?;
        if layout.dims().last() != Some(&norm.weight.len()) {
            candle_core::bail!("layer-norm: {} weights for {:?}", norm.weight.len(), layout.dims());
        }
        let mut out = vec![0f32; x.len()];
        mistralrs_kernels::layer_norm(x, &norm.weight, norm.bias.as_deref(), norm.eps, &mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}
