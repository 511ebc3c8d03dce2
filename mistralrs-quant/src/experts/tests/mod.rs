//! The grouped product against one token and one expert at a time, for every stored type.

use super::*;
use crate::error::Error;
use crate::packed::tests::{info, noise, stored};
use crate::{QuantMethod, weight};
use candle_core::Device;
use mistralrs_kernels::with_threads;
use mistralrs_kernels::{PackedWeight, QuantType, Slabs, WeightRows};
use proptest::prelude::*;

/// Sizes of a layer and a batch for it.
#[derive(Debug, Clone, Copy)]
struct Size {
    experts: usize,
    hidden: usize,
    intermediate: usize,
    tokens: usize,
    k: usize,
}

/// The layer as it is stored, and an input with choices for it.
struct Case {
    size: Size,
    stored: Vec<StoredExpert>,
    x: Vec<f32>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

fn matrix(rows: usize, cols: usize, ty: QuantType, seed: u32) -> StoredMatrix {
    let bytes = stored(&noise(rows * cols, seed), cols, ty);
    StoredMatrix { info: info(&[rows, cols], ty), bytes }
}

impl Case {
    fn new(size: Size, types: [QuantType; 3], seed: u32) -> Self {
        let Size { experts, hidden, intermediate, tokens, k } = size;
        let of_expert = |expert: usize| {
            let seed = seed.wrapping_add(100 * expert as u32);
            StoredExpert {
                gate: matrix(intermediate, hidden, types[0], seed + 1),
                up: matrix(intermediate, hidden, types[1], seed + 2),
                down: matrix(hidden, intermediate, types[2], seed + 3),
            }
        };
        // Different experts for each token: the first of a shuffled list.
        let ids = (0..tokens).flat_map(|token| {
            let order = noise(experts, seed.wrapping_add(7 + token as u32));
            let mut all: Vec<u32> = (0..experts as u32).collect();
            all.sort_by(|a, b| order[*a as usize].total_cmp(&order[*b as usize]));
            all.truncate(k);
            all
        });
        Self {
            size,
            stored: (0..experts).map(of_expert).collect(),
            x: noise(tokens * hidden, seed.wrapping_add(5)),
            ids: ids.collect(),
            weights: noise(tokens * k, seed.wrapping_add(6)),
        }
    }

    fn build(&self, options: impl Into<WeightOptions>) -> Arc<dyn ExpertWeights> {
        experts(self.stored.clone(), &options.into()).unwrap()
    }

    fn tensors(&self) -> [Tensor; 3] {
        let Size { hidden, tokens, k, .. } = self.size;
        [
            Tensor::from_slice(&self.x, (tokens, hidden), &Device::Cpu).unwrap(),
            Tensor::from_slice(&self.ids, (tokens, k), &Device::Cpu).unwrap(),
            Tensor::from_slice(&self.weights, (tokens, k), &Device::Cpu).unwrap(),
        ]
    }

    fn forward(&self, experts: &dyn ExpertWeights) -> Vec<Vec<f32>> {
        let [x, ids, weights] = self.tensors();
        experts.forward(&x, &ids, &weights).unwrap().to_vec2().unwrap()
    }

    /// Token by token and rank by rank, through linear weights of their own.
    fn one_by_one(&self, options: WeightOptions) -> Vec<Vec<f32>> {
        let Size { hidden, intermediate, k, .. } = self.size;
        let part =
            |matrix: &StoredMatrix| weight(&matrix.info, matrix.bytes.clone(), &options).unwrap();
        let all: Vec<[Arc<dyn QuantMethod>; 3]> = self
            .stored
            .iter()
            .map(|expert| [part(&expert.gate), part(&expert.up), part(&expert.down)])
            .collect();
        let row = |x: &[f32]| Tensor::from_slice(x, (1, x.len()), &Device::Cpu).unwrap();
        let product = |w: &Arc<dyn QuantMethod>, x: &[f32]| {
            w.forward(&row(x)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let token = |(token, x): (usize, &[f32])| {
            let mut out = vec![0.; hidden];
            for choice in token * k..(token + 1) * k {
                let [gate, up, down] = &all[self.ids[choice] as usize];
                let mut activated = vec![0.; intermediate];
                silu_mul(&product(gate, x), &product(up, x), &mut activated);
                for (out, y) in out.iter_mut().zip(product(down, &activated)) {
                    *out += self.weights[choice] * y;
                }
            }
            out
        };
        self.x.chunks(hidden).enumerate().map(token).collect()
    }
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
}

fn check(case: &Case, options: WeightOptions) {
    let experts = case.build(options.clone());
    let together = bits(&case.forward(experts.as_ref()));
    assert_eq!(together, bits(&case.one_by_one(options)), "{:?}", experts.info());
    let [x, ids, weights] = case.tensors();
    for token in [0, case.size.tokens / 2, case.size.tokens - 1] {
        let row = |t: &Tensor| t.narrow(0, token, 1).unwrap();
        let alone = experts.forward(&row(&x), &row(&ids), &row(&weights)).unwrap();
        assert_eq!(bits(&alone.to_vec2().unwrap())[0], together[token]);
    }
}

fn options(isq: Option<QuantType>, stay_mapped: bool) -> WeightOptions {
    WeightOptions { stay_mapped, ..isq.into() }
}

fn plain() -> WeightOptions {
    WeightOptions::default()
}

fn any_size() -> impl Strategy<Value = Size> {
    (1usize..9, 1usize..3, 1usize..3, 1usize..20, 1usize..9).prop_map(
        |(experts, hidden, intermediate, tokens, k)| Size {
            experts,
            hidden: hidden * 256,
            intermediate: intermediate * 256,
            tokens,
            k: k.min(experts),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn grouped_is_one_by_one_in_every_type(
        size in any_size(),
        types in proptest::array::uniform3(0..QuantType::ALL.len()),
        seed in 0u32..1000,
    ) {
        check(&Case::new(size, types.map(|at| QuantType::ALL[at]), seed), plain());
    }

    /// Widths that fill no tile and no vector.
    #[test]
    fn odd_widths(
        (experts, k) in (1usize..6, 1usize..4),
        (hidden, intermediate, tokens) in (1usize..40, 1usize..40, 1usize..30),
        seed in 0u32..1000,
    ) {
        let size = Size { experts, hidden, intermediate, tokens, k: k.min(experts) };
        for ty in [QuantType::F32, QuantType::F16, QuantType::BF16] {
            check(&Case::new(size, [ty; 3], seed), plain());
        }
    }
}

const MIDDLE: Size = Size { experts: 5, hidden: 256, intermediate: 96, tokens: 40, k: 2 };

#[test]
fn quantized_while_loading_and_left_in_the_map() {
    let case = Case::new(MIDDLE, [QuantType::F32; 3], 3);
    for isq in [QuantType::Q4_K, QuantType::Q8_0] {
        check(&case, options(Some(isq), false));
    }
    check(&case, options(Some(QuantType::Q4_0), true));
    let blocks = Case::new(MIDDLE, [QuantType::Q8_0; 3], 3);
    check(&blocks, options(None, true));
    let again = experts(blocks.stored.clone(), &Some(QuantType::Q4_0).into()).unwrap_err();
    assert!(matches!(again, Error::AlreadyQuantized { .. }), "{again}");
    let alike = WeightRows { ty: QuantType::Q8_0, bytes: &[0; 34], rows: 1, cols: 32 };
    let tiles = PackedWeight::new(&alike, &Slabs::default()).is_some();
    assert_eq!(blocks.build(plain()).info().tiled, [tiles; 3]);
    let bytes = 3 * 5 * 256 * 96 * 34 / 32;
    let info = blocks.build(options(None, true)).info();
    let wanted = ExpertsInfo { count: 5, hidden: 256, intermediate: 96, bytes, tiled: [false; 3] };
    assert_eq!(info, wanted);
}

/// Types that differ from expert to expert are computed where they lie.
#[test]
fn a_mixed_stack() {
    let mut case = Case::new(MIDDLE, [QuantType::Q4_0; 3], 4);
    case.stored[2].down = matrix(256, 96, QuantType::Q8_0, 9);
    let info = case.build(plain()).info();
    assert!(!info.tiled[2]);
    let y = case.forward(case.build(plain()).as_ref());
    let alone = case.one_by_one(plain());
    // Where weights lie in tiles, activations are rounded to 8 bits.
    let largest = alone.iter().flatten().fold(0_f32, |largest, x| largest.max(x.abs()));
    for (y, wanted) in y.iter().flatten().zip(alone.iter().flatten()) {
        assert!((y - wanted).abs() < 0.02 * largest, "{y} {wanted} of {largest}");
    }
}

/// The formula itself, in `f64`.
#[test]
fn the_formula() {
    let size = Size { experts: 4, hidden: 24, intermediate: 20, tokens: 9, k: 3 };
    let case = Case::new(size, [QuantType::F32; 3], 8);
    let numbers = |matrix: &StoredMatrix| -> Vec<f64> {
        let floats: &[f32] = bytemuck::cast_slice(&matrix.bytes);
        floats.iter().map(|x| f64::from(*x)).collect()
    };
    let times = |w: &[f64], x: &[f64]| -> Vec<f64> {
        w.chunks(x.len()).map(|w| w.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
    };
    let found = case.forward(case.build(plain()).as_ref());
    for (token, found) in found.iter().enumerate() {
        let x: Vec<f64> = case.x[token * 24..][..24].iter().map(|x| f64::from(*x)).collect();
        let mut wanted = [0.; 24];
        for choice in token * 3..token * 3 + 3 {
            let expert = &case.stored[case.ids[choice] as usize];
            let gate = times(&numbers(&expert.gate), &x);
            let up = times(&numbers(&expert.up), &x);
            let h: Vec<f64> =
                gate.iter().zip(&up).map(|(g, u)| g / (1. + (-g).exp()) * u).collect();
            for (wanted, y) in wanted.iter_mut().zip(times(&numbers(&expert.down), &h)) {
                *wanted += f64::from(case.weights[choice]) * y;
            }
        }
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((f64::from(*found) - wanted).abs() < 1e-4, "{found} {wanted}");
        }
    }
}

/// So much work that experts run side by side.
#[test]
fn threads_do_not_matter() {
    let size = Size { experts: 6, hidden: 256, intermediate: 256, tokens: 60, k: 3 };
    for ty in [QuantType::F32, QuantType::Q4_K] {
        let case = Case::new(size, [ty; 3], 2);
        let experts = case.build(plain());
        let run = |threads| {
            let threads = std::num::NonZeroUsize::new(threads).unwrap();
            with_threads(threads, || bits(&case.forward(experts.as_ref())))
        };
        assert_eq!(run(1), run(7), "{ty:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(matches!(experts(Vec::new(), &WeightOptions::default()), Err(Error::EmptyStack)));
    let case = Case::new(MIDDLE, [QuantType::F32; 3], 1);
    let mut other = case.stored.clone();
    other[3].up = matrix(95, 256, QuantType::F32, 1);
    assert!(matches!(experts(other, &WeightOptions::default()), Err(Error::Misshapen { .. })));
    let mut short = case.stored.clone();
    short[1].down.bytes = short[1].down.bytes.part(0..4);
    assert!(matches!(experts(short, &WeightOptions::default()), Err(Error::WrongLength { .. })));

    let built = case.build(plain());
    let [x, ids, weights] = case.tensors();
    let error = |x: &Tensor, ids: &Tensor, weights: &Tensor| {
        built.forward(x, ids, weights).unwrap_err().to_string()
    };
    let beyond = Tensor::full(5_u32, (40, 2), &Device::Cpu).unwrap();
    assert!(error(&x, &beyond, &weights).contains("expert 5 of 5"));
    let fewer = ids.narrow(0, 0, 3).unwrap();
    assert!(error(&x, &fewer, &weights).contains("experts of width 256"));
    assert!(error(&x.narrow(1, 0, 100).unwrap(), &ids, &weights).contains("width"));
    let none = x.narrow(0, 0, 0).unwrap();
    let nothing = Tensor::zeros((0, 2), candle_core::DType::U32, &Device::Cpu).unwrap();
    let unweighted = Tensor::zeros((0, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert_eq!(built.forward(&none, &nothing, &unweighted).unwrap().dims(), [0, 256]);
}

#[test]
fn a_stacked_tensor_is_cut_into_its_matrices() {
    let numbers = noise(3 * 4 * 64, 1);
    for ty in [QuantType::F32, QuantType::Q8_0] {
        let bytes = stored(&numbers, 64, ty);
        let info = info(&[3, 4, 64], ty);
        let halves = StoredMatrix::cut(&info, &bytes, (2, 64)).unwrap();
        assert_eq!(halves.len(), 6);
        for (half, wanted) in halves.iter().zip(numbers.chunks(2 * 64)) {
            assert_eq!(half.info.shape, [2, 64]);
            assert_eq!(&*half.bytes, &*stored(wanted, 64, ty));
        }
        for (rows, cols) in [(5, 64), (4, 32), (0, 64), (usize::MAX, 64)] {
            assert!(StoredMatrix::cut(&info, &bytes, (rows, cols)).is_err());
        }
    }
}
