//! Products of activations with stored weights.

use crate::QuantType;

/// A stored weight matrix `[rows, cols]`, row after row.
#[derive(Debug, Clone, Copy)]
pub struct WeightRows<'a> {
    /// How the weights are stored.
    pub ty: QuantType,
    /// `rows` times the bytes of one row.
    pub bytes: &'a [u8],
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
}

/// `y[m, rows] = x[m, cols] · wᵀ`.
pub fn matmul(w: &WeightRows<'_>, x: &[f32], y: &mut [f32]) {
    crate::scalar::matmul(w, x, y);
}
