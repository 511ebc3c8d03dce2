//! Eight lanes: AVX2 with FMA.

use super::{Exponential, LEAST_EXPONENT, LN_2, LOG2_E, LoadHalves, SERIES, Simd};
use std::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_NLT_UQ, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadl_epi64,
    _mm_loadu_si128, _mm_max_ps, _mm_max_ss, _mm_movehl_ps, _mm_set1_epi16, _mm_shuffle_ps,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_extractf128_ps,
    _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskload_ps,
    _mm256_maskstore_ps, _mm256_max_ps, _mm256_mul_ps, _mm256_permute2f128_ps, _mm256_round_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_storeu_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

/// AVX2 and FMA.
pub(crate) struct Avx2;

/// Lane masks: a window of eight ending `count` places after the ones begin.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    // SAFETY: `count <= 8`, so eight numbers from `8 - count` lie within the sixteen.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) }
}

// SAFETY (all): the trait's contract is that of the intrinsics.
impl Simd for Avx2 {
    const LANES: usize = 8;
    type V = __m256;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32, count: usize) -> __m256 {
        // SAFETY: see above; masked-out lanes are not read.
        unsafe {
            if count == 8 { _mm256_loadu_ps(from) } else { _mm256_maskload_ps(from, first(count)) }
        }
    }

    #[inline(always)]
    unsafe fn store(v: __m256, to: *mut f32, count: usize) {
        // SAFETY: see above; masked-out lanes are not written.
        unsafe {
            if count == 8 {
                _mm256_storeu_ps(to, v);
            } else {
                _mm256_maskstore_ps(to, first(count), v);
            }
        }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn sum(v: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
        }
    }

    #[inline(always)]
    unsafe fn transpose(square: &mut [__m256; 16]) {
        // SAFETY: see above.
        unsafe {
            let rows = *square;
            for half in 0..2 {
                // Squares of four within each half of the vectors: quads 4 half .. 4 half + 4.
                let at = 4 * half;
                let low = _mm256_unpacklo_ps(rows[at], rows[at + 1]);
                let high = _mm256_unpackhi_ps(rows[at], rows[at + 1]);
                let low_2 = _mm256_unpacklo_ps(rows[at + 2], rows[at + 3]);
                let high_2 = _mm256_unpackhi_ps(rows[at + 2], rows[at + 3]);
                square[at] = _mm256_shuffle_ps::<0x44>(low, low_2);
                square[at + 1] = _mm256_shuffle_ps::<0xee>(low, low_2);
                square[at + 2] = _mm256_shuffle_ps::<0x44>(high, high_2);
                square[at + 3] = _mm256_shuffle_ps::<0xee>(high, high_2);
            }
            for i in 0..4 {
                let (above, below) = (square[i], square[i + 4]);
                square[i] = _mm256_permute2f128_ps::<0x20>(above, below);
                square[i + 4] = _mm256_permute2f128_ps::<0x31>(above, below);
            }
        }
    }
}

// SAFETY: as above.
impl LoadHalves for Avx2 {
    #[inline(always)]
    unsafe fn load_halves<const BF16: bool>(from: *const u8, count: usize) -> __m256 {
        // SAFETY: see above; of fewer than eight numbers a copy is read.
        unsafe {
            let mut copy = [0_u8; 16];
            let from = if count == 8 {
                from
            } else {
                copy.as_mut_ptr().copy_from_nonoverlapping(from, 2 * count);
                copy.as_ptr()
            };
            let halves: __m128i = _mm_loadu_si128(from.cast());
            if BF16 {
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
            } else {
                _mm256_cvtph_ps(halves)
            }
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(from: *const u8) -> (__m256, __m256) {
        // SAFETY: see above.
        unsafe {
            let pairs = _mm256_loadu_si256(from.cast());
            let second = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(second))
        }
    }

    #[inline(always)]
    unsafe fn load_scaled(scale: u16, from: *const u8, count: usize) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let scale = _mm256_cvtph_ps(_mm_set1_epi16(scale.cast_signed()));
            _mm256_mul_ps(load_bytes(from, count), scale)
        }
    }

    #[inline(always)]
    unsafe fn load_each_scaled(scales: *const u8, from: *const u8, count: usize) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(load_bytes(from, count), Self::load_halves::<false>(scales, count)) }
    }
}

/// The first `count` signed bytes at `from`, zeros after.
#[inline(always)]
unsafe fn load_bytes(from: *const u8, count: usize) -> __m256 {
    // SAFETY: as the caller vouches; of fewer than eight bytes a copy is read.
    unsafe {
        let mut copy = [0_u8; 8];
        let from = if count == 8 {
            from
        } else {
            copy.as_mut_ptr().copy_from_nonoverlapping(from, count);
            copy.as_ptr()
        };
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())))
    }
}

// SAFETY: as above.
impl Exponential for Avx2 {
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn largest(v: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    unsafe fn exp(x: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let splat = |x| _mm256_set1_ps(x);
            let counts = _mm256_cmp_ps::<_CMP_NLT_UQ>(x, splat(LEAST_EXPONENT));
            let x = _mm256_max_ps(splat(LEAST_EXPONENT), x);
            // x = n ln 2 + r
            let n = _mm256_round_ps::<8>(_mm256_mul_ps(x, splat(LOG2_E)));
            let r = _mm256_fnmadd_ps(n, splat(LN_2[0]), x);
            let r = _mm256_fnmadd_ps(n, splat(LN_2[1]), r);
            let mut series = splat(SERIES[0]);
            for term in &SERIES[1..] {
                series = _mm256_fmadd_ps(series, r, splat(*term));
            }
            // 2^n has an exponent within its range.
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased));
            _mm256_and_ps(_mm256_mul_ps(series, power), counts)
        }
    }
}
