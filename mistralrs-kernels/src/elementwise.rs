//! Norms, rotary embedding, activations.

use crate::scalar;

/// The shape of the vectors that [`rope`] rotates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RopeShape {
    /// Heads per token.
    pub heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// How many of them, from the first, take part in the rotation; even.
    pub rotary_dim: usize,
}

/// Root-mean-square norm of rows of `weight.len()` numbers.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    scalar::rms_norm(x, weight, eps, out);
}

/// Rotary position embedding in place.
pub fn rope(x: &mut [f32], shape: RopeShape, cos: &[f32], sin: &[f32]) {
    scalar::rope(x, shape, cos, sin);
}

/// `silu(gate) * up`.
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    scalar::silu_mul(gate, up, out);
}

/// `gelu(gate) * up`, tanh form.
pub fn gelu_tanh_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    scalar::gelu_tanh_mul(gate, up, out);
}

/// First of the largest numbers.
pub fn argmax(x: &[f32]) -> usize {
    scalar::argmax(x)
}

/// Softmax in place.
pub fn softmax(x: &mut [f32]) {
    scalar::softmax(x);
}
