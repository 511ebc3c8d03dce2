//! A gated feed-forward block in one call: two products of one input are joined number by number,
//! `act(gate) · up`, and rounded for the third product while they are in the cache. What lies between the
//! products never goes to memory as floats.

use super::activations::{Rounded, Strips};
use super::layout::TILE_ROWS;
use super::tasks::{SERIAL, cut_by, expected_after, together};
use super::{Family, Job, PackedKernels, PackedPart, TileKernels, reference};
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
/// the other. `None` if the shapes do not fit each other, or some of the weights take activations as they are or as
/// halves and others do not.
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
    let [family, of_up, last] = [gate, up, down].map(|part| packed.family(part.w));
    let fits = (gate.len, gate.w.cols) == (up.len, up.w.cols) && gate.len == down.w.cols;
    let is_integers = |family| matches!(family, Family::Blocks | Family::Chunks);
    if !fits || family != of_up || (family != last && !(is_integers(family) && is_integers(last))) {
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
    let PackedKernels { blocks, chunks, floats, pairs, .. } = packed;
    match (family, last, pairs) {
        _ if m == 0 => {}
        (Family::Blocks, Family::Blocks, _) => multiply(blocks, blocks, w, x, join, memory),
        (Family::Blocks, _, _) => multiply(blocks, chunks, w, x, join, memory),
        (Family::Chunks, Family::Blocks, _) => multiply(chunks, blocks, w, x, join, memory),
        (Family::Chunks, _, _) => multiply(chunks, chunks, w, x, join, memory),
        (Family::Pairs, _, Some(pairs)) => multiply(pairs, pairs, w, x, join, memory),
        _ => multiply(floats, floats, w, x, join, memory),
    }
    // SAFETY: the last product writes all of its numbers.
    unsafe { y.set_len(len) };
    Some(y)
}

/// With activations rounded in one way for gate and up, in the same or another for down.
fn multiply<X: Rounded, Z: Rounded>(
    kernels: TileKernels<X>,
    last: TileKernels<Z>,
    GatedWeights { gate, up, down }: GatedWeights<'_>,
    x: &[f32],
    join: Join,
    y: SharedSlice<'_>,
) {
    let cols = gate.w.cols;
    let m = x.len() / cols;
    let strips = (kernels.strips)(m);
    with_memory(m * cols.div_ceil(X::COLS), |rounded: &mut [X]| {
        round(kernels, x, cols, strips, rounded);
        with_memory(m * gate.len.div_ceil(Z::COLS), |joined: &mut [Z]| {
            let round = last.round;
            let half = FirstHalf { kernels, parts: [gate, up], x: rounded, strips, join, round };
            half.compute(SharedSlice::new(joined));
            run(last, &[Job::new(down, joined, strips, y)], strips);
        });
    });
}

/// The products with gate and up, and what joins them.
struct FirstHalf<'a, X: 'static, Z> {
    kernels: TileKernels<X>,
    parts: [PackedPart<'a>; 2],
    x: &'a [X],
    strips: Strips,
    join: Join,
    /// Rounds what is joined.
    round: unsafe fn(&[f32], usize, &mut [Z]),
}

impl<X: Rounded, Z: Rounded> FirstHalf<'_, X, Z> {
    /// Tiles of a task come in such a number, so that what is rounded together is joined together.
    fn together(&self) -> usize {
        together(self.strips).next_multiple_of(Z::COLS / TILE_ROWS)
    }

    /// Writes the joined products, rounded: of so many rows at a time that their activations stay in the cache
    /// while the weights pass by.
    fn compute(&self, out: SharedSlice<'_, Z>) {
        let [gate, _] = self.parts;
        let (strips, tiles) = (self.strips, gate.tiles().len());
        let strip = strips.rows(0).len() * gate.w.cols.div_ceil(X::COLS) * size_of::<X>();
        let groups = strips.count().div_ceil((RESIDENT / strip).max(1));
        let group = strips.count().div_ceil(groups);
        let groups = strips.count().div_ceil(group);
        let together = self.together();
        let part = |number: usize, tiles: Range<usize>| {
            let strips = strips.part(number * group, group);
            let step = STEP / (strips.all().len() * TILE_ROWS);
            let step = step.next_multiple_of(together).max(together);
            for first in tiles.clone().step_by(step) {
                self.compute_tiles(strips, first..tiles.end.min(first + step), out);
            }
        };
        let work = (2 * gate.len * gate.w.cols).saturating_mul(strips.all().len());
        if work < SERIAL || pool::threads() == 1 {
            return (0..groups).for_each(|number| part(number, 0..tiles));
        }
        let tasks = cut_by(std::slice::from_ref(&(0..tiles)), groups, strips, together);
        let next = expected_after(&gate, tasks[0].2.len(), strips);
        pool::in_parallel_before(next, tasks.len(), |at| {
            let (number, _, tiles) = &tasks[at];
            part(*number, tiles.clone());
        });
    }

    /// The columns of some tiles, which begin with a whole block or chunk, for some strips.
    fn compute_tiles(&self, strips: Strips, tiles: Range<usize>, out: SharedSlice<'_, Z>) {
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
            let first = rows.start * all.div_ceil(Z::COLS) + columns.start / Z::COLS * rows.len();
            // SAFETY: the instruction set is present; a strip's blocks lie one after the other, and those
            // of these columns are this task's own.
            unsafe {
                (self.join)(&gates[numbers.clone()], &ups[numbers], joined);
                let out = out.part(first, width.div_ceil(Z::COLS) * rows.len());
                (self.round)(joined, rows.len(), out);
            }
        }
    }
}
