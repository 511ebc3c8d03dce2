//! RMSNorm. Source: Zhang and Sennrich, arXiv 1910.07467.

use super::encoder::LayerNorm;
use crate::slices::f32_slice;
use crate::weights::Weights;
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use mistralrs_quant::has_kernels;

/// `x / √(mean(x²) + eps) · weight`, row by row.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// `weight` is `[hidden]`.
    pub fn new(weight: Tensor, eps: f64) -> Self {
        Self { weight, eps: eps as f32 }
    }

    /// Reads `weight` `[hidden]`.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn load(
        weights: &Weights,
        hidden: usize,
        eps: f64,
    ) -> std::result::Result<Self, mistralrs_quant::Error> {
        Ok(Self::new(weights.tensor("weight", &[hidden])?, eps))
    }

    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !has_kernels(x) {
            return self.by_tensors(x);
        }
        x.contiguous()?.apply_op2_no_bwd(&self.weight, &RmsNormOp { eps: self.eps })
    }

    fn by_tensors(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.reshape(((), self.weight.dim(0)?))?;
        let mean_square = rows.sqr()?.mean_keepdim(D::Minus1)?;
        let rows = rows.broadcast_div(&(mean_square + f64::from(self.eps))?.sqrt()?)?;
        rows.broadcast_mul(&self.weight)?.reshape(x.shape())
    }
}

/// A norm of one row at a time.
pub trait Norm: Send {
    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

impl Norm for RmsNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Self::forward(self, x)
    }
}

impl Norm for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Self::forward(self, x)
    }
}

struct RmsNormOp {
    eps: f32,
}

impl CustomOp2 for RmsNormOp {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = f32_slice(x, x_layout, self.name())?;
        let weight = f32_slice(weight, weight_layout, self.name())?;
        if weight.is_empty() || !x.len().is_multiple_of(weight.len()) {
            bail!("rms-norm: rows of {} do not divide {} numbers", weight.len(), x.len());
        }
        let mut out = vec![0f32; x.len()];
        mistralrs_kernels::rms_norm(x, weight, self.eps, &mut out);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}
