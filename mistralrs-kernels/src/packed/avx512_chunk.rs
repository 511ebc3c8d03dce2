//! Few rows with weights whose integer scales share a half for 256 columns, for AVX-512 VNNI: as in `avx512_vnni`,
//! but a block's products are multiplied with its scales in integers and added up so, and only the sum of a chunk
//! becomes a float.

use super::activations::{Chunk, Rounded};
use super::avx512_chunk_strip::VnniChunks;
use super::avx512_vnni::{
    Looked, RESIDENT, load_halves, multiply_group, multiply_groups, store, vnni, with_rows,
};
use super::layout::{BLOCK_COLS, CHUNK_COLS, Layout, Packing, TILE_ROWS};
use super::{Job, QuantType, ahead, avx512_strip, avx512_tall, with_kind};
use std::arch::x86_64::{
    __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_unpackhi_epi8, _mm_unpacklo_epi8,
    _mm256_set_m128i, _mm512_add_epi32, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi16, _mm512_dpwssd_epi32, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_mullo_epi32,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_sra_epi32,
    _mm512_sub_ps,
};
use std::ops::Range;

/// Bytes from one row of activations to the next.
const PITCH: usize = size_of::<Chunk>();

vnni! {
    /// # Safety
    /// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
    pub(super) unsafe fn multiply(job: &Job<'_, Chunk>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        let _ = with_kind!(chunks, job.part.w.ty, Kind, unsafe { multiply_as::<Kind>(job, tiles) });
    }

    pub(super) unsafe fn multiply_as<P: Packing>(job: &Job<'_, Chunk>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        unsafe {
            match job.strips.total() {
                ..avx512_strip::LEAST => multiply_few::<P>(job, tiles),
                _ => avx512_tall::multiply::<VnniChunks<P>>(job, tiles),
            }
        }
    }

    /// With few rows.
    unsafe fn multiply_few<P: Packing>(job: &Job<'_, Chunk>, tiles: Range<usize>) {
        let strips = job.strips.count();
        let longest = job.strips.rows(0).len() * job.part.w.cols / Chunk::COLS * PITCH;
        let group = (RESIDENT / longest).max(1);
        for first in (0..strips).step_by(group) {
            for tile in tiles.clone() {
                for strip in first..strips.min(first + group) {
                    let rows = job.strips.rows(strip);
                    // SAFETY: the strip and the tile exist, and as many rows as the strip has.
                    unsafe { with_rows!(rows.len(), M, multiply_tile::<P, M>(job, tile, rows.start)) };
                }
            }
        }
    }

    /// A tile of weights with the `M` rows of activations from row `first`.
    unsafe fn multiply_tile<P: Packing, const M: usize>(job: &Job<'_, Chunk>, tile: usize, first: usize) {
        let layout = const { &P::LAYOUT };
        let w = job.part.w;
        let chunks = w.cols / Chunk::COLS;
        let values = &Looked::load(layout, w.layout.values);
        let unit = w.layout.values.unit;
        let mut sums = [_mm512_setzero_ps(); M];
        let mut chunk = job.tile(tile).as_ptr();
        let mut x = job.x[first * chunks..(first + M) * chunks].as_ptr();
        // SAFETY: the tile has this many chunks, and `x` as many for each of `M` rows.
        unsafe {
            for _ in 0..chunks {
                let mut products = [_mm512_setzero_si512(); M];
                let mut block = chunk.add(layout.head_bytes());
                let mut codes = (&raw const (*x).codes).cast::<i8>();
                let mut offsets = (&raw const (*x).half_offsets).cast::<i32>();
                for _ in 0..layout.chunk_blocks() {
                    ahead::stream(block, layout.block_bytes());
                    let x = Codes { codes, offsets };
                    multiply_block::<P, M>(block, values, &x, &mut products);
                    block = block.add(layout.block_bytes());
                    codes = codes.add(BLOCK_COLS);
                    offsets = offsets.add(2);
                }
                let units = Units::load(layout, unit, chunk);
                add::<P, M>(&units, chunk, x, &products, &mut sums);
                chunk = chunk.add(layout.chunk_bytes());
                x = x.add(M);
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            // SAFETY: the row and the tile are this task's own.
            unsafe { store(job, first + i, tile, *sum) };
        }
    }

    /// Adds the products of 32 columns, times their scale, or of two halves, times theirs.
    unsafe fn multiply_block<P: Packing, const M: usize>(
        block: *const u8,
        values: &Looked,
        &Codes { codes: x, offsets }: &Codes,
        sums: &mut [__m512i; M],
    ) {
        let layout = const { &P::LAYOUT };
        // SAFETY: the block and its scales are there, and the codes of `M` rows.
        unsafe {
            let scales = block.add(layout.plane_bytes());
            let mut products = start::<P, M>(offsets);
            if layout.halves {
                multiply_group::<P, M, PITCH, 0>(block, values, x, &mut products);
                multiply_group::<P, M, PITCH, 1>(block, values, x, &mut products);
                multiply_group::<P, M, PITCH, 2>(block, values, x, &mut products);
                multiply_group::<P, M, PITCH, 3>(block, values, x, &mut products);
                scale(&products, integers(scales), sums);
                products = start::<P, M>(offsets.add(1));
                multiply_group::<P, M, PITCH, 4>(block, values, x, &mut products);
                multiply_group::<P, M, PITCH, 5>(block, values, x, &mut products);
                multiply_group::<P, M, PITCH, 6>(block, values, x, &mut products);
                multiply_group::<P, M, PITCH, 7>(block, values, x, &mut products);
                scale(&products, integers(scales.add(TILE_ROWS)), sums);
            } else {
                multiply_groups::<P, M, PITCH>(block, values, x, &mut products);
                scale(&products, integers(scales), sums);
            }
        }
    }

    /// What products begin with, of a half or of both: it takes the integers' zero off.
    unsafe fn start<P: Packing, const M: usize>(offsets: *const i32) -> [__m512i; M] {
        let layout = const { &P::LAYOUT };
        let mut products = [_mm512_setzero_si512(); M];
        if layout.zero != 0 {
            let count = _mm_cvtsi32_si128(7 - layout.zero.trailing_zeros() as i32);
            for (i, product) in products.iter_mut().enumerate() {
                // SAFETY: there are `M` rows.
                let offset = unsafe { offset(layout, offsets.byte_add(i * PITCH)) };
                *product = _mm512_sra_epi32(offset, count);
            }
        }
        products
    }

    /// What a zero of 128 adds to the product of a half, or of both where they share a scale, taken off.
    pub(super) unsafe fn offset(layout: &Layout, offsets: *const i32) -> __m512i {
        // SAFETY: as the caller vouches.
        unsafe {
            let first = _mm512_set1_epi32(offsets.read());
            match layout.halves {
                true => first,
                false => _mm512_add_epi32(first, _mm512_set1_epi32(offsets.add(1).read())),
            }
        }
    }

    fn scale<const M: usize>(products: &[__m512i; M], scale: __m512i, sums: &mut [__m512i; M]) {
        for (sum, product) in sums.iter_mut().zip(products) {
            *sum = _mm512_add_epi32(*sum, _mm512_mullo_epi32(*product, scale));
        }
    }

    /// A scale of each row.
    pub(super) unsafe fn integers(from: *const u8) -> __m512i {
        // SAFETY: 16 bytes are there.
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())) }
    }

    /// The integer offsets of two neighboring groups that have some, number `2 p` and the next one, for each row.
    pub(super) unsafe fn pair(layout: &Layout, chunk: *const u8, p: usize) -> __m512i {
        // Behind the scales.
        let skipped = layout.plane_bytes() + layout.scales() * TILE_ROWS;
        let (blocks, next) = match layout.halves {
            true => (p, TILE_ROWS),
            false => (2 * p, layout.block_bytes()),
        };
        // SAFETY: the chunk has these bytes.
        unsafe {
            let from = chunk.add(layout.head_bytes() + blocks * layout.block_bytes() + skipped);
            let first = _mm_loadu_si128(from.cast());
            let second = _mm_loadu_si128(from.add(next).cast());
            let (low, high) = (_mm_unpacklo_epi8(first, second), _mm_unpackhi_epi8(first, second));
            _mm512_cvtepu8_epi16(_mm256_set_m128i(high, low))
        }
    }

    /// Adds the sums of a chunk's products, and what offsets make of those of the activations.
    unsafe fn add<P: Packing, const M: usize>(
        units: &Units,
        chunk: *const u8,
        x: *const Chunk,
        products: &[__m512i; M],
        sums: &mut [__m512; M],
    ) {
        let layout = const { &P::LAYOUT };
        let mut offsets = [_mm512_setzero_si512(); M];
        // SAFETY: there are `M` chunks, and so many pairs of sums.
        unsafe {
            for p in 0..pairs(layout) {
                let of_weights = pair(layout, chunk, p);
                for (i, offset) in offsets.iter_mut().enumerate() {
                    let of_x = two_sums(layout, x.add(i), p);
                    *offset = _mm512_dpwssd_epi32(*offset, of_weights, of_x);
                }
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = with_chunk(layout, units, (*x.add(i)).scale, [products[i], offsets[i]], *sum);
            }
        }
    }

    /// A sum with that of a chunk's products, and of its offsets if it has some, which become floats here.
    pub(super) fn with_chunk(
        layout: &Layout,
        units: &Units,
        unit: f32,
        [product, offset]: [__m512i; 2],
        sum: __m512,
    ) -> __m512 {
        let mut both = _mm512_mul_ps(_mm512_cvtepi32_ps(product), units.scale);
        if layout.mins {
            both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(offset), units.min, both);
        }
        _mm512_fmadd_ps(both, _mm512_set1_ps(unit), sum)
    }

    /// The sums of groups `2 p` and `2 p + 1` of a row, in every lane.
    pub(super) unsafe fn two_sums(layout: &Layout, x: *const Chunk, p: usize) -> __m512i {
        // SAFETY: they are there.
        unsafe {
            let sums = match layout.halves {
                true => (&raw const (*x).half_sums).cast::<i32>(),
                false => (&raw const (*x).sums).cast::<i32>(),
            };
            _mm512_set1_epi32(sums.add(p).read())
        }
    }
}

/// The columns of a block in activations.
struct Codes {
    /// Of the first row; those of each further one are a chunk on.
    codes: *const i8,
    /// What takes a zero off: of both halves, likewise.
    offsets: *const i32,
}

/// Pairs of groups that have an offset.
pub(super) const fn pairs(layout: &Layout) -> usize {
    if layout.mins { CHUNK_COLS / BLOCK_COLS * layout.scales() / 2 } else { 0 }
}

/// What the units of a chunk's scales and offsets stand for.
#[derive(Clone, Copy)]
pub(super) struct Units {
    scale: __m512,
    min: __m512,
}

impl Units {
    vnni! {
        pub(super) fn new() -> Self {
            Self { scale: _mm512_setzero_ps(), min: _mm512_setzero_ps() }
        }

        /// Of all rows of a chunk, with what a unit of the values stands for that codes are looked up as.
        pub(super) unsafe fn load(layout: &Layout, unit: f32, chunk: *const u8) -> Self {
            let mut units = Self::new();
            // SAFETY: the chunk begins with them.
            unsafe {
                units.scale = load_halves(chunk);
                if layout.looked_up {
                    units.scale = _mm512_mul_ps(units.scale, _mm512_set1_ps(unit));
                }
                if layout.mins {
                    units.min = _mm512_sub_ps(units.min, load_halves(chunk.add(2 * TILE_ROWS)));
                }
            }
            units
        }
    }
}
