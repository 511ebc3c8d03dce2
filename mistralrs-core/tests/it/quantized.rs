//! Models that see, quantized while they are loaded: their language becomes blocks, what sees stays as it is stored.

use crate::accuracy::in_blocks;
use crate::answers::{Answer, chat, load};
use crate::distance;
use crate::media::{ALL, clip, encoded, load_from, load_treated, sound, tiles};
use crate::released::chats;
use candle_core::safetensors::{load as tensors_of, save};
use candle_core::{DType, Device, Tensor};
use mistralrs_core::QuantType;
use mistralrs_core::forward::Media;
use mistralrs_core::models::Model;
use mistralrs_testkit::media::{MediaCase, media_golden};
use mistralrs_testkit::{VOCAB_SIZE, copy_of, read_json};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// How often the wide model has each number that goes through the layers, and each inside an MLP.
const HIDDEN: usize = 4;
const INNER: usize = 8;

type Tensors = HashMap<String, Tensor>;

/// Qwen2.5-VL in widths that are multiples of blocks: every number and every head is there several times, and what
/// multiplies them is divided by how often. The same function, so the same reference values.
fn wide(change: impl Fn(&mut Tensors)) -> TempDir {
    let copy = copy_of("qwen2.5-vl");
    let file = copy.path().join("config.json");
    let mut config: Value = read_json(&file);
    for (key, times) in [
        ("hidden_size", HIDDEN),
        ("num_attention_heads", HIDDEN),
        ("num_key_value_heads", HIDDEN),
        ("intermediate_size", INNER),
    ] {
        let value = &mut config["text_config"][key];
        *value = json!(value.as_u64().unwrap() * times as u64);
    }
    config["vision_config"]["out_hidden_size"] = config["text_config"]["hidden_size"].clone();
    std::fs::write(&file, config.to_string()).unwrap();
    let file = copy.path().join("model.safetensors");
    let mut tensors = tensors_of(&file, &Device::Cpu).unwrap();
    for (name, tensor) in &mut tensors {
        let has = |part: &str| name.contains(part);
        let (rows, cols) = if has("gate_proj") || has("up_proj") {
            (INNER, HIDDEN)
        } else if has("down_proj") {
            (HIDDEN, INNER)
        } else if has("lm_head") || has("embed_tokens") {
            (1, HIDDEN)
        } else if has("visual") {
            (HIDDEN, 1)
        } else {
            (HIDDEN, HIDDEN)
        };
        // Of the tower only what comes out is wider.
        if !has("visual") || has("merger.mlp.2") {
            let share = if has("embed_tokens") { 1. } else { 1. / cols as f64 };
            *tensor = repeated(tensor, rows, cols, share);
        }
    }
    change(&mut tensors);
    save(&tensors, &file).unwrap();
    copy
}

fn repeated(tensor: &Tensor, rows: usize, cols: usize, share: f64) -> Tensor {
    let tensor = Tensor::cat(&vec![tensor; rows], 0).unwrap();
    if tensor.rank() == 1 {
        return tensor;
    }
    (Tensor::cat(&vec![&tensor; cols], 1).unwrap() * share).unwrap()
}

fn is_multiplied(name: &str) -> bool {
    !name.contains("visual") && (name.ends_with("_proj.weight") || name == "lm_head.weight")
}

/// What a model says to conversations about pictures and clips.
fn answers(folder: &Path, isq: Option<QuantType>) -> Vec<(MediaCase, Answer)> {
    let llm = load(folder, |o| o.isq = isq);
    let chats = chats("qwen2.5-vl").into_iter();
    let answers = chats.map(|(case, mut request)| {
        request.options.prompt_logprobs = Some(VOCAB_SIZE);
        (case, chat(&llm, &request))
    });
    answers.collect()
}

/// From the reference, on average over every position of every prompt.
fn from_reference(answers: &[(MediaCase, Answer)]) -> f32 {
    let all = answers.iter().flat_map(|(case, answer)| distance::of_prompt(answer, &case.text));
    mean(&all.collect::<Vec<_>>())
}

/// Of two models, by the log-probability of every token of every prompt, on average.
fn between(ours: &[(MediaCase, Answer)], theirs: &[(MediaCase, Answer)]) -> f32 {
    let logprobs = |answers: &[(MediaCase, Answer)]| -> Vec<f32> {
        let all = answers.iter().flat_map(|(_, answer)| answer.prompt_logprobs.iter().flatten());
        all.map(|it| it.chosen.logprob).collect()
    };
    let (ours, theirs) = (logprobs(ours), logprobs(theirs));
    assert_eq!(ours.len(), theirs.len());
    mean(&ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>())
}

fn mean(distances: &[f32]) -> f32 {
    assert!(distances.len() > 100, "{}", distances.len());
    distances.iter().sum::<f32>() / distances.len() as f32
}

/// 0.16 on average; 6.1 where nothing of the pictures arrives.
#[test]
fn quantized_answers_about_pictures_stay_near_their_reference() {
    let folder = wide(|_| ());
    let exact = from_reference(&answers(folder.path(), None));
    assert!(exact < distance::TOLERANCE, "the wide model is another: {exact}");
    let q8 = Some(QuantType::Q8_0);
    let seen = from_reference(&answers(folder.path(), q8));
    let blind = wide(|tensors| {
        let last = tensors.get_mut("model.visual.merger.mlp.2.weight").unwrap();
        *last = last.zeros_like().unwrap();
    });
    let unseen = from_reference(&answers(blind.path(), q8));
    println!("exact {exact:.1e}, quantized {seen:.3}, blind {unseen:.3}");
    assert!(seen < 0.4 && unseen > 3., "{seen} {unseen}");
}

/// The numbers that blocks hold, in a model that multiplies them as they are, give the same but for activations, which
/// are rounded to 8 bits: 0.06 from it, 0.9 from the model as stored. With any one matrix as stored it is 0.11 to 0.49.
#[test]
fn every_matrix_of_the_language_is_quantized_and_nothing_else() {
    let ty = QuantType::Q4_0;
    let folder = wide(|_| ());
    let quantized = answers(folder.path(), Some(ty));
    let apart = |as_stored: &dyn Fn(&str) -> bool| {
        let twin = wide(|tensors| {
            for (name, tensor) in tensors {
                if is_multiplied(name) && !as_stored(name) {
                    *tensor = in_blocks(ty, tensor);
                }
            }
        });
        between(&quantized, &answers(twin.path(), None))
    };
    let (near, far) = (apart(&|_| false), apart(&|_| true));
    assert!(near < 0.1 && far > 5. * near, "{near} {far}");
    let tensors = tensors_of(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
    let multiplied: Vec<_> = tensors.keys().filter(|name| is_multiplied(name)).collect();
    assert_eq!(multiplied.len(), 2 * 7 + 1);
    for left in multiplied {
        let found = apart(&|name| name == left);
        println!("{left} as stored: {found:.3}, none {near:.3}, all {far:.3}");
        assert!(found > 1.3 * near, "{left}: {found} {near}");
    }
}

/// A copy whose weights bfloat16 does not hold: those of some fixtures it does.
fn beyond_bfloat16(name: &str) -> TempDir {
    let copy = copy_of(name);
    let file = copy.path().join("model.safetensors");
    let mut tensors = tensors_of(&file, &Device::Cpu).unwrap();
    for tensor in tensors.values_mut() {
        assert_eq!(tensor.dtype(), DType::F32);
        *tensor = (&*tensor * 1.001).unwrap();
    }
    save(&tensors, &file).unwrap();
    copy
}

/// To the bit, also beside bfloat16, into which rows of any width can be turned.
#[test]
fn towers_stay_as_stored_beside_a_quantized_language() {
    for name in ALL {
        let golden = media_golden(name);
        let folder = beyond_bfloat16(name);
        let (stored, _) = load_from(folder.path());
        let media = golden.images.iter().map(tiles);
        let media = media.chain(golden.videos.iter().map(|it| clip(it, false)));
        let media = media.chain(golden.sounds.iter().map(|it| vec![sound(it)]));
        for ty in [QuantType::BF16, QuantType::Q4_0] {
            let (quantized, _) = load_treated(folder.path(), Some(ty).into());
            for pieces in media.clone() {
                let (ours, theirs) = (bits(&*quantized, &pieces), bits(&*stored, &pieces));
                assert!(ours == theirs && !ours.is_empty(), "{name}, {ty:?}");
            }
        }
        let said = |isq| {
            let llm = load(folder.path(), |o| o.isq = isq);
            chat(&llm, &chats(name)[0].1).bits()
        };
        assert_ne!(said(Some(QuantType::BF16)), said(None), "{name}: its language is as stored");
    }
}

/// Of all that a tower makes of a medium.
fn bits(model: &dyn Model, pieces: &[Arc<Media>]) -> Vec<u32> {
    let made = encoded(model.media_encoder().unwrap(), pieces);
    let numbers = made.iter().map(|it| it.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    numbers.flatten().map(f32::to_bits).collect()
}
