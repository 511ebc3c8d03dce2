//! The feed-forward block without a gate: `down(act(up(x)))`.

use super::Activation;
use crate::error::LoadError;
use crate::weights::Weights;
use candle_core::{Result, Tensor};
use mistralrs_quant::Linear;

/// Two layers with biases and what stands between them.
#[derive(Debug)]
pub struct PlainMlp {
    up: Linear,
    activation: Activation,
    down: Linear,
}

impl PlainMlp {
    /// Reads two layers by their `names`, of the `widths` input, inside and output.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        weights: &Weights,
        names: [&str; 2],
        widths: [usize; 3],
        activation: Activation,
    ) -> std::result::Result<Self, LoadError> {
        let ([up, down], [input, inside, output]) = (names, widths);
        Ok(Self {
            up: weights.pp(up).linear(inside, input, true)?,
            activation,
            down: weights.pp(down).linear(output, inside, true)?,
        })
    }

    /// `[tokens, input]` → `[tokens, output]`.
    ///
    /// # Errors
    /// When shapes disagree or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.activation.forward(self.up.forward(x)?)?)
    }
}
