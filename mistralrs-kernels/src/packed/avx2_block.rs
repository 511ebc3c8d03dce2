//! Products of 32 columns for vectors of 256 bits, wherever the weights are: some rows of activations with one
//! run of eight lanes or more, in one order, so the bits are the same. With AVX-VNNI four products are one
//! instruction; without, `vpmaddubsw` adds two in 16 bits, and as many of these are added up as surely fit.
//! Source: `vpmaddubsw` multiplies unsigned with signed bytes and saturates, so bytes of weights, which
//! reach 255, are taken as sign and magnitude.

use super::activations::Block;
use super::avx2::Scales;
use super::layout::Layout;
use std::arch::asm;
use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_cvtepi32_ps,
    _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mul_ps, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256,
    _mm256_sign_epi8, _mm256_sra_epi32,
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
    /// Of each run.
    fn scales(&self) -> [&Scales; N];
}

/// The sums of `M` rows.
pub(super) type Sums<const M: usize, const N: usize> = [[__m256; N]; M];
/// Products in integers, of `M` rows.
type Products<const M: usize, const N: usize> = [[__m256i; N]; M];

/// Adds the products with `M` rows of activations: the integers, then the scales, for each half of the columns if
/// these differ.
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
    x: *const Block,
    sums: &mut Sums<M, N>,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        if W::LAYOUT.halves {
            scale(w, x, 0, &products::<W, VNNI, M, N>(w, x, 0..4), sums);
            scale(w, x, 1, &products::<W, VNNI, M, N>(w, x, 4..8), sums);
        } else {
            scale(w, x, 0, &products::<W, VNNI, M, N>(w, x, 0..8), sums);
        }
        add_mins(w, x, sums);
    }
}

/// The products of some groups of a block's columns.
#[inline(always)]
unsafe fn products<W: Weights<N>, const VNNI: bool, const M: usize, const N: usize>(
    w: &W,
    x: *const Block,
    groups: Range<usize>,
) -> Products<M, N> {
    // SAFETY: as the caller vouches.
    unsafe {
        match (VNNI, W::LAYOUT.are_bytes()) {
            (true, _) => with_vnni(w, x, groups),
            (false, true) => of_bytes(w, x, groups),
            (false, false) => of_bits(w, x, groups),
        }
    }
}

#[inline(always)]
unsafe fn with_vnni<W: Weights<N>, const M: usize, const N: usize>(
    w: &W,
    x: *const Block,
    groups: Range<usize>,
) -> Products<M, N> {
    // SAFETY: as the caller vouches.
    unsafe {
        let mut products = [[_mm256_setzero_si256(); N]; M];
        if W::ZERO != 0 {
            for (i, products) in products.iter_mut().enumerate() {
                *products = [of_zero::<W, N>(&groups, &*x.add(i)); N];
            }
        }
        for g in groups {
            let codes = w.codes(g);
            for (i, products) in products.iter_mut().enumerate() {
                let four = four(x.add(i), g);
                for (product, codes) in products.iter_mut().zip(codes) {
                    *product = _mm256_dpbusd_avx_epi32(*product, codes, four);
                }
            }
        }
        products
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

/// Whole bytes as sign and magnitude; nothing is to be added for their zero.
#[inline(always)]
unsafe fn of_bytes<W: Weights<N>, const M: usize, const N: usize>(
    w: &W,
    x: *const Block,
    groups: Range<usize>,
) -> Products<M, N> {
    // SAFETY: as the caller vouches.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut products = [[_mm256_setzero_si256(); N]; M];
        for g in groups {
            let weights = w.signed(g);
            for (i, products) in products.iter_mut().enumerate() {
                let four = four(x.add(i), g);
                for (product, (signed, magnitudes)) in products.iter_mut().zip(weights) {
                    let twos = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(four, signed));
                    *product = pin(_mm256_add_epi32(*product, _mm256_madd_epi16(twos, ones)));
                }
            }
        }
        products
    }
}

/// How many sums of two products surely fit 16 bits.
const fn fitting(layout: &Layout) -> usize {
    let bits = layout.nibbles as u32 * 4 + layout.pairs as u32 * 2 + layout.singles as u32;
    // Whole bytes have no bits here and never get here.
    if bits == 0 { 1 } else { 32767 / (2 * 127 * ((1 << bits) - 1)) }
}

/// Few bits: sums of two products are added up in 16 bits while they fit.
#[inline(always)]
unsafe fn of_bits<W: Weights<N>, const M: usize, const N: usize>(
    w: &W,
    x: *const Block,
    groups: Range<usize>,
) -> Products<M, N> {
    // SAFETY: as the caller vouches.
    unsafe {
        let (ones, zero) = (_mm256_set1_epi16(1), _mm256_setzero_si256());
        let mut products = [[zero; N]; M];
        for from in groups.clone().step_by(const { fitting(W::LAYOUT) }) {
            let mut small = [[zero; N]; M];
            for g in from..groups.end.min(from + const { fitting(W::LAYOUT) }) {
                let codes = w.codes(g);
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
                    let begins = from == groups.start;
                    *product = if begins { fours } else { _mm256_add_epi32(*product, fours) };
                }
            }
        }
        if W::ZERO != 0 {
            for (i, products) in products.iter_mut().enumerate() {
                let zero = pin(of_zero::<W, N>(&groups, &*x.add(i)));
                for product in products {
                    *product = _mm256_add_epi32(*product, zero);
                }
            }
        }
        products
    }
}

/// Four columns of a row of activations, for all lanes.
#[inline(always)]
unsafe fn four(x: *const Block, g: usize) -> __m256i {
    // SAFETY: as the caller vouches.
    unsafe {
        let codes = (*x).codes.as_ptr().cast::<i32>();
        _mm256_set1_epi32(codes.add(g).read_unaligned())
    }
}

/// What the integers' zero adds up to in some groups of a row's block, taken off.
#[inline(always)]
unsafe fn of_zero<W: Weights<N>, const N: usize>(groups: &Range<usize>, x: &Block) -> __m256i {
    // SAFETY: the features are present, as the caller vouches.
    unsafe {
        let of_128 = if W::LAYOUT.halves { x.half_offsets[groups.start / 4] } else { x.offset };
        let count = _mm_cvtsi32_si128(7 - W::ZERO.trailing_zeros() as i32);
        _mm256_sra_epi32(_mm256_set1_epi32(of_128), count)
    }
}

/// Adds products, times the scales number `n` of the block.
#[inline(always)]
unsafe fn scale<W: Weights<N>, const M: usize, const N: usize>(
    w: &W,
    x: *const Block,
    n: usize,
    products: &Products<M, N>,
    sums: &mut Sums<M, N>,
) {
    let scales = w.scales();
    for (i, (products, sums)) in products.iter().zip(sums).enumerate() {
        // SAFETY: as the caller vouches.
        unsafe {
            let unit = _mm256_set1_ps((*x.add(i)).scale);
            for ((product, sum), scales) in products.iter().zip(sums).zip(scales) {
                let scale = _mm256_mul_ps(scales.scales[n], unit);
                *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(*product), scale, *sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_mins<W: Weights<N>, const M: usize, const N: usize>(
    w: &W,
    x: *const Block,
    sums: &mut Sums<M, N>,
) {
    if !W::LAYOUT.mins {
        return;
    }
    let scales = w.scales();
    for (i, sums) in sums.iter_mut().enumerate() {
        // SAFETY: as the caller vouches.
        unsafe {
            let x = &*x.add(i);
            for (sum, scales) in sums.iter_mut().zip(scales) {
                if W::LAYOUT.halves {
                    *sum = _mm256_fmadd_ps(scales.mins[0], _mm256_set1_ps(x.half_sums[0]), *sum);
                    *sum = _mm256_fmadd_ps(scales.mins[1], _mm256_set1_ps(x.half_sums[1]), *sum);
                } else {
                    *sum = _mm256_fmadd_ps(scales.mins[0], _mm256_set1_ps(x.sum), *sum);
                }
            }
        }
    }
}
