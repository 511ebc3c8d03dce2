//! The packed kernels for vectors of 256 bits: a tile's 16 rows in two halves of eight lanes, as
//! `avx2_block` multiplies them, with AVX-VNNI or without. Up to four rows of activations are multiplied at once,
//! the weights taken apart as they pass by; more go through `avx2_tall`. Weights whose scales are integers are
//! `avx2_chunk`'s.

use super::activations::{Block, Chunk, Strips, quantize_chunks, quantize_strip};
use super::avx2_block::{Scales, Weights, multiply_block};
use super::avx2_strip::Blocks;
use super::layout::{Layout, Packing, TILE_ROWS, VECTOR};
use super::{
    Job, PackedKernels, QuantType, TileKernels, ahead, avx2_chunk, avx2_tall, exact, pack_tile,
    with_format, with_kind,
};
use crate::block::Values;
use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_ps,
    _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cvtph_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sll_epi16, _mm256_srl_epi16, _mm256_storeu_ps, _mm256_xor_si256,
};
use std::marker::PhantomData;
use std::ops::Range;

/// Lanes of a vector.
pub(super) const LANES: usize = 8;

/// Many rows are cut as the kernel for many takes them.
fn strips(m: usize) -> Strips {
    if m < avx2_tall::LEAST { Strips::new(m) } else { Strips::up_to(avx2_tall::STRIP, m) }
}

/// Applies the features of all of these kernels to a function.
macro_rules! avx2 {
    ($($item:item)*) => {
        $(
            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            $item
        )*
    };
}

/// Compiles the kernels for AVX2, with AVX-VNNI or without.
macro_rules! kernels {
    ($module:ident, $vnni:literal, $features:literal) => {
        /// To be called only where the features are present.
        pub(crate) mod $module {
            use super::*;

            pub(crate) const KERNELS: PackedKernels = PackedKernels {
                blocks: TileKernels { strips, round: super::round, multiply },
                chunks: TileKernels {
                    strips,
                    round: super::round_chunks,
                    multiply: multiply_chunks,
                },
                floats: exact::avx2::KERNELS,
                pairs: None,
                twelve: None,
                pack: super::pack,
            };

            #[target_feature(enable = $features)]
            unsafe fn multiply(job: &Job<'_, Block>, tiles: Range<usize>) {
                // SAFETY: as the caller vouches.
                let _ = with_kind!(blocks, job.part.w.ty, Kind, unsafe {
                    super::multiply::<Kind, $vnni>(job, tiles)
                });
            }

            #[target_feature(enable = $features)]
            unsafe fn multiply_chunks(job: &Job<'_, Chunk>, tiles: Range<usize>) {
                // SAFETY: as the caller vouches.
                let _ = with_kind!(chunks, job.part.w.ty, Kind, unsafe {
                    avx2_chunk::multiply::<Kind, $vnni>(job, tiles)
                });
            }
        }
    };
}

kernels!(plain, false, "avx2,fma,f16c");
kernels!(vnni, true, "avx2,fma,f16c,avxvnni");

avx2! {
    unsafe fn round(x: &[f32], rows: usize, out: &mut [Block]) {
        quantize_strip(x, rows, out);
    }

    unsafe fn round_chunks(x: &[f32], rows: usize, out: &mut [Chunk]) {
        quantize_chunks(x, rows, out);
    }

    unsafe fn pack(ty: QuantType, rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
        with_format!(ty, Format, pack_tile::<Format, _, _>(rows, row_bytes, tile));
    }
}

/// # Safety
/// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
#[inline(always)]
unsafe fn multiply<P: Packing, const VNNI: bool>(job: &Job<'_, Block>, tiles: Range<usize>) {
    if job.strips.total() >= avx2_tall::LEAST {
        // SAFETY: as the caller vouches.
        return unsafe { avx2_tall::multiply::<Blocks<P, VNNI>>(job, tiles) };
    }
    for tile in tiles {
        for lanes in [0, LANES] {
            let at = (tile, lanes);
            // SAFETY: the tile and its lanes exist; a strip has all rows.
            unsafe {
                match job.strips.total() {
                    1 => multiply_rows::<P, VNNI, 1>(job, at),
                    2 => multiply_rows::<P, VNNI, 2>(job, at),
                    3 => multiply_rows::<P, VNNI, 3>(job, at),
                    _ => multiply_rows::<P, VNNI, { avx2_tall::LEAST - 1 }>(job, at),
                }
            }
        }
    }
}

/// The lanes of a tile from `lanes` with the `M` rows that there are.
#[inline(always)]
unsafe fn multiply_rows<P: Packing, const VNNI: bool, const M: usize>(
    job: &Job<'_, Block>,
    (tile, lanes): (usize, usize),
) {
    let layout = const { &P::LAYOUT };
    let w = job.part.w;
    // SAFETY: the tile has this many blocks, and `x` the rows of each block; the columns of the rows are
    // this task's own.
    unsafe {
        let values = &Looked::load(layout, w.layout.values);
        let mut sums = [[_mm256_setzero_ps()]; M];
        let mut block = job.tile(tile).as_ptr();
        let mut x = job.x.as_ptr();
        for _ in 0..w.blocks() {
            ahead::stream(block, layout.block_bytes());
            let scales = load_scales(layout, block.add(layout.plane_bytes()), lanes);
            let here = Here::<P> { planes: block.add(4 * lanes), values, kind: PhantomData };
            multiply_block::<_, VNNI, M, 1>(&here, [&scales], x, &mut sums);
            block = block.add(layout.block_bytes());
            x = x.add(M);
        }
        for (row, [sum]) in job.strips.all().zip(&sums) {
            store(job, row, (tile, lanes), *sum);
        }
    }
}

/// Writes the results of an activation row with the weight rows in a tile's lanes from `lanes` on.
#[inline(always)]
pub(super) unsafe fn store<X>(
    job: &Job<'_, X>,
    row: usize,
    (tile, lanes): (usize, usize),
    sums: __m256,
) {
    let column = tile * TILE_ROWS + lanes;
    let count = job.part.w.rows.saturating_sub(column).min(LANES);
    if count == 0 {
        return;
    }
    // SAFETY: the columns are within `y` and, as the caller vouches, its own.
    unsafe {
        let (y, bias) = (job.place(row, column, count), job.bias(column, count));
        if count == LANES {
            let sums = match bias {
                Some(bias) => _mm256_add_ps(sums, _mm256_loadu_ps(bias.as_ptr())),
                None => sums,
            };
            return _mm256_storeu_ps(y, sums);
        }
        let mut eight = [0.0; LANES];
        _mm256_storeu_ps(eight.as_mut_ptr(), sums);
        for (sum, bias) in eight.iter_mut().zip(bias.unwrap_or_default()) {
            *sum += bias;
        }
        y.copy_from_nonoverlapping(eight.as_ptr(), count);
    }
}

/// Eight lanes of a block of some kind, as they are packed.
pub(super) struct Here<'a, P> {
    pub(super) planes: *const u8,
    pub(super) values: &'a Looked,
    pub(super) kind: PhantomData<P>,
}

impl<P: Packing> Weights<1> for Here<'_, P> {
    const LAYOUT: &'static Layout = &P::LAYOUT;
    const ZERO: i32 = P::LAYOUT.zero;

    #[inline(always)]
    unsafe fn codes(&self, g: usize) -> [__m256i; 1] {
        // SAFETY: the planes are there.
        unsafe { [codes(Self::LAYOUT, self.values, self.planes, g)] }
    }

    #[inline(always)]
    unsafe fn signed(&self, g: usize) -> [(__m256i, __m256i); 1] {
        // SAFETY: as above.
        unsafe { [signed(codes(Self::LAYOUT, self.values, self.planes, g))] }
    }
}

/// The integers of group `g` of a block.
#[inline(always)]
pub(super) unsafe fn codes(
    layout: &Layout,
    values: &Looked,
    planes: *const u8,
    g: usize,
) -> __m256i {
    // SAFETY: the planes are there.
    unsafe {
        let plane = |at: usize| _mm256_loadu_si256(planes.add(at).cast());
        if layout.plane_bytes() == 8 * VECTOR {
            return plane(g * VECTOR);
        }
        let mut codes = _mm256_setzero_si256();
        if layout.nibbles {
            codes = bits(plane(g % 4 * VECTOR), g / 4 * 4, 0, 15);
        }
        if layout.pairs {
            let pairs = plane(layout.pairs_at() + g % 2 * VECTOR);
            codes = _mm256_or_si256(codes, bits(pairs, g / 2 * 2, layout.pair_bit(), 3));
        }
        if layout.singles {
            let singles = plane(layout.singles_at());
            codes = _mm256_or_si256(codes, bits(singles, g, layout.single_bit(), 1));
        }
        if layout.looked_up { _mm256_shuffle_epi8(values.table, codes) } else { codes }
    }
}

/// Whole bytes, less their middle, and the magnitudes of that.
#[inline(always)]
pub(super) unsafe fn signed(codes: __m256i) -> (__m256i, __m256i) {
    // SAFETY: the features are present, as the caller vouches.
    unsafe {
        let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
        (signed, _mm256_abs_epi8(signed))
    }
}

/// Moves the bits under `mask` of every byte from bit `from` to bit `to`; all others vanish.
#[inline(always)]
unsafe fn bits(bytes: __m256i, from: usize, to: usize, mask: u8) -> __m256i {
    // SAFETY: the features are present, as the caller vouches.
    unsafe {
        let count = _mm_cvtsi32_si128(from.abs_diff(to) as i32);
        let moved = match from.cmp(&to) {
            std::cmp::Ordering::Less => _mm256_sll_epi16(bytes, count),
            std::cmp::Ordering::Equal => bytes,
            std::cmp::Ordering::Greater => _mm256_srl_epi16(bytes, count),
        };
        _mm256_and_si256(moved, _mm256_set1_epi8((mask << to) as i8))
    }
}

#[inline(always)]
pub(super) unsafe fn load_halves(from: *const u8) -> __m256 {
    // SAFETY: eight halves are there, as the caller vouches.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
}

/// The scales and the offsets of a block, of the lanes from `lanes` on.
#[inline(always)]
pub(super) unsafe fn load_scales(layout: &Layout, from: *const u8, lanes: usize) -> Scales {
    // SAFETY: they follow the planes, as the caller vouches.
    unsafe {
        let scale = load_halves(from.add(2 * lanes));
        let min = match layout.mins {
            true => load_halves(from.add(2 * (TILE_ROWS + lanes))),
            false => _mm256_setzero_ps(),
        };
        Scales { scale, min }
    }
}

/// What codes stand for, where they are looked up.
pub(super) struct Looked {
    /// In each half, plus 128.
    table: __m256i,
}

impl Looked {
    #[inline(always)]
    pub(super) unsafe fn load(layout: &Layout, values: &Values) -> Self {
        // SAFETY: the features are present, as the caller vouches; the table is there.
        unsafe {
            if !layout.looked_up {
                return Self { table: _mm256_setzero_si256() };
            }
            let table = _mm_loadu_si128(values.of_codes.as_ptr().cast());
            let table = _mm256_broadcastsi128_si256(table);
            Self { table: _mm256_xor_si256(table, _mm256_set1_epi8(-128)) }
        }
    }
}
