//! Products with tiles of AMX of weights whose scales are integers. A weight times its scale takes two digits, a
//! signed byte each, so a tile adds up all 256 columns of a chunk, 64 with every instruction, and what is left for
//! vectors is one float for each of 256 columns.

use super::activations::Chunk;
use super::amx::{self, LEAST, Products, Tiles};
use super::avx512_chunk::{self, integers};
use super::avx512_chunk_strip::{Ends, complete};
use super::avx512_tall::{self, PAIR, Part, Strip, Sums};
use super::avx512_vnni::{Looked, codes, vnni};
use super::layout::{CHUNK_COLS, Layout, Packing, TILE_ROWS, VECTOR};
use super::{Job, QuantType, with_kind};
use crate::simd::{LINE, prefetch};
use std::arch::asm;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_add_epi32, _mm512_and_si512, _mm512_mask_blend_epi16,
    _mm512_mullo_epi16, _mm512_packs_epi16, _mm512_set1_epi8, _mm512_set1_epi16,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srai_epi16, _mm512_sub_epi8, _mm512_sub_epi16,
    _mm512_unpackhi_epi8, _mm512_unpackhi_epi32, _mm512_unpacklo_epi8, _mm512_unpacklo_epi32,
};
use std::marker::PhantomData;
use std::ops::Range;

/// Bits of the low digit, which lies between minus half of what they count and that.
const BITS: u32 = 7;
/// Groups of four columns in a chunk.
const GROUPS: usize = CHUNK_COLS / 4;

vnni! {
    /// # Safety
    /// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
    pub(super) unsafe fn multiply(job: &Job<'_, Chunk>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        let _ = with_kind!(chunks, job.part.w.ty, Kind, unsafe { multiply_as::<Kind>(job, tiles) });
    }

    unsafe fn multiply_as<P: Packing>(job: &Job<'_, Chunk>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        unsafe {
            match job.strips.total() {
                ..LEAST => avx512_chunk::multiply_as::<P>(job, tiles),
                _ => avx512_tall::multiply::<AmxChunks<P>>(job, tiles),
            }
        }
    }
}

/// The strip of 16 rows, for a kind of weights.
struct AmxChunks<P>(PhantomData<P>);

/// Both digits of a chunk's weights, of both tiles.
struct Panel {
    digits: [[[__m512i; GROUPS]; 2]; PAIR],
    ends: [Ends; PAIR],
}

impl<P: Packing> Strip for AmxChunks<P> {
    const LAYOUT: &'static Layout = &P::LAYOUT;

    type X = Chunk;
    type Panel = Panel;
    type State = Tiles;

    fn begin() -> (Panel, Tiles) {
        // SAFETY: as the caller of all of this vouches.
        let (none, ends) = unsafe { (_mm512_setzero_si512(), Ends::new()) };
        (Panel { digits: [[[none; GROUPS]; 2]; PAIR], ends: [ends; PAIR] }, Tiles::new())
    }

    unsafe fn spread(job: &Job<'_, Chunk>, chunk: &[u8], n: usize, panel: &mut Panel) {
        // SAFETY: as the caller vouches.
        unsafe { spread::<P>(job, chunk, n, panel) }
    }

    unsafe fn multiply(part: Part<'_, Self>, sums: &mut [Sums], tiles: &mut Tiles) {
        // SAFETY: as the caller vouches.
        unsafe {
            tiles.shape_for(sums.len(), VECTOR);
            multiply_rows::<P>(&part, sums, tiles);
        }
    }

    unsafe fn end() {
        // SAFETY: AMX is present.
        unsafe { amx::release() };
    }
}

vnni! {
    /// Spreads out a chunk as tile `n` of the panel.
    unsafe fn spread<P: Packing>(job: &Job<'_, Chunk>, chunk: &[u8], n: usize, panel: &mut Panel) {
        let layout = const { &P::LAYOUT };
        let values = &Looked::load(layout, job.part.w.layout.values);
        let [low, high] = &mut panel.digits[n];
        // SAFETY: the chunk begins with a head, and its blocks follow.
        unsafe {
            panel.ends[n].load(layout, job.part.w.layout.values.unit, chunk.as_ptr());
            for b in 0..layout.chunk_blocks() {
                let block = chunk.as_ptr().add(layout.head_bytes() + b * layout.block_bytes());
                let scales = block.add(layout.plane_bytes());
                for g in 0..8 {
                    let half = if layout.halves { g / 4 } else { 0 };
                    let scale = integers(scales.add(half * TILE_ROWS));
                    let both = digits(codes(layout, values, block, g), layout.zero, scale);
                    [low[8 * b + g], high[8 * b + g]] = both;
                }
            }
        }
    }

    /// The digits of codes, less their zero, times the scale of each row.
    fn digits(codes: __m512i, zero: i32, scale: __m512i) -> [__m512i; 2] {
        // Each row's scale for four columns in 16 bits, in the order in which bytes are widened.
        let twice = _mm512_mask_blend_epi16(0xaaaa_aaaa, scale, _mm512_slli_epi32::<16>(scale));
        let scales = [_mm512_unpacklo_epi32(twice, twice), _mm512_unpackhi_epi32(twice, twice)];
        let none = _mm512_setzero_si512();
        let codes = [_mm512_unpacklo_epi8(codes, none), _mm512_unpackhi_epi8(codes, none)];
        let half = 1 << (BITS - 1);
        let (mut low, mut high) = ([none; 2], [none; 2]);
        for i in 0..2 {
            let code = _mm512_sub_epi16(codes[i], _mm512_set1_epi16(zero as i16));
            let moved = _mm512_add_epi16(_mm512_mullo_epi16(code, scales[i]), _mm512_set1_epi16(half));
            low[i] = _mm512_and_si512(moved, _mm512_set1_epi16(2 * half - 1));
            high[i] = _mm512_srai_epi16::<BITS>(moved);
        }
        let low = _mm512_packs_epi16(low[0], low[1]);
        [
            _mm512_sub_epi8(low, _mm512_set1_epi8(half as i8)),
            _mm512_packs_epi16(high[0], high[1]),
        ]
    }

    unsafe fn multiply_rows<P: Packing>(
        part: &Part<'_, AmxChunks<P>>,
        sums: &mut [Sums],
        tiles: &mut Tiles,
    ) {
        let layout = const { &P::LAYOUT };
        let x = part.x;
        let products = tiles.place(x.cast());
        let next = part.next.unwrap_or(x);
        // SAFETY: the rows are there; products are computed before they are read.
        unsafe {
            multiply_chunk(&part.panel.digits, x, products);
            for (i, sums) in sums.iter_mut().enumerate() {
                for line in 0..size_of::<Chunk>() / LINE {
                    prefetch(next.wrapping_add(i).cast::<u8>().wrapping_add(line * LINE));
                }
                let x = x.add(i);
                for (n, sum) in sums.iter_mut().enumerate() {
                    let of_digits = &*products.add(n);
                    let high = _mm512_slli_epi32::<BITS>(of_digits[1][i]);
                    let product = _mm512_add_epi32(of_digits[0][i], high);
                    *sum = complete(layout, &part.panel.ends[n], x, product, *sum);
                }
            }
        }
    }
}

/// The products of a strip with both digits of both tiles of a chunk, one after the other.
///
/// # Safety
/// AMX is present, tiles have the shapes of the strip and of 64 columns.
#[inline(always)]
unsafe fn multiply_chunk(
    digits: &[[[__m512i; GROUPS]; 2]; PAIR],
    x: *const Chunk,
    to: *mut Products,
) {
    macro_rules! step {
        ($x:literal, $w:literal) => {
            concat!(
                "tileloadd tmm4, [{x} + {pitch} + ",
                $x,
                "]\n",
                "tileloadd tmm5, [{w} + {stride} + ",
                $w,
                "]\n",
                "tdpbssd tmm0, tmm4, tmm5\n",
                "tileloadd tmm6, [{w} + {stride} + ",
                $w,
                " + {digit}]\n",
                "tdpbssd tmm1, tmm4, tmm6\n",
                "tileloadd tmm7, [{w} + {stride} + ",
                $w,
                " + 2 * {digit}]\n",
                "tdpbssd tmm2, tmm4, tmm7\n",
                "tileloadd tmm5, [{w} + {stride} + ",
                $w,
                " + 3 * {digit}]\n",
                "tdpbssd tmm3, tmm4, tmm5",
            )
        };
    }
    // SAFETY: as the caller vouches.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            step!("0", "0"),
            step!("64", "1024"),
            step!("128", "2048"),
            step!("192", "3072"),
            "tilestored [{to} + {stride}], tmm0",
            "tilestored [{to} + {stride} + 1024], tmm1",
            "tilestored [{to} + {stride} + 2048], tmm2",
            "tilestored [{to} + {stride} + 3072], tmm3",
            x = in(reg) x,
            w = in(reg) digits.as_ptr(),
            to = in(reg) to,
            pitch = in(reg) size_of::<Chunk>(),
            stride = in(reg) VECTOR,
            digit = const GROUPS * VECTOR,
            options(nostack, preserves_flags),
        );
    }
}
