//! Products with many rows of activations for AVX-512 VNNI: two tiles of weights are spread out into
//! bytes, 256 columns at a time, once for some hundred rows. What is left to do for each row is then little
//! more than `vpdpbusd`: every vector of weights is multiplied with up to seven rows, every row with two
//! vectors. That many products and their sums fit the 32 registers: eight rows leave the sums to memory,
//! which costs more than the larger tile saves. The sums run as in `avx512_vnni`, so the bits are the same.

use super::Job;
use super::activations::Block;
use super::ahead::Ahead;
use super::avx512_vnni::{Head, Scales, codes, store, vnni};
use super::layout::{Packing, TILE_ROWS};
use crate::simd::prefetch;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi8, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512,
};
use std::ops::Range;

/// From so many rows of activations on, this way is the faster one.
pub(super) const LEAST: usize = 25;
/// Rows of a strip at most; from [`LEAST`] rows on, strips have at least five.
pub(super) const STRIP: usize = 7;
/// Tiles that are multiplied together.
const PAIR: usize = 2;
/// Blocks of columns that are spread out at a time: those of the largest chunk.
const BLOCKS: usize = 8;
/// Strips at most that one spreading serves.
const STRIPS: usize = 74;
/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 3 << 19;
/// So many blocks ahead of the arithmetic activations are fetched from the second-level cache.
const NEAR: usize = 2;
/// The integer that means zero, once spread out, where one does.
const ZERO: i32 = 128;

/// A block of one tile: a byte for each weight, scales as `f32`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Spread {
    codes: [__m512i; 8],
    scales: [__m512; 2],
    mins: [__m512; 2],
}

/// A block of columns of both tiles.
type Blocks = [Spread; PAIR];
/// The sums of `M` rows.
type Sums<const M: usize> = [[__m512; PAIR]; M];

/// What is multiplied at a time: a panel with the same columns of a strip.
struct Part<'a> {
    panel: &'a [Blocks],
    /// A block for each row, and that for each block of the panel.
    x: *const Block,
    rows: usize,
    /// Whether sums begin here.
    is_first: bool,
}

/// What a pair of tiles is worked on in.
struct Room {
    panel: [Blocks; BLOCKS],
    /// Of each strip that one spreading serves.
    sums: Vec<Sums<STRIP>>,
}

/// Products in integers, of `M` rows.
type Products<const M: usize> = [[__m512i; PAIR]; M];

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
trait Kind {
    /// Whether [`ZERO`] stands for zero, or an offset decides.
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
    /// The features are present, there are [`LEAST`] rows; nobody else writes the columns of `y` that
    /// belong to `tiles`.
    pub(super) unsafe fn multiply<P: Packing>(job: &Job<'_, Block>, tiles: Range<usize>) {
        let count = job.strips.count();
        let longest = job.strips.rows(0).len() * job.part.w.blocks() * size_of::<Block>();
        let group = (RESIDENT / longest).clamp(1, STRIPS);
        // Once for all pairs, and no more sums than strips: to fill it costs time where there are few rows.
        let empty = Spread {
            codes: [_mm512_setzero_si512(); 8],
            scales: [_mm512_setzero_ps(); 2],
            mins: [_mm512_setzero_ps(); 2],
        };
        let mut room = Room {
            panel: [[empty; PAIR]; BLOCKS],
            sums: vec![[[_mm512_setzero_ps(); PAIR]; STRIP]; group.min(count)],
        };
        for first in (0..count).step_by(group) {
            for tile in tiles.clone().step_by(PAIR) {
                // At the end of an odd number of tiles, the last one stands for both.
                let pair = [tile, (tile + 1).min(tiles.end - 1)];
                // SAFETY: the strips and the tiles exist.
                unsafe { multiply_pair::<P>(job, pair, first..count.min(first + group), &mut room) };
            }
        }
    }

    /// Two tiles of weights with some strips.
    unsafe fn multiply_pair<P: Packing>(
        job: &Job<'_, Block>,
        pair: [usize; PAIR],
        strips: Range<usize>,
        room: &mut Room,
    ) {
        let blocks = job.part.w.blocks();
        let layout = const { &P::LAYOUT };
        let Room { panel, sums } = room;
        for from in (0..blocks).step_by(BLOCKS) {
            let count = BLOCKS.min(blocks - from);
            let is_last = from + count == blocks;
            for (n, tile) in pair.into_iter().enumerate() {
                // SAFETY: the tile has these blocks.
                unsafe { spread::<P>(job.tile(tile), from, n, &mut panel[..count]) };
            }
            let mut ahead = pair.map(|tile| next::<P>(job, tile, from, strips.len()));
            for (strip, sums) in strips.clone().zip(sums.iter_mut()) {
                let rows = job.strips.rows(strip);
                if is_last {
                    fetch_results(job, pair, rows.clone());
                }
                let first = rows.start * blocks + from * rows.len();
                let x = job.x[first..first + count * rows.len()].as_ptr();
                let part = Part { panel: &panel[..count], x, rows: rows.len(), is_first: from == 0 };
                // SAFETY: `x` has as many rows as the strip for each block; the rows and tiles are this
                // task's own.
                unsafe {
                    match (layout.mins, layout.halves) {
                        (false, false) => multiply_strip::<Centered>(part, &mut ahead, sums),
                        (false, true) => multiply_strip::<CenteredHalves>(part, &mut ahead, sums),
                        (true, false) => multiply_strip::<Shifted>(part, &mut ahead, sums),
                        (true, true) => multiply_strip::<ShiftedHalves>(part, &mut ahead, sums),
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

    /// Spreads out the blocks of a tile from block `from` on, as tile `n` of the panel.
    unsafe fn spread<P: Packing>(tile: &[u8], from: usize, n: usize, panel: &mut [Blocks]) {
        let layout = const { &P::LAYOUT };
        let shift = _mm512_set1_epi8((ZERO - layout.zero) as i8);
        let chunks = &tile[from / layout.chunk_blocks() * layout.chunk_bytes()..];
        let chunks = chunks.chunks_exact(layout.chunk_bytes());
        for (chunk, panel) in chunks.zip(panel.chunks_mut(layout.chunk_blocks())) {
            // SAFETY: the chunk begins with a head, and its blocks follow.
            unsafe {
                let head = Head::load(layout, chunk.as_ptr());
                for (at, spread) in panel.iter_mut().enumerate() {
                    let block = chunk.as_ptr().add(layout.head_bytes() + at * layout.block_bytes());
                    let spread = &mut spread[n];
                    for (g, of_group) in spread.codes.iter_mut().enumerate() {
                        *of_group = codes(layout, block, g);
                        if layout.zero != 0 && layout.zero != ZERO {
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

    unsafe fn multiply_rows<K: Kind, const M: usize>(
        part: Part<'_>,
        ahead: &mut [Ahead; PAIR],
        sums: &mut Sums<STRIP>,
    ) {
        let mut x = part.x;
        // Copies, for the compiler to keep them in registers.
        let mut here = [[_mm512_setzero_ps(); PAIR]; M];
        if !part.is_first {
            here.copy_from_slice(&sums[..M]);
        }
        ahead.iter_mut().for_each(Ahead::fetch);
        for tiles in part.panel {
            for i in 0..M {
                prefetch(x.wrapping_add(NEAR * M + i).cast());
            }
            // SAFETY: `M` blocks of activations are there for each of the panel's.
            unsafe {
                if K::HALVES {
                    let low = products::<K, M, 0, 4>(tiles, x);
                    scale::<M, 0>(tiles, x, &low, &mut here);
                    let high = products::<K, M, 4, 8>(tiles, x);
                    scale::<M, 1>(tiles, x, &high, &mut here);
                } else {
                    let all = products::<K, M, 0, 8>(tiles, x);
                    scale::<M, 0>(tiles, x, &all, &mut here);
                }
                if K::MINS {
                    add_mins::<K, M>(tiles, x, &mut here);
                }
                x = x.add(M);
            }
        }
        sums[..M].copy_from_slice(&here);
    }

    /// The products of groups `FROM..TO` of a block's columns, in integers.
    unsafe fn products<K: Kind, const M: usize, const FROM: usize, const TO: usize>(
        tiles: &Blocks,
        x: *const Block,
    ) -> Products<M> {
        let mut products = [[_mm512_setzero_si512(); PAIR]; M];
        // SAFETY: `M` blocks of activations are there.
        unsafe {
            if K::ZERO {
                for (i, products) in products.iter_mut().enumerate() {
                    let x = &*x.add(i);
                    let offset = if K::HALVES { x.half_offsets[FROM / 4] } else { x.offset };
                    *products = [_mm512_set1_epi32(offset); PAIR];
                }
            }
            for g in FROM..TO {
                for (i, products) in products.iter_mut().enumerate() {
                    let four = (*x.add(i)).codes.as_ptr().cast::<i32>().add(g).read_unaligned();
                    let four = _mm512_set1_epi32(four);
                    for (product, tile) in products.iter_mut().zip(tiles) {
                        *product = _mm512_dpbusd_epi32(*product, tile.codes[g], four);
                    }
                }
            }
        }
        products
    }

    /// Adds products, times the scales of a half or of the whole block.
    unsafe fn scale<const M: usize, const HALF: usize>(
        tiles: &Blocks,
        x: *const Block,
        products: &Products<M>,
        sums: &mut Sums<M>,
    ) {
        for (i, (products, sums)) in products.iter().zip(sums).enumerate() {
            // SAFETY: `M` blocks of activations are there.
            let unit = _mm512_set1_ps(unsafe { (*x.add(i)).scale });
            for ((product, sum), tile) in products.iter().zip(sums).zip(tiles) {
                let scale = _mm512_mul_ps(tile.scales[HALF], unit);
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*product), scale, *sum);
            }
        }
    }

    unsafe fn add_mins<K: Kind, const M: usize>(
        tiles: &Blocks,
        x: *const Block,
        sums: &mut Sums<M>,
    ) {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `M` blocks of activations are there.
            let x = unsafe { &*x.add(i) };
            for (sum, tile) in sums.iter_mut().zip(tiles) {
                if K::HALVES {
                    *sum = _mm512_fmadd_ps(tile.mins[0], _mm512_set1_ps(x.half_sums[0]), *sum);
                    *sum = _mm512_fmadd_ps(tile.mins[1], _mm512_set1_ps(x.half_sums[1]), *sum);
                } else {
                    *sum = _mm512_fmadd_ps(tile.mins[0], _mm512_set1_ps(x.sum), *sum);
                }
            }
        }
    }
}

/// Multiplies a panel with a strip.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn multiply_strip<K: Kind>(
    part: Part<'_>,
    ahead: &mut [Ahead; PAIR],
    sums: &mut Sums<STRIP>,
) {
    // SAFETY: as many rows as the strip has.
    unsafe {
        match part.rows {
            5 => multiply_rows::<K, 5>(part, ahead, sums),
            6 => multiply_rows::<K, 6>(part, ahead, sums),
            _ => multiply_rows::<K, STRIP>(part, ahead, sums),
        }
    }
}
