//! Slices of Gemma 3n, cut while loading, against transformers on checkpoints that were cut before (row G11).

use crate::answers::{Answer, ask, chat, greedy, load, options};
use crate::distance::TOLERANCE;
use crate::media::conversation;
use mistralrs_core::{GenerateOptions, Llm, LoadError, MatformerSlice, QuantType, TokenLogprobs};
use mistralrs_quant::open_safetensors;
use mistralrs_testkit::matformer::{SliceCase, slice_cases};
use mistralrs_testkit::media::media_golden;
use mistralrs_testkit::{VOCAB_SIZE, fixture, in_bfloat16, with_old_config};
use std::collections::BTreeSet;
use std::path::Path;

/// Of models that see: see `media.rs`.
const MEDIA_TOLERANCE: f32 = 2e-3;

fn slice(name: &str) -> MatformerSlice {
    MatformerSlice::read(&fixture("matformer.csv"), name).unwrap()
}

fn load_slice(model: &Path, name: &str, prefill_chunk: usize) -> Llm {
    load(model, |o| {
        (o.matformer, o.prefill_chunk, o.block_size) = (Some(slice(name)), prefill_chunk, 8);
    })
}

fn distance<'a>(ours: impl Iterator<Item = &'a TokenLogprobs>, theirs: &[f32]) -> f32 {
    let ours: Vec<f32> = ours.map(|logprobs| logprobs.chosen.logprob).collect();
    assert_eq!(ours.len(), theirs.len());
    // A number that is none is far away.
    let far = |ours: f32, theirs: f32| {
        if (ours - theirs).abs() < 1e3 { (ours - theirs).abs() } else { 1e3 }
    };
    ours.iter().zip(theirs).map(|(ours, theirs)| far(*ours, *theirs)).fold(0., f32::max)
}

fn scored(llm: &Llm, case: &SliceCase) -> Answer {
    let options = GenerateOptions {
        logprobs: Some(VOCAB_SIZE),
        prompt_logprobs: Some(VOCAB_SIZE),
        ignore_eos: true,
        ..greedy(case.greedy.len())
    };
    ask(llm, &case.prompt(), options)
}

/// The largest distance of any log-probability.
fn check(llm: &Llm, case: &SliceCase) -> f32 {
    let answer = scored(llm, case);
    assert_eq!(answer.token_ids, case.greedy, "{}", case.slice);
    distance(answer.prompt_logprobs.iter().flatten().chain(&answer.logprobs), &case.logprobs)
}

#[test]
fn slices_agree_with_transformers_on_checkpoints_that_were_cut() {
    let mut seen = 0;
    for case in slice_cases().iter().filter(|case| case.text.is_some()) {
        let old = with_old_config(&case.fixture);
        let models = [
            fixture(&case.fixture),
            old.path().to_owned(),
            fixture(&format!("{}-f32.gguf", case.fixture)),
        ];
        for model in &models {
            for prefill_chunk in [512, 7] {
                let worst = check(&load_slice(model, &case.slice, prefill_chunk), case);
                assert!(worst < TOLERANCE, "{}, {}: {worst}", model.display(), case.slice);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 3 * 6);
}

/// The files have their text model in a part of their own, beside both towers.
#[test]
fn a_slice_sees_and_hears() {
    let case = slice_cases().into_iter().find(|case| case.conversation.is_some()).unwrap();
    let theirs = &media_golden(&case.fixture).cases[case.conversation.unwrap()];
    assert!(!theirs.images.is_empty() && !theirs.sounds.is_empty());
    for prefill_chunk in [512, 5] {
        let llm = load_slice(&fixture(&case.fixture), &case.slice, prefill_chunk);
        let mut request = conversation(&case.fixture, theirs);
        request.options.max_tokens = Some(case.greedy.len());
        request.options.prompt_logprobs = Some(VOCAB_SIZE);
        let answer = chat(&llm, &request);
        assert_eq!(answer.usage.prompt_tokens, case.prompt().len());
        assert_eq!(answer.token_ids, case.greedy);
        let ours = answer.prompt_logprobs.iter().flatten().chain(&answer.logprobs);
        let worst = distance(ours, &case.logprobs);
        assert!(worst < MEDIA_TOLERANCE, "{worst}");
    }
}

#[test]
fn the_slice_that_is_everything_is_the_model() {
    let (whole, main) =
        (load(&fixture("gemma3n"), |_| ()), load_slice(&fixture("gemma3n"), "Main model", 512));
    let case = &slice_cases()[0];
    assert_eq!(scored(&main, case).all_bits(), scored(&whole, case).all_bits());
    assert_eq!(main.info().num_parameters, whole.info().num_parameters);
    assert_eq!(main.info().cost, whole.info().cost);
}

/// What is left out is neither counted nor planned for.
#[test]
fn a_slice_is_as_small_as_it_says() {
    let folder = fixture("gemma3n");
    let (whole, small) =
        (load(&folder, |_| ()), load_slice(&folder, "Config for T0.05 (block-level)", 512));
    let (whole, small) = (whole.info(), small.info());
    let checkpoint = open_safetensors(&[folder.join("model.safetensors")]).unwrap();
    let of_layers = |name: &&str| ["layers.0.", "layers.3."].iter().any(|l| name.contains(l));
    let left_out = checkpoint.names().into_iter().filter(of_layers);
    let left_out: usize =
        left_out.map(|name| checkpoint.info(name).unwrap().shape.iter().product::<usize>()).sum();
    assert!(left_out > 0);
    // The others' MLPs are narrower, and the projection for all layers has no rows of five for those two; the
    // table of embeddings stays as it is.
    let narrower = (18 - 9 + 22 - 11 + 18 - 5) * 3 * 20;
    let gone = (left_out + narrower + 2 * 5 * 20) as u64;
    assert_eq!(whole.num_parameters - small.num_parameters, gone);
    assert_eq!(whole.weight_bytes - small.weight_bytes, 4 * gone);
    // Of the three layers with keys and values of their own one went.
    assert_eq!(small.cost.kv_bytes * 3, whole.cost.kv_bytes * 2);
}

/// 16-bit weights are cut, too.
#[test]
fn slices_of_other_types_stay_near_their_reference() {
    let case = &slice_cases()[0];
    let copy = in_bfloat16(&case.fixture);
    let llm = load_slice(copy.path(), &case.slice, 512);
    let prompt = case.prompt().len() - 1;
    let answer = scored(&llm, case);
    let ours = answer.prompt_logprobs.iter().flatten();
    let worst = distance(ours, &case.logprobs[..prompt]);
    assert!(worst < crate::distance::BF16_WORST, "{worst}");
}

fn refusal(model: &Path, slice: MatformerSlice) -> LoadError {
    let mut options = options(model);
    options.matformer = Some(slice);
    Llm::load(options).unwrap_err()
}

#[test]
fn slices_that_cannot_be_are_refused() {
    let main = || slice("Main model");
    for name in ["qwen3", "llama-plain-f32.gguf", "stories260K"] {
        let error = refusal(&fixture(name), main()).to_string();
        assert!(error.contains("ForCausalLM has no slices; these have: Gemma3nFor"), "{error}");
        assert!(error.starts_with("option --matformer-slice-name: "), "{error}");
    }
    let other = refusal(&fixture("gemma3n-nested"), main()).to_string();
    assert!(other.contains("matformer.csv: slice `Main model`: it has 5 widths"), "{other}");
    let mut wide = main();
    wide.widths[3] = 15;
    let wide = refusal(&fixture("gemma3n"), wide).to_string();
    assert!(wide.contains("15 numbers in the MLP of layer 3, which has 14"), "{wide}");
    let lender = MatformerSlice { widths: vec![1; 4], skipped: BTreeSet::from([2]), ..main() };
    for model in ["gemma3n", "gemma3n-f32.gguf"] {
        let error = refusal(&fixture(model), lender.clone()).to_string();
        assert!(error.contains("skips layer 2, whose keys and values layer 3 reads"), "{error}");
    }
}

/// The one matrix of each layer whose rows are whole blocks goes through them. From the reference of the slice, on
/// average: 0.014 with bytes, 0.14 to 0.24 with half of one, 1 to 2.4 for the whole model.
#[test]
fn a_slice_is_quantized_on_request() {
    let cases = slice_cases().into_iter().filter(|case| case.fixture == "gemma3n");
    for case in cases {
        let apart = |slice: Option<MatformerSlice>, ty| {
            let llm = load(&fixture("gemma3n"), |o| (o.matformer, o.isq) = (slice, Some(ty)));
            let answer = scored(&llm, &case);
            let ours = answer.prompt_logprobs.iter().flatten().map(|it| it.chosen.logprob);
            let pairs = ours.zip(&case.logprobs).map(|(ours, theirs)| (ours - theirs).abs());
            pairs.sum::<f32>() / (case.prompt().len() - 1) as f32
        };
        let cut = |ty| apart(Some(slice(&case.slice)), ty);
        let (q8, q4) = (cut(QuantType::Q8_0), cut(QuantType::Q4_0));
        let whole = apart(None, QuantType::Q8_0);
        println!("{}: {q8:.3} {q4:.3}, the whole model {whole:.3}", case.slice);
        assert!(q8 < 0.04 && (0.07..0.5).contains(&q4) && whole > 0.7, "{q8} {q4} {whole}");
    }
}
