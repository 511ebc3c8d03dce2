//! A strip of rows with a panel of spread-out weights for AVX-512 VNNI: every vector of weights is multiplied with
//! up to seven rows, every row with two vectors, so that little is left to do but `vpdpbusd`. That many products
//! and their sums fit the 32 registers: eight rows leave the sums to memory, which costs more than the larger
//! tile saves.

use super::activations::Block;
use super::ahead::Ahead;
use super::avx512_tall::{Blocks, Kind, PAIR, Part, Strip, Sums, with_mins};
use super::avx512_vnni::vnni;
use crate::simd::prefetch;
use std::arch::x86_64::{
    __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};

/// From so many rows of activations on, this way is the faster one; strips have at least five then.
pub(super) const LEAST: usize = 25;
/// So many blocks ahead of the arithmetic activations are fetched from the second-level cache.
const NEAR: usize = 2;

/// Products in integers, of `M` rows.
type Products<const M: usize> = [[__m512i; PAIR]; M];

/// The strip of seven rows.
pub(super) struct Vnni;

impl Strip for Vnni {
    const ROWS: usize = 7;
    const ZERO: i32 = 128;

    type State = ();

    fn begin() {}

    unsafe fn multiply<K: Kind>(
        part: Part<'_>,
        ahead: &mut [Ahead; PAIR],
        sums: &mut [Sums],
        (): &mut (),
    ) {
        // SAFETY: as the caller vouches.
        unsafe { multiply_strip::<K>(part, ahead, sums) }
    }
}

/// Multiplies a panel with a strip.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn multiply_strip<K: Kind>(part: Part<'_>, ahead: &mut [Ahead; PAIR], sums: &mut [Sums]) {
    // SAFETY: as many rows as the strip has.
    unsafe {
        match part.rows.count {
            5 => multiply_rows::<K, 5>(part, ahead, sums),
            6 => multiply_rows::<K, 6>(part, ahead, sums),
            _ => multiply_rows::<K, 7>(part, ahead, sums),
        }
    }
}

vnni! {
    unsafe fn multiply_rows<K: Kind, const M: usize>(
        part: Part<'_>,
        ahead: &mut [Ahead; PAIR],
        sums: &mut [Sums],
    ) {
        let mut x = part.rows.x;
        // Copies, for the compiler to keep them in registers.
        let mut here = [[_mm512_setzero_ps(); PAIR]; M];
        if !part.is_first {
            here.copy_from_slice(sums);
        }
        ahead.iter_mut().for_each(Ahead::fetch);
        for tiles in part.panel {
            for i in 0..M {
                prefetch(x.wrapping_add(NEAR * M + i).cast());
            }
            // SAFETY: `M` blocks of activations are there for each of the panel's.
            unsafe {
                if K::HALVES {
                    let low = products::<K, M, 0, 4>(tiles, x);
                    scale::<M, 0>(tiles, x, &low, &mut here);
                    let high = products::<K, M, 4, 8>(tiles, x);
                    scale::<M, 1>(tiles, x, &high, &mut here);
                } else {
                    let all = products::<K, M, 0, 8>(tiles, x);
                    scale::<M, 0>(tiles, x, &all, &mut here);
                }
                if K::MINS {
                    add_mins::<K, M>(tiles, x, &mut here);
                }
                x = x.add(M);
            }
        }
        sums.copy_from_slice(&here);
    }

    /// The products of groups `FROM..TO` of a block's columns, in integers.
    unsafe fn products<K: Kind, const M: usize, const FROM: usize, const TO: usize>(
        tiles: &Blocks,
        x: *const Block,
    ) -> Products<M> {
        let mut products = [[_mm512_setzero_si512(); PAIR]; M];
        // SAFETY: `M` blocks of activations are there.
        unsafe {
            if K::ZERO {
                for (i, products) in products.iter_mut().enumerate() {
                    let x = &*x.add(i);
                    let offset = if K::HALVES { x.half_offsets[FROM / 4] } else { x.offset };
                    *products = [_mm512_set1_epi32(offset); PAIR];
                }
            }
            for g in FROM..TO {
                for (i, products) in products.iter_mut().enumerate() {
                    let four = (*x.add(i)).codes.as_ptr().cast::<i32>().add(g).read_unaligned();
                    let four = _mm512_set1_epi32(four);
                    for (product, tile) in products.iter_mut().zip(tiles) {
                        *product = _mm512_dpbusd_epi32(*product, tile.codes[g], four);
                    }
                }
            }
        }
        products
    }

    /// Adds products, times the scales of a half or of the whole block.
    unsafe fn scale<const M: usize, const HALF: usize>(
        tiles: &Blocks,
        x: *const Block,
        products: &Products<M>,
        sums: &mut [Sums; M],
    ) {
        for (i, (products, sums)) in products.iter().zip(sums).enumerate() {
            // SAFETY: `M` blocks of activations are there.
            let unit = _mm512_set1_ps(unsafe { (*x.add(i)).scale });
            for ((product, sum), tile) in products.iter().zip(sums).zip(tiles) {
                let scale = _mm512_mul_ps(tile.scales[HALF], unit);
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*product), scale, *sum);
            }
        }
    }

    unsafe fn add_mins<K: Kind, const M: usize>(
        tiles: &Blocks,
        x: *const Block,
        sums: &mut [Sums; M],
    ) {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `M` blocks of activations are there.
            let x = unsafe { &*x.add(i) };
            for (sum, tile) in sums.iter_mut().zip(tiles) {
                *sum = with_mins::<K>(tile, x, *sum);
            }
        }
    }
}
