//! Weights whose integer scales share a half for 256 columns, for vectors of 256 bits: a block's products are
//! multiplied with its scales in integers and added up so, and only the sum of a chunk becomes a float. The zero of
//! centered weights is taken off there, too, from the sums of activations.

use super::activations::{Chunk, Rounded};
use super::avx2::{Here, LANES, Looked, load_halves, store};
use super::avx2_block::{Products, Sums, add_scaled};
use super::avx2_strip::{Bytes, SpreadOut};
use super::avx2_tall::{self, HALVES, Part, Strip, StripSums};
use super::layout::{BLOCK_COLS, CHUNK_COLS, Layout, Packing, TILE_ROWS};
use super::{Job, ahead};
use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_unpacklo_epi8, _mm256_add_epi32,
    _mm256_blend_epi16, _mm256_cvtepi8_epi16, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi16, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_mul_ps, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sll_epi32, _mm256_slli_epi32,
    _mm256_sub_epi32, _mm256_sub_ps,
};
use std::marker::PhantomData;
use std::ops::Range;

/// Blocks of a chunk.
const BLOCKS: usize = CHUNK_COLS / BLOCK_COLS;

/// # Safety
/// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
#[inline(always)]
pub(super) unsafe fn multiply<P: Packing, const VNNI: bool>(
    job: &Job<'_, Chunk>,
    tiles: Range<usize>,
) {
    if job.strips.total() >= avx2_tall::LEAST {
        // SAFETY: as the caller vouches.
        return unsafe { avx2_tall::multiply::<Chunks<P, VNNI>>(job, tiles) };
    }
    for tile in tiles {
        for lanes in [0, LANES] {
            let at = (tile, lanes);
            // SAFETY: the tile and its lanes exist; a strip has all rows.
            unsafe {
                match job.strips.total() {
                    1 => multiply_few::<P, VNNI, 1>(job, at),
                    2 => multiply_few::<P, VNNI, 2>(job, at),
                    3 => multiply_few::<P, VNNI, 3>(job, at),
                    _ => multiply_few::<P, VNNI, { avx2_tall::LEAST - 1 }>(job, at),
                }
            }
        }
    }
}

/// The lanes of a tile from `lanes` with the `M` rows that there are.
#[inline(always)]
unsafe fn multiply_few<P: Packing, const VNNI: bool, const M: usize>(
    job: &Job<'_, Chunk>,
    (tile, lanes): (usize, usize),
) {
    let layout = const { &P::LAYOUT };
    let w = job.part.w;
    // SAFETY: the tile has this many chunks, and `x` the rows of each; the columns of the rows are this task's own.
    unsafe {
        let values = &Looked::load(layout, w.layout.values);
        let mut sums = [[_mm256_setzero_ps()]; M];
        let mut chunk = job.tile(tile).as_ptr();
        let mut x = job.x.as_ptr();
        for _ in 0..w.cols / Chunk::COLS {
            let mut products = [[_mm256_setzero_si256()]; M];
            for b in 0..BLOCKS {
                let block = chunk.add(layout.head_bytes() + b * layout.block_bytes());
                ahead::stream(block, layout.block_bytes());
                let here = Here::<P> { planes: block.add(4 * lanes), values, kind: PhantomData };
                let scales = |half| [scale::<VNNI>(layout, block, half, lanes)];
                let codes = (&raw const (*x).codes).cast::<i8>().add(b * BLOCK_COLS);
                add_scaled::<_, VNNI, M, 1>(&here, scales, codes, &mut products);
            }
            let units = [&Units::load(layout, w.layout.values.unit, chunk, lanes)];
            let pairs = |p| [pair(layout, chunk, p, lanes)];
            complete::<P, VNNI, M, 1>(units, pairs, x, &products, &mut sums);
            chunk = chunk.add(layout.chunk_bytes());
            x = x.add(M);
        }
        for (row, [sum]) in job.strips.all().zip(&sums) {
            store(job, row, (tile, lanes), *sum);
        }
    }
}

/// The scales of a block, or of a half of it, as [`add_scaled`] takes them.
#[inline(always)]
unsafe fn scale<const VNNI: bool>(
    layout: &Layout,
    block: *const u8,
    half: usize,
    lanes: usize,
) -> __m256i {
    // SAFETY: the block has them, as the caller vouches.
    unsafe {
        let from = block.add(layout.plane_bytes() + half * TILE_ROWS + lanes);
        let scale = _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()));
        if VNNI {
            return scale;
        }
        _mm256_blend_epi16::<0b1010_1010>(scale, _mm256_slli_epi32::<16>(scale))
    }
}

/// What the sums of columns are multiplied with, the offsets or else the scales: of two neighboring groups that
/// have some, number `2 p` and the next one, for each lane.
#[inline(always)]
unsafe fn pair(layout: &Layout, chunk: *const u8, p: usize, lanes: usize) -> __m256i {
    // Scales come first, then offsets.
    let skipped = if layout.mins { layout.scales() * TILE_ROWS } else { 0 };
    let (blocks, next) = match layout.halves {
        true => (p, TILE_ROWS),
        false => (2 * p, layout.block_bytes()),
    };
    // SAFETY: the chunk has these bytes.
    unsafe {
        let from = layout.head_bytes() + blocks * layout.block_bytes() + layout.plane_bytes();
        let from = chunk.add(from + skipped + lanes);
        let first = _mm_loadl_epi64(from.cast());
        let both = _mm_unpacklo_epi8(first, _mm_loadl_epi64(from.add(next).cast()));
        if layout.mins { _mm256_cvtepu8_epi16(both) } else { _mm256_cvtepi8_epi16(both) }
    }
}

/// Pairs of groups that have a scale.
const fn pairs(layout: &Layout) -> usize {
    BLOCKS * layout.scales() / 2
}

/// What the units of a chunk's scales and offsets stand for.
#[derive(Clone, Copy)]
struct Units {
    scale: __m256,
    min: __m256,
}

impl Units {
    fn new() -> Self {
        // SAFETY: the features are present wherever these kernels are.
        let none = unsafe { _mm256_setzero_ps() };
        Self { scale: none, min: none }
    }

    /// Of the lanes from `lanes` on, with what a unit of the values stands for that codes are looked up as.
    #[inline(always)]
    unsafe fn load(layout: &Layout, unit: f32, chunk: *const u8, lanes: usize) -> Self {
        let mut units = Self::new();
        // SAFETY: the chunk begins with them.
        unsafe {
            units.scale = load_halves(chunk.add(2 * lanes));
            if layout.looked_up {
                units.scale = _mm256_mul_ps(units.scale, _mm256_set1_ps(unit));
            }
            if layout.mins {
                let min = load_halves(chunk.add(2 * (TILE_ROWS + lanes)));
                units.min = _mm256_sub_ps(units.min, min);
            }
        }
        units
    }
}

/// Adds the sums of a chunk's products, as floats, and what offsets or the zero of the weights make of those of the
/// activations.
#[inline(always)]
unsafe fn complete<P: Packing, const VNNI: bool, const M: usize, const N: usize>(
    units: [&Units; N],
    pair: impl Fn(usize) -> [__m256i; N],
    x: *const Chunk,
    products: &Products<M, N>,
    sums: &mut Sums<M, N>,
) {
    let layout = const { &P::LAYOUT };
    // SAFETY: there are `M` chunks, and so many pairs of sums.
    unsafe {
        let mut offsets = [[_mm256_setzero_si256(); N]; M];
        // Whole bytes without AVX-VNNI were signed.
        let is_centered = !VNNI && layout.are_bytes();
        for p in 0..if is_centered { 0 } else { pairs(layout) } {
            let of_weights = pair(p);
            for (i, offsets) in offsets.iter_mut().enumerate() {
                let of_x = two_sums(layout, x.add(i), p);
                for n in 0..N {
                    let both = _mm256_madd_epi16(of_weights[n], of_x);
                    offsets[n] = _mm256_add_epi32(offsets[n], both);
                }
            }
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            let unit = _mm256_set1_ps((*x.add(i)).scale);
            for n in 0..N {
                let (mut product, offset) = (products[i][n], offsets[i][n]);
                if !layout.mins && !is_centered {
                    let count = _mm_cvtsi32_si128(layout.zero.trailing_zeros() as i32);
                    product = _mm256_sub_epi32(product, _mm256_sll_epi32(offset, count));
                }
                let mut both = _mm256_mul_ps(_mm256_cvtepi32_ps(product), units[n].scale);
                if layout.mins {
                    both = _mm256_fmadd_ps(_mm256_cvtepi32_ps(offset), units[n].min, both);
                }
                sums[n] = _mm256_fmadd_ps(both, unit, sums[n]);
            }
        }
    }
}

/// The sums of groups `2 p` and `2 p + 1` of a row, in every lane.
#[inline(always)]
unsafe fn two_sums(layout: &Layout, x: *const Chunk, p: usize) -> __m256i {
    // SAFETY: they are there.
    unsafe {
        let sums = match layout.halves {
            true => (&raw const (*x).half_sums).cast::<i32>(),
            false => (&raw const (*x).sums).cast::<i32>(),
        };
        _mm256_set1_epi32(sums.add(p).read())
    }
}

/// The strip of three rows, for a kind of weights, with AVX-VNNI or without.
struct Chunks<P, const VNNI: bool>(PhantomData<P>);

/// A chunk of half a tile.
#[derive(Clone, Copy)]
struct Spread {
    bytes: [Bytes; BLOCKS],
    /// Of each block, or half of one.
    scales: [__m256i; 2 * BLOCKS],
    pairs: [__m256i; BLOCKS],
    units: Units,
}

impl<P: Packing, const VNNI: bool> Strip for Chunks<P, VNNI> {
    const LAYOUT: &'static Layout = &P::LAYOUT;
    const VNNI: bool = VNNI;

    type X = Chunk;
    type Panel = [Spread; HALVES];

    fn empty() -> Self::Panel {
        // SAFETY: the features are present wherever these kernels are.
        let none = unsafe { _mm256_setzero_si256() };
        let bytes = [Bytes::new(); BLOCKS];
        let units = Units::new();
        [Spread { bytes, scales: [none; 2 * BLOCKS], pairs: [none; BLOCKS], units }; HALVES]
    }

    #[inline(always)]
    unsafe fn spread(job: &Job<'_, Chunk>, chunk: &[u8], panel: &mut Self::Panel) {
        let layout = const { &P::LAYOUT };
        let chunk = chunk.as_ptr();
        // SAFETY: the chunk begins with a head, and its blocks follow.
        unsafe {
            let values = &Looked::load(layout, job.part.w.layout.values);
            for (n, spread) in panel.iter_mut().enumerate() {
                let lanes = n * LANES;
                for (b, bytes) in spread.bytes.iter_mut().enumerate() {
                    let block = chunk.add(layout.head_bytes() + b * layout.block_bytes());
                    bytes.spread::<VNNI>(layout, values, layout.zero, block.add(4 * lanes));
                    for half in 0..layout.scales() {
                        let at = b * layout.scales() + half;
                        spread.scales[at] = scale::<VNNI>(layout, block, half, lanes);
                    }
                }
                for p in 0..pairs(layout) {
                    spread.pairs[p] = pair(layout, chunk, p, lanes);
                }
                spread.units = Units::load(layout, job.part.w.layout.values.unit, chunk, lanes);
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<const M: usize>(part: &Part<'_, Self>, sums: &mut StripSums) {
        let (x, [low, high]) = (part.x, part.panel);
        // SAFETY: the features are present, as the caller vouches; there are `M` rows.
        unsafe {
            let mut products = [[_mm256_setzero_si256(); HALVES]; M];
            for b in 0..BLOCKS {
                let weights = SpreadOut::<P, VNNI>([&low.bytes[b], &high.bytes[b]], PhantomData);
                let scales = |half| {
                    let at = b * P::LAYOUT.scales() + half;
                    [low.scales[at], high.scales[at]]
                };
                let codes = (&raw const (*x).codes).cast::<i8>().add(b * BLOCK_COLS);
                add_scaled::<_, VNNI, M, HALVES>(&weights, scales, codes, &mut products);
            }
            let mut here = [[_mm256_setzero_ps(); HALVES]; M];
            here.copy_from_slice(&sums[..M]);
            let pairs = |p: usize| [low.pairs[p], high.pairs[p]];
            complete::<P, VNNI, M, HALVES>(
                [&low.units, &high.units],
                pairs,
                x,
                &products,
                &mut here,
            );
            sums[..M].copy_from_slice(&here);
        }
    }
}
