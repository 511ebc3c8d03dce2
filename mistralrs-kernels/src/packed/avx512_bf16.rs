//! Products of 16-bit floats for AVX-512 BF16: 16 weight rows in the 16 lanes, a pair of columns in
//! each, up to eight rows of activations at once.
//! Source: the instruction `vdpbf16ps` multiplies two pairs of 16-bit floats and adds both products
//! to a 32-bit lane.

use super::activations::Strips;
use super::avx512_vnni::store;
use super::layout::{BLOCK_COLS, VECTOR};
use super::pairs::{Pairs, round_strip};
use super::{Job, PackedKernels, TileKernels, ahead, avx512_vnni};
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::ops::Range;

/// To be called only where the features below are present.
pub(crate) const KERNELS: PackedKernels = PackedKernels {
    pairs: Some(TileKernels { strips: Strips::new, round, multiply }),
    ..avx512_vnni::KERNELS
};

/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 384 << 10;

/// Applies the features to a function.
macro_rules! bf16 {
    ($($item:item)*) => {
        $(
            #[inline]
            #[target_feature(
                enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16"
            )]
            $item
        )*
    };
}

bf16! {
    unsafe fn round(x: &[f32], rows: usize, out: &mut [Pairs]) {
        round_strip(x, rows, out);
    }

    /// # Safety
    /// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
    unsafe fn multiply(job: &Job<'_, Pairs>, tiles: Range<usize>) {
        let strips = job.strips.count();
        let longest = job.strips.rows(0).len() * job.part.w.blocks() * size_of::<Pairs>();
        let group = (RESIDENT / longest).max(1);
        for first in (0..strips).step_by(group) {
            for tile in tiles.clone() {
                for strip in first..strips.min(first + group) {
                    // SAFETY: the strip and the tile exist.
                    unsafe { multiply_strip(job, tile, job.strips.rows(strip)) };
                }
            }
        }
    }

    unsafe fn multiply_strip(job: &Job<'_, Pairs>, tile: usize, rows: Range<usize>) {
        // SAFETY: as many rows as the strip has.
        unsafe {
            match rows.len() {
                1 => multiply_tile::<1>(job, tile, rows.start),
                2 => multiply_tile::<2>(job, tile, rows.start),
                3 => multiply_tile::<3>(job, tile, rows.start),
                4 => multiply_tile::<4>(job, tile, rows.start),
                5 => multiply_tile::<5>(job, tile, rows.start),
                6 => multiply_tile::<6>(job, tile, rows.start),
                7 => multiply_tile::<7>(job, tile, rows.start),
                _ => multiply_tile::<8>(job, tile, rows.start),
            }
        }
    }

    /// A tile of weights with the `M` rows of activations from row `first`.
    unsafe fn multiply_tile<const M: usize>(job: &Job<'_, Pairs>, tile: usize, first: usize) {
        let w = job.part.w;
        let mut sums = [[_mm512_setzero_ps(); M]; 2];
        let mut chunk = job.tile(tile).as_ptr();
        let mut x = job.x[first * w.blocks()..(first + M) * w.blocks()].as_ptr();
        for _ in 0..w.blocks() {
            // SAFETY: the tile has this many chunks, and `x` as many lines for each of `M` rows.
            unsafe {
                multiply_block(chunk, x, &mut sums);
                chunk = chunk.add(BLOCK_COLS / 2 * VECTOR);
                x = x.add(M);
            }
        }
        for (i, (even, odd)) in sums[0].iter().zip(&sums[1]).enumerate() {
            // SAFETY: the row and the tile are this task's own.
            unsafe { store(job, first + i, tile, _mm512_add_ps(*even, *odd)) };
        }
    }

    /// 32 columns.
    unsafe fn multiply_block<const M: usize>(
        chunk: *const u8,
        x: *const Pairs,
        sums: &mut [[__m512; M]; 2],
    ) {
        let [even, odd] = sums;
        for pair in (0..BLOCK_COLS / 2).step_by(2) {
            // SAFETY: the chunk and `M` lines of activations are there.
            unsafe {
                multiply_pair(chunk, x, pair, even);
                multiply_pair(chunk, x, pair + 1, odd);
            }
        }
    }

    /// A pair of columns. Each sum has a name of its own, so that it stays in a register.
    unsafe fn multiply_pair<const M: usize>(
        chunk: *const u8,
        x: *const Pairs,
        pair: usize,
        sums: &mut [__m512; M],
    ) {
        // SAFETY: the chunk and `M` lines of activations are there; fetching ahead reads nothing.
        unsafe {
            let at = chunk.add(pair * VECTOR);
            ahead::stream(at, VECTOR);
            let w = as_halves(_mm512_loadu_si512(at.cast()));
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = as_halves(_mm512_set1_epi32((*x.add(i)).0[pair] as i32));
                *sum = _mm512_dpbf16_ps(*sum, w, x);
            }
        }
    }

    fn as_halves(bits: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes, and any bits are floats.
        unsafe { std::mem::transmute(bits) }
    }
}
