//! The packed kernels for AVX-512 VNNI: 16 weight rows in the 16 lanes, up to eight rows of
//! activations at once, so that weights are unpacked once for all of them.
//! Source: the instruction `vpdpbusd` multiplies unsigned with signed bytes and adds four products
//! to a 32-bit lane.

use super::activations::{Block, Strips};
use super::layout::{Layout, Packing, TILE_ROWS, VECTOR};
use super::{
    Job, PackedKernels, QuantType, TileKernels, ahead, avx512_round, avx512_tall, exact, pack_tile,
    with_format,
};
use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_loadu_si256,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_sll_epi16, _mm512_sra_epi32, _mm512_srl_epi16, _mm512_sub_ps,
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

/// Many rows are cut as the kernel for many takes them.
fn strips(m: usize) -> Strips {
    if m >= avx512_tall::LEAST { Strips::up_to(avx512_tall::STRIP, m) } else { Strips::new(m) }
}

vnni! {
    unsafe fn pack(ty: QuantType, rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
        with_format!(ty, Format, pack_tile::<Format, _, _>(rows, row_bytes, tile));
    }

    /// # Safety
    /// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
    unsafe fn multiply(job: &Job<'_, Block>, tiles: Range<usize>) {
        // SAFETY: as the caller vouches.
        let _ = with_format!(job.part.w.ty, Format, unsafe { multiply_as::<Format>(job, tiles) });
    }

    unsafe fn multiply_as<P: Packing>(job: &Job<'_, Block>, tiles: Range<usize>) {
        if job.strips.total() >= avx512_tall::LEAST {
            // SAFETY: as the caller vouches.
            return unsafe { avx512_tall::multiply::<P>(job, tiles) };
        }
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
                _ => multiply_tile::<P, 8>(job, tile, rows.start),
            }
        }
    }

    /// A tile of weights with the `M` rows of activations from row `first`.
    unsafe fn multiply_tile<P: Packing, const M: usize>(job: &Job<'_, Block>, tile: usize, first: usize) {
        const { assert!(size_of::<Block>() == VECTOR) };
        let layout = const { &P::LAYOUT };
        let w = job.part.w;
        let mut sums = [_mm512_setzero_ps(); M];
        let mut chunk = job.tile(tile).as_ptr();
        let mut x = job.x[first * w.blocks()..(first + M) * w.blocks()].as_ptr();
        // SAFETY: the tile has this many chunks, and `x` as many blocks for each of `M` rows.
        unsafe {
            for _ in 0..w.blocks() / layout.chunk_blocks() {
                let head = Head::load(layout, chunk);
                let mut block = chunk.add(layout.head_bytes());
                for _ in 0..layout.chunk_blocks() {
                    ahead::stream(block, layout.block_bytes());
                    multiply_block::<P, M>(block, &head, x, &mut sums);
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

    /// 32 columns: the integers of both halves, then the scales.
    unsafe fn multiply_block<P: Packing, const M: usize>(
        block: *const u8,
        head: &Head,
        x: *const Block,
        sums: &mut [__m512; M],
    ) {
        let layout = const { &P::LAYOUT };
        let zero = _mm512_setzero_si512();
        let mut low = [zero; M];
        let mut high = [zero; M];
        // SAFETY: the block and `M` blocks of activations are there.
        unsafe {
            if layout.zero != 0 {
                for i in 0..M {
                    let x = &*x.add(i);
                    if layout.halves {
                        low[i] = offset(layout, x.half_offsets[0]);
                        high[i] = offset(layout, x.half_offsets[1]);
                    } else {
                        low[i] = offset(layout, x.offset);
                    }
                }
            }
            multiply_groups::<P, M, 0>(block, x, &mut low, &mut high);
            multiply_groups::<P, M, 1>(block, x, &mut low, &mut high);
            multiply_groups::<P, M, 2>(block, x, &mut low, &mut high);
            multiply_groups::<P, M, 3>(block, x, &mut low, &mut high);
            let scales = Scales::load(layout, block.add(layout.plane_bytes()), head);
            for i in 0..M {
                let x = &*x.add(i);
                let unit = _mm512_set1_ps(x.scale);
                if layout.halves {
                    let scale = _mm512_mul_ps(scales.scales[0], unit);
                    sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(low[i]), scale, sums[i]);
                    let scale = _mm512_mul_ps(scales.scales[1], unit);
                    sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high[i]), scale, sums[i]);
                } else {
                    let both = if is_split::<P, M>() { _mm512_add_epi32(low[i], high[i]) } else { low[i] };
                    let scale = _mm512_mul_ps(scales.scales[0], unit);
                    sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(both), scale, sums[i]);
                }
                if layout.mins && layout.halves {
                    sums[i] = _mm512_fmadd_ps(scales.mins[0], _mm512_set1_ps(x.half_sums[0]), sums[i]);
                    sums[i] = _mm512_fmadd_ps(scales.mins[1], _mm512_set1_ps(x.half_sums[1]), sums[i]);
                } else if layout.mins {
                    sums[i] = _mm512_fmadd_ps(scales.mins[0], _mm512_set1_ps(x.sum), sums[i]);
                }
            }
        }
    }

    /// Groups `V` and `V + 4` of four columns each.
    unsafe fn multiply_groups<P: Packing, const M: usize, const V: usize>(
        block: *const u8,
        x: *const Block,
        low: &mut [__m512i; M],
        high: &mut [__m512i; M],
    ) {
        let layout = const { &P::LAYOUT };
        // SAFETY: the block and `M` blocks of activations are there.
        unsafe {
            let a = codes(layout, block, V);
            let b = codes(layout, block, V + 4);
            for i in 0..M {
                let x = (*x.add(i)).codes.as_ptr().cast::<i32>();
                low[i] = _mm512_dpbusd_epi32(low[i], a, _mm512_set1_epi32(x.add(V).read_unaligned()));
                let four = _mm512_set1_epi32(x.add(V + 4).read_unaligned());
                if is_split::<P, M>() {
                    high[i] = _mm512_dpbusd_epi32(high[i], b, four);
                } else {
                    low[i] = _mm512_dpbusd_epi32(low[i], b, four);
                }
            }
        }
    }

    /// The integers of group `g` of a block.
    pub(super) unsafe fn codes(layout: &Layout, block: *const u8, g: usize) -> __m512i {
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
        codes
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

/// Whether the two halves of a block have a sum each: because their scales differ, or because with
/// few rows a single sum would wait for itself.
const fn is_split<P: Packing, const M: usize>() -> bool {
    P::LAYOUT.halves || M <= 2
}

/// The halves of 256 columns.
pub(super) struct Head {
    scale: __m512,
    negated_min: __m512,
}

impl Head {
    vnni! {
        pub(super) unsafe fn load(layout: &Layout, chunk: *const u8) -> Self {
            let zero = _mm512_setzero_ps();
            let mut head = Self { scale: zero, negated_min: zero };
            // SAFETY: the chunk begins with them.
            unsafe {
                if layout.grouped {
                    head.scale = load_halves(chunk);
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
