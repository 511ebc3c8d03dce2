//! The gated feed-forward block: `down(act(gate(x)) · up(x))`.
//! Source: Shazeer, arXiv 2002.05202.

use crate::slices::f32_slice;
use crate::weights::Weights;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use mistralrs_quant::{Linear, MergedLinear};

/// SwiGLU.
#[derive(Debug)]
pub struct GatedMlp {
    gate_up: MergedLinear,
    down: Linear,
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
        Ok(Self {
            gate_up: MergedLinear::new(vec![
                linear("gate_proj", intermediate, hidden)?,
                linear("up_proj", intermediate, hidden)?,
            ]),
            down: linear("down_proj", hidden, intermediate)?,
        })
    }

    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let parts = self.gate_up.forward(x)?;
        let [gate, up] = parts.as_slice() else { bail!("gate and up are two") };
        self.down.forward(&gate.contiguous()?.apply_op2_no_bwd(&up.contiguous()?, &SiluMul)?)
    }
}

struct SiluMul;

impl CustomOp2 for SiluMul {
    fn name(&self) -> &'static str {
        "silu-mul"
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
            bail!("silu-mul: {} gates for {} values", gate.len(), up.len());
        }
        let mut out = vec![0f32; gate.len()];
        mistralrs_kernels::silu_mul(gate, up, &mut out);
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }
}
