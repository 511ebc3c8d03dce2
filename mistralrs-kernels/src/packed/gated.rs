//! Two products of one input that are joined number by number, `act(gate) · up`, while both are still in
//! the cache: a gated feed-forward block's first half.

use super::activations::Rounded;
use super::floats::Floats;
use super::layout::TILE_ROWS;
use super::{Job, PackedWeight, SERIAL, TileKernels, per_task, reference, with_rounded};
use crate::dispatch::{self, Kernels};
use crate::pool;
use crate::shared::{Scratch, SharedSlice};
use std::ops::Range;

/// What a gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// `x · sigmoid(x)`, as [`crate::silu_mul`].
    Silu,
    /// GELU in its tanh form, as [`crate::gelu_tanh_mul`].
    GeluTanh,
}

/// Tiles that are multiplied before their columns are joined.
const STEP: usize = 8;

/// Joins some numbers of a gate and of what it lets through.
type Join = unsafe fn(&[f32], &[f32], &mut [f32]);

/// `act(x · gateᵀ) · (x · upᵀ)`, `[m, rows]`: the bits of the two products and their join one after the
/// other. `None` if the weights differ in shape or one is in blocks and the other is
/// not.
///
/// # Panics
/// If `x` is not `[m, cols]`.
pub fn matmul_packed_gated(
    gate: &PackedWeight,
    up: &PackedWeight,
    x: &[f32],
    gating: Gating,
) -> Option<Vec<f32>> {
    gated_on(dispatch::kernels(), [gate, up], x, gating)
}

pub(super) fn gated_on(
    kernels: &Kernels,
    weights: [&PackedWeight; 2],
    x: &[f32],
    gating: Gating,
) -> Option<Vec<f32>> {
    let [gate, up] = weights.map(|w| (w.rows, w.cols, w.layout.floats));
    let (rows, cols, floats) = gate;
    if gate != up {
        return None;
    }
    let m = x.len() / cols;
    assert_eq!(x.len(), m * cols, "x is not [m, {cols}]");
    let len = m.checked_mul(rows)?;
    let mut y = Vec::with_capacity(len);
    let mut scratch = Scratch::take(len);
    let join = match gating {
        Gating::Silu => kernels.silu_mul,
        Gating::GeluTanh => kernels.gelu_tanh_mul,
    };
    let ys = [
        SharedSlice::unwritten(&mut y.spare_capacity_mut()[..len]),
        SharedSlice::new(scratch.numbers()),
    ];
    let packed = kernels.packed.unwrap_or(reference::KERNELS);
    match (floats, packed.pairs) {
        _ if m == 0 => {}
        (None, _) => multiply(packed.integers, weights, x, ys, join),
        (Some(Floats::Bf16), Some(pairs)) => multiply(pairs, weights, x, ys, join),
        (Some(_), _) => multiply(packed.floats, weights, x, ys, join),
    }
    // SAFETY: the products write all of their numbers.
    unsafe { y.set_len(len) };
    Some(y)
}

/// Both products; the first is overwritten by what joins them.
fn multiply<X: Rounded>(
    kernels: TileKernels<X>,
    weights: [&PackedWeight; 2],
    x: &[f32],
    ys: [SharedSlice<'_>; 2],
    join: Join,
) {
    let (rows, cols, tiles) = (weights[0].rows, weights[0].cols, weights[0].tiles());
    let m = x.len() / cols;
    with_rounded(kernels, x, m, |x, strips| {
        let jobs = [0, 1].map(|i| Job { w: weights[i], first_tile: 0, x, strips, y: ys[i] });
        let multiply = |tiles: Range<usize>| {
            for first in tiles.clone().step_by(STEP) {
                let tiles = first..tiles.end.min(first + STEP);
                let columns = first * TILE_ROWS..rows.min(tiles.end * TILE_ROWS);
                // SAFETY: the kernels' instruction set is present, the sizes were checked, and each task
                // writes and joins the columns that belong to its own tiles.
                unsafe {
                    jobs.iter().for_each(|job| (kernels.multiply)(job, tiles.clone()));
                    join_columns(ys, m, rows, columns, join);
                }
            }
        };
        if (2 * rows * cols).saturating_mul(m) < SERIAL || pool::threads() == 1 {
            return multiply(0..tiles);
        }
        let per_task = per_task(tiles);
        pool::in_parallel(tiles.div_ceil(per_task), |task| {
            multiply(task * per_task..tiles.min((task + 1) * per_task));
        });
    });
}

/// # Safety
/// The instruction set of `join` is present; the columns of all `m` rows were written, and nobody else
/// touches them.
unsafe fn join_columns(
    ys: [SharedSlice<'_>; 2],
    m: usize,
    rows: usize,
    columns: Range<usize>,
    join: Join,
) {
    let count = columns.len();
    let mut held = [0.0; STEP * TILE_ROWS];
    for row in 0..m {
        // SAFETY: as the caller vouches.
        unsafe {
            let [gate, up] = ys.map(|y| y.part(row * rows + columns.start, count));
            held[..count].copy_from_slice(gate);
            join(&held[..count], up, gate);
        }
    }
}
