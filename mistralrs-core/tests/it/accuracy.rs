//! Rounded arithmetic against exact arithmetic on the same weights, on text: how far apart the two distributions of the
//! next token are, and how often their best tokens differ. The example `divergence` measures the same for every type
//! and instruction set.

use crate::answers::{ask, greedy, load};
use candle_core::Tensor;
use mistralrs_core::{Candidate, GenerateOptions, Llm, SamplingParams};
use mistralrs_quant::gguf::GgufFile;
use mistralrs_quant::{Checkpoint, dense};
use mistralrs_testkit::{copy_of, fixture};
use std::collections::HashMap;
use std::path::Path;

const VOCAB: usize = 512;

/// stories260K with the weights of a GGUF file of it, as 32-bit floats: products with them are exact on every
/// instruction set.
fn dequantized(file: &Path) -> tempfile::TempDir {
    let folder = copy_of("stories260K");
    let gguf = GgufFile::open(&[file.to_owned()]).unwrap();
    let tensor = |name: &str| dense(gguf.info(name).unwrap(), gguf.read(name).unwrap()).unwrap();
    let tensors: HashMap<String, Tensor> =
        gguf.names().into_iter().map(|name| (name.to_owned(), tensor(name))).collect();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    folder
}

/// A story as the model tells it, not always by its best token.
fn story(llm: &Llm, seed: u64) -> Vec<u32> {
    let sampling =
        SamplingParams { temperature: Some(0.5), seed: Some(seed), ..SamplingParams::default() };
    let mut tokens = llm.tokenize("Once upon a time", true).unwrap();
    let options = GenerateOptions { sampling, ignore_eos: true, ..greedy(300) };
    tokens.extend(ask(llm, &tokens, options).token_ids);
    tokens
}

/// The distributions behind every token of a text.
fn distributions(llm: &Llm, text: &[u32]) -> Vec<Vec<Candidate>> {
    let options = GenerateOptions { prompt_logprobs: Some(VOCAB), ..greedy(1) };
    let scored = ask(llm, text, options).prompt_logprobs;
    scored.into_iter().flatten().map(|position| position.top).collect()
}

/// The sum of p · (ln p − ln q), in nats.
fn divergence(p: &[Candidate], q: &[Candidate]) -> f64 {
    let q: HashMap<u32, f64> = q.iter().map(|it| (it.token_id, f64::from(it.logprob))).collect();
    assert_eq!((p.len(), q.len()), (VOCAB, VOCAB));
    let term = |it: &Candidate| {
        let p = f64::from(it.logprob);
        p.exp() * (p - q[&it.token_id])
    };
    p.iter().map(term).sum()
}

/// Must-show 6: the best token is the same at 99 of 100 places at least.
#[test]
fn q8_0_agrees_with_its_dequantized_self() {
    let file = fixture("stories260K-q8_0.gguf");
    let folder = dequantized(&file);
    let (exact, rounded) = (load(folder.path(), |_| ()), load(&file, |_| ()));
    let (mut places, mut same, mut sum) = (0, 0, 0.0);
    for seed in 0..5 {
        let text = story(&exact, seed);
        let pairs = distributions(&exact, &text);
        for (p, q) in pairs.iter().zip(distributions(&rounded, &text)) {
            places += 1;
            same += usize::from(p[0].token_id == q[0].token_id);
            sum += divergence(p, &q);
        }
    }
    let (share, mean) = (same as f64 / places as f64, sum / places as f64);
    println!("{places} places, {:.2} % the same, divergence {mean:.2e}", 100.0 * share);
    assert!(places > 1400 && share >= 0.99 && (0.0..1e-3).contains(&mean), "{share} {mean}");
}
