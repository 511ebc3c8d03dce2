//! The gated feed-forward block: `down(act(gate(x)) · up(x))`.
//! Source: Shazeer, arXiv 2002.05202.

use crate::slices::f32_slice;
use crate::weights::Weights;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use mistralrs_quant::{Gating, Linear, MergedLinear, has_kernels};

/// What the gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`: SwiGLU.
    Silu,
    /// GELU in its tanh form: GeGLU.
    GeluTanh,
}

impl Activation {
    /// By the name in `config.json`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu_pytorch_tanh" | "gelu_new" => Some(Self::GeluTanh),
            _ => None,
        }
    }

    fn gating(self) -> Gating {
        match self {
            Self::Silu => Gating::Silu,
            Self::GeluTanh => Gating::GeluTanh,
        }
    }
}

/// SwiGLU, or with another activation its like.
#[derive(Debug)]
pub struct GatedMlp {
    gate_up: MergedLinear,
    down: Linear,
    activation: Activation,
    /// Of each row, only gates above its mean by so many standard deviations open.
    sparsity: Option<f32>,
}

impl GatedMlp {
    /// Reads `gate_proj`, `up_proj` and `down_proj`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        weights: &Weights,
        hidden: usize,
        intermediate: usize,
        bias: bool,
    ) -> mistralrs_quant::Result<Self> {
        let linear = |name, rows, cols| weights.pp(name).linear(rows, cols, bias);
        let gate_up = MergedLinear::new(vec![
            linear("gate_proj", intermediate, hidden)?,
            linear("up_proj", intermediate, hidden)?,
        ]);
        let down = linear("down_proj", hidden, intermediate)?;
        Ok(Self { gate_up, down, activation: Activation::Silu, sparsity: None })
    }

    /// Reads `gate_up_proj`, both in one, and `down_proj`, without biases.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load_stacked(
        weights: &Weights,
        hidden: usize,
        intermediate: usize,
    ) -> mistralrs_quant::Result<Self> {
        let whole = weights.pp("gate_up_proj").linear(2 * intermediate, hidden, false)?;
        let gate_up = MergedLinear::stacked(whole, vec![intermediate; 2]);
        let down = weights.pp("down_proj").linear(hidden, intermediate, false)?;
        Ok(Self { gate_up, down, activation: Activation::Silu, sparsity: None })
    }

    /// With another activation than SiLU.
    #[must_use]
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Only gates above their row's mean by `deviations` open, by what they are above that.
    #[must_use]
    pub fn with_sparsity(self, deviations: f32) -> Self {
        Self { sparsity: Some(deviations), ..self }
    }

    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.sparsity.is_none()
            && let Some(y) = self.gate_up.gated(x, self.activation.gating(), &self.down)?
        {
            return Ok(y);
        }
        let parts = self.gate_up.forward(x)?;
        let [gate, up] = parts.as_slice() else { bail!("gate and up are two") };
        let gate = match self.sparsity {
            None => gate.clone(),
            Some(deviations) => sparse(gate, deviations)?,
        };
        self.down.forward(&gated(self.activation, &gate, up)?)
    }
}

/// `act(gate) · up`, number by number.
///
/// # Errors
/// When shapes disagree.
pub fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if has_kernels(gate) {
        return gate.contiguous()?.apply_op2_no_bwd(&up.contiguous()?, &Gate(activation));
    }
    match activation {
        Activation::Silu => gate.silu()? * up,
        Activation::GeluTanh => gate.gelu()? * up,
    }
}

/// `max(x − (mean + deviations · σ), 0)` row by row.
fn sparse(x: &Tensor, deviations: f32) -> Result<Tensor> {
    if has_kernels(x) {
        return x.contiguous()?.apply_op1_no_bwd(&Sparsify { deviations });
    }
    let mean = x.mean_keepdim(D::Minus1)?;
    let variance = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_sub(&(mean + (variance.sqrt()? * f64::from(deviations))?)?)?.relu()
}

struct Sparsify {
    deviations: f32,
}

impl CustomOp1 for Sparsify {
    fn name(&self) -> &'static str {
        "sparsify"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = f32_slice(x, layout, self.name())?.to_vec();
        let width = layout.dims().last().copied().unwrap_or(0).max(1);
        for row in out.chunks_mut(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
            let least = mean + self.deviations * variance.sqrt();
            row.iter_mut().for_each(|x| *x = (*x - least).max(0.0));
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// `act(gate) · up`.
struct Gate(Activation);

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gate = f32_slice(gate, gate_layout, self.name())?;
        let up = f32_slice(up, up_layout, self.name())?;
        if gate.len() != up.len() {
            bail!("gate: {} gates for {} values", gate.len(), up.len());
        }
        let mut out = vec![0f32; gate.len()];
        match self.0 {
            Activation::Silu => mistralrs_kernels::silu_mul(gate, up, &mut out),
            Activation::GeluTanh => mistralrs_kernels::gelu_tanh_mul(gate, up, &mut out),
        }
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }
}
