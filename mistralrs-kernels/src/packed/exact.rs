//! Floats in tiles, multiplied with activations as they are: 16-bit numbers are widened on their way into
//! a register, and every product is an `f32` one. Bfloat16, too, where there is no `vdpbf16ps` or it is slow: measured on Emerald Rapids, it gives
//! 85 GFLOP/s of a core where `f32` gives 173.
//!
//! Tiles of registers are as large as registers allow. That pays most where a processor decodes few
//! instructions at a time, as one does whose other hyper-thread is at work: there the products are a
//! smaller share of all instructions than of the units' time.
//!
//! A product adds its columns from the first to the last, with one rounding each; where it pauses, its sum
//! waits in the result, which is an `f32` like the register.

use super::activations::Strips;
use super::ahead::{self, Ahead};
use super::floats::Floats;
use super::layout::{BLOCK_COLS, TILE_ROWS, VECTOR};
use super::{Job, TileKernels};
use crate::simd::{self, LINE, LoadHalves, Simd};
use std::ops::Range;

/// 32 numbers of a row of activations.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Columns(pub(crate) [f32; BLOCK_COLS]);

/// The slow, obvious twin.
pub(super) const TWIN: TileKernels<Columns> =
    TileKernels { strips: Strips::new, round: copy, multiply: multiply_slowly };

/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 1 << 20;
/// Where activations are more than that, so many blocks of columns of them stay there: sums wait more often then,
/// but more rows share a passing weight.
const BLOCKS: usize = 48;
/// So many bytes of some tiles of weights stay in the first-level cache while strips of activations pass by.
const CLOSE: usize = 24 << 10;

/// Lays the rows of one strip side by side: `x` is `[rows, cols]`. Always safe; `unsafe` only to fit the
/// table. Goes along `out`, which is not in the cache: there the processor sees what is written next.
unsafe fn copy(x: &[f32], rows: usize, out: &mut [Columns]) {
    let cols = x.len() / rows.max(1);
    for (block, out) in out.chunks_exact_mut(rows.max(1)).enumerate() {
        let columns = block * BLOCK_COLS..cols.min((block + 1) * BLOCK_COLS);
        for (x, out) in x.chunks_exact(cols.max(1)).zip(out) {
            let x = &x[columns.clone()];
            if let Some(x) = x.as_array() {
                out.0 = *x;
                continue;
            }
            let (given, rest) = out.0.split_at_mut(x.len());
            given.copy_from_slice(x);
            rest.fill(0.0);
        }
    }
}

/// # Safety
/// Nobody else writes the columns of `y` that belong to `tiles`.
unsafe fn multiply_slowly(job: &Job<'_, Columns>, tiles: Range<usize>) {
    let w = job.part.w;
    for row in tiles.start * TILE_ROWS..w.rows.min(tiles.end * TILE_ROWS) {
        let tile = job.part.first_tile + row / TILE_ROWS;
        for strip in 0..job.strips.count() {
            let rows = job.strips.rows(strip);
            let blocks = &job.x[rows.start * w.blocks()..rows.end * w.blocks()];
            for (i, at) in rows.clone().enumerate() {
                let x = blocks[i..].iter().step_by(rows.len()).flat_map(|block| block.0);
                let sum = x.enumerate().fold(0.0f32, |sum, (column, x)| {
                    w.number(tile, row % TILE_ROWS, column).mul_add(x, sum)
                });
                // SAFETY: `at` and `row` are within `y`; the column is this task's own.
                unsafe { job.place(at, row, 1).write(job.result(row, sum)) };
            }
        }
    }
}

/// How a kind of float is read from a tile.
///
/// # Safety
/// As for [`simd::Simd`].
trait Tiled {
    /// Bytes of a pair of columns of a tile.
    const PAIR: usize;
    /// Both columns of a pair: `S::LANES` rows of the tile from row `first`.
    unsafe fn load<S: LoadHalves>(pair: *const u8, first: usize) -> (S::V, S::V);
}

struct F32;
struct F16;
struct Bf16;

// SAFETY (all): the caller vouches for the pair and the rows.
impl Tiled for F32 {
    const PAIR: usize = 2 * VECTOR;

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(pair: *const u8, first: usize) -> (S::V, S::V) {
        let from = pair.wrapping_add(4 * first).cast::<f32>();
        // SAFETY: see above.
        unsafe { (S::load(from, S::LANES), S::load(from.wrapping_add(TILE_ROWS), S::LANES)) }
    }
}

impl Tiled for F16 {
    const PAIR: usize = VECTOR;

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(pair: *const u8, first: usize) -> (S::V, S::V) {
        let from = pair.wrapping_add(2 * first);
        let second = from.wrapping_add(2 * TILE_ROWS);
        // SAFETY: see above.
        unsafe {
            (S::load_halves::<false>(from, S::LANES), S::load_halves::<false>(second, S::LANES))
        }
    }
}

impl Tiled for Bf16 {
    const PAIR: usize = VECTOR;

    #[inline(always)]
    unsafe fn load<S: LoadHalves>(pair: *const u8, first: usize) -> (S::V, S::V) {
        // SAFETY: see above.
        unsafe { S::load_pairs(pair.wrapping_add(4 * first)) }
    }
}

/// Writes some blocks of columns of a tile of the job as they lie in a tile of 32-bit floats.
type Widen = unsafe fn(&Job<'_, Columns>, usize, &Range<usize>, &mut [f32]);

/// How bfloat16 in twelve bits is multiplied.
pub(super) struct Twelve {
    /// A single strip.
    pub(super) alone: unsafe fn(&Job<'_, Columns>, Range<usize>),
    /// For several.
    pub(super) widen: Widen,
}

/// Given a way to widen weights, for several strips of rows, it multiplies what that gives.
/// A register tile takes up to `MOST` rows of activations, 4 or 8, and up to `WIDE` vectors of weights, 2 or 3.
///
/// # Safety
/// The instruction set is present; nobody else writes the columns of `y` that belong to `tiles`.
#[inline(always)]
unsafe fn multiply<S: LoadHalves, const MOST: usize, const WIDE: usize>(
    job: &Job<'_, Columns>,
    tiles: Range<usize>,
    widen: Option<Widen>,
) {
    let floats = match widen {
        Some(_) => Some(Floats::F32),
        None => job.part.w.layout.floats,
    };
    // SAFETY: as the caller vouches.
    unsafe {
        match floats {
            Some(Floats::F32) => multiply_floats::<S, F32, MOST, WIDE>(job, tiles, widen),
            Some(Floats::F16) => multiply_floats::<S, F16, MOST, WIDE>(job, tiles, None),
            Some(Floats::Bf16) => multiply_floats::<S, Bf16, MOST, WIDE>(job, tiles, None),
            None => {}
        }
    }
}

#[inline(always)]
unsafe fn multiply_floats<S: LoadHalves, F: Tiled, const MOST: usize, const WIDE: usize>(
    job: &Job<'_, Columns>,
    tiles: Range<usize>,
    widen: Option<Widen>,
) {
    let strips: Strips = job.strips;
    if strips.count() == 1 {
        // SAFETY: as the caller vouches.
        return unsafe { multiply_alone::<S, F, MOST>(job, &tiles) };
    }
    let blocks = job.part.w.blocks();
    let longest = strips.rows(0).len() * size_of::<Columns>();
    let width = match strips.count() * longest * blocks {
        ..=RESIDENT => blocks,
        _ => blocks.div_ceil(blocks.div_ceil(BLOCKS)),
    };
    let groups = strips.count().div_ceil((RESIDENT / (longest * width)).max(1));
    let group = strips.count().div_ceil(groups);
    for start in (0..blocks).step_by(width) {
        for first in (0..strips.count()).step_by(group) {
            let panel = Panel {
                strips: first..strips.count().min(first + group),
                columns: start..blocks.min(start + width),
                widen,
            };
            // SAFETY: the strips and columns exist, and earlier columns are done.
            unsafe { multiply_panel::<S, F, MOST, WIDE>(job, &panel, &tiles) };
        }
    }
}

/// A single strip: weights are read once, in one go.
#[inline(always)]
unsafe fn multiply_alone<S: LoadHalves, F: Tiled, const MOST: usize>(
    job: &Job<'_, Columns>,
    tiles: &Range<usize>,
) {
    let end = job.part.w.rows.min(tiles.end * TILE_ROWS);
    for lanes in (tiles.start * TILE_ROWS..end).step_by(2 * S::LANES) {
        let columns = 0..job.part.w.blocks();
        let weights = Weights::stored(job, lanes, 0);
        let part = Part { lanes, weights, columns, rows: job.strips.rows(0), ahead: 0 };
        // SAFETY: the strip, the tiles and their lanes exist.
        unsafe {
            if lanes + S::LANES < end {
                multiply_strip::<S, F, 2, MOST, true>(job, &part, &mut []);
            } else {
                multiply_strip::<S, F, 1, MOST, true>(job, &part, &mut []);
            }
        }
    }
}

/// Activations that stay near while all weights pass by.
struct Panel {
    strips: Range<usize>,
    /// In blocks.
    columns: Range<usize>,
    widen: Option<Widen>,
}

/// Some columns of a few tiles as 32-bit floats.
#[repr(C, align(64))]
struct Near([f32; CLOSE / size_of::<f32>()]);

#[inline(always)]
unsafe fn multiply_panel<S: LoadHalves, F: Tiled, const MOST: usize, const WIDE: usize>(
    job: &Job<'_, Columns>,
    panel: &Panel,
    tiles: &Range<usize>,
) {
    let end = job.part.w.rows.min(tiles.end * TILE_ROWS);
    let at_once = CLOSE / (WIDE * S::LANES / TILE_ROWS * bytes(1, F::PAIR));
    let mut near = panel.widen.map(|_| Near([0.0; CLOSE / size_of::<f32>()]));
    for lanes in (tiles.start * TILE_ROWS..end).step_by(WIDE * S::LANES) {
        for start in panel.columns.clone().step_by(at_once) {
            let columns = start..panel.columns.end.min(start + at_once);
            let mut next: [Ahead; WIDE] = next::<S, WIDE>(job, lanes, &columns, panel);
            let mut weights = Weights::stored(job, lanes, bytes(columns.start, F::PAIR));
            if let (Some(widen), Some(near)) = (panel.widen, &mut near) {
                let tiles = lanes..end.min(lanes + WIDE * S::LANES);
                // SAFETY: as the caller vouches.
                weights = unsafe { near.fill(job, widen, tiles, &columns) };
            }
            for at in panel.strips.clone() {
                let rows = job.strips.rows(at);
                let ahead = if at + 1 < panel.strips.end { rows.len() } else { 0 };
                let part = Part { lanes, weights, columns: columns.clone(), rows, ahead };
                // SAFETY: the strip, the tiles and their lanes exist.
                unsafe { multiply_lanes::<S, F, MOST>(job, &part, end, &mut next) };
            }
        }
    }
}

impl Near {
    /// Widens columns of the tiles that begin among these rows of the weight.
    #[inline(always)]
    unsafe fn fill(
        &mut self,
        job: &Job<'_, Columns>,
        widen: Widen,
        rows: Range<usize>,
        columns: &Range<usize>,
    ) -> Weights {
        let numbers = columns.len() * BLOCK_COLS * TILE_ROWS;
        let tiles = rows.start / TILE_ROWS..rows.end.div_ceil(TILE_ROWS);
        for (tile, out) in tiles.zip(self.0.chunks_exact_mut(numbers)) {
            // SAFETY: as the caller vouches.
            unsafe { widen(job, tile, columns, out) };
        }
        Weights { start: self.0.as_ptr().cast(), stride: numbers * size_of::<f32>() }
    }
}

/// The bytes of some blocks of columns of a tile.
const fn bytes(blocks: usize, pair: usize) -> usize {
    blocks * BLOCK_COLS / 2 * pair
}

/// A strip, of which there are several, with the vectors of weights that are left before row `end`: as many as
/// there are of what is fetched next, at most.
#[inline(always)]
unsafe fn multiply_lanes<S: LoadHalves, F: Tiled, const MOST: usize>(
    job: &Job<'_, Columns>,
    part: &Part,
    end: usize,
    next: &mut [Ahead],
) {
    // SAFETY: as the caller vouches.
    unsafe {
        match (end - part.lanes).div_ceil(S::LANES).min(next.len()) {
            1 => multiply_strip::<S, F, 1, MOST, false>(job, part, next),
            2 => multiply_strip::<S, F, 2, MOST, false>(job, part, next),
            _ => multiply_strip::<S, F, 3, MOST, false>(job, part, next),
        }
    }
}

/// What a panel will need after `columns` of the tiles from `lanes` on: the columns that follow or, after the
/// panel's last ones, its first of the next tiles.
#[inline(always)]
fn next<S: LoadHalves, const WIDE: usize>(
    job: &Job<'_, Columns>,
    lanes: usize,
    columns: &Range<usize>,
    panel: &Panel,
) -> [Ahead; WIDE] {
    let bytes = |blocks: usize| blocks * job.part.w.layout.block_bytes();
    let (strips, last) = (panel.strips.len(), columns.end == panel.columns.end);
    std::array::from_fn(|n| {
        let lanes = lanes + n * S::LANES;
        // Both vectors may be of one tile.
        let of_another = lanes.is_multiple_of(TILE_ROWS);
        let left = if of_another { bytes(columns.len()) } else { 0 };
        let lanes = if last { lanes + WIDE * S::LANES } else { lanes };
        let start = if last { panel.columns.start } else { columns.end };
        let tile = lanes / TILE_ROWS * bytes(job.part.w.blocks()) + bytes(start);
        let line = job.tile(0).as_ptr().wrapping_add(tile);
        Ahead::new(line, left, strips * columns.len())
    })
}

/// Where some columns of tiles lie.
#[derive(Clone, Copy)]
struct Weights {
    start: *const u8,
    /// Bytes from a tile to the next one.
    stride: usize,
}

impl Weights {
    /// Those of the job from row `lanes`, without so many bytes of each tile.
    #[inline(always)]
    fn stored(job: &Job<'_, Columns>, lanes: usize, skipped: usize) -> Self {
        let start = job.tile(lanes / TILE_ROWS).as_ptr().wrapping_add(skipped);
        Self { start, stride: job.part.w.tile_bytes }
    }
}

/// A part of a product.
struct Part {
    /// The first of the weights' rows.
    lanes: usize,
    weights: Weights,
    /// In blocks.
    columns: Range<usize>,
    /// A strip of activations.
    rows: Range<usize>,
    /// So many rows further lies the strip that follows; 0 if none does.
    ahead: usize,
}

/// `N` vectors of weight rows with all rows of a strip.
#[inline(always)]
unsafe fn multiply_strip<
    S: LoadHalves,
    F: Tiled,
    const N: usize,
    const MOST: usize,
    const ALONE: bool,
>(
    job: &Job<'_, Columns>,
    part: &Part,
    next: &mut [Ahead],
) {
    let mut row = 0;
    while row < part.rows.len() {
        let count = MOST.min(part.rows.len() - row);
        // SAFETY: as many rows as are left of the strip.
        unsafe {
            match count {
                // Of several strips none is shorter than half of the longest there may be.
                1 if ALONE || MOST < 8 => multiply_rows::<S, F, N, 1, ALONE>(job, part, row, next),
                2 if ALONE || MOST < 8 => multiply_rows::<S, F, N, 2, ALONE>(job, part, row, next),
                3 if ALONE || MOST < 8 => multiply_rows::<S, F, N, 3, ALONE>(job, part, row, next),
                4 => multiply_rows::<S, F, N, 4, ALONE>(job, part, row, next),
                5 => multiply_rows::<S, F, N, 5, ALONE>(job, part, row, next),
                6 => multiply_rows::<S, F, N, 6, ALONE>(job, part, row, next),
                7 => multiply_rows::<S, F, N, 7, ALONE>(job, part, row, next),
                _ => multiply_rows::<S, F, N, 8, ALONE>(job, part, row, next),
            }
        }
        row += count;
    }
}

/// `N` vectors of weight rows with `M` rows of a strip from its row `row`.
#[inline(always)]
unsafe fn multiply_rows<
    S: LoadHalves,
    F: Tiled,
    const N: usize,
    const M: usize,
    const ALONE: bool,
>(
    job: &Job<'_, Columns>,
    part: &Part,
    row: usize,
    next: &mut [Ahead],
) {
    let w = job.part.w;
    let Part { lanes, weights, ref columns, ref rows, ahead } = *part;
    // Of fewer lanes than a tile has rows, as many vectors as make a tile are multiplied together.
    let mut weights: [*const u8; N] = std::array::from_fn(|n| {
        weights.start.wrapping_add(n * S::LANES / TILE_ROWS * weights.stride)
    });
    // SAFETY: the tiles have a chunk for each block of columns, and `x` the strip's rows of each; the
    // columns of the strip's rows are within `y` and this task's own. What is read of `y` was written
    // with the columns before.
    unsafe {
        let mut x = job.x.as_ptr().add(rows.start * w.blocks() + columns.start * rows.len() + row);
        let starts: [usize; N] = std::array::from_fn(|n| lanes + n * S::LANES);
        let counts = starts.map(|start| S::LANES.min(w.rows - start));
        let y = job.place(rows.start + row, lanes, counts[0]);
        let place = |i: usize, n: usize| y.wrapping_add(i * job.part.len + n * S::LANES);
        let mut sums = [[S::splat(0.0); N]; M];
        // The strip that follows needs its sums and activations at once.
        for i in 0..M {
            for n in 0..N {
                simd::prefetch(place(ahead + i, n).cast());
            }
        }
        if columns.start > 0 {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = S::load(place(i, n), counts[n]);
                }
            }
        }
        for _ in columns.clone() {
            next.iter_mut().for_each(Ahead::fetch);
            let following = x.wrapping_add(ahead * w.blocks()).cast::<u8>();
            for pair in 0..BLOCK_COLS / 2 {
                simd::prefetch(following.wrapping_add(pair * LINE));
                let mut columns = [(S::splat(0.0), S::splat(0.0)); N];
                for (n, (at, columns)) in weights.iter_mut().zip(&mut columns).enumerate() {
                    // Once for all vectors of a tile.
                    if ALONE && (n * S::LANES).is_multiple_of(TILE_ROWS) {
                        ahead::stream(*at, F::PAIR);
                    }
                    *columns = F::load::<S>(*at, (lanes + n * S::LANES) % TILE_ROWS);
                    *at = at.wrapping_add(F::PAIR);
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat((*x.add(i)).0[2 * pair]);
                    for (sum, columns) in sums.iter_mut().zip(&columns) {
                        *sum = S::mul_add(columns.0, x, *sum);
                    }
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat((*x.add(i)).0[2 * pair + 1]);
                    for (sum, columns) in sums.iter_mut().zip(&columns) {
                        *sum = S::mul_add(columns.1, x, *sum);
                    }
                }
            }
            x = x.add(rows.len());
        }
        if columns.end == w.blocks() {
            add_bias::<S, N, M>(job, (&starts, &counts), &mut sums);
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                S::store(sum, place(i, n), counts[n]);
            }
        }
    }
}

/// Adds the biases of `N` vectors of weight rows, if there are any: each vector begins at one of `starts` and has one
/// of `counts` rows.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
pub(super) unsafe fn add_bias<S: Simd, const N: usize, const M: usize>(
    job: &Job<'_, Columns>,
    (starts, counts): (&[usize; N], &[usize; N]),
    sums: &mut [[S::V; N]; M],
) {
    for (n, (start, count)) in starts.iter().zip(counts).enumerate() {
        let Some(bias) = job.bias(*start, *count) else { break };
        // SAFETY: as the caller vouches, and so many biases are there.
        unsafe {
            let bias = S::load(bias.as_ptr(), *count);
            for sums in sums.iter_mut() {
                sums[n] = S::mul_add(sums[n], S::splat(1.0), bias);
            }
        }
    }
}

/// Compiles the kernels for an instruction set with a fused multiply-add.
macro_rules! kernels {
    ($module:ident, $simd:ident, $most:literal, $wide:literal, $twelve:expr, $features:literal) => {
        #[cfg(target_arch = "x86_64")]
        pub(crate) mod $module {
            use super::*;

            /// To be called only where the instruction set is present.
            pub(crate) const KERNELS: TileKernels<Columns> =
                TileKernels { strips: Strips::new, round: copy, multiply };

            #[target_feature(enable = $features)]
            unsafe fn multiply(job: &Job<'_, Columns>, tiles: Range<usize>) {
                // SAFETY: as the caller vouches.
                unsafe {
                    let widen = match ($twelve, job.part.w.layout.twelve) {
                        (_, false) => None,
                        (None, true) => return multiply_slowly(job, tiles),
                        (Some(Twelve { alone, .. }), true) if job.strips.count() == 1 => {
                            return alone(job, tiles);
                        }
                        (Some(Twelve { widen, .. }), true) => Some(widen),
                    };
                    super::multiply::<simd::$simd, $most, $wide>(job, tiles, widen)
                }
            }
        }
    };
}

kernels!(avx2, Avx2, 4, 2, None::<Twelve>, "avx2,fma,f16c");
kernels!(
    avx512,
    Avx512,
    8,
    3,
    Some(super::super::avx512_twelve::TWELVE),
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
);
