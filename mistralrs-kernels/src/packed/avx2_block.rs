//! Products of 32 columns for vectors of 256 bits, wherever the weights are: some rows of activations with one
//! run of eight lanes or more, in one order, so the bits are the same. With AVX-VNNI four products are one
//! instruction; without, `vpmaddubsw` adds two in 16 bits, and as many of these are added up as surely fit.
//! Source: `vpmaddubsw` multiplies unsigned with signed bytes and saturates, so bytes of weights, which
//! reach 255, are taken as sign and magnitude.

use super::activations::{Block, Chunk};
use super::layout::Layout;
use std::arch::asm;
use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_cvtepi32_ps,
    _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mul_ps, _mm256_mullo_epi32, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm256_sra_epi32,
};
use std::ops::Range;

/// The weights of a block of columns, in `N` runs of eight lanes.
pub(super) trait Weights<const N: usize> {
    /// How they are packed, but for which integer means zero.
    const LAYOUT: &'static Layout;
    /// That.
    const ZERO: i32;
    /// A byte for each weight of group `g`.
    ///
    /// # Safety
    /// The features are present.
    unsafe fn codes(&self, g: usize) -> [__m256i; N];
    /// Of whole bytes, what they are above their middle, and the magnitudes of that.
    ///
    /// # Safety
    /// As above.
    unsafe fn signed(&self, g: usize) -> [(__m256i, __m256i); N];
}

/// The scale and the offset of 32 columns.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    pub(super) scale: __m256,
    pub(super) min: __m256,
}

/// The sums of `M` rows.
pub(super) type Sums<const M: usize, const N: usize> = [[__m256; N]; M];
/// Products in integers, of `M` rows.
pub(super) type Products<const M: usize, const N: usize> = [[__m256i; N]; M];

/// Adds the products with `M` rows of activations: the integers, then the scales.
///
/// # Safety
/// The features are present, with `VNNI` AVX-VNNI too, and `x` has `M` blocks.
#[inline(always)]
pub(super) unsafe fn multiply_block<
    W: Weights<N>,
    const VNNI: bool,
    const M: usize,
    const N: usize,
>(
    w: &W,
    scales: [&Scales; N],
    x: *const Block,
    sums: &mut Sums<M, N>,
) {
    const PITCH: usize = size_of::<Block>();
    // SAFETY: as the caller vouches.
    unsafe {
        let codes = (&raw const (*x).codes).cast();
        let mut products = [[_mm256_setzero_si256(); N]; M];
        if W::ZERO != 0 && VNNI {
            for (i, products) in products.iter_mut().enumerate() {
                *products = [of_zero::<W, N>(&*x.add(i)); N];
            }
        }
        let ones = [_mm256_set1_epi16(1); N];
        match (VNNI, W::LAYOUT.are_bytes()) {
            (true, _) => with_vnni::<W, M, N, PITCH>(w, codes, 0..8, &mut products),
            (false, true) => of_bytes::<W, M, N, PITCH>(w, codes, 0..8, ones, &mut products),
            (false, false) => of_bits::<W, M, N, PITCH>(w, codes, 0..8, ones, &mut products),
        }
        // Whole bytes were signed instead.
        if W::ZERO != 0 && !VNNI && !W::LAYOUT.are_bytes() {
            for (i, products) in products.iter_mut().enumerate() {
                let zero = pin(of_zero::<W, N>(&*x.add(i)));
                for product in products {
                    *product = _mm256_add_epi32(*product, zero);
                }
            }
        }
        scale(scales, x, &products, sums);
        if W::LAYOUT.mins {
            add_mins(scales, x, sums);
        }
    }
}

/// Adds the products with `M` rows of activations, times the integer scales of each half of the columns or of all,
/// whose codes begin at `x`; the zero of weights is not taken off, but that of whole bytes without AVX-VNNI.
///
/// Scales are in both halves of a lane, and with AVX-VNNI lanes of 32 bits.
///
/// # Safety
/// The features are present, with `VNNI` AVX-VNNI too, and the codes of `M` chunks.
#[inline(always)]
pub(super) unsafe fn add_scaled<W: Weights<N>, const VNNI: bool, const M: usize, const N: usize>(
    w: &W,
    scales: impl Fn(usize) -> [__m256i; N],
    x: *const i8,
    sums: &mut Products<M, N>,
) {
    // SAFETY: as the caller vouches. Ranges are literals, for the compiler to unroll what runs through them.
    unsafe {
        if W::LAYOUT.halves {
            add_groups::<W, VNNI, M, N>(w, scales(0), x, 0..4, sums);
            add_groups::<W, VNNI, M, N>(w, scales(1), x, 4..8, sums);
        } else {
            add_groups::<W, VNNI, M, N>(w, scales(0), x, 0..8, sums);
        }
    }
}

/// The same for groups that share a scale.
#[inline(always)]
unsafe fn add_groups<W: Weights<N>, const VNNI: bool, const M: usize, const N: usize>(
    w: &W,
    scales: [__m256i; N],
    x: *const i8,
    groups: Range<usize>,
    sums: &mut Products<M, N>,
) {
    const PITCH: usize = size_of::<Chunk>();
    // SAFETY: as the caller vouches.
    unsafe {
        match (VNNI, W::LAYOUT.are_bytes()) {
            (true, _) => {
                let mut products = [[_mm256_setzero_si256(); N]; M];
                with_vnni::<W, M, N, PITCH>(w, x, groups, &mut products);
                for (sums, products) in sums.iter_mut().zip(&products) {
                    for n in 0..N {
                        let scaled = _mm256_mullo_epi32(products[n], scales[n]);
                        sums[n] = _mm256_add_epi32(sums[n], scaled);
                    }
                }
            }
            (false, true) => of_bytes::<W, M, N, PITCH>(w, x, groups, scales, sums),
            (false, false) => of_bits::<W, M, N, PITCH>(w, x, groups, scales, sums),
        }
    }
}

/// The products of some groups of a block's columns; the codes of activations are those of the first row at `x`, and
/// of each further one `PITCH` bytes on.
#[inline(always)]
unsafe fn with_vnni<W: Weights<N>, const M: usize, const N: usize, const PITCH: usize>(
    w: &W,
    x: *const i8,
    groups: Range<usize>,
    products: &mut Products<M, N>,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        for g in groups {
            let codes = w.codes(g);
            for (i, products) in products.iter_mut().enumerate() {
                let four = four(x.add(i * PITCH), g);
                for (product, codes) in products.iter_mut().zip(codes) {
                    *product = _mm256_dpbusd_avx_epi32(*product, codes, four);
                }
            }
        }
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

/// Whole bytes as sign and magnitude, times units in 16 bits; nothing is to be added for their zero.
#[inline(always)]
unsafe fn of_bytes<W: Weights<N>, const M: usize, const N: usize, const PITCH: usize>(
    w: &W,
    x: *const i8,
    groups: Range<usize>,
    units: [__m256i; N],
    products: &mut Products<M, N>,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        for g in groups {
            let weights = w.signed(g);
            for (i, products) in products.iter_mut().enumerate() {
                let four = four(x.add(i * PITCH), g);
                for n in 0..N {
                    let (signed, magnitudes) = weights[n];
                    let twos = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(four, signed));
                    let fours = _mm256_madd_epi16(twos, units[n]);
                    products[n] = pin(_mm256_add_epi32(products[n], fours));
                }
            }
        }
    }
}

/// How many sums of two products surely fit 16 bits.
const fn fitting(layout: &Layout) -> usize {
    let bits = layout.nibbles as u32 * 4 + layout.pairs as u32 * 2 + layout.singles as u32;
    // Whole bytes have no bits here and never get here.
    if bits == 0 { 1 } else { 32767 / (2 * 127 * ((1 << bits) - 1)) }
}

/// Few bits, times units in 16 bits: sums of two products are added up in 16 bits while they fit.
#[inline(always)]
unsafe fn of_bits<W: Weights<N>, const M: usize, const N: usize, const PITCH: usize>(
    w: &W,
    x: *const i8,
    groups: Range<usize>,
    units: [__m256i; N],
    products: &mut Products<M, N>,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        for from in groups.clone().step_by(const { fitting(W::LAYOUT) }) {
            let mut small = [[_mm256_setzero_si256(); N]; M];
            for g in from..groups.end.min(from + const { fitting(W::LAYOUT) }) {
                let codes = w.codes(g);
                for (i, small) in small.iter_mut().enumerate() {
                    let four = four(x.add(i * PITCH), g);
                    for (small, codes) in small.iter_mut().zip(codes) {
                        let twos = _mm256_maddubs_epi16(codes, four);
                        *small = if g == from { twos } else { _mm256_add_epi16(*small, twos) };
                        *small = pin(*small);
                    }
                }
            }
            for (products, small) in products.iter_mut().zip(small) {
                for n in 0..N {
                    let fours = _mm256_madd_epi16(small[n], units[n]);
                    products[n] = _mm256_add_epi32(products[n], fours);
                }
            }
        }
    }
}

/// Four columns of a row of activations, for all lanes.
#[inline(always)]
unsafe fn four(x: *const i8, g: usize) -> __m256i {
    // SAFETY: as the caller vouches.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().add(g).read_unaligned()) }
}

/// What the integers' zero adds up to in a row's block, taken off.
#[inline(always)]
unsafe fn of_zero<W: Weights<N>, const N: usize>(x: &Block) -> __m256i {
    // SAFETY: the features are present, as the caller vouches.
    unsafe {
        let count = _mm_cvtsi32_si128(7 - W::ZERO.trailing_zeros() as i32);
        _mm256_sra_epi32(_mm256_set1_epi32(x.offset), count)
    }
}

/// Adds products, times the scales.
#[inline(always)]
unsafe fn scale<const M: usize, const N: usize>(
    scales: [&Scales; N],
    x: *const Block,
    products: &Products<M, N>,
    sums: &mut Sums<M, N>,
) {
    for (i, (products, sums)) in products.iter().zip(sums).enumerate() {
        // SAFETY: as the caller vouches.
        unsafe {
            let unit = _mm256_set1_ps((*x.add(i)).scale);
            for ((product, sum), scales) in products.iter().zip(sums).zip(scales) {
                let scale = _mm256_mul_ps(scales.scale, unit);
                *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(*product), scale, *sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_mins<const M: usize, const N: usize>(
    scales: [&Scales; N],
    x: *const Block,
    sums: &mut Sums<M, N>,
) {
    for (i, sums) in sums.iter_mut().enumerate() {
        // SAFETY: as the caller vouches.
        unsafe {
            let of_x = _mm256_set1_ps((*x.add(i)).sum);
            for (sum, scales) in sums.iter_mut().zip(scales) {
                *sum = _mm256_fmadd_ps(scales.min, of_x, *sum);
            }
        }
    }
}
