//! The packed kernels for AVX-512 VNNI: 16 weight rows in the 16 lanes, up to twelve rows of
//! activations at once, so that weights are unpacked once for all of them.
//! Source: the instruction `vpdpbusd` multiplies unsigned with signed bytes and adds four products
//! to a 32-bit lane.

use super::activations::{Block, Strips};
use super::avx512_strip::Vnni;
use super::avx512_tall::Strip as _;
use super::layout::{Layout, Packing, TILE_ROWS, VECTOR};
use super::{
    Job, PackedKernels, QuantType, TileKernels, ahead, avx512_round, avx512_strip, avx512_tall,
    exact, pack_tile, with_format, with_kind,
};
use crate::block::Values;
use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_loadu_si256,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_sll_epi16,
    _mm512_sra_epi32, _mm512_srl_epi16, _mm512_sub_ps, _mm512_xor_si512,
};
use std::ops::Range;

/// To be called only where the features below are present.
pub(crate) const KERNELS: PackedKernels = PackedKernels {
    integers: TileKernels { strips, round: avx512_round::round, multiply },
    floats: exact::avx512::KERNELS,
    pairs: None,
    twelve: Some(super::avx512_twelve::pack),
    pack,
};

/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 384 << 10;

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
const STRIP: usize = 12;

/// Many rows are cut as the kernel for many takes them.
pub(super) fn strips(m: usize) -> Strips {
    Strips::up_to(if m < avx512_strip::LEAST { STRIP } else { Vnni::ROWS }, m)
}

vnni! {
    unsafe fn pack(ty: QuantType, rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
        with_format!(ty, Format, pack_tile::<Format, _, _>(rows, row_bytes, tile));
    }

    /// # Safety
    /// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
    unsafe fn multiply(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        let _ = with_kind!(job.part.w.ty, Kind, unsafe { multiply_as::<Kind>(job, tiles) });
    }

    pub(super) unsafe fn multiply_as<P: Packing>(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        unsafe {
            match job.strips.total() {
                ..avx512_strip::LEAST => multiply_few::<P>(job, tiles),
                _ => avx512_tall::multiply::<Vnni, P>(job, tiles),
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
        unsafe {
            match rows.len() {
                1 => multiply_tile::<P, 1>(job, tile, rows.start),
                2 => multiply_tile::<P, 2>(job, tile, rows.start),
                3 => multiply_tile::<P, 3>(job, tile, rows.start),
                4 => multiply_tile::<P, 4>(job, tile, rows.start),
                5 => multiply_tile::<P, 5>(job, tile, rows.start),
                6 => multiply_tile::<P, 6>(job, tile, rows.start),
                7 => multiply_tile::<P, 7>(job, tile, rows.start),
                8 => multiply_tile::<P, 8>(job, tile, rows.start),
                9 => multiply_tile::<P, 9>(job, tile, rows.start),
                10 => multiply_tile::<P, 10>(job, tile, rows.start),
                11 => multiply_tile::<P, 11>(job, tile, rows.start),
                _ => multiply_tile::<P, STRIP>(job, tile, rows.start),
            }
        }
    }

    /// A tile of weights with the `M` rows of activations from row `first`.
    unsafe fn multiply_tile<P: Packing, const M: usize>(job: &Job<'_, Block>, tile: usize, first: usize) {
        const { assert!(size_of::<Block>() == VECTOR) };
        let layout = const { &P::LAYOUT };
        let w = job.part.w;
        let values = &Looked::load(layout, w.layout.values);
        let mut sums = [_mm512_setzero_ps(); M];
        let mut chunk = job.tile(tile).as_ptr();
        let mut x = job.x[first * w.blocks()..(first + M) * w.blocks()].as_ptr();
        // SAFETY: the tile has this many chunks, and `x` as many blocks for each of `M` rows.
        unsafe {
            for _ in 0..w.blocks() / layout.chunk_blocks() {
                let head = Head::load(layout, values, chunk);
                let mut block = chunk.add(layout.head_bytes());
                for _ in 0..layout.chunk_blocks() {
                    ahead::stream(block, layout.block_bytes());
                    multiply_block::<P, M>(block, values, &head, x, &mut sums);
                    block = block.add(layout.block_bytes());
                    x = x.add(M);
                }
                chunk = chunk.add(layout.chunk_bytes());
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

    /// 32 columns, which share a scale, or two halves that have one each.
    unsafe fn multiply_block<P: Packing, const M: usize>(
        block: *const u8,
        values: &Looked,
        head: &Head,
        x: *const Block,
        sums: &mut [__m512; M],
    ) {
        let layout = const { &P::LAYOUT };
        // SAFETY: the block and `M` blocks of activations are there.
        unsafe {
            if layout.halves {
                let mut products = start::<P, M, 0>(x);
                multiply_group::<P, M, 0>(block, values, x, &mut products);
                multiply_group::<P, M, 1>(block, values, x, &mut products);
                multiply_group::<P, M, 2>(block, values, x, &mut products);
                multiply_group::<P, M, 3>(block, values, x, &mut products);
                let scales = Scales::load(layout, block.add(layout.plane_bytes()), head);
                add(x, &products, scales.scales[0], sums);
                let mut products = start::<P, M, 1>(x);
                multiply_group::<P, M, 4>(block, values, x, &mut products);
                multiply_group::<P, M, 5>(block, values, x, &mut products);
                multiply_group::<P, M, 6>(block, values, x, &mut products);
                multiply_group::<P, M, 7>(block, values, x, &mut products);
                add(x, &products, scales.scales[1], sums);
                if layout.mins {
                    add_mins(x, scales.mins[0], |x| x.half_sums[0], sums);
                    add_mins(x, scales.mins[1], |x| x.half_sums[1], sums);
                }
                return;
            }
            let mut products = start::<P, M, 0>(x);
            // Groups that lie in the same vectors one after the other.
            if M <= 2 {
                // With few rows a single sum would wait for itself.
                let mut others = [_mm512_setzero_si512(); M];
                multiply_group::<P, M, 0>(block, values, x, &mut products);
                multiply_group::<P, M, 4>(block, values, x, &mut others);
                multiply_group::<P, M, 1>(block, values, x, &mut products);
                multiply_group::<P, M, 5>(block, values, x, &mut others);
                multiply_group::<P, M, 2>(block, values, x, &mut products);
                multiply_group::<P, M, 6>(block, values, x, &mut others);
                multiply_group::<P, M, 3>(block, values, x, &mut products);
                multiply_group::<P, M, 7>(block, values, x, &mut others);
                for (product, other) in products.iter_mut().zip(others) {
                    *product = _mm512_add_epi32(*product, other);
                }
            } else {
                multiply_group::<P, M, 0>(block, values, x, &mut products);
                multiply_group::<P, M, 4>(block, values, x, &mut products);
                multiply_group::<P, M, 1>(block, values, x, &mut products);
                multiply_group::<P, M, 5>(block, values, x, &mut products);
                multiply_group::<P, M, 2>(block, values, x, &mut products);
                multiply_group::<P, M, 6>(block, values, x, &mut products);
                multiply_group::<P, M, 3>(block, values, x, &mut products);
                multiply_group::<P, M, 7>(block, values, x, &mut products);
            }
            let scales = Scales::load(layout, block.add(layout.plane_bytes()), head);
            add(x, &products, scales.scales[0], sums);
            if layout.mins {
                add_mins(x, scales.mins[0], |x| x.sum, sums);
            }
        }
    }

    /// What products begin with, of a whole block or of half `HALF`: it takes the integers' zero off.
    unsafe fn start<P: Packing, const M: usize, const HALF: usize>(x: *const Block) -> [__m512i; M] {
        let layout = const { &P::LAYOUT };
        let mut products = [_mm512_setzero_si512(); M];
        if layout.zero != 0 {
            for (i, product) in products.iter_mut().enumerate() {
                // SAFETY: there are `M` blocks.
                let x = unsafe { &*x.add(i) };
                let of_128 = if layout.halves { x.half_offsets[HALF] } else { x.offset };
                *product = offset(layout, of_128);
            }
        }
        products
    }

    /// Group `G` of four columns.
    unsafe fn multiply_group<P: Packing, const M: usize, const G: usize>(
        block: *const u8,
        values: &Looked,
        x: *const Block,
        products: &mut [__m512i; M],
    ) {
        let layout = const { &P::LAYOUT };
        // SAFETY: the block and `M` blocks of activations are there.
        unsafe {
            let codes = codes(layout, values, block, G);
            for (i, product) in products.iter_mut().enumerate() {
                let four = (*x.add(i)).codes.as_ptr().cast::<i32>().add(G).read_unaligned();
                *product = _mm512_dpbusd_epi32(*product, codes, _mm512_set1_epi32(four));
            }
        }
    }

    /// Adds products, times the weights' and the activations' scale.
    unsafe fn add<const M: usize>(
        x: *const Block,
        products: &[__m512i; M],
        scale: __m512,
        sums: &mut [__m512; M],
    ) {
        for (i, (product, sum)) in products.iter().zip(sums).enumerate() {
            // SAFETY: there are `M` blocks.
            let scale = _mm512_mul_ps(scale, _mm512_set1_ps(unsafe { (*x.add(i)).scale }));
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*product), scale, *sum);
        }
    }

    /// Adds offsets, times the sums of activations.
    unsafe fn add_mins<const M: usize>(
        x: *const Block,
        min: __m512,
        of: impl Fn(&Block) -> f32,
        sums: &mut [__m512; M],
    ) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: there are `M` blocks.
            *sum = _mm512_fmadd_ps(min, _mm512_set1_ps(of(unsafe { &*x.add(i) })), *sum);
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

    /// What takes the integers' zero off, from that of a zero of 128.
    fn offset(layout: &Layout, of_128: i32) -> __m512i {
        let count = _mm_cvtsi32_si128(7 - layout.zero.trailing_zeros() as i32);
        _mm512_sra_epi32(_mm512_set1_epi32(of_128), count)
    }

    unsafe fn load_halves(from: *const u8) -> __m512 {
        // SAFETY: 16 halves are there.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
}

/// What codes stand for, where they are looked up.
pub(super) struct Looked {
    /// In each quarter, plus 128.
    table: __m512i,
    unit: __m512,
}

impl Looked {
    vnni! {
        pub(super) fn load(layout: &Layout, values: &Values) -> Self {
            if !layout.looked_up {
                return Self { table: _mm512_setzero_si512(), unit: _mm512_setzero_ps() };
            }
            // SAFETY: they are there.
            let table = unsafe { _mm_loadu_si128(values.of_codes.as_ptr().cast()) };
            let table = _mm512_xor_si512(_mm512_broadcast_i32x4(table), _mm512_set1_epi8(-128));
            Self { table, unit: _mm512_set1_ps(values.unit) }
        }
    }
}

/// The halves of 256 columns.
pub(super) struct Head {
    scale: __m512,
    negated_min: __m512,
}

impl Head {
    vnni! {
        pub(super) unsafe fn load(layout: &Layout, values: &Looked, chunk: *const u8) -> Self {
            let zero = _mm512_setzero_ps();
            let mut head = Self { scale: zero, negated_min: zero };
            // SAFETY: the chunk begins with them.
            unsafe {
                if layout.grouped {
                    head.scale = load_halves(chunk);
                    if layout.looked_up {
                        head.scale = _mm512_mul_ps(head.scale, values.unit);
                    }
                    if layout.mins {
                        head.negated_min = _mm512_sub_ps(zero, load_halves(chunk.add(2 * TILE_ROWS)));
                    }
                }
            }
            head
        }
    }
}

/// The scales and offsets of 32 columns.
pub(super) struct Scales {
    pub(super) scales: [__m512; 2],
    pub(super) mins: [__m512; 2],
}

impl Scales {
    vnni! {
        pub(super) unsafe fn load(layout: &Layout, from: *const u8, head: &Head) -> Self {
            let zero = _mm512_setzero_ps();
            let mut loaded = Self { scales: [zero; 2], mins: [zero; 2] };
            // SAFETY: as many as the layout says follow the planes.
            unsafe {
                for half in 0..layout.scales() {
                    let scale = from.add(half * layout.scale_bytes());
                    let min = from.add((layout.scales() + half) * layout.scale_bytes());
                    if layout.grouped {
                        let integers = _mm512_cvtepi8_epi32(_mm_loadu_si128(scale.cast()));
                        loaded.scales[half] = _mm512_mul_ps(_mm512_cvtepi32_ps(integers), head.scale);
                        if layout.mins {
                            let integers = _mm512_cvtepu8_epi32(_mm_loadu_si128(min.cast()));
                            loaded.mins[half] =
                                _mm512_mul_ps(_mm512_cvtepi32_ps(integers), head.negated_min);
                        }
                    } else {
                        loaded.scales[half] = load_halves(scale);
                        if layout.mins {
                            loaded.mins[half] = load_halves(min);
                        }
                    }
                }
            }
            loaded
        }
    }
}
