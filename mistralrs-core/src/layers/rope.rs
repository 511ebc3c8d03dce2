//! Rotary position embedding: by halves as in most Hugging Face checkpoints, or by neighbors.
//! Source: Su et al., arXiv 2104.09864.

use crate::forward::ForwardBatch;
use crate::slices::{f32_slice, f32_slice_mut};
use candle_core::{CpuStorage, Device, InplaceOp3, Layout, Result, Tensor, bail};
use mistralrs_kernels::{RopePairs, RopeShape};
use mistralrs_quant::{Place, has_kernels};

/// Frequencies, from which each step computes the rotations of just its own positions: no table as
/// long as the context is kept.
#[derive(Debug, Clone)]
pub struct RotaryEmbedding {
    /// `[rotary_dim / 2]`, radians per position.
    inv_freq: Vec<f32>,
    /// The same for sequences longer than the short context.
    long_inv_freq: Option<Vec<f32>>,
    /// Multiplies cosines and sines.
    scale: f32,
    /// `[rotary_dim / 2]`: by which of a token's three positions each frequency turns (time, height,
    /// width); empty for models that count tokens.
    axes: Vec<usize>,
    pairs: RopePairs,
    place: Place,
}

/// Cosines and sines of one step: each `[tokens, rotary_dim / 2]`.
#[derive(Debug, Clone)]
pub struct RopeTables {
    cos: Tensor,
    sin: Tensor,
    pairs: RopePairs,
}

impl RotaryEmbedding {
    /// `inv_freq` is `[rotary_dim / 2]`, radians per position; tables are for `place`.
    pub fn new(inv_freq: Vec<f32>, place: &Place) -> Self {
        let (long_inv_freq, scale, pairs) = (None, 1.0, RopePairs::Halves);
        let axes = Vec::new();
        Self { inv_freq, long_inv_freq, scale, axes, pairs, place: place.clone() }
    }

    /// With other frequencies `[rotary_dim / 2]` in sequences longer than the short context.
    #[must_use]
    pub fn with_long(self, long_inv_freq: Vec<f32>) -> Self {
        Self { long_inv_freq: Some(long_inv_freq), ..self }
    }

    /// Multiplies what it rotates, as YaRN and LongRoPE do.
    #[must_use]
    pub fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// Turns each frequency by a position of its own, along time (0), height (1) or width (2), where
    /// a step has such positions: `axes` is `[rotary_dim / 2]`.
    #[must_use]
    pub fn with_axes(self, axes: Vec<usize>) -> Self {
        Self { axes, ..self }
    }

    /// Rotates neighbors, not halves.
    #[must_use]
    pub fn interleaved(self) -> Self {
        Self { pairs: RopePairs::Neighbors, ..self }
    }

    /// The rotations of a step's tokens.
    ///
    /// # Errors
    /// When the device refuses the tensors.
    pub fn step_tables(&self, batch: &ForwardBatch) -> Result<RopeTables> {
        if !self.axes.is_empty() && !batch.rope_positions.is_empty() {
            return self.tables_by_axis(&batch.rope_positions);
        }
        let is_long = |row| batch.long_rows.iter().any(|rows| rows.contains(&row));
        self.tables_where(&batch.positions, is_long)
    }

    /// The rotations of `positions` `[tokens]` along any number of axes, those of each frequency by
    /// the axis that is its own.
    ///
    /// # Errors
    /// When a frequency has no axis, or one that the positions have not.
    pub fn tables_by_axis<const N: usize>(&self, positions: &[[u32; N]]) -> Result<RopeTables> {
        if self.axes.len() != self.inv_freq.len() || self.axes.iter().any(|axis| *axis >= N) {
            bail!("rope: {} frequencies by axes {:?} of {N}", self.inv_freq.len(), self.axes);
        }
        let mut angles = Vec::with_capacity(positions.len() * self.inv_freq.len());
        for at in positions {
            let pairs = self.inv_freq.iter().zip(&self.axes);
            let angle = |(frequency, axis): (&f32, &usize)| {
                at.get(*axis).map_or(0.0, |position| *position as f32 * frequency)
            };
            angles.extend(pairs.map(angle));
        }
        self.tables_of(&angles, positions.len())
    }

    /// The rotations of `positions` `[tokens]` in sequences within the short context.
    ///
    /// # Errors
    /// When the device refuses the tensors.
    pub fn tables(&self, positions: &[u32]) -> Result<RopeTables> {
        self.tables_where(positions, |_| false)
    }

    fn tables_where(
        &self,
        positions: &[u32],
        is_long: impl Fn(usize) -> bool,
    ) -> Result<RopeTables> {
        let mut angles = Vec::with_capacity(positions.len() * self.inv_freq.len());
        for (row, &position) in positions.iter().enumerate() {
            let long = self.long_inv_freq.as_ref().filter(|_| is_long(row));
            let frequencies = long.unwrap_or(&self.inv_freq);
            angles.extend(frequencies.iter().map(|frequency| position as f32 * frequency));
        }
        self.tables_of(&angles, positions.len())
    }

    /// `angles` is `[tokens, rotary_dim / 2]`.
    fn tables_of(&self, angles: &[f32], tokens: usize) -> Result<RopeTables> {
        let shape = (tokens, self.inv_freq.len());
        let cos: Vec<f32> = angles.iter().map(|angle| angle.cos() * self.scale).collect();
        let sin: Vec<f32> = angles.iter().map(|angle| angle.sin() * self.scale).collect();
        Ok(RopeTables {
            cos: self.place.take(&Tensor::from_vec(cos, shape, &Device::Cpu)?)?,
            sin: self.place.take(&Tensor::from_vec(sin, shape, &Device::Cpu)?)?,
            pairs: self.pairs,
        })
    }
}

impl RopeTables {
    /// Rotates the heads of `x` `[tokens, heads × head_dim]`; in place where `x` is contiguous.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn rotate(&self, x: &Tensor, head_dim: usize) -> Result<Tensor> {
        if !has_kernels(x) {
            return self.rotate_tensors(x, head_dim);
        }
        let x = x.contiguous()?;
        x.inplace_op3(&self.cos, &self.sin, &RotateHeads { head_dim, pairs: self.pairs })?;
        Ok(x)
    }

    /// The same tables at another place.
    ///
    /// # Errors
    /// When the device refuses the tensors.
    pub fn at(&self, place: &Place) -> Result<Self> {
        let (cos, sin) = (place.take(&self.cos)?, place.take(&self.sin)?);
        Ok(Self { cos, sin, pairs: self.pairs })
    }

    fn rotate_tensors(&self, x: &Tensor, head_dim: usize) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        let half = self.cos.dim(1)?;
        let heads = x.reshape((tokens, width / head_dim, head_dim))?;
        let turned = heads.narrow(2, 0, 2 * half)?;
        // Either way the first and the second number of each pair: `[tokens, heads, half]`.
        let pairs = match self.pairs {
            RopePairs::Halves => turned.reshape((tokens, (), 2, half))?.transpose(2, 3)?,
            RopePairs::Neighbors => turned.reshape((tokens, (), half, 2))?,
        };
        let (a, b) = (pairs.narrow(3, 0, 1)?.squeeze(3)?, pairs.narrow(3, 1, 1)?.squeeze(3)?);
        let (cos, sin) = (self.cos.unsqueeze(1)?, self.sin.unsqueeze(1)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        let pairs = Tensor::stack(&[first, second], 3)?; // [tokens, heads, half, 2]
        let turned = match self.pairs {
            RopePairs::Halves => pairs.transpose(2, 3)?,
            RopePairs::Neighbors => pairs,
        };
        let turned = turned.reshape((tokens, (), 2 * half))?;
        let rest = heads.narrow(2, 2 * half, head_dim - 2 * half)?;
        Tensor::cat(&[turned, rest], 2)?.reshape((tokens, width))
    }
}

struct RotateHeads {
    head_dim: usize,
    pairs: RopePairs,
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
        let (head_dim, pairs) = (self.head_dim, self.pairs);
        let shape = RopeShape { heads: width / head_dim, head_dim, rotary_dim, pairs };
        mistralrs_kernels::rope(x, shape, cos, sin);
        Ok(())
    }
}
