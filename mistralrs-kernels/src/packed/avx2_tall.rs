//! Products with many rows of activations for vectors of 256 bits: a tile of weights is spread out into
//! bytes, 256 columns at a time, once for all rows that stay in the cache. Then both halves of the tile are
//! multiplied with three rows at a time: six products and their sums, two vectors of weights and one of
//! activations are what the 16 registers hold. The sums run as in `avx2`, so the bits are the same.

use super::Job;
use super::activations::Block;
use super::ahead::Ahead;
use super::avx2::{Head, LANES, Looked, Scales, codes, fitting, four, of_128, of_zero, store};
use super::layout::{Packing, TILE_ROWS};
use crate::simd::prefetch;
use std::arch::asm;
use std::arch::x86_64::{
    __m256, __m256i, _mm256_abs_epi8, _mm256_add_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_cvtepi32_ps, _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_xor_si256,
};
use std::ops::Range;

/// From so many rows of activations on, this way is the faster one.
pub(super) const LEAST: usize = 9;
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
    scales: [__m256; 2],
    mins: [__m256; 2],
}

/// A block of columns of both halves.
type Blocks = [Spread; HALVES];
/// The sums of `M` rows.
type Sums<const M: usize> = [[__m256; HALVES]; M];
/// Products in integers, of `M` rows.
type Products<const M: usize> = [[__m256i; HALVES]; M];

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
    sums: Vec<Sums<STRIP>>,
}

impl Room {
    #[inline(always)]
    fn new(strips: usize) -> Self {
        // SAFETY: the features are present where this is inlined.
        let (codes, none) = unsafe { ([_mm256_setzero_si256(); 8], _mm256_setzero_ps()) };
        let empty = Spread { codes, signed: codes, scales: [none; 2], mins: [none; 2] };
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
                        spread[half].scales[n] = loaded.scales[n];
                        spread[half].mins[n] = loaded.mins[n];
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
                let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
                spread.signed[g] = signed;
                spread.codes[g] = _mm256_abs_epi8(signed);
            } else {
                spread.codes[g] = codes;
            }
        }
    }
}

/// Multiplies a panel with a strip: a function of its own, whose registers are nobody else's.
macro_rules! strips {
    ($name:ident, $block:ident, $features:literal) => {
        #[inline(never)]
        #[target_feature(enable = $features)]
        unsafe fn $name<P: Packing>(part: Part<'_>, sums: &mut Sums<STRIP>) {
            // SAFETY: as many rows as the strip has.
            unsafe {
                match part.rows {
                    2 => multiply_rows::<P, 2>(part, sums, |b, x, s| $block::<P, 2>(b, x, s)),
                    _ => {
                        multiply_rows::<P, STRIP>(part, sums, |b, x, s| $block::<P, STRIP>(b, x, s))
                    }
                }
            }
        }
    };
}

strips!(multiply_vnni, block_vnni, "avx2,fma,f16c,avxvnni");
strips!(multiply_plain, block_plain, "avx2,fma,f16c");

#[inline(always)]
unsafe fn multiply_rows<P: Packing, const M: usize>(
    part: Part<'_>,
    sums: &mut Sums<STRIP>,
    multiply_block: impl Fn(&Blocks, *const Block, &mut Sums<M>),
) {
    let mut x = part.x;
    // SAFETY: the features are present, as the caller vouches.
    // Copies, for the compiler to keep them in registers.
    let mut here = [[unsafe { _mm256_setzero_ps() }; HALVES]; M];
    if !part.is_first {
        here.copy_from_slice(&sums[..M]);
    }
    for halves in part.panel {
        multiply_block(halves, x, &mut here);
        x = x.wrapping_add(M);
    }
    sums[..M].copy_from_slice(&here);
}

/// 32 columns with AVX-VNNI: the integers, then the scales, for each half of the columns if these differ.
#[inline(always)]
unsafe fn block_vnni<P: Packing, const M: usize>(
    halves: &Blocks,
    x: *const Block,
    sums: &mut Sums<M>,
) {
    let layout = const { &P::LAYOUT };
    // SAFETY: `M` blocks of activations are there, as the caller vouches.
    unsafe {
        if layout.halves {
            scale(halves, x, 0, &with_vnni::<P, M>(halves, x, 0..4), sums);
            scale(halves, x, 1, &with_vnni::<P, M>(halves, x, 4..8), sums);
        } else {
            scale(halves, x, 0, &with_vnni::<P, M>(halves, x, 0..8), sums);
        }
        add_mins::<P, M>(halves, x, sums);
    }
}

/// The same without.
#[inline(always)]
unsafe fn block_plain<P: Packing, const M: usize>(
    halves: &Blocks,
    x: *const Block,
    sums: &mut Sums<M>,
) {
    let layout = const { &P::LAYOUT };
    // SAFETY: as above.
    unsafe {
        if layout.halves {
            scale(halves, x, 0, &without_vnni::<P, M>(halves, x, 0..4), sums);
            scale(halves, x, 1, &without_vnni::<P, M>(halves, x, 4..8), sums);
        } else {
            scale(halves, x, 0, &without_vnni::<P, M>(halves, x, 0..8), sums);
        }
        add_mins::<P, M>(halves, x, sums);
    }
}

/// Keeps the order of what is pinned: the compiler would compute one product after the other, and 16 registers
/// do not hold the weights meanwhile (a sixth of the speed of AVX2 with four bits). No instruction.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pin(mut vector: __m256i) -> __m256i {
    // SAFETY: nothing happens.
    unsafe {
        asm!("/* {} */", inout(ymm_reg) vector, options(nomem, nostack, preserves_flags));
    }
    vector
}

/// The products of some groups of a block's columns.
#[inline(always)]
unsafe fn with_vnni<P: Packing, const M: usize>(
    halves: &Blocks,
    x: *const Block,
    groups: Range<usize>,
) -> Products<M> {
    let layout = const { &P::LAYOUT };
    // SAFETY: as above.
    unsafe {
        let mut products = [[_mm256_setzero_si256(); HALVES]; M];
        if layout.zero != 0 {
            for (i, products) in products.iter_mut().enumerate() {
                let of_128 = of_128(layout, groups.start / 4, &*x.add(i));
                *products = [_mm256_set1_epi32(of_128); HALVES];
            }
        }
        for g in groups {
            let codes = [halves[0].codes[g], halves[1].codes[g]];
            for (i, products) in products.iter_mut().enumerate() {
                let four = four(x.add(i), g);
                products[0] = _mm256_dpbusd_avx_epi32(products[0], codes[0], four);
                products[1] = _mm256_dpbusd_avx_epi32(products[1], codes[1], four);
            }
        }
        products
    }
}

#[inline(always)]
unsafe fn without_vnni<P: Packing, const M: usize>(
    halves: &Blocks,
    x: *const Block,
    groups: Range<usize>,
) -> Products<M> {
    // SAFETY: as above.
    unsafe {
        match const { P::LAYOUT.are_bytes() } {
            true => of_bytes::<M>(halves, x, groups),
            false => of_bits::<P, M>(halves, x, groups),
        }
    }
}

/// Whole bytes as sign and magnitude.
#[inline(always)]
unsafe fn of_bytes<const M: usize>(
    halves: &Blocks,
    x: *const Block,
    groups: Range<usize>,
) -> Products<M> {
    // SAFETY: as above.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut products = [[_mm256_setzero_si256(); HALVES]; M];
        for g in groups {
            for (i, products) in products.iter_mut().enumerate() {
                let four = four(x.add(i), g);
                for (product, half) in products.iter_mut().zip(halves) {
                    let four = _mm256_sign_epi8(four, half.signed[g]);
                    let twos = _mm256_maddubs_epi16(half.codes[g], four);
                    *product = pin(_mm256_add_epi32(*product, _mm256_madd_epi16(twos, ones)));
                }
            }
        }
        products
    }
}

/// Few bits: sums of two products are added up in 16 bits while they fit.
#[inline(always)]
unsafe fn of_bits<P: Packing, const M: usize>(
    halves: &Blocks,
    x: *const Block,
    groups: Range<usize>,
) -> Products<M> {
    let layout = const { &P::LAYOUT };
    // SAFETY: as above.
    unsafe {
        let (ones, zero) = (_mm256_set1_epi16(1), _mm256_setzero_si256());
        let mut products = [[zero; HALVES]; M];
        for from in groups.clone().step_by(fitting(layout)) {
            let mut small = [[zero; HALVES]; M];
            for g in from..groups.end.min(from + fitting(layout)) {
                let codes = [halves[0].codes[g], halves[1].codes[g]];
                for (i, small) in small.iter_mut().enumerate() {
                    let four = four(x.add(i), g);
                    for (small, codes) in small.iter_mut().zip(codes) {
                        let twos = _mm256_maddubs_epi16(codes, four);
                        *small = if g == from { twos } else { _mm256_add_epi16(*small, twos) };
                        *small = pin(*small);
                    }
                }
            }
            for (products, small) in products.iter_mut().zip(small) {
                for (product, small) in products.iter_mut().zip(small) {
                    let fours = _mm256_madd_epi16(small, ones);
                    *product = if from == groups.start {
                        fours
                    } else {
                        _mm256_add_epi32(*product, fours)
                    };
                }
            }
        }
        if layout.zero != 0 {
            for (i, products) in products.iter_mut().enumerate() {
                let of_128 = of_128(layout, groups.start / 4, &*x.add(i));
                let zero = of_zero(layout, pin(_mm256_set1_epi32(of_128)));
                for product in products {
                    *product = _mm256_add_epi32(*product, zero);
                }
            }
        }
        products
    }
}

/// Adds products, times the scales number `n` of the block.
#[inline(always)]
unsafe fn scale<const M: usize>(
    halves: &Blocks,
    x: *const Block,
    n: usize,
    products: &Products<M>,
    sums: &mut Sums<M>,
) {
    for (i, (products, sums)) in products.iter().zip(sums).enumerate() {
        // SAFETY: as above.
        unsafe {
            let unit = _mm256_set1_ps((*x.add(i)).scale);
            for ((product, sum), half) in products.iter().zip(sums).zip(halves) {
                let scale = _mm256_mul_ps(half.scales[n], unit);
                *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(*product), scale, *sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_mins<P: Packing, const M: usize>(
    halves: &Blocks,
    x: *const Block,
    sums: &mut Sums<M>,
) {
    let layout = const { &P::LAYOUT };
    if !layout.mins {
        return;
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        // SAFETY: as above.
        unsafe {
            let x = &*x.add(i);
            for (sum, half) in sums.iter_mut().zip(halves) {
                if layout.halves {
                    *sum = _mm256_fmadd_ps(half.mins[0], _mm256_set1_ps(x.half_sums[0]), *sum);
                    *sum = _mm256_fmadd_ps(half.mins[1], _mm256_set1_ps(x.half_sums[1]), *sum);
                } else {
                    *sum = _mm256_fmadd_ps(half.mins[0], _mm256_set1_ps(x.sum), *sum);
                }
            }
        }
    }
}
