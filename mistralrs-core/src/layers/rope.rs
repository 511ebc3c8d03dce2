//! Rotary position embedding, half-split as in the Hugging Face checkpoints.
//! Source: Su et al., arXiv 2104.09864.

use crate::slices::{f32_slice, f32_slice_mut};
use candle_core::{CpuStorage, Device, InplaceOp3, Layout, Result, Tensor, bail};
use mistralrs_kernels::RopeShape;

/// Frequencies, from which each step computes the rotations of just its own positions: no table as
/// long as the context is kept.
#[derive(Debug, Clone)]
pub struct RotaryEmbedding {
    /// `[rotary_dim / 2]`, radians per position.
    inv_freq: Vec<f32>,
    device: Device,
}

/// Cosines and sines of one step: each `[tokens, rotary_dim / 2]`.
#[derive(Debug, Clone)]
pub struct RopeTables {
    cos: Tensor,
    sin: Tensor,
}

impl RotaryEmbedding {
    /// `inv_freq` is `[rotary_dim / 2]`, radians per position.
    pub fn new(inv_freq: Vec<f32>, device: &Device) -> Self {
        Self { inv_freq, device: device.clone() }
    }

    /// Where the tables are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The rotations of `positions` `[tokens]`.
    ///
    /// # Errors
    /// When the device refuses the tensors.
    pub fn tables(&self, positions: &[u32]) -> Result<RopeTables> {
        let angles =
            || positions.iter().flat_map(|&p| self.inv_freq.iter().map(move |f| p as f32 * f));
        let shape = (positions.len(), self.inv_freq.len());
        let cos: Vec<f32> = angles().map(f32::cos).collect();
        let sin: Vec<f32> = angles().map(f32::sin).collect();
        Ok(RopeTables {
            cos: Tensor::from_vec(cos, shape, &self.device)?,
            sin: Tensor::from_vec(sin, shape, &self.device)?,
        })
    }
}

impl RopeTables {
    /// Rotates the heads of `x` `[tokens, heads × head_dim]`; in place where `x` is contiguous.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn rotate(&self, x: &Tensor, head_dim: usize) -> Result<Tensor> {
        let x = x.contiguous()?;
        x.inplace_op3(&self.cos, &self.sin, &RotateHeads { head_dim })?;
        Ok(x)
    }
}

struct RotateHeads {
    head_dim: usize,
}

impl InplaceOp3 for RotateHeads {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<()> {
        let (tokens, width) = x_layout.shape().dims2()?;
        let x = f32_slice_mut(x, x_layout, self.name())?;
        let cos = f32_slice(cos, cos_layout, self.name())?;
        let sin = f32_slice(sin, sin_layout, self.name())?;
        let rotary_dim = 2 * cos.len() / tokens.max(1);
        let fits = rotary_dim <= self.head_dim && width.is_multiple_of(self.head_dim.max(1));
        if !fits || sin.len() != cos.len() || tokens * rotary_dim != 2 * cos.len() {
            bail!("rope: {rotary_dim} rotated of {} in rows of {width}", self.head_dim);
        }
        let shape = RopeShape { heads: width / self.head_dim, head_dim: self.head_dim, rotary_dim };
        mistralrs_kernels::rope(x, shape, cos, sin);
        Ok(())
    }
}
