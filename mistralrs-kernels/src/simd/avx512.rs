//! Sixteen lanes: AVX-512.

use super::{Exponential, LEAST_EXPONENT, LN_2, LOG2_E, LoadHalves, SERIES, Simd};
use std::arch::x86_64::{
    __m512, __mmask16, _CMP_NLT_UQ, _mm_loadu_si128, _mm_maskz_loadu_epi8, _mm256_loadu_si256,
    _mm256_maskz_loadu_epi16, _mm256_set1_epi16, _mm512_add_ps, _mm512_and_si512,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_maskz_scalef_ps,
    _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_roundscale_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_shuffle_ps,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_unpackhi_ps, _mm512_unpacklo_ps,
};

/// AVX-512 F.
pub(crate) struct Avx512;

#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

// SAFETY (all): the trait's contract is that of the intrinsics.
impl Simd for Avx512 {
    const LANES: usize = 16;
    type V = __m512;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32, count: usize) -> __m512 {
        // SAFETY: see above; masked-out lanes are not read.
        unsafe {
            if count == 16 {
                _mm512_loadu_ps(from)
            } else {
                _mm512_maskz_loadu_ps(first(count), from)
            }
        }
    }

    #[inline(always)]
    unsafe fn store(v: __m512, to: *mut f32, count: usize) {
        // SAFETY: see above; masked-out lanes are not written.
        unsafe {
            if count == 16 {
                _mm512_storeu_ps(to, v);
            } else {
                _mm512_mask_storeu_ps(to, first(count), v);
            }
        }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    unsafe fn transpose(square: &mut [__m512; 16]) {
        // SAFETY: see above.
        unsafe {
            // Within each quarter of the vectors: quarter `q` of `fours[4 i + j]` is column `4 q + j`
            // of the rows `4 i .. 4 i + 4`.
            let mut fours = [_mm512_setzero_ps(); 16];
            for at in [0, 4, 8, 12] {
                let low = _mm512_unpacklo_ps(square[at], square[at + 1]);
                let high = _mm512_unpackhi_ps(square[at], square[at + 1]);
                let low_2 = _mm512_unpacklo_ps(square[at + 2], square[at + 3]);
                let high_2 = _mm512_unpackhi_ps(square[at + 2], square[at + 3]);
                fours[at] = _mm512_shuffle_ps::<0x44>(low, low_2);
                fours[at + 1] = _mm512_shuffle_ps::<0xee>(low, low_2);
                fours[at + 2] = _mm512_shuffle_ps::<0x44>(high, high_2);
                fours[at + 3] = _mm512_shuffle_ps::<0xee>(high, high_2);
            }
            // Then the quarters.
            for j in 0..4 {
                let even = _mm512_shuffle_f32x4::<0x88>(fours[j], fours[j + 4]);
                let odd = _mm512_shuffle_f32x4::<0xdd>(fours[j], fours[j + 4]);
                let even_2 = _mm512_shuffle_f32x4::<0x88>(fours[j + 8], fours[j + 12]);
                let odd_2 = _mm512_shuffle_f32x4::<0xdd>(fours[j + 8], fours[j + 12]);
                square[j] = _mm512_shuffle_f32x4::<0x88>(even, even_2);
                square[j + 4] = _mm512_shuffle_f32x4::<0x88>(odd, odd_2);
                square[j + 8] = _mm512_shuffle_f32x4::<0xdd>(even, even_2);
                square[j + 12] = _mm512_shuffle_f32x4::<0xdd>(odd, odd_2);
            }
        }
    }
}

// SAFETY: as above.
impl LoadHalves for Avx512 {
    #[inline(always)]
    unsafe fn load_halves<const BF16: bool>(from: *const u8, count: usize) -> __m512 {
        // SAFETY: see above; masked-out lanes are not read.
        unsafe {
            let halves = if count == 16 {
                _mm256_loadu_si256(from.cast())
            } else {
                _mm256_maskz_loadu_epi16(first(count), from.cast())
            };
            if BF16 {
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
            } else {
                _mm512_cvtph_ps(halves)
            }
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(from: *const u8) -> (__m512, __m512) {
        // SAFETY: see above.
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second))
        }
    }

    #[inline(always)]
    unsafe fn load_scaled(scale: u16, from: *const u8, count: usize) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let scale = _mm512_cvtph_ps(_mm256_set1_epi16(scale.cast_signed()));
            _mm512_mul_ps(load_bytes(from, count), scale)
        }
    }

    #[inline(always)]
    unsafe fn load_each_scaled(scales: *const u8, from: *const u8, count: usize) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(load_bytes(from, count), Self::load_halves::<false>(scales, count)) }
    }
}

/// The first `count` signed bytes at `from`, zeros after.
#[inline(always)]
unsafe fn load_bytes(from: *const u8, count: usize) -> __m512 {
    // SAFETY: as the caller vouches; masked-out lanes are not read.
    unsafe {
        let codes = if count == 16 {
            _mm_loadu_si128(from.cast())
        } else {
            _mm_maskz_loadu_epi8(first(count), from.cast())
        };
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes))
    }
}

// SAFETY: as above.
impl Exponential for Avx512 {
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn largest(v: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(v) }
    }

    #[inline(always)]
    unsafe fn exp(x: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let splat = |x| _mm512_set1_ps(x);
            let counts = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, splat(LEAST_EXPONENT));
            // x = n ln 2 + r
            let n = _mm512_roundscale_ps::<0>(_mm512_mul_ps(x, splat(LOG2_E)));
            let r = _mm512_fnmadd_ps(n, splat(LN_2[0]), x);
            let r = _mm512_fnmadd_ps(n, splat(LN_2[1]), r);
            let mut series = splat(SERIES[0]);
            for term in &SERIES[1..] {
                series = _mm512_fmadd_ps(series, r, splat(*term));
            }
            _mm512_maskz_scalef_ps(counts, series, n)
        }
    }
}
