//! A gated feed-forward block in one call: two products of one input are joined number by number,
//! `act(gate) · up`, and rounded for the third product while they are in the cache. What lies between the
//! products never goes to memory as floats.

use super::activations::{Rounded, Strips};
use super::layout::{BLOCK_COLS, TILE_ROWS};
use super::tasks::{SERIAL, cut, expected_after, together};
use super::{Family, Job, PackedPart, TileKernels, reference};
use super::{round, run, with_memory};
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
    pub gate: PackedPart<'a>,
    /// `[intermediate, hidden]`
    pub up: PackedPart<'a>,
    /// `[hidden, intermediate]`
    pub down: PackedPart<'a>,
}

/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 1 << 20;
/// So many numbers of a product are joined at a time: two such pieces stay in that cache, too.
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
    let family = packed.family(gate.w);
    let fits = (gate.len, gate.w.cols) == (up.len, up.w.cols) && gate.len == down.w.cols;
    if !fits || [up, down].iter().any(|part| packed.family(part.w) != family) {
        return None;
    }
    let m = x.len() / gate.w.cols;
    assert_eq!(x.len(), m * gate.w.cols, "x is not [m, {}]", gate.w.cols);
    let len = m.checked_mul(down.len)?;
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
    let m = x.len() / gate.w.cols;
    let strips = (kernels.strips)(m);
    let of_x = m * gate.w.blocks();
    with_memory(of_x + m * down.w.blocks(), |memory| {
        let (rounded, joined) = memory.split_at_mut(of_x);
        round(kernels, x, gate.w.cols, strips, rounded);
        let half = FirstHalf { kernels, parts: [gate, up], x: rounded, strips, join };
        half.compute(SharedSlice::new(joined));
        run(kernels, &[Job::new(down, joined, strips, y)], strips);
    });
}

/// The products with gate and up, and what joins them.
struct FirstHalf<'a, X: 'static> {
    kernels: TileKernels<X>,
    parts: [PackedPart<'a>; 2],
    x: &'a [X],
    strips: Strips,
    join: Join,
}

impl<X: Rounded> FirstHalf<'_, X> {
    /// Writes the joined products, rounded: of so many rows at a time that their activations stay in the cache
    /// while the weights pass by.
    fn compute(&self, out: SharedSlice<'_, X>) {
        let [gate, _] = self.parts;
        let (strips, tiles) = (self.strips, gate.tiles().len());
        let strip = strips.rows(0).len() * gate.w.blocks() * size_of::<X>();
        let groups = strips.count().div_ceil((RESIDENT / strip).max(1));
        let group = strips.count().div_ceil(groups);
        let groups = strips.count().div_ceil(group);
        let part = |number: usize, tiles: Range<usize>| {
            let strips = strips.part(number * group, group);
            let step = STEP / (strips.all().len() * TILE_ROWS);
            let together = together(self.strips);
            let step = step.next_multiple_of(together).max(together);
            for first in tiles.clone().step_by(step) {
                self.compute_tiles(strips, first..tiles.end.min(first + step), out);
            }
        };
        let work = (2 * gate.len * gate.w.cols).saturating_mul(strips.all().len());
        if work < SERIAL || pool::threads() == 1 {
            return (0..groups).for_each(|number| part(number, 0..tiles));
        }
        let tasks = cut(std::slice::from_ref(&(0..tiles)), groups, strips);
        let next = expected_after(&gate, tasks[0].2.len(), strips);
        pool::in_parallel_before(next, tasks.len(), |at| {
            let (number, _, tiles) = &tasks[at];
            part(*number, tiles.clone());
        });
    }

    /// The columns of some tiles, which begin with a whole block, for some strips.
    fn compute_tiles(&self, strips: Strips, tiles: Range<usize>, out: SharedSlice<'_, X>) {
        let all = self.parts[0].len;
        let columns = tiles.start * TILE_ROWS..all.min(tiles.end * TILE_ROWS);
        let (m, width) = (strips.all().len(), columns.len());
        let longest = strips.rows(0).len();
        let mut scratch = Scratch::take((2 * m + longest) * width);
        let (products, joined) = scratch.numbers().split_at_mut(2 * m * width);
        let (gates, ups) = products.split_at_mut(m * width);
        for (part, y) in self.parts.iter().zip([&mut *gates, &mut *ups]) {
            let part = part.cut(columns.clone());
            let job = Job::new(part, self.x, strips, SharedSlice::new(y));
            // SAFETY: the kernels' instruction set is present, the sizes were checked, the results are
            // this thread's own.
            unsafe { (self.kernels.multiply)(&job, part.tiles()) };
        }
        let first_row = strips.all().start;
        for strip in 0..strips.count() {
            let rows = strips.rows(strip);
            let numbers = (rows.start - first_row) * width..(rows.end - first_row) * width;
            let joined = &mut joined[..numbers.len()];
            let blocks = rows.start * all.div_ceil(BLOCK_COLS);
            let first = blocks + columns.start / BLOCK_COLS * rows.len();
            // SAFETY: the instruction set is present; a strip's blocks lie one after the other, and those
            // of these columns are this task's own.
            unsafe {
                (self.join)(&gates[numbers.clone()], &ups[numbers], joined);
                let out = out.part(first, width.div_ceil(BLOCK_COLS) * rows.len());
                (self.kernels.round)(joined, rows.len(), out);
            }
        }
    }
}
