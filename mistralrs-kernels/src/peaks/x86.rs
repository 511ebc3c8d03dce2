//! The arithmetic units of x86: `CHAINS` independent sums in registers, one instruction per sum and loop (where
//! none multiplies and adds bytes, the three that stand for it).

use super::{CHAINS, Unit, Units, read};
use crate::dispatch::Isa;
use crate::packed::amx;
use std::arch::asm;
use std::arch::x86_64::{
    __m256i, __m512bh, __m512i, _mm_add_ps, _mm_cvtss_f32, _mm_mul_ps, _mm_set1_ps,
    _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_cvtss_f32, _mm256_dpbusd_avx_epi32,
    _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_cvtss_f32,
    _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_madd_epi16,
    _mm512_maddubs_epi16, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps,
};
use std::hint::black_box;

/// The units of an instruction set. To be asked for where it is present.
pub(super) fn units(isa: Isa) -> Units {
    let unit = |run: unsafe fn(usize) -> f32, numbers: usize| Unit {
        run,
        operations: 2 * numbers * CHAINS,
    };
    // Not every set that is chosen uses it: some processors have it at half the speed of 32-bit floats.
    let bf16 = is_x86_feature_detected!("avx512bf16").then(|| unit(bf16_512, 32));
    let of_256 =
        |int8| Units { int8: Some(int8), bf16: None, f32: unit(f32_256, 8), read: read_256 };
    let of_512 = |int8| Units { int8: Some(int8), bf16, f32: unit(f32_512, 16), read: read_512 };
    match isa {
        Isa::Avx2 => of_256(unit(int8_256, 32)),
        Isa::AvxVnni => of_256(unit(int8_256_vnni, 32)),
        Isa::Avx512 => of_512(unit(int8_512, 64)),
        Isa::Avx512Vnni | Isa::Avx512Bf16 => of_512(unit(int8_512_vnni, 64)),
        Isa::Amx => of_512(Unit { run: int8_tiles, operations: 2 * TILES * 16 * 16 * 64 }),
        _ => Units { int8: None, bf16: None, f32: unit(f32_128, 4), read: |bytes| read(bytes) },
    }
}

/// Sums of tiles: all but two.
const TILES: usize = 6;

/// Tiles of 16 rows times 16 columns, 64 bytes for each of the sums. To be called where AMX is present.
unsafe fn int8_tiles(loops: usize) -> f32 {
    let ones = [1u8; 16 * 64];
    let mut sum = [0i32; 16 * 16];
    // SAFETY: AMX is present; tiles are read from and written to 16 rows of 64 bytes.
    unsafe {
        amx::shape(&[(16, 64); TILES + 2]);
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "tilezero tmm5",
            "tileloadd tmm6, [{ones} + {stride}]",
            "tileloadd tmm7, [{ones} + {stride}]",
            "2:",
            "tdpbssd tmm0, tmm6, tmm7",
            "tdpbssd tmm1, tmm6, tmm7",
            "tdpbssd tmm2, tmm6, tmm7",
            "tdpbssd tmm3, tmm6, tmm7",
            "tdpbssd tmm4, tmm6, tmm7",
            "tdpbssd tmm5, tmm6, tmm7",
            "dec {loops}",
            "jnz 2b",
            "tilestored [{sum} + {stride}], tmm5",
            ones = in(reg) ones.as_ptr(),
            sum = in(reg) sum.as_mut_ptr(),
            stride = in(reg) 64usize,
            loops = inout(reg) loops.max(1) => _,
            options(nostack)
        );
        amx::release();
    }
    sum[0] as f32
}

/// A unit: the sums before the first loop, what a loop does to a sum, and a number of a sum.
macro_rules! unit {
    ($name:ident, $features:literal, $operands:expr, $start:expr, $step:expr, $number:expr) => {
        #[target_feature(enable = $features)]
        unsafe fn $name(loops: usize) -> f32 {
            let operands = black_box($operands);
            let (start, step, number) = ($start, $step, $number);
            let mut sums: [_; CHAINS] = std::array::from_fn(|at| start(at as i32));
            for _ in 0..loops {
                for sum in &mut sums {
                    *sum = step(*sum, operands);
                }
            }
            sums.into_iter().map(number).sum()
        }
    };
}

unit!(
    f32_128,
    "sse2",
    (_mm_set1_ps(0.5), _mm_set1_ps(0.25)),
    |at: i32| _mm_set1_ps(at as f32),
    // The sum is a factor, or the product would be computed once and for all.
    |sum, (a, b)| _mm_add_ps(_mm_mul_ps(sum, a), b),
    |sum| _mm_cvtss_f32(sum)
);
unit!(
    f32_256,
    "avx2,fma",
    (_mm256_set1_ps(0.5), _mm256_set1_ps(0.25)),
    |at: i32| _mm256_set1_ps(at as f32),
    |sum, (a, b)| _mm256_fmadd_ps(a, b, sum),
    |sum| _mm256_cvtss_f32(sum)
);
unit!(
    f32_512,
    "avx512f",
    (_mm512_set1_ps(0.5), _mm512_set1_ps(0.25)),
    |at: i32| _mm512_set1_ps(at as f32),
    |sum, (a, b)| _mm512_fmadd_ps(a, b, sum),
    |sum| _mm512_cvtss_f32(sum)
);
unit!(
    bf16_512,
    "avx512f,avx512bf16",
    {
        // Two bfloat16 1.0 in each lane.
        let ones: __m512i = _mm512_set1_epi32(0x3f80_3f80);
        // SAFETY: both are 512 bits without invalid values.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(ones) }
    },
    |at: i32| _mm512_set1_ps(at as f32),
    |sum, ones| _mm512_dpbf16_ps(sum, ones, ones),
    |sum| _mm512_cvtss_f32(sum)
);
unit!(
    int8_256_vnni,
    "avx2,avxvnni",
    _mm256_set1_epi8(1),
    |at: i32| _mm256_set1_epi32(at),
    |sum, ones| _mm256_dpbusd_avx_epi32(sum, ones, ones),
    |sum: __m256i| _mm256_cvtss_f32(_mm256_cvtepi32_ps(sum))
);
unit!(
    int8_512_vnni,
    "avx512f,avx512vnni",
    _mm512_set1_epi8(1),
    |at: i32| _mm512_set1_epi32(at),
    |sum, ones| _mm512_dpbusd_epi32(sum, ones, ones),
    |sum: __m512i| _mm512_cvtss_f32(_mm512_cvtepi32_ps(sum))
);
// As above, the sum is a factor.
unit!(
    int8_256,
    "avx2",
    (_mm256_set1_epi8(1), _mm256_set1_epi16(1)),
    |at: i32| _mm256_set1_epi32(at),
    |sum, (bytes, words)| {
        _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, sum), words))
    },
    |sum: __m256i| _mm256_cvtss_f32(_mm256_cvtepi32_ps(sum))
);
unit!(
    int8_512,
    "avx512f,avx512bw",
    (_mm512_set1_epi8(1), _mm512_set1_epi16(1)),
    |at: i32| _mm512_set1_epi32(at),
    |sum, (bytes, words)| {
        _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(bytes, sum), words))
    },
    |sum: __m512i| _mm512_cvtss_f32(_mm512_cvtepi32_ps(sum))
);

#[target_feature(enable = "avx2")]
unsafe fn read_256(bytes: &[u8]) -> u64 {
    read(bytes)
}

#[target_feature(enable = "avx512f")]
unsafe fn read_512(bytes: &[u8]) -> u64 {
    read(bytes)
}
