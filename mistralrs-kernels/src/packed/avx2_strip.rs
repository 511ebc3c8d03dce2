//! A strip of rows with a panel of spread-out weights for vectors of 256 bits.

use super::Job;
use super::activations::Block;
use super::avx2::{LANES, Looked, codes, load_scales, signed};
use super::avx2_block::{Scales, Weights, multiply_block};
use super::avx2_tall::{HALVES, Part, Strip, StripSums};
use super::layout::{BLOCK_COLS, CHUNK_COLS, Layout, Packing};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi8, _mm256_set1_epi8, _mm256_setzero_ps, _mm256_setzero_si256,
};
use std::marker::PhantomData;

/// The integer that means zero where AVX-VNNI multiplies, once spread out, where one does.
const ZERO: i32 = 128;

/// The bytes of a block of half a tile.
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    /// One for each weight.
    codes: [__m256i; 8],
    /// Where `codes` are magnitudes: the same with their signs.
    signed: [__m256i; 8],
}

impl Bytes {
    pub(super) fn new() -> Self {
        // SAFETY: the features are present wherever these kernels are.
        let none = unsafe { [_mm256_setzero_si256(); 8] };
        Self { codes: none, signed: none }
    }

    /// Spreads out the integers of a block's lanes from `lanes` on, with a zero of `zero` where AVX-VNNI multiplies.
    #[inline(always)]
    pub(super) unsafe fn spread<const VNNI: bool>(
        &mut self,
        layout: &Layout,
        values: &Looked,
        zero: i32,
        planes: *const u8,
    ) {
        for g in 0..8 {
            // SAFETY: the block is there.
            unsafe {
                let codes = codes(layout, values, planes, g);
                if VNNI && layout.zero != zero {
                    let shift = _mm256_set1_epi8((zero - layout.zero) as i8);
                    self.codes[g] = _mm256_add_epi8(codes, shift);
                } else if !VNNI && layout.are_bytes() {
                    (self.signed[g], self.codes[g]) = signed(codes);
                } else {
                    self.codes[g] = codes;
                }
            }
        }
    }
}

/// A block of columns, spread out from weights of some kind.
pub(super) struct SpreadOut<'a, P, const VNNI: bool>(
    pub(super) [&'a Bytes; HALVES],
    pub(super) PhantomData<P>,
);

impl<P: Packing, const VNNI: bool> Weights<HALVES> for SpreadOut<'_, P, VNNI> {
    const LAYOUT: &'static Layout = &P::LAYOUT;
    const ZERO: i32 = if VNNI && P::LAYOUT.zero != 0 { ZERO } else { P::LAYOUT.zero };

    #[inline(always)]
    unsafe fn codes(&self, g: usize) -> [__m256i; HALVES] {
        [self.0[0].codes[g], self.0[1].codes[g]]
    }

    #[inline(always)]
    unsafe fn signed(&self, g: usize) -> [(__m256i, __m256i); HALVES] {
        let [low, high] = self.0;
        [(low.signed[g], low.codes[g]), (high.signed[g], high.codes[g])]
    }
}

/// The strip of three rows, for a kind of weights, with AVX-VNNI or without.
pub(super) struct Blocks<P, const VNNI: bool>(PhantomData<P>);

/// A block of both halves of a tile.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    bytes: [Bytes; HALVES],
    scales: [Scales; HALVES],
}

impl<P: Packing, const VNNI: bool> Strip for Blocks<P, VNNI> {
    const LAYOUT: &'static Layout = &P::LAYOUT;
    const VNNI: bool = VNNI;

    type X = Block;
    type Panel = [Spread; CHUNK_COLS / BLOCK_COLS];

    fn empty() -> Self::Panel {
        // SAFETY: the features are present wherever these kernels are.
        let none = unsafe { _mm256_setzero_ps() };
        let scales = [Scales { scale: none, min: none }; HALVES];
        [Spread { bytes: [Bytes::new(); HALVES], scales }; _]
    }

    #[inline(always)]
    unsafe fn spread(job: &Job<'_, Block>, blocks: &[u8], panel: &mut Self::Panel) {
        let layout = const { &P::LAYOUT };
        let zero = <SpreadOut<'_, P, VNNI> as Weights<HALVES>>::ZERO;
        // SAFETY: the block has its planes, and scales behind them.
        unsafe {
            let values = &Looked::load(layout, job.part.w.layout.values);
            for (block, panel) in blocks.chunks_exact(layout.block_bytes()).zip(panel) {
                for half in 0..HALVES {
                    let (block, lanes) = (block.as_ptr(), half * LANES);
                    panel.bytes[half].spread::<VNNI>(layout, values, zero, block.add(4 * lanes));
                    panel.scales[half] =
                        load_scales(layout, block.add(layout.plane_bytes()), lanes);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<const M: usize>(part: &Part<'_, Self>, sums: &mut StripSums) {
        let mut x = part.x;
        // SAFETY: the features are present, as the caller vouches; there are `M` rows for each block.
        unsafe {
            // Copies, for the compiler to keep them in registers.
            let mut here = [[_mm256_setzero_ps(); HALVES]; M];
            here.copy_from_slice(&sums[..M]);
            for Spread { bytes: [low, high], scales } in &part.panel[..part.units] {
                let weights = SpreadOut::<P, VNNI>([low, high], PhantomData);
                multiply_block::<_, VNNI, M, HALVES>(&weights, scales.each_ref(), x, &mut here);
                x = x.add(M);
            }
            sums[..M].copy_from_slice(&here);
        }
    }
}
