//! The fast kernels against the slow twin to the bit, the twin against plain `f64`, the packed form
//! against the stored one.

use super::*;
use crate::dispatch::all_kernels;
use layout::CHUNK_COLS;
use proptest::prelude::*;
use std::num::NonZeroUsize;

mod twelve;

fn types() -> impl Iterator<Item = QuantType> {
    QuantType::ALL.iter().copied().filter(|ty| Layout::of(*ty).is_some())
}

fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    // Of uneven sizes, as activations are.
    (0..len).map(|_| next() * next() * next().abs()).collect()
}

/// A weight as it is stored and as it is packed, and activations for it.
struct Case {
    stored: Vec<u8>,
    packed: PackedWeight,
    x: Vec<f32>,
    m: usize,
}

impl Case {
    fn new(ty: QuantType, (rows, cols, m): (usize, usize, usize), seed: u64) -> Self {
        let stored = crate::quant_type::tests::stored(ty, &noise(seed, rows * cols));
        Self::of(ty, (rows, cols, m), stored, seed)
    }

    fn of(
        ty: QuantType,
        (rows, cols, m): (usize, usize, usize),
        stored: Vec<u8>,
        seed: u64,
    ) -> Self {
        let w = WeightRows { ty, bytes: &stored, rows, cols };
        let packed = PackedWeight::pack(reference::KERNELS, &[w], &Slabs::default()).unwrap();
        Self { stored, packed, x: noise(seed + 1, m * cols), m }
    }

    fn weights(&self) -> Vec<f32> {
        let PackedWeight { ty, rows, cols, .. } = self.packed;
        let mut weights = vec![0.0; rows * cols];
        ty.dequantize_row(&self.stored, &mut weights);
        weights
    }

    fn multiply(&self, kernels: PackedKernels, x: &[f32]) -> Vec<f32> {
        let mut y = vec![f32::NAN; x.len() / self.packed.cols * self.packed.rows];
        multiply_on(Some(kernels), &[&self.packed], x, &mut [&mut y]);
        y
    }
}

fn fast_kernels() -> impl Iterator<Item = PackedKernels> {
    all_kernels().filter_map(|kernels| kernels.packed)
}

/// The slow twin of some kernels.
fn twin_of(kernels: PackedKernels) -> PackedKernels {
    PackedKernels {
        pairs: kernels.pairs.and(reference::KERNELS.pairs),
        twelve: kernels.twelve.and(reference::KERNELS.twelve),
        ..reference::KERNELS
    }
}

/// Both twins.
fn twins() -> [PackedKernels; 2] {
    [reference::KERNELS, PackedKernels { pairs: None, ..reference::KERNELS }]
}

fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

/// `(type, (rows, cols, m), seed)`
fn any_case() -> impl Strategy<Value = (QuantType, (usize, usize, usize), u64)> {
    let ty = (0..types().count()).prop_map(|i| types().nth(i).unwrap());
    (ty, 1usize..71, 1usize..12, 1usize..52, any::<u32>()).prop_map(|(ty, rows, cols, m, seed)| {
        let cols = match ty.block_len() {
            1 => cols * 32 - seed as usize % 17,
            2..=32 => cols * 32,
            len => cols.div_ceil(3) * len,
        };
        (ty, (rows, cols, m), u64::from(seed))
    })
}

/// What the twin computes, in `f64` from the stored numbers and the rounded activations.
fn exact_products(case: &Case, kernels: PackedKernels) -> Vec<(f64, f64)> {
    let cols = case.packed.cols;
    let weights = case.weights();
    let mut results = Vec::new();
    for x in case.x.chunks_exact(cols) {
        let rounded = rounded(case.packed.ty, kernels, x);
        for w in weights.chunks_exact(cols) {
            let products = w.iter().zip(&rounded).map(|(w, x)| f64::from(*w) * x);
            results.push(products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs())));
        }
    }
    results
}

/// A row of activations as the kernels for `ty` take it.
fn rounded(ty: QuantType, kernels: PackedKernels, x: &[f32]) -> Vec<f64> {
    if ty == QuantType::BF16 && kernels.pairs.is_some() {
        let nearest = |x: &f32| f64::from(half::bf16::from_f32(*x).to_f32());
        return x.iter().map(nearest).collect();
    }
    if Floats::of(ty).is_some() {
        return x.iter().map(|x| f64::from(*x)).collect();
    }
    let number = |code: &i8, scale: f32| f64::from(*code) * f64::from(scale);
    if Layout::of(ty).unwrap().grouped {
        let mut chunks = vec![Chunk::default(); x.len() / CHUNK_COLS];
        activations::quantize_chunks(x, 1, &mut chunks);
        let numbers = |it: &Chunk| it.codes.each_ref().map(|code| number(code, it.scale));
        return chunks.iter().flat_map(numbers).collect();
    }
    let mut blocks = vec![Block::default(); x.len() / BLOCK_COLS];
    activations::quantize_strip(x, 1, &mut blocks);
    let numbers = |it: &Block| it.codes.each_ref().map(|code| number(code, it.scale));
    blocks.iter().flat_map(numbers).collect()
}

fn check_case(case: &Case) -> Result<(), TestCaseError> {
    let PackedWeight { ty, rows, cols, .. } = case.packed;
    let mut row = vec![f32::NAN; cols];
    for (at, wanted) in case.weights().chunks_exact(cols).enumerate() {
        case.packed.dequantize_row(at, &mut row);
        prop_assert_eq!(bits(&row), bits(wanted), "{:?}, row {}", ty, at);
    }
    for kernels in twins() {
        let twin = case.multiply(kernels, &case.x);
        for (at, (found, (wanted, size))) in
            twin.iter().zip(exact_products(case, kernels)).enumerate()
        {
            // A few roundings per block of the running sum, with floats one per column. Integers and
            // offsets cancel each other, so the sizes that are rounded exceed those of the products; by
            // less than 16 times here.
            let bound = size * 16.0 * f64::from(f32::EPSILON) * (2.0 + cols as f64 / 16.0);
            let miss = (f64::from(*found) - wanted).abs();
            prop_assert!(miss <= bound, "{:?}: y[{}] is {}, not {}", ty, at, found, wanted);
        }
    }
    for kernels in fast_kernels() {
        let w = WeightRows { ty, bytes: &case.stored, rows, cols };
        let packed = PackedWeight::pack(kernels, &[w], &Slabs::default()).unwrap();
        let twin = PackedWeight::pack(twin_of(kernels), &[w], &Slabs::default()).unwrap();
        prop_assert!(packed.memory[..] == twin.memory[..], "{:?}", ty);
        let y = case.multiply(kernels, &case.x);
        let twin = case.multiply(twin_of(kernels), &case.x);
        prop_assert_eq!(bits(&y), bits(&twin), "{:?}", ty);
        for i in [0, case.m / 2, case.m - 1] {
            let alone = case.multiply(kernels, &case.x[i * cols..(i + 1) * cols]);
            prop_assert_eq!(bits(&alone), bits(&y[i * rows..(i + 1) * rows]), "{:?}", ty);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn all_products_are_those_of_the_twin_alone_and_in_company((ty, shape, seed) in any_case()) {
        check_case(&Case::new(ty, shape, seed))?;
    }
}

/// Every size of strip for every type, and integers at the ends of their range.
#[test]
fn every_strip_of_every_type() {
    for ty in types() {
        for m in (1..=17).chain([24, 25, 29, 41, 45, 47, 50]) {
            check_case(&Case::new(ty, (18, 512, m), m as u64)).unwrap();
        }
        // Random bytes are blocks too; only the halves must not be infinite, so their exponent
        // is kept small wherever one may lie.
        let bytes = noise(5, ty.row_bytes(33 * 256).unwrap() / 4 * 4);
        let stored: Vec<u8> = bytes.iter().map(|x| (x.to_bits() >> 7) as u8 & 0xbb).collect();
        let stored =
            [&stored[..], &vec![0; ty.row_bytes(33 * 256).unwrap() - stored.len()]].concat();
        for m in [5, 11, 47] {
            let case = Case::of(ty, (33, 256, m), stored.clone(), 6);
            for kernels in fast_kernels() {
                let twin = case.multiply(twin_of(kernels), &case.x);
                assert_eq!(bits(&case.multiply(kernels, &case.x)), bits(&twin), "{ty:?}");
            }
        }
    }
}

/// Rounded activations bit by bit, with numbers between two bytes, none, too small, infinite and no numbers.
#[test]
fn activations_are_rounded_as_by_the_twin() {
    for (rows, units) in (1..=9).flat_map(|rows| (1..=9).map(move |units| (rows, units))) {
        let x = odd_numbers(rows, units * BLOCK_COLS, BLOCK_COLS);
        check_rounding(&x, rows, activations::quantize_strip, |kernels| kernels.blocks);
        let x = odd_numbers(rows, units * CHUNK_COLS, CHUNK_COLS);
        check_rounding(&x, rows, activations::quantize_chunks, |kernels| kernels.chunks);
    }
}

/// Noise, of which some runs of `len` have something peculiar.
fn odd_numbers(rows: usize, cols: usize, len: usize) -> Vec<f32> {
    let odd = [0.0, -0.0, 1e-30, 9e-31, 1e-44, 3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let mut x = noise((16 * rows + cols / len) as u64, rows * cols);
    for (at, x) in x.chunks_exact_mut(len).enumerate() {
        let place = at * 7 % (len - 1);
        match at % 5 {
            0 => x[place] = odd[at / 5 % odd.len()],
            1 => x.fill(odd[at / 5 % odd.len()]),
            2 => x.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 32) as f32 * 0.5 - 7.0),
            _ => {}
        }
        if at % 5 == 2 {
            x[place] = -127.0;
        }
    }
    x
}

fn check_rounding<X: Rounded + std::fmt::Debug>(
    x: &[f32],
    rows: usize,
    twin: fn(&[f32], usize, &mut [X]),
    fast: fn(PackedKernels) -> TileKernels<X>,
) {
    let mut wanted = vec![X::default(); x.len() / X::COLS];
    twin(x, rows, &mut wanted);
    for kernels in fast_kernels() {
        let mut found = vec![X::default(); x.len() / X::COLS];
        // SAFETY: this processor has the kernels' instruction set.
        unsafe { (fast(kernels).round)(x, rows, &mut found) };
        assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "{rows} rows");
    }
}

/// Shapes for several tasks and groups of strips, on several threads; and several weights at once.
#[test]
fn neither_threads_nor_company_matter() {
    let many = Case::new(QuantType::Q4_K, (150, 1024, 700), 1);
    let few = Case::new(QuantType::Q6_K, (1000, 1024, 3), 2);
    let pairs = Case::new(QuantType::BF16, (150, 1024, 3), 3);
    let float = Case::new(QuantType::F32, (530, 1024, 90), 4);
    for kernels in fast_kernels() {
        let run = |threads| {
            pool::with_threads(NonZeroUsize::new(threads).unwrap(), || {
                let first = many.multiply(kernels, &many.x);
                let second = few.multiply(kernels, &few.x);
                let third = float.multiply(kernels, &float.x);
                let mut ys = [150, 1000, 150, 530].map(|rows| vec![0.0; 3 * rows]);
                let [a, b, c, d] = &mut ys;
                let weights = [&many.packed, &few.packed, &pairs.packed, &float.packed];
                multiply_on(Some(kernels), &weights, &few.x, &mut [a, b, c, d]);
                assert_eq!(bits(&ys[3]), bits(&float.multiply(kernels, &few.x)));
                assert_eq!(bits(&ys[2]), bits(&pairs.multiply(kernels, &few.x)));
                assert_eq!(bits(&ys[1]), bits(&second));
                assert_eq!(bits(&ys[0]), bits(&many.multiply(kernels, &few.x)));
                [bits(&first), bits(&second), bits(&third)]
            })
        };
        let one = run(1);
        assert_eq!(run(2), one);
        assert_eq!(run(7), one);
        assert_eq!(one[0], bits(&many.multiply(reference::KERNELS, &many.x)));
        assert_eq!(one[2], bits(&float.multiply(reference::KERNELS, &float.x)));
    }
}

/// More activations than stay near: panels of some columns and some strips, over which sums wait in the result.
#[test]
fn products_of_floats_go_through_panels() {
    for ty in [QuantType::F32, QuantType::F16, QuantType::BF16] {
        let case = Case::new(ty, (34, 1650, 340), 7);
        let twin = bits(&case.multiply(twins()[1], &case.x));
        for kernels in fast_kernels() {
            let y = case.multiply(PackedKernels { pairs: None, ..kernels }, &case.x);
            assert!(bits(&y) == twin, "{ty:?}");
        }
    }
}

/// The same for weights in blocks.
#[test]
fn products_of_integers_go_through_panels() {
    for ty in types().filter(|ty| Floats::of(*ty).is_none()) {
        let case = Case::new(ty, (35, 4864, 250), 7);
        let twin = bits(&case.multiply(reference::KERNELS, &case.x));
        for kernels in fast_kernels() {
            assert!(bits(&case.multiply(kernels, &case.x)) == twin, "{ty:?}");
        }
    }
}

/// Integers and activations at both ends of their range: sums of 16 bits hold what they are trusted with.
#[test]
fn the_largest_integers_fit_their_sums() {
    for ty in types().filter(|ty| Floats::of(*ty).is_none()) {
        for (fill, m) in [0, 0xff].into_iter().flat_map(|fill| [1, 4, 8, 11, 41].map(|m| (fill, m)))
        {
            let mut case = Case::new(ty, (16, 512, m), 9);
            let layout = case.packed.layout;
            for chunk in case.packed.memory.chunks_exact_mut(layout.chunk_bytes()) {
                let blocks = chunk[layout.head_bytes()..].chunks_exact_mut(layout.block_bytes());
                blocks.for_each(|block| block[..layout.plane_bytes()].fill(fill));
            }
            for (row, x) in case.x.chunks_mut(512).enumerate() {
                x.fill(if row % 2 == 0 { 1.0 } else { -1.0 });
            }
            let twin = bits(&case.multiply(reference::KERNELS, &case.x));
            for kernels in fast_kernels() {
                let y = case.multiply(kernels, &case.x);
                assert!(bits(&y) == twin, "{ty:?}, {fill}, {m} rows");
            }
        }
    }
}

/// Products in memory of their own against the same one by one; and three products with what joins the
/// first two, in one pass, with biases and where blocks end within the joined rows.
#[test]
fn joined_and_new_products_are_the_same_numbers() {
    for (at, ty) in types().enumerate() {
        // The third weight may be of another type: of blocks the one of chunks, and the other way round.
        let is_float = |ty| Floats::of(ty).is_some();
        let is_grouped = |ty| Layout::of(ty).is_some_and(|layout| layout.grouped);
        let is_last = |last: &QuantType| match is_float(ty) {
            true => is_float(*last) && *last != ty,
            false => !is_float(*last) && is_grouped(*last) != is_grouped(ty),
        };
        let last = types().find(is_last).unwrap_or(ty);
        for (rows, m) in [(256, 1), (512, 3), (256, 37), (256, 530), (32, 2100)] {
            let rows = match m {
                3 => rows,
                _ if is_float(ty) => rows - 12,
                _ => rows.max(256),
            };
            let [gate, up] = [1, 2].map(|seed| Case::new(ty, (rows, 256, m), seed));
            let down = Case::new(if m == 3 { ty } else { last }, (40, rows, 1), 3);
            let bias = &gate.x[..40];
            let biases = vec![0.25; rows];
            let packed = [
                PackedPart::from(&gate.packed),
                PackedPart::from(&up.packed).with_bias(&biases),
                PackedPart::from(&down.packed).with_bias(bias),
            ];
            for kernels in all_kernels().filter(|kernels| kernels.packed.is_some()) {
                let product = |w: &PackedPart<'_>, x: &[f32]| {
                    let mut y = vec![f32::NAN; m * w.len()];
                    multiply_parts_on(kernels.packed, &[*w], x, &mut [&mut y]);
                    y
                };
                let ys = [0, 1].map(|at| product(&packed[at], &gate.x));
                let new = new_on(kernels.packed, &packed[..2], &gate.x);
                assert!(new.iter().zip(&ys).all(|(new, y)| bits(new) == bits(y)), "{ty:?}");
                let (gating, join) = match at % 2 {
                    0 => (Gating::Silu, kernels.silu_mul),
                    _ => (Gating::GeluTanh, kernels.gelu_tanh_mul),
                };
                let mut joined = vec![0.0; m * rows];
                // SAFETY: this processor has the kernels' instruction set.
                unsafe { join(&ys[0], &ys[1], &mut joined) };
                let wanted = product(&packed[2], &joined);
                let w = GatedWeights { gate: packed[0], up: packed[1], down: packed[2] };
                for threads in [1, 3] {
                    pool::with_threads(
                        NonZeroUsize::new(threads).unwrap(),
                        || match gated::mlp_on(kernels, w, &gate.x, gating) {
                            Some(y) => assert_eq!(bits(&y), bits(&wanted), "{ty:?}"),
                            None => {
                                let kernels = kernels.packed.unwrap();
                                assert!(is_float(ty));
                                assert_ne!(kernels.family(w.gate.w), kernels.family(w.down.w));
                            }
                        },
                    );
                }
            }
        }
    }
    let [wide, narrow] = [64, 32].map(|cols| Case::new(QuantType::Q8_0, (64, cols, 1), 1).packed);
    let float = Case::new(QuantType::F32, (64, 64, 1), 1).packed;
    for [gate, up, down] in
        [[&wide, &narrow, &wide], [&wide, &wide, &narrow], [&wide, &wide, &float]]
    {
        let w = GatedWeights { gate: gate.into(), up: up.into(), down: down.into() };
        assert!(matmul_packed_mlp(w, &vec![0.0; gate.cols], Gating::Silu).is_none());
    }
}

/// Some rows of a weight, with biases, against all of them and what is added afterwards; over so many columns
/// and rows that sums wait in the results.
#[test]
fn a_part_is_its_rows_and_a_bias_is_added_last() {
    for ty in types() {
        for (rows, cols, m) in [(67, 256, 1), (67, 256, 9), (83, 1792, 5), (35, 1792, 200)] {
            let case = Case::new(ty, (rows, cols, m), 5);
            let bias: Vec<f32> = (0..rows).map(|row| row as f32 / 7.0 - 3.0).collect();
            let whole = PackedPart::from(&case.packed).with_bias(&bias);
            for kernels in std::iter::once(reference::KERNELS).chain(fast_kernels()) {
                let mut wanted = case.multiply(kernels, &case.x);
                wanted.chunks_mut(rows).for_each(|row| {
                    row.iter_mut().zip(&bias).for_each(|(y, bias)| *y += bias);
                });
                let cuts = [0..16, 16..32, 32..rows, 0..rows];
                let parts = cuts.clone().map(|rows| whole.rows(rows).unwrap());
                for (cut, y) in cuts.into_iter().zip(new_on(Some(kernels), &parts, &case.x)) {
                    let wanted = wanted.chunks(rows).flat_map(|row| &row[cut.clone()]);
                    let wanted: Vec<f32> = wanted.copied().collect();
                    assert_eq!(bits(&y), bits(&wanted), "{ty:?} {cut:?}");
                }
            }
            // No tile is cut, a part of a part is counted from its own beginning.
            let part = whole.rows(16..rows).unwrap();
            assert_eq!((part.len(), part.cols()), (rows - 16, cols));
            assert_eq!(part.rows(16..rows - 16).map(|part| part.tiles().start), Some(2));
            for bad in [0..0, 0..15, 8..32, 16..rows, 0..rows + 1] {
                assert!(part.rows(bad).is_none());
            }
        }
    }
}

#[test]
#[should_panic(expected = "a bias for each row")]
fn short_biases_are_refused() {
    let case = Case::new(QuantType::Q4_0, (3, 32, 1), 1);
    let _ = PackedPart::from(&case.packed).with_bias(&[0.0; 2]);
}

/// The price of rounding activations to bytes: root mean square error of the products, relative
/// to their own root mean square.
#[test]
fn the_error_of_rounded_activations_is_small() {
    for ty in types() {
        let case = Case::new(ty, (64, 1024, 16), 3);
        let y = case.multiply(reference::KERNELS, &case.x);
        let weights = case.weights();
        let (mut error, mut size) = (0.0, 0.0);
        for (at, y) in y.iter().enumerate() {
            let x = &case.x[at / 64 * 1024..][..1024];
            let w = &weights[at % 64 * 1024..][..1024];
            let wanted: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            error += (f64::from(*y) - wanted).powi(2);
            size += wanted.powi(2);
        }
        let relative = (error / size).sqrt();
        println!("{}: {relative:.5}", ty.name());
        assert!(relative < 0.01, "{ty:?}: {relative}");
    }
}

#[test]
fn extreme_activations() {
    let mut case = Case::new(QuantType::Q8_0, (5, 96, 1), 4);
    let weights = case.weights();
    let all: Vec<_> = std::iter::once(reference::KERNELS).chain(fast_kernels()).collect();
    for kernels in all {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            case.x[40] = bad;
            assert!(case.multiply(kernels, &case.x).iter().all(|y| y.is_nan()));
        }
        // Nothing in one block, next to nothing in another: no division by zero.
        case.x.fill(0.0);
        case.x[50] = 1e-40;
        case.x[95] = -3e38;
        for (row, y) in case.multiply(kernels, &case.x).into_iter().enumerate() {
            let wanted = weights[row * 96 + 95] * -3e38;
            assert!((y - wanted).abs() <= wanted.abs() * 1e-5, "{y} {wanted}");
        }
    }
}

#[test]
fn what_cannot_be_packed_is_left_alone() {
    for (ty, bytes, cols) in [(QuantType::F32, 60, 15), (QuantType::BF16, 30, 15)] {
        let plain = WeightRows { ty, bytes: &vec![0; bytes], rows: 1, cols };
        assert!(PackedWeight::pack(reference::KERNELS, &[plain], &Slabs::default()).is_none());
    }
    let ragged = WeightRows { ty: QuantType::Q8_0, bytes: &[0; 34], rows: 1, cols: 33 };
    assert!(PackedWeight::pack(reference::KERNELS, &[ragged], &Slabs::default()).is_none());
    let empty = WeightRows { ty: QuantType::Q8_0, bytes: &[], rows: 0, cols: 32 };
    assert!(PackedWeight::pack(reference::KERNELS, &[empty], &Slabs::default()).is_none());
    let packed = PackedWeight::new(
        &WeightRows { ty: QuantType::Q8_0, bytes: &[0; 34], rows: 1, cols: 32 },
        &Slabs::default(),
    );
    assert_eq!(packed.is_some(), dispatch::kernels().packed.is_some());
    matmul_packed_many(&[], &[], &mut []);
    let case = Case::new(QuantType::Q4_0, (3, 32, 1), 1);
    matmul_packed(&case.packed, &[], &mut []);
    assert_eq!((case.packed.rows(), case.packed.cols()), (3, 32));
    assert_eq!((case.packed.ty(), case.packed.size()), (QuantType::Q4_0, 288));
}

#[test]
fn bits_per_weight() {
    let stored_alike =
        [32.0, 16.0, 16.0, 4.5, 5.0, 5.5, 6.0, 8.5, 3.125, 3.5625, 4.625, 5.625, 6.5625];
    let looked_up = [4.5, 4.3125, 4.3125, 4.3125, 3.5625, 3.5625, 3.3125, 3.5625, 3.3125];
    let wanted = stored_alike.into_iter().chain(looked_up);
    assert_eq!(types().count(), wanted.clone().count());
    for (ty, wanted) in types().zip(wanted) {
        let case = Case::new(ty, (16, 256, 1), 1);
        assert_eq!(case.packed.size() as f64 * 8.0 / (16.0 * 256.0), wanted, "{ty:?}");
    }
}

#[test]
#[should_panic(expected = "y is not")]
fn short_results_are_refused() {
    let case = Case::new(QuantType::Q4_0, (3, 32, 1), 1);
    matmul_packed(&case.packed, &case.x, &mut [0.0; 2]);
}

/// What a kernel is compiled for is what weights of the type are.
#[test]
fn kinds_are_what_formats_are() {
    for ty in types() {
        let of_type = Layout::of(ty).unwrap();
        let of_blocks = with_kind!(blocks, ty, Kind, <Kind as Packing>::LAYOUT);
        let of_chunks = with_kind!(chunks, ty, Kind, <Kind as Packing>::LAYOUT);
        assert_eq!(of_chunks.is_some(), of_type.grouped, "{ty:?}");
        let Some(of_kind) = of_blocks.or(of_chunks) else {
            assert!(of_type.floats.is_some(), "{ty:?}");
            continue;
        };
        let of_kind = Layout { values: of_type.values, ..of_kind };
        assert_eq!(format!("{of_kind:?}"), format!("{of_type:?}"));
    }
}

/// A stack computes what its matrices compute alone, also where the last tile of each is not full.
#[test]
fn a_stack_is_its_matrices() {
    for (ty, rows) in types().zip([16, 33, 1, 48, 20].into_iter().cycle()) {
        let cases: Vec<_> = (0..4).map(|seed| Case::new(ty, (rows, 256, 5), seed)).collect();
        let stored: Vec<_> = cases
            .iter()
            .map(|case| WeightRows { ty, bytes: &case.stored, rows, cols: 256 })
            .collect();
        for kernels in std::iter::once(reference::KERNELS).chain(fast_kernels()) {
            let stack = PackedWeight::pack(kernels, &stored, &Slabs::default()).unwrap();
            let x = &cases[0].x;
            let mut ys = vec![vec![f32::NAN; 5 * rows]; 4];
            let mut slices: Vec<&mut [f32]> = ys.iter_mut().map(Vec::as_mut_slice).collect();
            let parts: Vec<_> = (0..4).map(|at| stack.part(at)).collect();
            multiply_parts_on(Some(kernels), &parts, x, &mut slices);
            for (y, case) in ys.iter().zip(&cases) {
                assert_eq!(bits(y), bits(&case.multiply(kernels, x)), "{ty:?}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "matrix 1 of a stack of 1")]
fn a_stack_has_an_end() {
    Case::new(QuantType::Q4_0, (3, 32, 1), 1).packed.part(1);
}
