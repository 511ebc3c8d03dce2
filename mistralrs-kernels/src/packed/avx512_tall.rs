//! Products with many rows of activations for AVX-512: two tiles of weights are spread out into bytes, 256
//! columns at a time, once for some hundred rows. How these bytes are multiplied with a strip of rows, and added
//! up, is a [`Strip`]'s matter: `avx512_strip` and `amx` have one. The sums run as in `avx512_vnni`, so the bits
//! are the same.

use super::Job;
use super::activations::Block;
use super::ahead::Ahead;
use super::avx512_vnni::{Head, Looked, Scales, codes, store, vnni};
use super::layout::{Packing, TILE_ROWS};
use crate::simd::prefetch;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi8, _mm512_fmadd_ps, _mm512_set1_epi8, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512,
};
use std::ops::Range;

/// Tiles that are multiplied together.
pub(super) const PAIR: usize = 2;
/// Blocks of columns that are spread out at a time: those of the largest chunk.
const BLOCKS: usize = 8;
/// Strips at most that one spreading serves.
const STRIPS: usize = 74;
/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 3 << 19;

/// A block of one tile: a byte for each weight, scales as `f32`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Spread {
    pub(super) codes: [__m512i; 8],
    pub(super) scales: [__m512; 2],
    pub(super) mins: [__m512; 2],
}

/// A block of columns of both tiles.
pub(super) type Blocks = [Spread; PAIR];
/// The sums of a row.
pub(super) type Sums = [__m512; PAIR];

/// The rows of a strip, in the columns of a panel.
pub(super) struct Rows {
    /// A block for each row, and that for each block of the panel.
    pub(super) x: *const Block,
    pub(super) count: usize,
}

/// What is multiplied at a time: a panel with the same columns of a strip.
pub(super) struct Part<'a> {
    pub(super) panel: &'a [Blocks],
    pub(super) rows: Rows,
    /// Where those of the strip are that this panel is multiplied with next.
    pub(super) next: Option<*const Block>,
    /// Whether sums begin here.
    pub(super) is_first: bool,
}

/// What a pair of tiles is worked on in.
struct Room<S: Strip> {
    panel: [Blocks; BLOCKS],
    /// Of each row of the strips that one spreading serves.
    sums: Vec<Sums>,
    state: S::State,
}

/// How a strip is multiplied.
pub(super) trait Strip {
    /// Its rows, at most.
    const ROWS: usize;
    /// The byte that means zero, once spread out, where one does.
    const ZERO: i32;

    /// What stays from one strip to the next.
    type State;

    /// What a task begins with.
    fn begin() -> Self::State;

    /// Adds the products of a panel with a strip to the sums, one for each row.
    ///
    /// # Safety
    /// The instruction set is present, and the rows are there for each block of the panel.
    unsafe fn multiply<K: Kind>(
        part: Part<'_>,
        ahead: &mut [Ahead; PAIR],
        sums: &mut [Sums],
        state: &mut Self::State,
    );

    /// What it ends with.
    ///
    /// # Safety
    /// The instruction set is present.
    unsafe fn end() {}
}

/// What will be spread out next, of a tile whose blocks from `from` on are at work: those that follow or, after
/// the last ones, the first of the tile after the next, which is the next pair's. Fetched within `steps` calls.
fn next<P: Packing>(job: &Job<'_, Block>, tile: usize, from: usize, steps: usize) -> Ahead {
    let layout = const { &P::LAYOUT };
    let bytes = |blocks: usize| blocks / layout.chunk_blocks() * layout.chunk_bytes();
    let (tile, blocks) = (job.tile(tile), job.part.w.blocks());
    let next = from + BLOCKS;
    let (start, count) =
        if next < blocks { (bytes(next), blocks - next) } else { (PAIR * tile.len(), blocks) };
    Ahead::new(tile.as_ptr().wrapping_add(start), bytes(count.min(BLOCKS)), steps)
}

/// What the arithmetic needs to know of a format once its weights are spread out.
pub(super) trait Kind {
    /// Whether [`Strip::ZERO`] stands for zero, or an offset decides.
    const ZERO: bool;
    const MINS: bool;
    const HALVES: bool;
}

macro_rules! kinds {
    ($($kind:ident: $zero:literal, $mins:literal, $halves:literal;)*) => {
        $(struct $kind;
        impl Kind for $kind {
            const ZERO: bool = $zero;
            const MINS: bool = $mins;
            const HALVES: bool = $halves;
        })*
    };
}

kinds! {
    Centered: true, false, false;
    CenteredHalves: true, false, true;
    Shifted: false, true, false;
    ShiftedHalves: false, true, true;
}

vnni! {
    /// # Safety
    /// The features are present, and the strip's; strips have rows that it can multiply; nobody else writes the
    /// columns of `y` that belong to `tiles`.
    pub(super) unsafe fn multiply<S: Strip, P: Packing>(job: &Job<'_, Block>, tiles: Range<usize>) {
        let count = job.strips.count();
        let rows = job.strips.rows(0).len();
        let longest = rows * job.part.w.blocks() * size_of::<Block>();
        let group = (RESIDENT / longest).clamp(1, STRIPS);
        // Once for all pairs, and no more sums than strips: to fill it costs time where there are few rows.
        let empty = Spread {
            codes: [_mm512_setzero_si512(); 8],
            scales: [_mm512_setzero_ps(); 2],
            mins: [_mm512_setzero_ps(); 2],
        };
        let mut room = Room::<S> {
            panel: [[empty; PAIR]; BLOCKS],
            sums: vec![[_mm512_setzero_ps(); PAIR]; rows * group.min(count)],
            state: S::begin(),
        };
        for first in (0..count).step_by(group) {
            for tile in tiles.clone().step_by(PAIR) {
                // At the end of an odd number of tiles, the last one stands for both.
                let pair = [tile, (tile + 1).min(tiles.end - 1)];
                // SAFETY: the strips and the tiles exist.
                unsafe { multiply_pair::<S, P>(job, pair, first..count.min(first + group), &mut room) };
            }
        }
        // SAFETY: as the caller vouches.
        unsafe { S::end() };
    }

    /// Two tiles of weights with some strips.
    unsafe fn multiply_pair<S: Strip, P: Packing>(
        job: &Job<'_, Block>,
        pair: [usize; PAIR],
        strips: Range<usize>,
        room: &mut Room<S>,
    ) {
        let blocks = job.part.w.blocks();
        let layout = const { &P::LAYOUT };
        let Room { panel, sums, state } = room;
        for from in (0..blocks).step_by(BLOCKS) {
            let count = BLOCKS.min(blocks - from);
            let is_last = from + count == blocks;
            for (n, tile) in pair.into_iter().enumerate() {
                let panel = &mut panel[..count];
                // SAFETY: the tile has these blocks.
                unsafe { spread::<P>(job, tile, S::ZERO, from, n, panel) };
            }
            let mut ahead = pair.map(|tile| next::<P>(job, tile, from, strips.len()));
            let longest = job.strips.rows(0).len();
            let rows_of = |strip: usize| {
                let rows = job.strips.rows(strip);
                let first = rows.start * blocks + from * rows.len();
                let x = job.x[first..first + count * rows.len()].as_ptr();
                Rows { x, count: rows.len() }
            };
            for (strip, sums) in strips.clone().zip(sums.chunks_exact_mut(longest)) {
                let rows = job.strips.rows(strip);
                let sums = &mut sums[..rows.len()];
                if is_last {
                    fetch_results(job, pair, rows.clone());
                }
                let part = Part {
                    panel: &panel[..count],
                    rows: rows_of(strip),
                    next: (strip + 1 < strips.end).then(|| rows_of(strip + 1).x),
                    is_first: from == 0,
                };
                // SAFETY: each strip has its rows for each block; the rows and tiles are this task's own.
                unsafe {
                    match (layout.mins, layout.halves) {
                        (false, false) => S::multiply::<Centered>(part, &mut ahead, sums, state),
                        (false, true) => S::multiply::<CenteredHalves>(part, &mut ahead, sums, state),
                        (true, false) => S::multiply::<Shifted>(part, &mut ahead, sums, state),
                        (true, true) => S::multiply::<ShiftedHalves>(part, &mut ahead, sums, state),
                    }
                    if is_last {
                        for (row, sums) in rows.zip(sums) {
                            store(job, row, pair[0], sums[0]);
                            store(job, row, pair[1], sums[1]);
                        }
                    }
                }
            }
        }
    }

    /// Has the places of results fetched: without, storing them waits for memory.
    fn fetch_results(job: &Job<'_, Block>, pair: [usize; PAIR], rows: Range<usize>) {
        for row in rows {
            for tile in pair {
                // SAFETY: the tile's first column is there.
                prefetch(unsafe { job.place(row, tile * TILE_ROWS, 1) }.cast());
            }
        }
    }

    /// Spreads out the blocks of a tile from block `from` on, as tile `n` of the panel, with a zero of `zero`.
    unsafe fn spread<P: Packing>(
        job: &Job<'_, Block>,
        tile: usize,
        zero: i32,
        from: usize,
        n: usize,
        panel: &mut [Blocks],
    ) {
        let layout = const { &P::LAYOUT };
        let shift = _mm512_set1_epi8((zero - layout.zero) as i8);
        let values = &Looked::load(layout, job.part.w.layout.values);
        let chunks = &job.tile(tile)[from / layout.chunk_blocks() * layout.chunk_bytes()..];
        let chunks = chunks.chunks_exact(layout.chunk_bytes());
        for (chunk, panel) in chunks.zip(panel.chunks_mut(layout.chunk_blocks())) {
            // SAFETY: the chunk begins with a head, and its blocks follow.
            unsafe {
                let head = Head::load(layout, values, chunk.as_ptr());
                for (at, spread) in panel.iter_mut().enumerate() {
                    let block = chunk.as_ptr().add(layout.head_bytes() + at * layout.block_bytes());
                    let spread = &mut spread[n];
                    for (g, of_group) in spread.codes.iter_mut().enumerate() {
                        *of_group = codes(layout, values, block, g);
                        if layout.zero != 0 && layout.zero != zero {
                            *of_group = _mm512_add_epi8(*of_group, shift);
                        }
                    }
                    let loaded = Scales::load(layout, block.add(layout.plane_bytes()), &head);
                    // One by one: as a whole it would take a way round by memory.
                    for half in 0..layout.scales() {
                        spread.scales[half] = loaded.scales[half];
                        spread.mins[half] = loaded.mins[half];
                    }
                }
            }
        }
    }

    /// A sum with the offsets of a tile's block for a row of activations, of a format that has some.
    pub(super) fn with_mins<K: Kind>(tile: &Spread, x: &Block, sum: __m512) -> __m512 {
        if K::HALVES {
            let sum = _mm512_fmadd_ps(tile.mins[0], _mm512_set1_ps(x.half_sums[0]), sum);
            return _mm512_fmadd_ps(tile.mins[1], _mm512_set1_ps(x.half_sums[1]), sum);
        }
        _mm512_fmadd_ps(tile.mins[0], _mm512_set1_ps(x.sum), sum)
    }
}
