//! Norms, rotary embedding, activations, softmax, argmax: work that is row-wise or number-wise.
//! The bodies are plain loops that `dispatch` compiles per instruction set; sums run in sixteen
//! fixed lanes so that they vectorize and never depend on the batch.

use crate::dispatch;
use crate::math::exp;
use crate::pool;
use half::f16;

/// The shape of the vectors that [`rope`] rotates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RopeShape {
    /// Heads per token.
    pub heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// How many of them, from the first, take part in the rotation; even.
    pub rotary_dim: usize,
    /// Which numbers turn together.
    pub pairs: RopePairs,
}

/// Which two of a head's numbers turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// `i` and `i + rotary_dim / 2`: the order of most Hugging Face checkpoints.
    Halves,
    /// `2i` and `2i + 1`.
    Neighbors,
}

/// A norm's weight and bias.
pub(crate) type Affine<'a> = (&'a [f32], Option<&'a [f32]>);

/// From so many numbers on, work is split over threads.
const PARALLEL: usize = 64 << 10;
/// Numbers per task.
const TASK: usize = 16 << 10;
/// Sums and maxima run in so many lanes.
const LANES: usize = 16;

/// Writes `x / sqrt(mean(x²) + eps) * weight` for each row of `weight.len()` numbers.
///
/// # Panics
/// If `x` is not whole rows or `out` is not of its size.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let cols = weight.len().max(1);
    assert!(x.len().is_multiple_of(cols), "x is not [rows, {cols}]");
    assert_eq!(x.len(), out.len(), "out is not of x's size");
    let norm = dispatch::kernels().rms_norm;
    let task = (TASK / cols).max(1) * cols;
    in_tasks(out, task, |first, out| {
        // SAFETY: the kernels' instruction set is present.
        unsafe { norm(&x[first..first + out.len()], weight, eps, out) }
    });
}

/// Writes `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias` for each row of `weight.len()`
/// numbers; without a bias nothing is added.
///
/// # Panics
/// If `x` is not whole rows, or `out` or the bias are not of their size.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let cols = weight.len().max(1);
    assert!(x.len().is_multiple_of(cols), "x is not [rows, {cols}]");
    assert_eq!(x.len(), out.len(), "out is not of x's size");
    assert!(bias.is_none_or(|bias| bias.len() == weight.len()), "bias is not [{cols}]");
    let norm = dispatch::kernels().layer_norm;
    let task = (TASK / cols).max(1) * cols;
    in_tasks(out, task, |first, out| {
        // SAFETY: the kernels' instruction set is present.
        unsafe { norm(&x[first..first + out.len()], (weight, bias), eps, out) }
    });
}

/// Turns each number into `x / 2 * (1 + erf(x / sqrt(2)))`: GELU, its exact form.
pub fn gelu(x: &mut [f32]) {
    let gelu = dispatch::kernels().gelu;
    // SAFETY: the kernels' instruction set is present.
    in_tasks(x, TASK, |_, x| unsafe { gelu(x) });
}

/// Turns each number into `gelu(x)`, with the tanh form of GELU.
pub fn gelu_tanh(x: &mut [f32]) {
    gate_itself(x, 1.595_769, 0.044_715); // 2 sqrt(2 / pi)
}

/// Turns each number into `x * sigmoid(1.702 x)`: GELU by way of a sigmoid.
pub fn quick_gelu(x: &mut [f32]) {
    gate_itself(x, 1.702, 0.0);
}

/// Turns each number into `x * sigmoid(x)`.
pub fn silu(x: &mut [f32]) {
    gate_itself(x, 1.0, 0.0);
}

/// `x * sigmoid(factor * (x + cubic * x³))`
fn gate_itself(x: &mut [f32], factor: f32, cubic: f32) {
    let gate = dispatch::kernels().gate_itself;
    // SAFETY: the kernels' instruction set is present.
    in_tasks(x, TASK, |_, x| unsafe { gate(x, factor, cubic) });
}

/// Turns each number into `cap * tanh(x / cap)`.
pub fn softcap(x: &mut [f32], cap: f32) {
    let softcap = dispatch::kernels().softcap;
    // SAFETY: the kernels' instruction set is present.
    in_tasks(x, TASK, |_, x| unsafe { softcap(x, cap) });
}

/// Rotates the pairs of every head in `x` `[tokens, heads, head_dim]` by its token's angles; `cos` and `sin` are `[tokens, rotary_dim / 2]`.
///
/// # Panics
/// If the sizes do not fit, or `rotary_dim` is odd or larger than `head_dim`.
pub fn rope(x: &mut [f32], shape: RopeShape, cos: &[f32], sin: &[f32]) {
    let half = shape.rotary_dim / 2;
    assert!(
        shape.rotary_dim == 2 * half && shape.rotary_dim <= shape.head_dim,
        "rotary_dim does not fit {shape:?}"
    );
    let width = shape.heads * shape.head_dim;
    if half == 0 || width == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(width), "x is not [tokens, {width}]");
    let tokens = x.len() / width;
    assert_eq!(cos.len(), tokens * half, "cos is not [{tokens}, {half}]");
    assert_eq!(sin.len(), tokens * half, "sin is not [{tokens}, {half}]");
    let rotate = dispatch::kernels().rope;
    let task = (TASK / width).max(1) * width;
    in_tasks(x, task, |first, x| {
        let angles = first / width * half..(first + x.len()) / width * half;
        // SAFETY: the kernels' instruction set is present.
        unsafe { rotate(x, shape, &cos[angles.clone()], &sin[angles]) }
    });
}

/// Writes `silu(gate) * up`, number by number.
///
/// # Panics
/// If the sizes differ.
pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    gated(dispatch::kernels().silu_mul, gate, up, out);
}

/// Writes `gelu(gate) * up`, number by number, with the tanh form of GELU.
///
/// # Panics
/// If the sizes differ.
pub fn gelu_tanh_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    gated(dispatch::kernels().gelu_tanh_mul, gate, up, out);
}

fn gated(kernel: unsafe fn(&[f32], &[f32], &mut [f32]), gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert_eq!(gate.len(), out.len(), "gate is not of out's size");
    assert_eq!(up.len(), out.len(), "up is not of out's size");
    in_tasks(out, TASK, |first, out| {
        let part = first..first + out.len();
        // SAFETY: the kernels' instruction set is present.
        unsafe { kernel(&gate[part.clone()], &up[part], out) }
    });
}

/// The index of the first of the largest numbers; NaN never wins, and of nothing but NaN (or
/// nothing at all) the answer is 0.
pub fn argmax(x: &[f32]) -> usize {
    // SAFETY: the kernels' instruction set is present.
    let max = unsafe { (dispatch::kernels().max)(x) };
    x.iter().position(|x| *x == max).unwrap_or(0)
}

/// Adds `x` to `sum`, number by number.
///
/// # Panics
/// If the sizes differ.
pub fn add(sum: &mut [f32], x: &[f32]) {
    assert_eq!(sum.len(), x.len(), "x is not of sum's size");
    let add = dispatch::kernels().add;
    in_tasks(sum, TASK, |first, sum| {
        // SAFETY: the kernels' instruction set is present.
        unsafe { add(sum, &x[first..first + sum.len()]) }
    });
}

/// Adds `row` to every row of `x`.
///
/// # Panics
/// If `x` is not whole rows of `row`'s length.
pub fn add_to_rows(x: &mut [f32], row: &[f32]) {
    let cols = row.len().max(1);
    assert!(x.len().is_multiple_of(cols), "x is not [rows, {cols}]");
    let add = dispatch::kernels().add;
    in_tasks(x, (TASK / cols).max(1) * cols, |_, x| {
        for x in x.chunks_exact_mut(cols) {
            // SAFETY: the kernels' instruction set is present.
            unsafe { add(x, row) }
        }
    });
}

/// Rounds to the nearest halves, ties to even; what is larger than any half becomes the largest.
///
/// # Panics
/// If the sizes differ.
pub fn round_to_halves(x: &[f32], out: &mut [f16]) {
    assert_eq!(x.len(), out.len(), "out is not of x's size");
    // SAFETY: the kernels' instruction set is present.
    unsafe { (dispatch::kernels().round_to_halves)(x, out) }
}

/// Turns `x` into `exp(x - max) / sum` in place.
pub fn softmax(x: &mut [f32]) {
    // SAFETY: the kernels' instruction set is present.
    unsafe { (dispatch::kernels().softmax)(x) }
}

/// Runs `work(first, part)` over parts of `task` numbers, on several threads if it is worth it.
fn in_tasks(out: &mut [f32], task: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if out.len() < PARALLEL {
        return work(0, out);
    }
    pool::in_parallel_parts(out, task, |i, part| work(i * task, part));
}

/// The bodies, compiled per instruction set.
pub(crate) mod body {
    use super::{Affine, LANES, RopePairs, RopeShape, exp};
    use crate::block::f32_to_f16;
    use crate::math::{normal_tail, tanh};
    use half::f16;

    /// Folds numbers in [`LANES`] lanes, then the lanes pairwise.
    #[inline(always)]
    pub(crate) fn fold(x: &[f32], start: f32, of: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
        let (whole, rest) = x.as_chunks::<LANES>();
        let mut lanes = [start; LANES];
        for x in whole {
            for (lane, x) in lanes.iter_mut().zip(x) {
                *lane = of(*lane, *x);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane = of(*lane, *x);
        }
        // Each step by a number that is known here: so the lanes stay in registers.
        let lanes: [f32; 8] = std::array::from_fn(|i| of(lanes[i], lanes[i + 8]));
        let lanes: [f32; 4] = std::array::from_fn(|i| of(lanes[i], lanes[i + 4]));
        of(of(lanes[0], lanes[2]), of(lanes[1], lanes[3]))
    }

    /// The sum of all numbers.
    #[inline(always)]
    pub(crate) fn sum(x: &[f32]) -> f32 {
        fold(x, 0.0, |sum, x| sum + x)
    }

    /// The largest number; NaN is passed over, nothing gives negative infinity.
    #[inline(always)]
    pub(crate) fn max(x: &[f32]) -> f32 {
        fold(x, f32::NEG_INFINITY, |max, x| if x > max { x } else { max })
    }

    #[inline(always)]
    fn sum_of_squares(x: &[f32]) -> f32 {
        let (whole, rest) = x.as_chunks::<LANES>();
        let mut lanes = [0.0f32; LANES];
        for x in whole {
            for (lane, x) in lanes.iter_mut().zip(x) {
                *lane += x * x;
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += x * x;
        }
        sum(&lanes)
    }

    #[inline(always)]
    pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let cols = weight.len().max(1);
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            let inverse = 1.0 / (sum_of_squares(x) / cols as f32 + eps).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * inverse * weight;
            }
        }
    }

    #[inline(always)]
    pub(crate) fn layer_norm(x: &[f32], (weight, bias): Affine<'_>, eps: f32, out: &mut [f32]) {
        let cols = weight.len().max(1);
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            let mean = sum(x) / cols as f32;
            for (out, x) in out.iter_mut().zip(x) {
                *out = x - mean;
            }
            let inverse = 1.0 / (sum_of_squares(out) / cols as f32 + eps).sqrt();
            for (out, weight) in out.iter_mut().zip(weight) {
                *out *= inverse * weight;
            }
            if let Some(bias) = bias {
                for (out, bias) in out.iter_mut().zip(bias) {
                    *out += bias;
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn add(sum: &mut [f32], x: &[f32]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }

    #[inline(always)]
    pub(crate) fn round_to_halves(x: &[f32], out: &mut [f16]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = f16::from_bits(f32_to_f16(*x));
        }
    }

    #[inline(always)]
    pub(crate) fn gelu(x: &mut [f32]) {
        for x in x {
            *x *= normal_tail(-*x);
        }
    }

    #[inline(always)]
    pub(crate) fn gate_itself(x: &mut [f32], factor: f32, cubic: f32) {
        for x in x {
            let inner = -factor * (*x + cubic * *x * *x * *x);
            *x /= 1.0 + exp(inner);
        }
    }

    #[inline(always)]
    pub(crate) fn softcap(x: &mut [f32], cap: f32) {
        for x in x {
            *x = cap * tanh(*x / cap);
        }
    }

    #[inline(always)]
    pub(crate) fn rope(x: &mut [f32], shape: RopeShape, cos: &[f32], sin: &[f32]) {
        let half = shape.rotary_dim / 2;
        let tokens = x.chunks_exact_mut(shape.heads * shape.head_dim);
        let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        for (token, (cos, sin)) in tokens.zip(angles) {
            for head in token.chunks_exact_mut(shape.head_dim) {
                let rotated = &mut head[..2 * half];
                if shape.pairs == RopePairs::Neighbors {
                    let pairs = rotated.as_chunks_mut::<2>().0.iter_mut();
                    for ([a, b], (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
                        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                    }
                    continue;
                }
                let (first, second) = rotated.split_at_mut(half);
                let pairs = first.iter_mut().zip(second);
                for ((a, b), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }

    #[inline(always)]
    pub(crate) fn gelu_tanh_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
        // -2 sqrt(2 / pi), for (1 + tanh(u)) / 2 = 1 / (1 + e^(-2u))
        const FACTOR: f32 = -1.595_769;
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            let inner = FACTOR * (gate + 0.044_715 * gate * gate * gate);
            *out = gate / (1.0 + exp(inner)) * up;
        }
    }

    #[inline(always)]
    pub(crate) fn softmax(x: &mut [f32]) {
        let max = max(x);
        for x in x.iter_mut() {
            *x = exp(*x - max);
        }
        let inverse = 1.0 / sum(x);
        for x in x {
            *x *= inverse;
        }
    }
}

#[cfg(test)]
mod tests;
