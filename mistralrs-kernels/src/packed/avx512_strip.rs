//! A strip of rows with a panel of spread-out weights for AVX-512 VNNI: every vector of weights is multiplied with
//! up to seven rows, every row with two vectors, so that little is left to do but `vpdpbusd`. That many products
//! and their sums fit the 32 registers: eight rows leave the sums to memory, which costs more than the larger
//! tile saves.

use super::Job;
use super::activations::Block;
use super::avx512_tall::{PAIR, Part, Strip, Sums};
use super::avx512_vnni::{Looked, codes, load_halves, vnni};
use super::layout::{BLOCK_COLS, CHUNK_COLS, Layout, Packing};
use crate::simd::prefetch;
use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi8, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512,
};
use std::marker::PhantomData;

/// From so many rows of activations on, this way is the faster one; strips have at least five then.
pub(super) const LEAST: usize = 25;
/// Rows of a strip at most.
pub(super) const ROWS: usize = 7;
/// The byte that means zero, once spread out, where one does.
pub(super) const ZERO: i32 = 128;
/// So many blocks ahead of the arithmetic activations are fetched from the second-level cache.
const NEAR: usize = 2;

/// A block of one tile: a byte for each weight, scales as `f32`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Spread {
    pub(super) codes: [__m512i; 8],
    pub(super) scale: __m512,
    pub(super) min: __m512,
}

/// Blocks of columns of both tiles.
pub(super) type Panel = [[Spread; PAIR]; CHUNK_COLS / BLOCK_COLS];
/// Products in integers, of `M` rows.
pub(super) type Products<const M: usize> = [[__m512i; PAIR]; M];

vnni! {
    /// A panel of nothing.
    pub(super) fn empty() -> Panel {
        let none = _mm512_setzero_ps();
        let empty = Spread { codes: [_mm512_setzero_si512(); 8], scale: none, min: none };
        [[empty; PAIR]; _]
    }

    /// A byte for each weight of a block, with a zero of `zero` if they have one.
    pub(super) unsafe fn bytes<P: Packing>(block: *const u8, values: &Looked, zero: i32) -> [__m512i; 8] {
        let layout = const { &P::LAYOUT };
        let shift = _mm512_set1_epi8((zero - layout.zero) as i8);
        let mut bytes = [_mm512_setzero_si512(); 8];
        for (g, of_group) in bytes.iter_mut().enumerate() {
            // SAFETY: the block has its planes.
            *of_group = unsafe { codes(layout, values, block, g) };
            if layout.zero != 0 && layout.zero != zero {
                *of_group = _mm512_add_epi8(*of_group, shift);
            }
        }
        bytes
    }

    /// Spreads out blocks as tile `n` of the panel, with a zero of `zero`.
    pub(super) unsafe fn spread<P: Packing>(
        job: &Job<'_, Block>,
        blocks: &[u8],
        zero: i32,
        n: usize,
        panel: &mut Panel,
    ) {
        let layout = const { &P::LAYOUT };
        let values = &Looked::load(layout, job.part.w.layout.values);
        for (block, panel) in blocks.chunks_exact(layout.block_bytes()).zip(panel) {
            let spread = &mut panel[n];
            // SAFETY: the block has its planes, and scales behind them.
            unsafe {
                spread.codes = bytes::<P>(block.as_ptr(), values, zero);
                let scales = block.as_ptr().add(layout.plane_bytes());
                spread.scale = load_halves(scales);
                if layout.mins {
                    spread.min = load_halves(scales.add(layout.scale_bytes()));
                }
            }
        }
    }
}

/// The strip of seven rows, for a kind of weights.
pub(super) struct Vnni<P>(PhantomData<P>);

impl<P: Packing> Strip for Vnni<P> {
    const LAYOUT: &'static Layout = &P::LAYOUT;

    type X = Block;
    type Panel = Panel;
    type State = ();

    fn begin() -> (Panel, ()) {
        // SAFETY: as the caller of all of this vouches.
        (unsafe { empty() }, ())
    }

    unsafe fn spread(job: &Job<'_, Block>, blocks: &[u8], n: usize, panel: &mut Panel) {
        // SAFETY: as the caller vouches.
        unsafe { spread::<P>(job, blocks, ZERO, n, panel) }
    }

    unsafe fn multiply(part: Part<'_, Self>, sums: &mut [Sums], (): &mut ()) {
        let Part { panel, x, units, .. } = part;
        // SAFETY: as the caller vouches.
        unsafe {
            match P::LAYOUT.mins {
                true => multiply_strip::<true>(&panel[..units], x, sums),
                false => multiply_strip::<false>(&panel[..units], x, sums),
            }
        }
    }
}

/// Multiplies a panel with a strip.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn multiply_strip<const MINS: bool>(
    panel: &[[Spread; PAIR]],
    x: *const Block,
    sums: &mut [Sums],
) {
    // SAFETY: as many rows as the strip has.
    unsafe {
        match sums.len() {
            5 => multiply_rows::<MINS, 5>(panel, x, sums),
            6 => multiply_rows::<MINS, 6>(panel, x, sums),
            _ => multiply_rows::<MINS, ROWS>(panel, x, sums),
        }
    }
}

vnni! {
    /// Weights have an offset or are centered.
    unsafe fn multiply_rows<const MINS: bool, const M: usize>(
        panel: &[[Spread; PAIR]],
        mut x: *const Block,
        sums: &mut [Sums],
    ) {
        // Copies, for the compiler to keep them in registers.
        let mut here = [[_mm512_setzero_ps(); PAIR]; M];
        here.copy_from_slice(sums);
        for tiles in panel {
            for i in 0..M {
                prefetch(x.wrapping_add(NEAR * M + i).cast());
            }
            // SAFETY: `M` blocks of activations are there for each of the panel's.
            unsafe {
                let mut products = [[_mm512_setzero_si512(); PAIR]; M];
                if !MINS {
                    for (i, products) in products.iter_mut().enumerate() {
                        *products = [_mm512_set1_epi32((*x.add(i)).offset); PAIR];
                    }
                }
                for g in 0..8 {
                    let codes = [tiles[0].codes[g], tiles[1].codes[g]];
                    multiply_group::<M, { size_of::<Block>() }>(codes, x.cast::<i8>().add(4 * g), &mut products);
                }
                for (i, (products, sums)) in products.iter().zip(&mut here).enumerate() {
                    let x = &*x.add(i);
                    for ((product, sum), tile) in products.iter().zip(sums).zip(tiles) {
                        let scale = _mm512_mul_ps(tile.scale, _mm512_set1_ps(x.scale));
                        *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*product), scale, *sum);
                        if MINS {
                            *sum = _mm512_fmadd_ps(tile.min, _mm512_set1_ps(x.sum), *sum);
                        }
                    }
                }
                x = x.add(M);
            }
        }
        sums.copy_from_slice(&here);
    }

    /// Adds the products of four columns of both tiles with those of `M` rows, the first of which is at `x`, and
    /// each further one `PITCH` bytes on.
    pub(super) unsafe fn multiply_group<const M: usize, const PITCH: usize>(
        codes: [__m512i; PAIR],
        x: *const i8,
        products: &mut Products<M>,
    ) {
        for (i, products) in products.iter_mut().enumerate() {
            // SAFETY: they are there.
            let four = unsafe { x.add(i * PITCH).cast::<i32>().read_unaligned() };
            let four = _mm512_set1_epi32(four);
            for (product, codes) in products.iter_mut().zip(codes) {
                *product = _mm512_dpbusd_epi32(*product, codes, four);
            }
        }
    }
}
