//! Activations as bytes (see `activations`) with AVX-512: four blocks of a row at a time, so that what is
//! one number for a block, its largest magnitude, its scale, its sum, is computed for four at once; and chunks.

use super::activations::{Block, Chunk, LEAST, inverse, scale};
use super::avx512_vnni::vnni;
use super::layout::{BLOCK_COLS, CHUNK_COLS};
use std::arch::x86_64::{
    __m128, __m128i, __m256i, __m512i, _CMP_GE_OQ, _CMP_LT_OQ, _mm_add_epi32, _mm_castps_si128,
    _mm_castsi128_ps, _mm_cmp_ps_mask, _mm_cvtepi32_ps, _mm_mask_blend_ps, _mm_maskz_div_ps,
    _mm_mul_ps, _mm_set1_ps, _mm_setzero_si128, _mm_slli_epi32, _mm_storeu_si128, _mm_sub_epi32,
    _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64,
    _mm256_add_epi32, _mm256_castsi128_si256, _mm256_castsi256_si128, _mm256_cvtepi32_epi16,
    _mm256_dpbusd_epi32, _mm256_extracti128_si256, _mm256_inserti128_si256, _mm256_madd_epi16,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_storeu_si256,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    _mm512_abs_ps, _mm512_add_epi32, _mm512_castps_si512, _mm512_castsi512_si128,
    _mm512_cvtepi32_epi8, _mm512_cvtepi32_epi16, _mm512_cvtps_epi32, _mm512_dpbusd_epi32,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_epu32, _mm512_mul_ps, _mm512_permutexvar_epi32,
    _mm512_reduce_max_epu32, _mm512_set1_epi8, _mm512_set1_ps, _mm512_setr_epi32,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_slli_epi32,
    _mm512_storeu_si512, _mm512_sub_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

/// Blocks that are rounded together.
const FOUR: usize = 4;

vnni! {
    /// As `quantize_strip`, to the bit.
    pub(super) unsafe fn round(x: &[f32], rows: usize, out: &mut [Block]) {
        let cols = x.len() / rows.max(1);
        for (i, x) in x.chunks_exact(cols.max(1)).enumerate() {
            let blocks = x.as_chunks::<BLOCK_COLS>().0;
            let (fours, rest) = blocks.as_chunks::<FOUR>();
            let mut out = out[i..].chunks_mut(rows);
            for four in fours {
                let mut take = || out.next().and_then(|blocks| blocks.first_mut());
                if let [Some(a), Some(b), Some(c), Some(d)] = [take(), take(), take(), take()] {
                    // SAFETY: as the caller vouches.
                    unsafe { quantize(four, [a, b, c, d]) };
                }
            }
            for (x, out) in rest.iter().zip(out) {
                out[0].quantize(x);
            }
        }
    }

    /// Rounds four blocks: the bits of a block's own `quantize`.
    unsafe fn quantize(x: &[[f32; BLOCK_COLS]; FOUR], out: [&mut Block; FOUR]) {
        // SAFETY: both halves of every block's numbers and codes are there; a block is a cache line.
        unsafe {
            // Loops, not closures: those would be compiled without the instruction set, and called.
            let mut halves = [[_mm512_setzero_ps(); 2]; FOUR];
            let mut magnitudes = [_mm512_setzero_si512(); FOUR];
            for i in 0..FOUR {
                let from = x[i].as_ptr();
                halves[i] = [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(BLOCK_COLS / 2))];
                // The order of magnitudes is that of their bits, and nothing is larger than what is no number.
                let low = _mm512_castps_si512(_mm512_abs_ps(halves[i][0]));
                magnitudes[i] = _mm512_max_epu32(low, _mm512_castps_si512(_mm512_abs_ps(halves[i][1])));
            }
            let largest = _mm_castsi128_ps(largest(magnitudes));
            let finite = _mm_cmp_ps_mask::<_CMP_LT_OQ>(largest, _mm_set1_ps(f32::INFINITY));
            let counts = finite & _mm_cmp_ps_mask::<_CMP_GE_OQ>(largest, _mm_set1_ps(LEAST));
            let inverse = _mm_maskz_div_ps(counts, _mm_set1_ps(127.0), largest);
            let scale = _mm_maskz_div_ps(counts, largest, _mm_set1_ps(127.0));
            let scale = _mm_mask_blend_ps(finite, _mm_set1_ps(f32::NAN), scale);
            let inverse: [f32; FOUR] = std::mem::transmute(inverse);
            let mut sums = [_mm256_setzero_si256(); FOUR];
            let mut codes = [_mm256_setzero_si256(); FOUR];
            for i in 0..FOUR {
                let inverse = _mm512_set1_ps(inverse[i]);
                // What is not finite becomes the least integer, whose last byte is zero.
                let low = _mm512_cvtps_epi32(_mm512_mul_ps(halves[i][0], inverse));
                let high = _mm512_cvtps_epi32(_mm512_mul_ps(halves[i][1], inverse));
                let (low, high) = (_mm512_cvtepi32_epi8(low), _mm512_cvtepi32_epi8(high));
                codes[i] = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
                sums[i] = _mm256_dpbusd_epi32(sums[i], _mm256_set1_epi8(1), codes[i]);
            }
            let lines = describe(scale, sums_of_lanes(sums));
            for ((out, codes), line) in out.into_iter().zip(codes).zip(lines) {
                let to = std::ptr::from_mut(out).cast::<u8>();
                _mm256_storeu_si256(to.cast(), codes);
                _mm_storeu_si128(to.add(BLOCK_COLS).cast(), line);
            }
        }
    }

    /// The largest of each vector.
    fn largest(v: [__m512i; FOUR]) -> __m128i {
        let first = _mm512_max_epu32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
        let second = _mm512_max_epu32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
        // Each quarter has that of its part of every vector.
        let all = _mm512_max_epu32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
        let all = _mm512_max_epu32(all, _mm512_shuffle_i64x2::<0b01_00_11_10>(all, all));
        let all = _mm512_max_epu32(all, _mm512_shuffle_i64x2::<0b10_11_00_01>(all, all));
        _mm512_castsi512_si128(all)
    }

    /// The sums of each vector's lanes.
    fn sums_of_lanes(v: [__m256i; FOUR]) -> __m128i {
        let first = _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
        let second = _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
        let all = _mm256_add_epi32(_mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second));
        _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all))
    }

    /// What follows the codes of each block, given the scales and the sums of the codes.
    fn describe(scale: __m128, sums: __m128i) -> [__m128i; FOUR] {
        let numbers = _mm_castps_si128(_mm_mul_ps(_mm_cvtepi32_ps(sums), scale));
        transpose([_mm_castps_si128(scale), offset(sums), numbers, _mm_setzero_si128()])
    }

    /// What a zero of 128 adds, taken off again.
    fn offset(sum: __m128i) -> __m128i {
        _mm_sub_epi32(_mm_setzero_si128(), _mm_slli_epi32::<7>(sum))
    }

    fn transpose(v: [__m128i; FOUR]) -> [__m128i; FOUR] {
        let low = [_mm_unpacklo_epi32(v[0], v[1]), _mm_unpacklo_epi32(v[2], v[3])];
        let high = [_mm_unpackhi_epi32(v[0], v[1]), _mm_unpackhi_epi32(v[2], v[3])];
        [
            _mm_unpacklo_epi64(low[0], low[1]),
            _mm_unpackhi_epi64(low[0], low[1]),
            _mm_unpacklo_epi64(high[0], high[1]),
            _mm_unpackhi_epi64(high[0], high[1]),
        ]
    }
}

// Stores above follow this order.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Block>() == 64 && offset_of!(Block, codes) == 0);
    assert!(offset_of!(Block, scale) == 32 && offset_of!(Block, offset) == 36);
    assert!(offset_of!(Block, sum) == 40);
};

vnni! {
    /// As `quantize_chunks`, to the bit.
    pub(super) unsafe fn round_chunks(x: &[f32], rows: usize, out: &mut [Chunk]) {
        let cols = x.len() / rows.max(1);
        for (i, x) in x.chunks_exact(cols.max(1)).enumerate() {
            let out = out[i..].iter_mut().step_by(rows);
            for (x, out) in x.as_chunks::<CHUNK_COLS>().0.iter().zip(out) {
                // SAFETY: as the caller vouches.
                unsafe { quantize_chunk(x, out) };
            }
        }
    }

    /// Rounds a chunk: the bits of its own `quantize`.
    unsafe fn quantize_chunk(x: &[f32; CHUNK_COLS], out: &mut Chunk) {
        let mut largest = [_mm512_setzero_si512(); FOUR];
        // SAFETY: 16 vectors of numbers are there, and as many of codes; the sums are 32 and 16 bytes.
        unsafe {
            for (i, x) in x.as_chunks::<16>().0.iter().enumerate() {
                let magnitudes = _mm512_castps_si512(_mm512_abs_ps(_mm512_loadu_ps(x.as_ptr())));
                largest[i % FOUR] = _mm512_max_epu32(largest[i % FOUR], magnitudes);
            }
            let first = _mm512_max_epu32(largest[0], largest[1]);
            let second = _mm512_max_epu32(largest[2], largest[3]);
            let largest = f32::from_bits(_mm512_reduce_max_epu32(_mm512_max_epu32(first, second)));
            out.scale = scale(largest);
            let inverse = _mm512_set1_ps(inverse(largest));
            for (x, codes) in x.as_chunks::<16>().0.iter().zip(out.codes.as_chunks_mut::<16>().0) {
                let rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x.as_ptr()), inverse));
                _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(rounded));
            }
            let mut fours = [_mm512_setzero_si512(); FOUR];
            for (fours, codes) in fours.iter_mut().zip(out.codes.as_chunks::<64>().0) {
                let codes = _mm512_loadu_si512(codes.as_ptr().cast());
                *fours = _mm512_dpbusd_epi32(*fours, _mm512_set1_epi8(1), codes);
            }
            let halves = sums_of_quarters(fours);
            let offsets = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32::<7>(halves));
            _mm512_storeu_si512(out.half_offsets.as_mut_ptr().cast(), offsets);
            let halves = _mm512_cvtepi32_epi16(halves);
            _mm256_storeu_si256(out.half_sums.as_mut_ptr().cast(), halves);
            let sums = _mm256_madd_epi16(halves, _mm256_set1_epi16(1));
            _mm_storeu_si128(out.sums.as_mut_ptr().cast(), _mm256_cvtepi32_epi16(sums));
        }
    }

    /// The sum of each vector's quarters, one vector after the other.
    fn sums_of_quarters(v: [__m512i; FOUR]) -> __m512i {
        let first = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
        let second = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
        // Each quarter has that of all vectors.
        let all = _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
        let turned = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(turned, all)
    }
}
