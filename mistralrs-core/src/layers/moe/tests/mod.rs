//! The mixture against loops that do one token, one expert and one number at a time in `f64`, over
//! every way a checkpoint names its experts.

use super::*;
use crate::attention::CpuAttention;
use candle_core::Device;
use mistralrs_quant::{Checkpoint, QuantType, TensorBytes, TensorInfo, WeightOptions};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Tensors in memory.
#[derive(Debug, Default)]
struct Memory(BTreeMap<String, (TensorInfo, Vec<f32>)>);

impl Memory {
    fn add(&mut self, name: impl Into<String>, shape: &[usize], numbers: Vec<f32>) {
        let name = name.into();
        let file = "memory".into();
        let info =
            TensorInfo { name: name.clone(), shape: shape.to_vec(), ty: QuantType::F32, file };
        self.0.insert(name, (info, numbers));
    }
}

impl Checkpoint for Memory {
    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.0.get(name).map(|(info, _)| info)
    }

    fn read(&self, name: &str) -> mistralrs_quant::Result<TensorBytes> {
        let bytes: Vec<u8> = self.0[name].1.iter().flat_map(|x| x.to_le_bytes()).collect();
        Ok(TensorBytes::from(&bytes[..]))
    }
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

#[derive(Debug, Clone, Copy)]
enum Names {
    PerExpert([&'static str; 3]),
    GateUp(&'static str),
    Stacks(&'static str),
}

const NAMES: [Names; 5] = [
    Names::PerExpert(["gate_proj", "up_proj", "down_proj"]),
    Names::PerExpert(["w1", "w3", "w2"]),
    Names::GateUp(""),
    Names::GateUp(".weight"),
    Names::Stacks(".weight"),
];

/// Its three matrices, and its gate if it has one.
type PlainExpert = ([Vec<f32>; 3], Option<Vec<f32>>);

/// A layer in plain numbers.
struct Layer {
    hidden: usize,
    width: usize,
    routing: Routing,
    router: Vec<f32>,
    correction: Option<Vec<f32>>,
    /// `[gate, up, down]` of each expert.
    experts: Vec<[Vec<f32>; 3]>,
    /// The shared expert and its gate.
    shared: Option<PlainExpert>,
}

impl Layer {
    fn new(hidden: usize, width: usize, routing: Routing, shared: u8, seed: u64) -> Self {
        let matrix = |seed| noise(hidden * width, seed);
        let expert = |seed: u64| [matrix(seed), matrix(seed + 1), matrix(seed + 2)];
        let count = routing.experts;
        Self {
            hidden,
            width,
            router: noise(count * hidden, seed + 1),
            correction: routing.corrected.then(|| noise(count, seed + 2)),
            experts: (0..count as u64).map(|at| expert(seed + 10 * at + 3)).collect(),
            shared: match shared {
                0 => None,
                1 => Some((expert(seed + 7), None)),
                _ => Some((expert(seed + 7), Some(noise(hidden, seed + 6)))),
            },
            routing,
        }
    }

    fn checkpoint(&self, names: Names) -> Memory {
        let (mut memory, count) = (Memory::default(), self.experts.len());
        let shapes =
            [[self.width, self.hidden], [self.width, self.hidden], [self.hidden, self.width]];
        memory.add("mlp.gate.weight", &[count, self.hidden], self.router.clone());
        if let Some(correction) = &self.correction {
            memory.add("mlp.gate.e_score_correction_bias", &[count], correction.clone());
        }
        let all =
            |at: usize| self.experts.iter().flat_map(move |e| e[at].clone()).collect::<Vec<_>>();
        let stack = |at: usize| [count, shapes[at][0], shapes[at][1]];
        match names {
            Names::PerExpert(names) => {
                for (expert, parts) in self.experts.iter().enumerate() {
                    for ((name, part), shape) in names.iter().zip(parts).zip(&shapes) {
                        let name = format!("mlp.experts.{expert}.{name}.weight");
                        memory.add(name, shape, part.clone());
                    }
                }
            }
            Names::GateUp(end) => {
                let both =
                    self.experts.iter().flat_map(|[gate, up, _]| [gate, up].map(Clone::clone));
                let both = both.flatten().collect();
                let shape = [count, 2 * self.width, self.hidden];
                memory.add(format!("mlp.experts.gate_up_proj{end}"), &shape, both);
                memory.add(format!("mlp.experts.down_proj{end}"), &stack(2), all(2));
            }
            Names::Stacks(end) => {
                for (at, name) in ["gate_proj", "up_proj", "down_proj"].iter().enumerate() {
                    memory.add(format!("mlp.experts.{name}{end}"), &stack(at), all(at));
                }
            }
        }
        if let Some((parts, gate)) = &self.shared {
            for (at, name) in ["gate_proj", "up_proj", "down_proj"].iter().enumerate() {
                let name = format!("mlp.shared_expert.{name}.weight");
                memory.add(name, &shapes[at], parts[at].clone());
            }
            if let Some(gate) = gate {
                // A matrix of one row in safetensors, a vector in GGUF.
                let (matrix, vector) = ([1, self.hidden], [self.hidden]);
                let shape: &[usize] =
                    if matches!(names, Names::Stacks(_)) { &vector } else { &matrix };
                memory.add("mlp.shared_expert_gate.weight", shape, gate.clone());
            }
        }
        memory
    }

    fn load(&self, names: Names) -> SparseMoe {
        let checkpoint = Arc::new(self.checkpoint(names));
        let weights =
            Weights::new(checkpoint, WeightOptions::default(), Arc::new(CpuAttention), |_, _| ());
        let mlp = weights.pp("mlp");
        let shared = self.shared.as_ref().map(|(_, gate)| {
            let of = mlp.pp("shared_expert");
            let gate_of = || mlp.pp("shared_expert_gate").plain(1, self.hidden).unwrap();
            SharedExpert {
                mlp: GatedMlp::load(&of, self.hidden, self.width, false).unwrap(),
                gate: gate.as_ref().map(|_| gate_of()),
            }
        });
        let moe =
            SparseMoe::load(&mlp, self.hidden, self.width, self.routing.clone(), shared).unwrap();
        weights.check_surplus(|_| false).unwrap();
        moe
    }

    /// What a token becomes; `None` where two scores are too close to tell who is better.
    fn slow(&self, x: &[f32]) -> Option<Vec<f64>> {
        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let logits = times(&self.router, &x);
        let total: f64 = logits.iter().map(|l| l.exp()).sum();
        let scores: Vec<f64> = match self.routing.scores {
            Scores::Softmax => logits.iter().map(|l| l.exp() / total).collect(),
            Scores::Sigmoid => logits.iter().map(|l| sigmoid(*l)).collect(),
        };
        let correct = |at: usize| self.correction.as_ref().map_or(0., |c| f64::from(c[at]));
        let compared: Vec<f64> = scores.iter().enumerate().map(|(at, s)| s + correct(at)).collect();
        let mut allowed = vec![true; scores.len()];
        if let Some(groups) = self.routing.groups {
            let size = scores.len() / groups.count;
            let best = |group: &[f64]| -> Option<f64> {
                let group: Vec<_> = group.iter().copied().map(Some).collect();
                let best = largest(&group, groups.best)?;
                best.iter().map(|at| group[*at]).sum()
            };
            let sums: Option<Vec<_>> =
                compared.chunks(size).map(|group| best(group).map(Some)).collect();
            let kept = largest(&sums?, groups.kept)?;
            allowed = (0..scores.len()).map(|expert| kept.contains(&(expert / size))).collect();
        }
        let open: Vec<_> = compared.iter().zip(&allowed).map(|(s, a)| a.then_some(*s)).collect();
        let chosen = largest(&open, self.routing.top_k)?;
        let sum: f64 = chosen.iter().map(|at| scores[*at]).sum();
        let mut out = vec![0.; self.hidden];
        for expert in chosen {
            let mut weight = scores[expert] * f64::from(self.routing.scale);
            if self.routing.normalize {
                weight /= sum;
            }
            add(&mut out, weight, &mlp(&self.experts[expert], &x));
        }
        if let Some((parts, gate)) = &self.shared {
            let weight = gate.as_ref().map_or(1., |gate| sigmoid(times(gate, &x)[0]));
            add(&mut out, weight, &mlp(parts, &x));
        }
        Some(out)
    }
}

/// The `count` largest, one after the other; `None` if one of them is not clearly larger.
fn largest(scores: &[Option<f64>], count: usize) -> Option<Vec<usize>> {
    let mut left = scores.to_vec();
    let mut found: Vec<usize> = Vec::new();
    for _ in 0..count {
        let best = (0..left.len())
            .filter(|at| left[*at].is_some())
            .reduce(|a, b| if left[b] > left[a] { b } else { a });
        let best = best?;
        let close =
            |at: usize| at != best && left[at].is_some_and(|s| left[best].unwrap() - s < 1e-5);
        if (0..left.len()).any(close) {
            return None;
        }
        left[best] = None;
        found.push(best);
    }
    Some(found)
}

fn sigmoid(x: f64) -> f64 {
    1. / (1. + (-x).exp())
}

fn times(w: &[f32], x: &[f64]) -> Vec<f64> {
    w.chunks(x.len()).map(|w| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
}

fn mlp([gate, up, down]: &[Vec<f32>; 3], x: &[f64]) -> Vec<f64> {
    let (gate, up) = (times(gate, x), times(up, x));
    let inner: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g * sigmoid(*g) * u).collect();
    times(down, &inner)
}

fn add(out: &mut [f64], weight: f64, y: &[f64]) {
    out.iter_mut().zip(y).for_each(|(out, y)| *out += weight * y);
}

fn any_routing() -> impl Strategy<Value = Routing> {
    let groups = (1usize..4, 2usize..4, 1usize..4, 1usize..3);
    let flags = proptest::array::uniform4(any::<bool>());
    (groups, flags, 1usize..5, 0.5f32..3.0).prop_map(
        |((count, size, kept, best), [grouped, softmax, normalize, corrected], k, scale)| {
            let kept = kept.min(count);
            Routing {
                experts: count * size,
                top_k: k.min(if grouped { kept * size } else { count * size }),
                scores: if softmax { Scores::Softmax } else { Scores::Sigmoid },
                corrected,
                groups: grouped.then_some(ExpertGroups { count, kept, best }),
                normalize,
                scale,
            }
        },
    )
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn the_layer_is_what_slow_loops_compute(
        routing in any_routing(),
        (hidden, width, tokens) in (1usize..30, 1usize..30, 1usize..20),
        shared in 0u8..3,
        names in 0usize..NAMES.len(),
        seed in 0u64..1 << 32,
    ) {
        let layer = Layer::new(hidden, width, routing, shared, seed);
        let moe = layer.load(NAMES[names]);
        let numbers = noise(tokens * hidden, seed + 5);
        let x = Tensor::from_slice(&numbers, (tokens, hidden), &Device::Cpu).unwrap();
        let together = moe.forward(&x).unwrap();
        for (token, row) in numbers.chunks(hidden).enumerate() {
            let alone = moe.forward(&x.narrow(0, token, 1).unwrap()).unwrap();
            let mine = together.narrow(0, token, 1).unwrap();
            prop_assert_eq!(bits(&alone), bits(&mine));
            let Some(wanted) = layer.slow(row) else { continue };
            let mine = mine.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let size = wanted.iter().fold(1., |size: f64, y| size.max(y.abs()));
            for (found, wanted) in mine.iter().zip(&wanted) {
                prop_assert!((f64::from(*found) - wanted).abs() < 1e-4 * size, "{found} {wanted}");
            }
        }
    }
}

const PLAIN: Routing = Routing {
    experts: 6,
    top_k: 2,
    scores: Scores::Softmax,
    corrected: false,
    groups: None,
    normalize: true,
    scale: 1.0,
};

#[test]
fn every_spelling_is_the_same_model() {
    let routing = Routing { corrected: true, ..PLAIN };
    let layer = Layer::new(12, 20, routing, 2, 3);
    let x = Tensor::from_slice(&noise(5 * 12, 1), (5, 12), &Device::Cpu).unwrap();
    let all = NAMES.map(|names| bits(&layer.load(names).forward(&x).unwrap()));
    assert!(all.iter().all(|y| *y == all[0]));
}

#[test]
fn choices_by_hand() {
    let shares = |chosen: Vec<(u32, f32)>| {
        chosen.into_iter().map(|(e, w)| (e, (w * 1000.).round() as i32)).collect::<Vec<_>>()
    };
    let logits = [0., (2f32).ln(), (4f32).ln(), 0., 0., 0.];
    assert_eq!(shares(PLAIN.choose(&logits, None)), [(2, 667), (1, 333)]);
    let raw = Routing { normalize: false, scale: 2., ..PLAIN };
    assert_eq!(shares(raw.choose(&logits, None)), [(2, 800), (1, 400)]);
    // Equal scores: the lower number.
    assert_eq!(shares(PLAIN.choose(&[1.; 6], None)), [(0, 500), (1, 500)]);
    // A correction chooses and does not weigh.
    let sigmoid = Routing { scores: Scores::Sigmoid, normalize: false, ..PLAIN };
    let correction = [0., 0., 0., 0., 0., 1.];
    assert_eq!(shares(sigmoid.choose(&[0.; 6], Some(&correction))), [(5, 500), (0, 500)]);
    // The best single expert is not in the best pair.
    let groups = Some(ExpertGroups { count: 3, kept: 1, best: 2 });
    let grouped = Routing { groups, ..PLAIN };
    let logits = [5., -5., 4.9, 4.8, 0., 0.];
    let chosen = |routing: &Routing| {
        routing.choose(&logits, None).into_iter().map(|(expert, _)| expert).collect::<Vec<_>>()
    };
    let by_sum = Routing { scores: Scores::Sigmoid, ..grouped.clone() };
    assert_eq!(chosen(&by_sum), [2, 3]);
    let by_best = Routing { groups: Some(ExpertGroups { count: 3, kept: 1, best: 1 }), ..grouped };
    assert_eq!(chosen(&by_best), [0, 1]);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let routing = Routing { corrected: true, ..PLAIN };
    let layer = Layer::new(12, 20, routing.clone(), 0, 3);
    let error = |change: fn(&mut Memory)| {
        let mut memory = layer.checkpoint(NAMES[2]);
        change(&mut memory);
        let options = WeightOptions::default();
        let weights = Weights::new(Arc::new(memory), options, Arc::new(CpuAttention), |_, _| ());
        let loaded = SparseMoe::load(&weights.pp("mlp"), 12, 20, routing.clone(), None);
        loaded.map(drop).unwrap_err().to_string()
    };
    assert!(
        error(|m| drop(m.0.remove("mlp.gate.weight"))).contains("`mlp.gate.weight` is missing")
    );
    let correction = "mlp.gate.e_score_correction_bias";
    assert!(error(|m| drop(m.0.remove("mlp.gate.e_score_correction_bias"))).contains(correction));
    let absent = error(|m| drop(m.0.remove("mlp.experts.gate_up_proj")));
    assert!(absent.contains("`mlp.experts.0.gate_proj.weight` is missing"), "{absent}");
    let misshapen =
        error(|m| m.add("mlp.experts.gate_up_proj", &[6, 20, 12], vec![0.; 6 * 20 * 12]));
    assert!(misshapen.contains("[6, 20, 12]") && misshapen.contains("[6, 40, 12]"), "{misshapen}");
}
