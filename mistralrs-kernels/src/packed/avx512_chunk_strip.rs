//! A strip of rows with a panel of 256 columns for AVX-512 VNNI, of weights whose scales are integers: as
//! `avx512_strip` multiplies, with what `avx512_chunk` makes of the products.

use super::Job;
use super::activations::Chunk;
use super::avx512_chunk::{Units, integers, offset, pair, pairs, two_sums, with_chunk};
use super::avx512_strip::{Products, ROWS, ZERO, bytes, multiply_group};
use super::avx512_tall::{PAIR, Part, Strip, Sums};
use super::avx512_vnni::{Looked, vnni};
use super::layout::{BLOCK_COLS, CHUNK_COLS, Layout, Packing, TILE_ROWS};
use crate::simd::{LINE, prefetch};
use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_dpwssd_epi32, _mm512_mullo_epi32,
    _mm512_setzero_si512,
};
use std::marker::PhantomData;

/// Blocks of a chunk.
const BLOCKS: usize = CHUNK_COLS / BLOCK_COLS;
/// Bytes from one row of activations to the next.
const PITCH: usize = size_of::<Chunk>();

/// A block of one tile.
#[derive(Clone, Copy)]
struct Spread {
    /// A byte for each weight.
    codes: [__m512i; 8],
    /// Of each half, or of all.
    scales: [__m512i; 2],
}

/// A chunk of both tiles.
pub(super) struct Panel {
    blocks: [[Spread; PAIR]; BLOCKS],
    ends: [Ends; PAIR],
}

/// What completes the products of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    /// The offsets of each pair of groups.
    pairs: [__m512i; BLOCKS],
    units: Units,
}

impl Ends {
    vnni! {
        pub(super) fn new() -> Self {
            Self { pairs: [_mm512_setzero_si512(); BLOCKS], units: Units::new() }
        }

        pub(super) unsafe fn load(&mut self, layout: &Layout, unit: f32, chunk: *const u8) {
            // SAFETY: as the caller vouches.
            unsafe {
                for p in 0..pairs(layout) {
                    self.pairs[p] = pair(layout, chunk, p);
                }
                self.units = Units::load(layout, unit, chunk);
            }
        }
    }
}

/// The strip of seven rows, for a kind of weights.
pub(super) struct VnniChunks<P>(PhantomData<P>);

impl<P: Packing> Strip for VnniChunks<P> {
    const LAYOUT: &'static Layout = &P::LAYOUT;

    type X = Chunk;
    type Panel = Panel;
    type State = ();

    fn begin() -> (Panel, ()) {
        // SAFETY: as the caller of all of this vouches.
        (unsafe { empty() }, ())
    }

    unsafe fn spread(job: &Job<'_, Chunk>, chunk: &[u8], n: usize, panel: &mut Panel) {
        // SAFETY: as the caller vouches.
        unsafe { spread::<P>(job, chunk, n, panel) }
    }

    unsafe fn multiply(part: Part<'_, Self>, sums: &mut [Sums], (): &mut ()) {
        // SAFETY: as the caller vouches.
        unsafe { multiply_strip::<P>(&part, sums) }
    }
}

/// Multiplies a panel with a strip.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn multiply_strip<P: Packing>(part: &Part<'_, VnniChunks<P>>, sums: &mut [Sums]) {
    let x = part.x;
    let next = part.next.unwrap_or(x).cast();
    // SAFETY: as many rows as the strip has.
    unsafe {
        match sums.len() {
            5 => multiply_rows::<P, 5>(part.panel, x, next, sums),
            6 => multiply_rows::<P, 6>(part.panel, x, next, sums),
            _ => multiply_rows::<P, ROWS>(part.panel, x, next, sums),
        }
    }
}

vnni! {
    fn empty() -> Panel {
        let none = _mm512_setzero_si512();
        let empty = Spread { codes: [none; 8], scales: [none; 2] };
        Panel { blocks: [[empty; PAIR]; BLOCKS], ends: [Ends::new(); PAIR] }
    }

    unsafe fn spread<P: Packing>(job: &Job<'_, Chunk>, chunk: &[u8], n: usize, panel: &mut Panel) {
        let layout = const { &P::LAYOUT };
        let values = &Looked::load(layout, job.part.w.layout.values);
        // SAFETY: the chunk begins with a head, and its blocks follow.
        unsafe {
            panel.ends[n].load(layout, job.part.w.layout.values.unit, chunk.as_ptr());
            for (b, tiles) in panel.blocks.iter_mut().enumerate() {
                let block = chunk.as_ptr().add(layout.head_bytes() + b * layout.block_bytes());
                tiles[n].codes = bytes::<P>(block, values, ZERO);
                for half in 0..layout.scales() {
                    let scales = block.add(layout.plane_bytes() + half * TILE_ROWS);
                    tiles[n].scales[half] = integers(scales);
                }
            }
        }
    }

    /// Meanwhile the activations at `next` are fetched.
    unsafe fn multiply_rows<P: Packing, const M: usize>(
        panel: &Panel,
        x: *const Chunk,
        mut next: *const u8,
        sums: &mut [Sums],
    ) {
        let layout = const { &P::LAYOUT };
        let mut all = [[_mm512_setzero_si512(); PAIR]; M];
        let mut codes = x.cast::<i8>();
        // SAFETY: the first chunk is there.
        let mut offsets = unsafe { (&raw const (*x).half_offsets).cast::<i32>() };
        for tiles in &panel.blocks {
            for _ in 0..const { (M * PITCH / LINE).div_ceil(BLOCKS) } {
                prefetch(next);
                next = next.wrapping_add(LINE);
            }
            // SAFETY: `M` chunks of activations are there.
            unsafe {
                if layout.halves {
                    add_groups::<P, M, 0, 4>(tiles, codes, offsets, &mut all);
                    add_groups::<P, M, 4, 8>(tiles, codes, offsets.add(1), &mut all);
                } else {
                    add_groups::<P, M, 0, 8>(tiles, codes, offsets, &mut all);
                }
            }
            codes = codes.wrapping_add(BLOCK_COLS);
            offsets = offsets.wrapping_add(2);
        }
        for (i, (products, sums)) in all.iter().zip(sums).enumerate() {
            for n in 0..PAIR {
                // SAFETY: as above.
                unsafe {
                    sums[n] = complete(layout, &panel.ends[n], x.add(i), products[n], sums[n]);
                }
            }
        }
    }

    /// Adds the products of groups `FROM..TO` of a block's columns, times their scale.
    unsafe fn add_groups<P: Packing, const M: usize, const FROM: usize, const TO: usize>(
        tiles: &[Spread; PAIR],
        codes: *const i8,
        offsets: *const i32,
        sums: &mut Products<M>,
    ) {
        let layout = const { &P::LAYOUT };
        let mut products = [[_mm512_setzero_si512(); PAIR]; M];
        // SAFETY: as the caller vouches.
        unsafe {
            if layout.zero != 0 {
                for (i, products) in products.iter_mut().enumerate() {
                    *products = [offset(layout, offsets.byte_add(i * PITCH)); PAIR];
                }
            }
            for g in FROM..TO {
                let weights = [tiles[0].codes[g], tiles[1].codes[g]];
                multiply_group::<M, PITCH>(weights, codes.add(4 * g), &mut products);
            }
        }
        for (sums, products) in sums.iter_mut().zip(products) {
            for n in 0..PAIR {
                let scaled = _mm512_mullo_epi32(products[n], tiles[n].scales[FROM / 4]);
                sums[n] = _mm512_add_epi32(sums[n], scaled);
            }
        }
    }

    /// A sum with that of a chunk's products with a row of activations.
    pub(super) unsafe fn complete(
        layout: &Layout,
        ends: &Ends,
        x: *const Chunk,
        product: __m512i,
        sum: __m512,
    ) -> __m512 {
        let mut offset_sum = _mm512_setzero_si512();
        // SAFETY: the chunk is there.
        unsafe {
            for p in 0..pairs(layout) {
                let of_x = two_sums(layout, x, p);
                offset_sum = _mm512_dpwssd_epi32(offset_sum, ends.pairs[p], of_x);
            }
            with_chunk(layout, &ends.units, (*x).scale, [product, offset_sum], sum)
        }
    }
}
