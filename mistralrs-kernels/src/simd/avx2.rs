//! Eight lanes: AVX2 with FMA.

use super::Simd;
use std::arch::x86_64::{
    __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_shuffle_ps,
    _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_set1_ps, _mm256_storeu_ps,
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
}
