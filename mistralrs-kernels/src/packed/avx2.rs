//! The packed kernels for vectors of 256 bits: a tile's 16 rows in two halves of eight lanes, up to four
//! rows of activations at once. With AVX-VNNI four products are one instruction; without, `vpmaddubsw`
//! adds two in 16 bits, and as many of these are added up as surely fit. More than eight rows go through
//! `avx2_tall`.
//! Source: `vpmaddubsw` multiplies unsigned with signed bytes and saturates, so bytes of weights, which
//! reach 255, are taken as sign and magnitude.

use super::activations::{Block, Strips, quantize_strip};
use super::layout::{Layout, Packing, TILE_ROWS, VECTOR};
use super::{
    Job, PackedKernels, QuantType, TileKernels, ahead, avx2_tall, exact, pack_tile, with_format,
    with_kind,
};
use crate::block::Values;
use std::arch::x86_64::{
    __m256, __m256i, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128, _mm256_abs_epi8,
    _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32,
    _mm256_cvtph_ps, _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sign_epi8, _mm256_sll_epi16, _mm256_sra_epi32, _mm256_srl_epi16,
    _mm256_storeu_ps, _mm256_sub_ps, _mm256_xor_si256,
};
use std::ops::Range;

/// Rows of activations that a register tile takes.
const MOST: usize = 4;
/// Lanes of a vector.
pub(super) const LANES: usize = 8;
/// So many bytes of activations stay in the second-level cache while weights pass by.
const RESIDENT: usize = 192 << 10;

/// Many rows are cut as the kernel for many takes them.
fn strips(m: usize) -> Strips {
    if m < avx2_tall::LEAST { Strips::new(m) } else { Strips::up_to(avx2_tall::STRIP, m) }
}

/// Applies the features of all of these kernels to a function.
macro_rules! avx2 {
    ($($item:item)*) => {
        $(
            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            $item
        )*
    };
}

/// Compiles the kernels for AVX2, with AVX-VNNI or without.
macro_rules! kernels {
    ($module:ident, $vnni:literal, $features:literal) => {
        /// To be called only where the features are present.
        pub(crate) mod $module {
            use super::*;

            pub(crate) const KERNELS: PackedKernels = PackedKernels {
                integers: TileKernels { strips, round: super::round, multiply },
                floats: exact::avx2::KERNELS,
                pairs: None,
                twelve: None,
                pack: super::pack,
            };

            #[target_feature(enable = $features)]
            unsafe fn multiply(job: &Job<'_, Block>, tiles: Range<usize>) {
                // SAFETY: as the caller vouches.
                let _ = with_kind!(job.part.w.ty, Kind, unsafe {
                    super::multiply::<Kind, $vnni>(job, tiles)
                });
            }
        }
    };
}

kernels!(plain, false, "avx2,fma,f16c");
kernels!(vnni, true, "avx2,fma,f16c,avxvnni");

avx2! {
    unsafe fn round(x: &[f32], rows: usize, out: &mut [Block]) {
        quantize_strip(x, rows, out);
    }

    unsafe fn pack(ty: QuantType, rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
        with_format!(ty, Format, pack_tile::<Format, _, _>(rows, row_bytes, tile));
    }
}

/// # Safety
/// The features are present; nobody else writes the columns of `y` that belong to `tiles`.
#[inline(always)]
unsafe fn multiply<P: Packing, const VNNI: bool>(job: &Job<'_, Block>, tiles: Range<usize>) {
    if job.strips.total() >= avx2_tall::LEAST {
        // SAFETY: as the caller vouches.
        return unsafe { avx2_tall::multiply::<P, VNNI>(job, tiles) };
    }
    let strips = job.strips.count();
    let longest = job.strips.rows(0).len() * job.part.w.blocks() * size_of::<Block>();
    let group = (RESIDENT / longest).max(1);
    for first in (0..strips).step_by(group) {
        for tile in tiles.clone() {
            for strip in first..strips.min(first + group) {
                for lanes in [0, LANES] {
                    // SAFETY: the strip, the tile and its lanes exist.
                    unsafe {
                        multiply_strip::<P, VNNI>(job, (tile, lanes), &job.strips.rows(strip));
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn multiply_strip<P: Packing, const VNNI: bool>(
    job: &Job<'_, Block>,
    at: (usize, usize),
    rows: &Range<usize>,
) {
    let mut row = 0;
    while row < rows.len() {
        let count = MOST.min(rows.len() - row);
        // SAFETY: as many rows as are left of the strip.
        unsafe {
            match count {
                1 => multiply_rows::<P, VNNI, 1>(job, at, rows, row),
                2 => multiply_rows::<P, VNNI, 2>(job, at, rows, row),
                3 => multiply_rows::<P, VNNI, 3>(job, at, rows, row),
                _ => multiply_rows::<P, VNNI, MOST>(job, at, rows, row),
            }
        }
        row += count;
    }
}

/// The lanes of a tile from `lanes` with `M` rows of a strip from its row `row`.
#[inline(always)]
unsafe fn multiply_rows<P: Packing, const VNNI: bool, const M: usize>(
    job: &Job<'_, Block>,
    (tile, lanes): (usize, usize),
    rows: &Range<usize>,
    row: usize,
) {
    let layout = const { &P::LAYOUT };
    let w = job.part.w;
    // SAFETY: the tile has this many chunks, and `x` the strip's rows of each block; the columns of the
    // strip's rows are this task's own.
    unsafe {
        let values = &Looked::load(layout, w.layout.values);
        let mut sums = [_mm256_setzero_ps(); M];
        let mut chunk = job.tile(tile).as_ptr();
        let mut x = job.x.as_ptr().add(rows.start * w.blocks() + row);
        for _ in 0..w.blocks() / layout.chunk_blocks() {
            let head = Head::load(layout, values, chunk, lanes);
            let mut block = chunk.add(layout.head_bytes());
            for _ in 0..layout.chunk_blocks() {
                ahead::stream(block, layout.block_bytes());
                multiply_block::<P, VNNI, M>((block, lanes), values, &head, x, &mut sums);
                block = block.add(layout.block_bytes());
                x = x.add(rows.len());
            }
            chunk = chunk.add(layout.chunk_bytes());
        }
        for (i, sum) in sums.iter().enumerate() {
            store(job, rows.start + row + i, (tile, lanes), *sum);
        }
    }
}

/// Writes the results of an activation row with the weight rows in a tile's lanes from `lanes` on.
#[inline(always)]
pub(super) unsafe fn store(
    job: &Job<'_, Block>,
    row: usize,
    (tile, lanes): (usize, usize),
    sums: __m256,
) {
    let column = tile * TILE_ROWS + lanes;
    let count = job.part.w.rows.saturating_sub(column).min(LANES);
    if count == 0 {
        return;
    }
    // SAFETY: the columns are within `y` and, as the caller vouches, its own.
    unsafe {
        let (y, bias) = (job.place(row, column, count), job.bias(column, count));
        if count == LANES {
            let sums = match bias {
                Some(bias) => _mm256_add_ps(sums, _mm256_loadu_ps(bias.as_ptr())),
                None => sums,
            };
            return _mm256_storeu_ps(y, sums);
        }
        let mut eight = [0.0; LANES];
        _mm256_storeu_ps(eight.as_mut_ptr(), sums);
        for (sum, bias) in eight.iter_mut().zip(bias.unwrap_or_default()) {
            *sum += bias;
        }
        y.copy_from_nonoverlapping(eight.as_ptr(), count);
    }
}

/// How many sums of two products surely fit 16 bits.
pub(super) const fn fitting(layout: &Layout) -> usize {
    let bits = layout.nibbles as u32 * 4 + layout.pairs as u32 * 2 + layout.singles as u32;
    // Whole bytes have no bits here and never get here.
    if bits == 0 { 1 } else { 32767 / (2 * 127 * ((1 << bits) - 1)) }
}

/// 32 columns: the integers of both halves, then the scales.
#[inline(always)]
unsafe fn multiply_block<P: Packing, const VNNI: bool, const M: usize>(
    (block, lanes): (*const u8, usize),
    values: &Looked,
    head: &Head,
    x: *const Block,
    sums: &mut [__m256; M],
) {
    let layout = const { &P::LAYOUT };
    // SAFETY: the block and `M` blocks of activations are there.
    unsafe {
        let scales = Scales::load(layout, block.add(layout.plane_bytes()), head, lanes);
        let planes = block.add(4 * lanes);
        let integers = match (VNNI, layout.are_bytes()) {
            (true, _) => with_vnni::<P, M>(planes, values, x),
            (false, true) => of_bytes::<P, M>(planes, values, x),
            (false, false) => of_bits::<P, M>(planes, values, x),
        };
        for i in 0..M {
            let x = &*x.add(i);
            let unit = _mm256_set1_ps(x.scale);
            for (half, integers) in integers.iter().enumerate().take(layout.scales()) {
                let scale = _mm256_mul_ps(scales.scales[half], unit);
                sums[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(integers[i]), scale, sums[i]);
            }
            if layout.mins && layout.halves {
                for half in 0..2 {
                    let sum = _mm256_set1_ps(x.half_sums[half]);
                    sums[i] = _mm256_fmadd_ps(scales.mins[half], sum, sums[i]);
                }
            } else if layout.mins {
                sums[i] = _mm256_fmadd_ps(scales.mins[0], _mm256_set1_ps(x.sum), sums[i]);
            }
        }
    }
}

/// Products of integers, for the halves of the columns if their scales differ, else all in the first.
type Integers<const M: usize> = [[__m256i; M]; 2];

/// Which of the sums group `g` of four columns belongs to.
const fn half_of(layout: &Layout, g: usize) -> usize {
    if layout.halves { g / 4 } else { 0 }
}

#[inline(always)]
unsafe fn with_vnni<P: Packing, const M: usize>(
    planes: *const u8,
    values: &Looked,
    x: *const Block,
) -> Integers<M> {
    let layout = const { &P::LAYOUT };
    // SAFETY: as the caller vouches.
    unsafe {
        let mut sums = offsets::<P, M>(x);
        for g in 0..8 {
            let codes = codes(layout, values, planes, g);
            let sums = &mut sums[half_of(layout, g)];
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_dpbusd_avx_epi32(*sum, codes, four(x.add(i), g));
            }
        }
        sums
    }
}

/// Whole bytes: what is left of them by the middle is sign and magnitude, and nothing is to be added.
#[inline(always)]
unsafe fn of_bytes<P: Packing, const M: usize>(
    planes: *const u8,
    values: &Looked,
    x: *const Block,
) -> Integers<M> {
    let layout = const { &P::LAYOUT };
    // SAFETY: as the caller vouches.
    unsafe {
        let (ones, middle) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
        let mut sums = [[_mm256_setzero_si256(); M]; 2];
        for g in 0..8 {
            let codes = codes(layout, values, planes, g);
            let signed = _mm256_xor_si256(codes, middle);
            let magnitude = _mm256_abs_epi8(signed);
            let sums = &mut sums[half_of(layout, g)];
            for (i, sum) in sums.iter_mut().enumerate() {
                let twos =
                    _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four(x.add(i), g), signed));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(twos, ones));
            }
        }
        sums
    }
}

/// Few bits: sums of two products are added up in 16 bits while they fit.
#[inline(always)]
unsafe fn of_bits<P: Packing, const M: usize>(
    planes: *const u8,
    values: &Looked,
    x: *const Block,
) -> Integers<M> {
    let layout = const { &P::LAYOUT };
    // SAFETY: as the caller vouches.
    unsafe {
        let (ones, zero) = (_mm256_set1_epi16(1), _mm256_setzero_si256());
        let mut sums = offsets::<P, M>(x);
        let mut small = [zero; M];
        let mut held = 0;
        for g in 0..8 {
            let codes = codes(layout, values, planes, g);
            for (i, small) in small.iter_mut().enumerate() {
                let twos = _mm256_maddubs_epi16(codes, four(x.add(i), g));
                *small = if held == 0 { twos } else { _mm256_add_epi16(*small, twos) };
            }
            held += 1;
            let ends = g == 7 || half_of(layout, g) != half_of(layout, g + 1);
            if ends || held == const { fitting(&P::LAYOUT) } {
                for (sum, small) in sums[half_of(layout, g)].iter_mut().zip(&small) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*small, ones));
                }
                held = 0;
            }
        }
        sums
    }
}

/// What the integers' zero adds up to.
#[inline(always)]
unsafe fn offsets<P: Packing, const M: usize>(x: *const Block) -> Integers<M> {
    let layout = const { &P::LAYOUT };
    // SAFETY: `M` blocks of activations are there, as the caller vouches.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); M]; 2];
        if layout.zero == 0 {
            return sums;
        }
        for (half, sums) in sums.iter_mut().enumerate().take(layout.scales()) {
            for (i, sum) in sums.iter_mut().enumerate() {
                let of_128 = of_128(layout, half, &*x.add(i));
                *sum = of_zero(layout, _mm256_set1_epi32(of_128));
            }
        }
        sums
    }
}

/// What a zero of 128 adds up to with a row's block, or with half `half` of it where halves differ, taken off.
#[inline(always)]
pub(super) fn of_128(layout: &Layout, half: usize, x: &Block) -> i32 {
    if layout.halves { x.half_offsets[half] } else { x.offset }
}

/// What the integers' zero adds up to, from that of a zero of 128.
#[inline(always)]
pub(super) unsafe fn of_zero(layout: &Layout, of_128: __m256i) -> __m256i {
    // SAFETY: the features are present, as the caller vouches.
    unsafe {
        let count = _mm_cvtsi32_si128(7 - layout.zero.trailing_zeros() as i32);
        _mm256_sra_epi32(of_128, count)
    }
}

/// Four columns of a row of activations, for all lanes.
#[inline(always)]
pub(super) unsafe fn four(x: *const Block, g: usize) -> __m256i {
    // SAFETY: as the caller vouches.
    unsafe {
        let codes = (*x).codes.as_ptr().cast::<i32>();
        _mm256_set1_epi32(codes.add(g).read_unaligned())
    }
}

/// The integers of group `g` of a block.
#[inline(always)]
pub(super) unsafe fn codes(
    layout: &Layout,
    values: &Looked,
    planes: *const u8,
    g: usize,
) -> __m256i {
    // SAFETY: the planes are there.
    unsafe {
        let plane = |at: usize| _mm256_loadu_si256(planes.add(at).cast());
        if layout.plane_bytes() == 8 * VECTOR {
            return plane(g * VECTOR);
        }
        let mut codes = _mm256_setzero_si256();
        if layout.nibbles {
            codes = bits(plane(g % 4 * VECTOR), g / 4 * 4, 0, 15);
        }
        if layout.pairs {
            let pairs = plane(layout.pairs_at() + g % 2 * VECTOR);
            codes = _mm256_or_si256(codes, bits(pairs, g / 2 * 2, layout.pair_bit(), 3));
        }
        if layout.singles {
            let singles = plane(layout.singles_at());
            codes = _mm256_or_si256(codes, bits(singles, g, layout.single_bit(), 1));
        }
        if layout.looked_up { _mm256_shuffle_epi8(values.table, codes) } else { codes }
    }
}

/// Moves the bits under `mask` of every byte from bit `from` to bit `to`; all others vanish.
#[inline(always)]
unsafe fn bits(bytes: __m256i, from: usize, to: usize, mask: u8) -> __m256i {
    // SAFETY: the features are present, as the caller vouches.
    unsafe {
        let count = _mm_cvtsi32_si128(from.abs_diff(to) as i32);
        let moved = match from.cmp(&to) {
            std::cmp::Ordering::Less => _mm256_sll_epi16(bytes, count),
            std::cmp::Ordering::Equal => bytes,
            std::cmp::Ordering::Greater => _mm256_srl_epi16(bytes, count),
        };
        _mm256_and_si256(moved, _mm256_set1_epi8((mask << to) as i8))
    }
}

#[inline(always)]
unsafe fn load_halves(from: *const u8) -> __m256 {
    // SAFETY: eight halves are there, as the caller vouches.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
}

/// What codes stand for, where they are looked up.
pub(super) struct Looked {
    /// In each half, plus 128.
    table: __m256i,
    unit: __m256,
}

impl Looked {
    #[inline(always)]
    pub(super) unsafe fn load(layout: &Layout, values: &Values) -> Self {
        // SAFETY: the features are present, as the caller vouches; the table is there.
        unsafe {
            if !layout.looked_up {
                return Self { table: _mm256_setzero_si256(), unit: _mm256_setzero_ps() };
            }
            let table = _mm_loadu_si128(values.of_codes.as_ptr().cast());
            let table = _mm256_broadcastsi128_si256(table);
            let table = _mm256_xor_si256(table, _mm256_set1_epi8(-128));
            Self { table, unit: _mm256_set1_ps(values.unit) }
        }
    }
}

/// The halves of 256 columns.
pub(super) struct Head {
    scale: __m256,
    negated_min: __m256,
}

impl Head {
    #[inline(always)]
    pub(super) unsafe fn load(
        layout: &Layout,
        values: &Looked,
        chunk: *const u8,
        lanes: usize,
    ) -> Self {
        // SAFETY: the chunk begins with them.
        unsafe {
            let zero = _mm256_setzero_ps();
            let mut head = Self { scale: zero, negated_min: zero };
            if layout.grouped {
                head.scale = load_halves(chunk.add(2 * lanes));
                if layout.looked_up {
                    head.scale = _mm256_mul_ps(head.scale, values.unit);
                }
                if layout.mins {
                    let min = load_halves(chunk.add(2 * (TILE_ROWS + lanes)));
                    head.negated_min = _mm256_sub_ps(zero, min);
                }
            }
            head
        }
    }
}

/// The scales and offsets of 32 columns.
pub(super) struct Scales {
    pub(super) scales: [__m256; 2],
    pub(super) mins: [__m256; 2],
}

impl Scales {
    #[inline(always)]
    pub(super) unsafe fn load(layout: &Layout, from: *const u8, head: &Head, lanes: usize) -> Self {
        // SAFETY: as many as the layout says follow the planes.
        unsafe {
            let zero = _mm256_setzero_ps();
            let mut loaded = Self { scales: [zero; 2], mins: [zero; 2] };
            for half in 0..layout.scales() {
                let lane = lanes * layout.scale_bytes() / TILE_ROWS;
                let scale = from.add(half * layout.scale_bytes() + lane);
                let min = from.add((layout.scales() + half) * layout.scale_bytes() + lane);
                if layout.grouped {
                    let integers = _mm256_cvtepi8_epi32(_mm_loadl_epi64(scale.cast()));
                    loaded.scales[half] = _mm256_mul_ps(_mm256_cvtepi32_ps(integers), head.scale);
                    if layout.mins {
                        let integers = _mm256_cvtepu8_epi32(_mm_loadl_epi64(min.cast()));
                        loaded.mins[half] =
                            _mm256_mul_ps(_mm256_cvtepi32_ps(integers), head.negated_min);
                    }
                } else {
                    loaded.scales[half] = load_halves(scale);
                    if layout.mins {
                        loaded.mins[half] = load_halves(min);
                    }
                }
            }
            loaded
        }
    }
}
