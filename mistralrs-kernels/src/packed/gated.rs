//! A gated feed-forward block in one call: two products of one input are joined number by number,
//! `act(gate) · up`, and rounded for the third product while they are in the cache. What lies between the
//! products never goes to memory as floats.

use super::activations::{Rounded, Strips};
use super::layout::{BLOCK_COLS, TILE_ROWS};
use super::{Family, round, with_memory};
use super::{Job, PackedWeight, Results, SERIAL, TileKernels, per_task, reference, run};
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

/// The weights of a gated feed-forward block.
#[derive(Debug, Clone, Copy)]
pub struct GatedWeights<'a> {
    /// `[intermediate, hidden]`
    pub gate: &'a PackedWeight,
    /// `[intermediate, hidden]`
    pub up: &'a PackedWeight,
    /// `[hidden, intermediate]`
    pub down: &'a PackedWeight,
}

/// So many numbers of a product are joined at a time: two such pieces stay in the second-level cache beside
/// the activations.
const STEP: usize = 64 << 10;

/// Joins some numbers of a gate and of what it lets through.
type Join = unsafe fn(&[f32], &[f32], &mut [f32]);

/// `(act(x · gateᵀ) · (x · upᵀ)) · downᵀ`, `[m, hidden]`: the bits of the products and their join one after
/// the other. `None` if the shapes do not fit each other, or not all three weights take activations alike.
///
/// # Panics
/// If `x` is not `[m, hidden]`.
pub fn matmul_packed_mlp(w: GatedWeights<'_>, x: &[f32], gating: Gating) -> Option<Vec<f32>> {
    mlp_on(dispatch::kernels(), w, x, gating)
}

pub(super) fn mlp_on(
    kernels: &Kernels,
    w: GatedWeights<'_>,
    x: &[f32],
    gating: Gating,
) -> Option<Vec<f32>> {
    let GatedWeights { gate, up, down } = w;
    let packed = kernels.packed.unwrap_or(reference::KERNELS);
    let family = packed.family(gate);
    let fits = (gate.rows, gate.cols) == (up.rows, up.cols) && gate.rows == down.cols;
    // Parts of the joined rows are rounded one by one: none may end within a block.
    if !fits
        || !down.cols.is_multiple_of(BLOCK_COLS)
        || [up, down].iter().any(|w| packed.family(w) != family)
    {
        return None;
    }
    let m = x.len() / gate.cols;
    assert_eq!(x.len(), m * gate.cols, "x is not [m, {}]", gate.cols);
    let len = m.checked_mul(down.rows)?;
    let mut y = Vec::with_capacity(len);
    let memory = SharedSlice::unwritten(&mut y.spare_capacity_mut()[..len]);
    let join = match gating {
        Gating::Silu => kernels.silu_mul,
        Gating::GeluTanh => kernels.gelu_tanh_mul,
    };
    match (family, packed.pairs) {
        _ if m == 0 => {}
        (Family::Integers, _) => multiply(packed.integers, w, x, join, memory),
        (Family::Pairs, Some(pairs)) => multiply(pairs, w, x, join, memory),
        _ => multiply(packed.floats, w, x, join, memory),
    }
    // SAFETY: the last product writes all of its numbers.
    unsafe { y.set_len(len) };
    Some(y)
}

fn multiply<X: Rounded>(
    kernels: TileKernels<X>,
    GatedWeights { gate, up, down }: GatedWeights<'_>,
    x: &[f32],
    join: Join,
    y: SharedSlice<'_>,
) {
    let m = x.len() / gate.cols;
    let strips = (kernels.strips)(m);
    let of_x = m * gate.blocks();
    with_memory(of_x + m * down.blocks(), |memory| {
        let (rounded, joined) = memory.split_at_mut(of_x);
        round(kernels, x, gate.cols, strips, rounded);
        let half = FirstHalf { kernels, weights: [gate, up], x: rounded, strips, join };
        half.compute(SharedSlice::new(joined));
        let results = Results::all(down, y);
        run(kernels, &[Job::new(down.part(0), joined, strips, results)], m);
    });
}

/// The products with gate and up, and what joins them.
struct FirstHalf<'a, X: 'static> {
    kernels: TileKernels<X>,
    weights: [&'a PackedWeight; 2],
    x: &'a [X],
    strips: Strips,
    join: Join,
}

impl<X: Rounded> FirstHalf<'_, X> {
    /// Writes the joined products, rounded.
    fn compute(&self, out: SharedSlice<'_, X>) {
        let [gate, _] = self.weights;
        let (m, tiles) = (self.strips.all(), gate.tiles());
        let step = (STEP / (m * TILE_ROWS)).next_multiple_of(2).max(2);
        let part = |tiles: Range<usize>| {
            for first in tiles.clone().step_by(step) {
                self.compute_tiles(first..tiles.end.min(first + step), out);
            }
        };
        if (2 * gate.rows * gate.cols).saturating_mul(m) < SERIAL || pool::threads() == 1 {
            return part(0..tiles);
        }
        let per_task = per_task(tiles);
        pool::in_parallel(tiles.div_ceil(per_task), |task| {
            part(task * per_task..tiles.min((task + 1) * per_task));
        });
    }

    /// The columns of some tiles; they begin and end with whole blocks.
    fn compute_tiles(&self, tiles: Range<usize>, out: SharedSlice<'_, X>) {
        let columns = tiles.start * TILE_ROWS..self.weights[0].rows.min(tiles.end * TILE_ROWS);
        let (m, width) = (self.strips.all(), columns.len());
        let longest = self.strips.rows(0).len();
        let mut scratch = Scratch::take((2 * m + longest) * width);
        let (products, joined) = scratch.numbers().split_at_mut(2 * m * width);
        let (gates, ups) = products.split_at_mut(m * width);
        for (w, y) in self.weights.iter().zip([&mut *gates, &mut *ups]) {
            let y = Results { numbers: SharedSlice::new(y), width, first: columns.start };
            let job = Job::new(w.part(0), self.x, self.strips, y);
            // SAFETY: the kernels' instruction set is present, the sizes were checked, the results are
            // this thread's own.
            unsafe { (self.kernels.multiply)(&job, tiles.clone()) };
        }
        let blocks = self.weights[0].rows / BLOCK_COLS;
        for strip in 0..self.strips.count() {
            let rows = self.strips.rows(strip);
            let numbers = rows.start * width..rows.end * width;
            let joined = &mut joined[..numbers.len()];
            let first = rows.start * blocks + columns.start / BLOCK_COLS * rows.len();
            // SAFETY: the instruction set is present; a strip's blocks lie one after the other, and those
            // of these columns are this task's own.
            unsafe {
                (self.join)(&gates[numbers.clone()], &ups[numbers], joined);
                let out = out.part(first, width / BLOCK_COLS * rows.len());
                (self.kernels.round)(joined, rows.len(), out);
            }
        }
    }
}
