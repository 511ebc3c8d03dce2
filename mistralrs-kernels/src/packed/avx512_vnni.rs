//! The packed kernels for AVX-512 VNNI: 16 weight rows in the 16 lanes, up to twelve rows of
//! activations at once, so that weights are unpacked once for all of them. Weights whose scales are integers are
//! `avx512_chunk`'s.
//! Source: the instruction `vpdpbusd` multiplies unsigned with signed bytes and adds four products
//! to a 32-bit lane.

use super::activations::{Block, Strips};
use super::avx512_strip::{ROWS, Vnni};
use super::layout::{Layout, Packing, TILE_ROWS, VECTOR};
use super::{
    Job, PackedKernels, QuantType, TileKernels, ahead, avx512_chunk, avx512_round, avx512_strip,
    avx512_tall, exact, pack_tile, with_format, with_kind,
};
use crate::block::Values;
use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_loadu_si256,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_cvtepi32_ps,
    _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_sll_epi16, _mm512_sra_epi32, _mm512_srl_epi16, _mm512_xor_si512,
};
use std::ops::Range;

/// To be called only where the features below are present.
pub(crate) const KERNELS: PackedKernels = PackedKernels {
    blocks: TileKernels { strips, round: avx512_round::round, multiply },
    chunks: TileKernels {
        strips,
        round: avx512_round::round_chunks,
        multiply: avx512_chunk::multiply,
    },
    floats: exact::avx512::KERNELS,
    pairs: None,
    twelve: Some(super::avx512_twelve::pack),
    pack,
};

/// So many bytes of activations stay in the second-level cache while weights pass by.
pub(super) const RESIDENT: usize = 384 << 10;

/// Applies the features to a function.
macro_rules! vnni {
    ($($item:item)*) => {
        $(
            #[inline]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
            $item
        )*
    };
}
pub(super) use vnni;

/// Rows of a strip of few at most: so many products and their sums fit the registers beside a vector of weights.
pub(super) const STRIP: usize = 12;

/// Many rows are cut as the kernel for many takes them.
pub(super) fn strips(m: usize) -> Strips {
    Strips::up_to(if m < avx512_strip::LEAST { STRIP } else { ROWS }, m)
}

/// Evaluates `$body` with `$m` standing for the number of rows of a strip of few.
macro_rules! with_rows {
    ($rows:expr, $m:ident, $body:expr) => {
        with_rows!(@ $rows, $m, $body, 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $rows:expr, $m:ident, $body:expr, $($few:literal)*) => {
        match $rows {
            $($few => {
                const $m: usize = $few;
                $body
            })*
            _ => {
                const $m: usize = $crate::packed::avx512_vnni::STRIP;
                $body
            }
        }
    };
}
pub(super) use with_rows;

vnni! {
    unsafe fn pack(ty: QuantType, rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
        with_format!(ty, Format, pack_tile::<Format, _, _>(rows, row_bytes, tile));
    }

    /// # Safety
    /// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
    unsafe fn multiply(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        let _ = with_kind!(blocks, job.part.w.ty, Kind, unsafe { multiply_as::<Kind>(job, tiles) });
    }

    pub(super) unsafe fn multiply_as<P: Packing>(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        unsafe {
            match job.strips.total() {
                ..avx512_strip::LEAST => multiply_few::<P>(job, tiles),
                _ => avx512_tall::multiply::<Vnni<P>>(job, tiles),
            }
        }
    }

    /// With few rows.
    unsafe fn multiply_few<P: Packing>(job: &Job<'_, Block>, tiles: Range<usize>) {
        let strips = job.strips.count();
        let longest = job.strips.rows(0).len() * job.part.w.blocks() * size_of::<Block>();
        let group = (RESIDENT / longest).max(1);
        for first in (0..strips).step_by(group) {
            for tile in tiles.clone() {
                for strip in first..strips.min(first + group) {
                    // SAFETY: the strip and the tile exist.
                    unsafe { multiply_strip::<P>(job, tile, job.strips.rows(strip)) };
                }
            }
        }
    }

    unsafe fn multiply_strip<P: Packing>(job: &Job<'_, Block>, tile: usize, rows: Range<usize>) {
        // SAFETY: as many rows as the strip has.
        unsafe { with_rows!(rows.len(), M, multiply_tile::<P, M>(job, tile, rows.start)) }
    }

    /// A tile of weights with the `M` rows of activations from row `first`.
    unsafe fn multiply_tile<P: Packing, const M: usize>(job: &Job<'_, Block>, tile: usize, first: usize) {
        const { assert!(size_of::<Block>() == VECTOR) };
        let layout = const { &P::LAYOUT };
        let w = job.part.w;
        let values = &Looked::load(layout, w.layout.values);
        let mut sums = [_mm512_setzero_ps(); M];
        let mut block = job.tile(tile).as_ptr();
        let mut x = job.x[first * w.blocks()..(first + M) * w.blocks()].as_ptr();
        // SAFETY: the tile has this many blocks, and `x` as many for each of `M` rows.
        unsafe {
            for _ in 0..w.blocks() {
                ahead::stream(block, layout.block_bytes());
                multiply_block::<P, M>(block, values, x, &mut sums);
                block = block.add(layout.block_bytes());
                x = x.add(M);
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            // SAFETY: the row and the tile are this task's own.
            unsafe { store(job, first + i, tile, *sum) };
        }
    }

    /// Writes the results of an activation row with the weight rows of a tile.
    pub(super) unsafe fn store<X>(job: &Job<'_, X>, row: usize, tile: usize, sums: __m512) {
        let count = (job.part.w.rows - tile * TILE_ROWS).min(TILE_ROWS);
        let mask = ((1u32 << count) - 1) as __mmask16;
        // SAFETY: the masked columns are within the biases, within the results and, as the caller vouches,
        // its own.
        unsafe {
            let sums = match job.bias(tile * TILE_ROWS, count) {
                Some(bias) => _mm512_add_ps(sums, _mm512_maskz_loadu_ps(mask, bias.as_ptr())),
                None => sums,
            };
            _mm512_mask_storeu_ps(job.place(row, tile * TILE_ROWS, count), mask, sums);
        }
    }

    /// 32 columns, which share a scale.
    unsafe fn multiply_block<P: Packing, const M: usize>(
        block: *const u8,
        values: &Looked,
        x: *const Block,
        sums: &mut [__m512; M],
    ) {
        let layout = const { &P::LAYOUT };
        // SAFETY: the block and `M` blocks of activations are there.
        unsafe {
            let mut products = start::<P, M>(x);
            let codes = (&raw const (*x).codes).cast();
            multiply_groups::<P, M, { size_of::<Block>() }>(block, values, codes, &mut products);
            let scales = block.add(layout.plane_bytes());
            let scale = load_halves(scales);
            for (i, (product, sum)) in products.iter().zip(&mut *sums).enumerate() {
                let scale = _mm512_mul_ps(scale, _mm512_set1_ps((*x.add(i)).scale));
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*product), scale, *sum);
            }
            if layout.mins {
                let min = load_halves(scales.add(layout.scale_bytes()));
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_fmadd_ps(min, _mm512_set1_ps((*x.add(i)).sum), *sum);
                }
            }
        }
    }

    /// What products begin with: it takes the integers' zero off.
    unsafe fn start<P: Packing, const M: usize>(x: *const Block) -> [__m512i; M] {
        let layout = const { &P::LAYOUT };
        let mut products = [_mm512_setzero_si512(); M];
        if layout.zero != 0 {
            let count = _mm_cvtsi32_si128(7 - layout.zero.trailing_zeros() as i32);
            for (i, product) in products.iter_mut().enumerate() {
                // SAFETY: there are `M` blocks.
                let offset = _mm512_set1_epi32(unsafe { (*x.add(i)).offset });
                *product = _mm512_sra_epi32(offset, count);
            }
        }
        products
    }

    /// Adds the products of all groups of a block; the codes of activations are those of the first row at `x`, and
    /// of each further one `PITCH` bytes on.
    pub(super) unsafe fn multiply_groups<P: Packing, const M: usize, const PITCH: usize>(
        block: *const u8,
        values: &Looked,
        x: *const i8,
        products: &mut [__m512i; M],
    ) {
        // SAFETY: as the caller vouches. Groups that lie in the same vectors go one after the other.
        unsafe {
            if M <= 2 {
                // With few rows a single sum would wait for itself.
                let mut others = [_mm512_setzero_si512(); M];
                multiply_group::<P, M, PITCH, 0>(block, values, x, products);
                multiply_group::<P, M, PITCH, 4>(block, values, x, &mut others);
                multiply_group::<P, M, PITCH, 1>(block, values, x, products);
                multiply_group::<P, M, PITCH, 5>(block, values, x, &mut others);
                multiply_group::<P, M, PITCH, 2>(block, values, x, products);
                multiply_group::<P, M, PITCH, 6>(block, values, x, &mut others);
                multiply_group::<P, M, PITCH, 3>(block, values, x, products);
                multiply_group::<P, M, PITCH, 7>(block, values, x, &mut others);
                for (product, other) in products.iter_mut().zip(others) {
                    *product = _mm512_add_epi32(*product, other);
                }
            } else {
                multiply_group::<P, M, PITCH, 0>(block, values, x, products);
                multiply_group::<P, M, PITCH, 4>(block, values, x, products);
                multiply_group::<P, M, PITCH, 1>(block, values, x, products);
                multiply_group::<P, M, PITCH, 5>(block, values, x, products);
                multiply_group::<P, M, PITCH, 2>(block, values, x, products);
                multiply_group::<P, M, PITCH, 6>(block, values, x, products);
                multiply_group::<P, M, PITCH, 3>(block, values, x, products);
                multiply_group::<P, M, PITCH, 7>(block, values, x, products);
            }
        }
    }

    /// Group `G` of four columns.
    pub(super) unsafe fn multiply_group<P: Packing, const M: usize, const PITCH: usize, const G: usize>(
        block: *const u8,
        values: &Looked,
        x: *const i8,
        products: &mut [__m512i; M],
    ) {
        let layout = const { &P::LAYOUT };
        // SAFETY: as the caller vouches.
        unsafe {
            let codes = codes(layout, values, block, G);
            for (i, product) in products.iter_mut().enumerate() {
                let four = x.add(i * PITCH + 4 * G).cast::<i32>().read_unaligned();
                *product = _mm512_dpbusd_epi32(*product, codes, _mm512_set1_epi32(four));
            }
        }
    }

    /// The integers of group `g` of a block.
    pub(super) unsafe fn codes(layout: &Layout, values: &Looked, block: *const u8, g: usize) -> __m512i {
        // SAFETY: the planes are there.
        let plane = |at: usize| unsafe { _mm512_loadu_si512(block.add(at).cast()) };
        let mut codes = _mm512_setzero_si512();
        if layout.plane_bytes() == 8 * VECTOR {
            return plane(g * VECTOR);
        }
        if layout.nibbles {
            codes = bits(plane(g % 4 * VECTOR), g / 4 * 4, 0, 15);
        }
        if layout.pairs {
            let pairs = plane(layout.pairs_at() + g % 2 * VECTOR);
            codes = _mm512_or_si512(codes, bits(pairs, g / 2 * 2, layout.pair_bit(), 3));
        }
        if layout.singles {
            let singles = plane(layout.singles_at());
            codes = _mm512_or_si512(codes, bits(singles, g, layout.single_bit(), 1));
        }
        if layout.looked_up { _mm512_shuffle_epi8(values.table, codes) } else { codes }
    }

    /// Moves the bits under `mask` of every byte from bit `from` to bit `to`; all others vanish.
    fn bits(bytes: __m512i, from: usize, to: usize, mask: u8) -> __m512i {
        let count = _mm_cvtsi32_si128(from.abs_diff(to) as i32);
        let moved = match from.cmp(&to) {
            std::cmp::Ordering::Less => _mm512_sll_epi16(bytes, count),
            std::cmp::Ordering::Equal => bytes,
            std::cmp::Ordering::Greater => _mm512_srl_epi16(bytes, count),
        };
        _mm512_and_si512(moved, _mm512_set1_epi8((mask << to) as i8))
    }

    pub(super) unsafe fn load_halves(from: *const u8) -> __m512 {
        // SAFETY: 16 halves are there.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
}

/// What codes stand for, where they are looked up.
pub(super) struct Looked {
    /// In each quarter, plus 128.
    table: __m512i,
}

impl Looked {
    vnni! {
        pub(super) fn load(layout: &Layout, values: &Values) -> Self {
            if !layout.looked_up {
                return Self { table: _mm512_setzero_si512() };
            }
            // SAFETY: they are there.
            let table = unsafe { _mm_loadu_si128(values.of_codes.as_ptr().cast()) };
            Self { table: _mm512_xor_si512(_mm512_broadcast_i32x4(table), _mm512_set1_epi8(-128)) }
        }
    }
}
