//! Linear layers over any stored weight: one, and several that share their input. Knows tensors and
//! [`QuantMethod`]; not models. How many products a merged layer computes is its secret.

use crate::method::{QuantMethod, WeightInfo};
use crate::packed::{Part, forward_mlp, forward_parts};
use crate::place::has_kernels;
use candle_core::{CpuStorage, D, InplaceOp2, Layout, Result, Tensor, bail};
use mistralrs_kernels::Gating;
use std::ops::Range;
use std::sync::Arc;

/// `y = x · weightᵀ + bias`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Arc<dyn QuantMethod>,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer of a weight `[out, in]` and an f32 bias `[out]`.
    pub fn new(weight: Arc<dyn QuantMethod>, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// `x [tokens, in]` → `[tokens, out]`.
    ///
    /// # Errors
    /// Shapes, types or devices of `x`, weight and bias do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        if let Some(y) = forward_parts(&[self.part(None)], &x)?.and_then(|mut ys| ys.pop()) {
            return Ok(y);
        }
        let y = self.weight.forward(&x)?;
        match &self.bias {
            Some(bias) if has_kernels(&y) => y.inplace_op2(bias, &AddBias)?,
            Some(bias) => return y.broadcast_add(bias),
            None => {}
        }
        Ok(y)
    }

    /// These rows, or all.
    fn part(&self, rows: Option<Range<usize>>) -> Part<'_> {
        Part { weight: self.weight.as_ref(), bias: self.bias.as_ref(), rows }
    }

    /// What the weight is and what it costs.
    pub fn info(&self) -> WeightInfo {
        self.weight.info()
    }
}

/// Several layers with one input: query, key and value; gate and up.
#[derive(Debug, Clone)]
pub struct MergedLinear {
    parts: Parts,
}

#[derive(Debug, Clone)]
enum Parts {
    /// A weight for each.
    Apart(Vec<Linear>),
    /// One weight whose rows are those of the parts, one part after the other, and their numbers.
    Stacked(Linear, Vec<usize>),
}

impl MergedLinear {
    /// A layer of parts that all take the same input. Their types may differ.
    pub fn new(parts: Vec<Linear>) -> Self {
        Self { parts: Parts::Apart(parts) }
    }

    /// A layer whose parts are stored as one: `rows[i]` of its outputs are those of part `i`.
    pub fn stacked(whole: Linear, rows: Vec<usize>) -> Self {
        Self { parts: Parts::Stacked(whole, rows) }
    }

    /// `x [tokens, in]` → for each part `[tokens, out of that part]`.
    ///
    /// # Errors
    /// Shapes, types or devices of `x`, weights and biases do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let x = x.contiguous()?;
        if let Some(ys) = forward_parts(&self.parts(), &x)? {
            return Ok(ys);
        }
        match &self.parts {
            Parts::Apart(parts) => parts.iter().map(|part| part.forward(&x)).collect(),
            Parts::Stacked(whole, rows) => cut(&whole.forward(&x)?, rows),
        }
    }

    /// `down(act(gate(x)) · up(x))` of a layer of two parts, gate and up, in one pass: `x [tokens, in]` →
    /// `[tokens, out of down]`. `None` where the three cannot be computed together; the numbers are those
    /// of [`Self::forward`], what joins its parts, and `down`.
    ///
    /// # Errors
    /// As for [`Self::forward`].
    pub fn gated(&self, x: &Tensor, gating: Gating, down: &Linear) -> Result<Option<Tensor>> {
        match <[Part<'_>; 2]>::try_from(self.parts()) {
            Ok([gate, up]) => forward_mlp(&[gate, up, down.part(None)], &x.contiguous()?, gating),
            Err(_) => Ok(None),
        }
    }

    fn parts(&self) -> Vec<Part<'_>> {
        match &self.parts {
            Parts::Apart(parts) => parts.iter().map(|part| part.part(None)).collect(),
            Parts::Stacked(whole, rows) => {
                let mut start = 0;
                let mut next = |rows: &usize| {
                    let part = whole.part(Some(start..start + rows));
                    start += rows;
                    part
                };
                rows.iter().map(&mut next).collect()
            }
        }
    }
}

/// `y [tokens, all rows]` → for each part `[tokens, its rows]`.
fn cut(y: &Tensor, rows: &[usize]) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let mut next = |rows: &usize| {
        let part = y.narrow(D::Minus1, start, *rows)?.contiguous();
        start += rows;
        part
    };
    rows.iter().map(&mut next).collect()
}

/// Adds `bias [out]` to every row of `[.., out]` where it stands, without another tensor.
struct AddBias;

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(y), CpuStorage::F32(bias)) = (y, bias) else {
            bail!("a linear layer and its bias are f32");
        };
        let y = y_layout.contiguous_offsets().and_then(|(start, end)| y.get_mut(start..end));
        let bias = bias_layout.contiguous_offsets().and_then(|(start, end)| bias.get(start..end));
        let (Some(y), Some(bias)) = (y, bias) else {
            bail!("a linear layer's output or bias is not contiguous");
        };
        if bias_layout.dims().len() != 1 || y_layout.dims().last() != Some(&bias.len()) {
            bail!("a bias {:?} for an output {:?}", bias_layout.dims(), y_layout.dims());
        }
        mistralrs_kernels::add_to_rows(y, bias);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
