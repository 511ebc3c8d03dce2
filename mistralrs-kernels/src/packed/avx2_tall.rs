//! Products with many rows of activations for vectors of 256 bits: a tile of weights is spread out into
//! bytes, 256 columns at a time, once for all rows that stay in the cache. Then both halves of the tile are
//! multiplied with three rows at a time: six products and their sums, two vectors of weights and one of
//! activations are what the 16 registers hold. The sums run as in `avx2`, so the bits are the same.

use super::Job;
use super::activations::Block;
use super::ahead::Ahead;
use super::avx2::{Head, LANES, Looked, Scales, codes, signed, store};
use super::avx2_block::{Sums, Weights, multiply_block};
use super::layout::{Layout, Packing, TILE_ROWS};
use crate::simd::prefetch;
use std::arch::x86_64::{
    __m256i, _mm256_add_epi8, _mm256_set1_epi8, _mm256_setzero_ps, _mm256_setzero_si256,
};
use std::marker::PhantomData;
use std::ops::Range;

/// From so many rows of activations on, this way is the faster one.
pub(super) const LEAST: usize = 5;
/// Rows of a strip at most; from [`LEAST`] rows on, strips have at least two.
pub(super) const STRIP: usize = 3;
/// Halves of a tile.
const HALVES: usize = TILE_ROWS / LANES;
/// Blocks of columns that are spread out at a time: those of the largest chunk.
const BLOCKS: usize = 8;
/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 768 << 10;
/// The integer that means zero where AVX-VNNI multiplies, once spread out, where one does.
const ZERO: i32 = 128;

/// A block of half a tile.
#[derive(Clone, Copy)]
struct Spread {
    /// A byte for each weight.
    codes: [__m256i; 8],
    /// Where `codes` are magnitudes: the same with their signs.
    signed: [__m256i; 8],
    scales: Scales,
}

/// A block of columns of both halves.
type Blocks = [Spread; HALVES];
/// The sums of a strip.
type StripSums = Sums<STRIP, HALVES>;

/// A block of columns, spread out from weights of some kind.
struct SpreadOut<'a, P, const VNNI: bool>(&'a Blocks, PhantomData<P>);

impl<P: Packing, const VNNI: bool> Weights<HALVES> for SpreadOut<'_, P, VNNI> {
    const LAYOUT: &'static Layout = &P::LAYOUT;
    const ZERO: i32 = if VNNI && P::LAYOUT.zero != 0 { ZERO } else { P::LAYOUT.zero };

    #[inline(always)]
    unsafe fn codes(&self, g: usize) -> [__m256i; HALVES] {
        [self.0[0].codes[g], self.0[1].codes[g]]
    }

    #[inline(always)]
    unsafe fn signed(&self, g: usize) -> [(__m256i, __m256i); HALVES] {
        let [low, high] = self.0;
        [(low.signed[g], low.codes[g]), (high.signed[g], high.codes[g])]
    }

    #[inline(always)]
    fn scales(&self) -> [&Scales; HALVES] {
        [&self.0[0].scales, &self.0[1].scales]
    }
}

/// What is multiplied at a time: a panel with the same columns of a strip.
struct Part<'a> {
    panel: &'a [Blocks],
    /// A block for each row, and that for each block of the panel.
    x: *const Block,
    rows: usize,
    /// Whether sums begin here.
    is_first: bool,
}

/// What a tile is worked on in.
struct Room {
    panel: [Blocks; BLOCKS],
    /// Of each strip that one spreading serves.
    sums: Vec<StripSums>,
}

impl Room {
    #[inline(always)]
    fn new(strips: usize) -> Self {
        // SAFETY: the features are present where this is inlined.
        let (codes, none) = unsafe { ([_mm256_setzero_si256(); 8], _mm256_setzero_ps()) };
        let empty =
            Spread { codes, signed: codes, scales: Scales { scales: [none; 2], mins: [none; 2] } };
        Self { panel: [[empty; HALVES]; BLOCKS], sums: vec![[[none; HALVES]; STRIP]; strips] }
    }
}

/// # Safety
/// The features are present, there are [`LEAST`] rows; nobody else writes the columns of `y` that
/// belong to `tiles`.
#[inline(always)]
pub(super) unsafe fn multiply<P: Packing, const VNNI: bool>(
    job: &Job<'_, Block>,
    tiles: Range<usize>,
) {
    let count = job.strips.count();
    let longest = job.strips.rows(0).len() * job.part.w.blocks() * size_of::<Block>();
    let group = (RESIDENT / longest).max(1);
    let mut room = Room::new(group.min(count));
    for first in (0..count).step_by(group) {
        for tile in tiles.clone() {
            // SAFETY: the strips and the tile exist.
            unsafe {
                multiply_tile::<P, VNNI>(job, tile, first..count.min(first + group), &mut room);
            }
        }
    }
}

/// A tile of weights with some strips.
#[inline(always)]
unsafe fn multiply_tile<P: Packing, const VNNI: bool>(
    job: &Job<'_, Block>,
    tile: usize,
    strips: Range<usize>,
    Room { panel, sums }: &mut Room,
) {
    let blocks = job.part.w.blocks();
    for from in (0..blocks).step_by(BLOCKS) {
        let panel = &mut panel[..BLOCKS.min(blocks - from)];
        let is_last = from + panel.len() == blocks;
        // SAFETY: the tile has these blocks.
        unsafe { spread::<P, VNNI>(job, tile, from, panel) };
        let mut ahead = next::<P>(job, tile, from, strips.len());
        for (strip, sums) in strips.clone().zip(sums.iter_mut()) {
            let rows = job.strips.rows(strip);
            if is_last {
                fetch_results(job, tile, rows.clone());
            }
            let first = rows.start * blocks + from * rows.len();
            let x = job.x[first..first + panel.len() * rows.len()].as_ptr();
            let part = Part { panel, x, rows: rows.len(), is_first: from == 0 };
            ahead.fetch();
            // SAFETY: `x` has as many rows as the strip for each block; the rows and the tile are this
            // task's own.
            unsafe {
                if VNNI {
                    multiply_vnni::<P>(part, sums);
                } else {
                    multiply_plain::<P>(part, sums);
                }
                if is_last {
                    for (row, [low, high]) in rows.zip(sums) {
                        store(job, row, (tile, 0), *low);
                        store(job, row, (tile, LANES), *high);
                    }
                }
            }
        }
    }
}

/// What will be spread out next, of a tile whose blocks from `from` on are at work: those that follow or, after
/// the last ones, the first of the tile after it. Fetched within `steps` calls.
#[inline(always)]
fn next<P: Packing>(job: &Job<'_, Block>, tile: usize, from: usize, steps: usize) -> Ahead {
    let layout = const { &P::LAYOUT };
    let bytes = |blocks: usize| blocks / layout.chunk_blocks() * layout.chunk_bytes();
    let (tile, blocks) = (job.tile(tile), job.part.w.blocks());
    let next = from + BLOCKS;
    let (start, count) =
        if next < blocks { (bytes(next), blocks - next) } else { (tile.len(), blocks) };
    Ahead::new(tile.as_ptr().wrapping_add(start), bytes(count.min(BLOCKS)), steps)
}

/// Has the places of results fetched: without, storing them waits for memory.
#[inline(always)]
fn fetch_results(job: &Job<'_, Block>, tile: usize, rows: Range<usize>) {
    for row in rows {
        // SAFETY: the tile's first column is there.
        prefetch(unsafe { job.place(row, tile * TILE_ROWS, 1) }.cast());
    }
}

/// Spreads out the blocks of a tile from block `from` on.
#[inline(always)]
unsafe fn spread<P: Packing, const VNNI: bool>(
    job: &Job<'_, Block>,
    tile: usize,
    from: usize,
    panel: &mut [Blocks],
) {
    let layout = const { &P::LAYOUT };
    // SAFETY: the features are present, as the caller vouches.
    let values = unsafe { &Looked::load(layout, job.part.w.layout.values) };
    let chunks = &job.tile(tile)[from / layout.chunk_blocks() * layout.chunk_bytes()..];
    let chunks = chunks.chunks_exact(layout.chunk_bytes());
    for (chunk, panel) in chunks.zip(panel.chunks_mut(layout.chunk_blocks())) {
        for half in 0..HALVES {
            let lanes = half * LANES;
            // SAFETY: the chunk begins with a head, and its blocks follow.
            unsafe {
                let head = Head::load(layout, values, chunk.as_ptr(), lanes);
                for (at, spread) in panel.iter_mut().enumerate() {
                    let block = chunk.as_ptr().add(layout.head_bytes() + at * layout.block_bytes());
                    spread_block::<P, VNNI>(block, values, lanes, &mut spread[half]);
                    let loaded =
                        Scales::load(layout, block.add(layout.plane_bytes()), &head, lanes);
                    // One by one: as a whole it would take a way round by memory.
                    for n in 0..layout.scales() {
                        spread[half].scales.scales[n] = loaded.scales[n];
                        spread[half].scales.mins[n] = loaded.mins[n];
                    }
                }
            }
        }
    }
}

/// Spreads out the integers of a block's lanes from `lanes` on.
#[inline(always)]
unsafe fn spread_block<P: Packing, const VNNI: bool>(
    block: *const u8,
    values: &Looked,
    lanes: usize,
    spread: &mut Spread,
) {
    let layout = const { &P::LAYOUT };
    for g in 0..8 {
        // SAFETY: the block is there.
        unsafe {
            let codes = codes(layout, values, block.add(4 * lanes), g);
            if VNNI && layout.zero != 0 && layout.zero != ZERO {
                let shift = _mm256_set1_epi8((ZERO - layout.zero) as i8);
                spread.codes[g] = _mm256_add_epi8(codes, shift);
            } else if !VNNI && layout.are_bytes() {
                (spread.signed[g], spread.codes[g]) = signed(codes);
            } else {
                spread.codes[g] = codes;
            }
        }
    }
}

/// Multiplies a panel with a strip: a function of its own, whose registers are nobody else's.
macro_rules! strips {
    ($name:ident, $vnni:literal, $features:literal) => {
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn $name<P: Packing>(part: Part<'_>, sums: &mut StripSums) {
            // SAFETY: as many rows as the strip has.
            unsafe {
                match part.rows {
                    2 => multiply_rows::<P, $vnni, 2>(part, sums),
                    _ => multiply_rows::<P, $vnni, STRIP>(part, sums),
                }
            }
        }
    };
}

strips!(multiply_vnni, true, "avx2,fma,f16c,avxvnni");
strips!(multiply_plain, false, "avx2,fma,f16c");

#[inline(always)]
unsafe fn multiply_rows<P: Packing, const VNNI: bool, const M: usize>(
    part: Part<'_>,
    sums: &mut StripSums,
) {
    let mut x = part.x;
    // SAFETY: the features are present, as the caller vouches; there are `M` rows for each block.
    unsafe {
        // Copies, for the compiler to keep them in registers.
        let mut here = [[_mm256_setzero_ps(); HALVES]; M];
        if !part.is_first {
            here.copy_from_slice(&sums[..M]);
        }
        for blocks in part.panel {
            let weights = SpreadOut::<P, VNNI>(blocks, PhantomData);
            multiply_block::<_, VNNI, M, HALVES>(&weights, x, &mut here);
            x = x.add(M);
        }
        sums[..M].copy_from_slice(&here);
    }
}
