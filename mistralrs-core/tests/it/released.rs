//! Models that see as they are released: with weights in bfloat16 and config files of transformers 4. With
//! wide weights and newer files they are compared in `media`.

use crate::answers::{Answer, chat, collect, load};
use crate::distance::{self, BF16_MEAN, BF16_WORST};
use crate::media::{ALL, clip, conversation, encoded, load_from, sound, tiles};
use candle_core::Tensor;
use mistralrs_core::{ChatRequest, Llm};
use mistralrs_testkit::media::{GoldenTensor, MediaCase, media_golden};
use mistralrs_testkit::{VOCAB_SIZE, fixture, in_bfloat16, with_old_config};

/// Between what a tower makes and the reference's, which has wider weights.
const BF16_COSINE: f64 = 0.999;

/// The golden conversations whose media are files, prepared as the fixture says.
pub fn chats(name: &str) -> Vec<(MediaCase, ChatRequest)> {
    let golden = media_golden(name);
    let file = |number: &usize| golden.sounds[*number].file.is_some();
    let whole = golden.cases.iter().filter(|c| c.processor.is_empty() && c.sounds.iter().all(file));
    whole.map(|case| (case.clone(), conversation(name, case))).collect()
}

/// All at once; results in order.
pub fn chats_together(llm: &Llm, requests: &[ChatRequest]) -> Vec<Answer> {
    let started: Vec<_> = requests.iter().map(|r| llm.chat(r.clone()).unwrap()).collect();
    started.into_iter().map(|generation| collect(generation).unwrap()).collect()
}

/// Text alone does not tell by which axes a model turns, nor what its tower looks like.
#[test]
fn both_generations_of_config_see_the_same() {
    for name in ALL {
        let old = with_old_config(name);
        let (new, old) = (load(&fixture(name), |_| ()), load(old.path(), |_| ()));
        for (_, request) in chats(name) {
            assert_eq!(chat(&new, &request).bits(), chat(&old, &request).bits(), "{name}");
        }
    }
}

fn cosine(ours: &Tensor, theirs: &GoldenTensor) -> f64 {
    let ours = ours.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // Behind what a sound has of its own there is filling.
    assert!(ours.len() >= theirs.data.len());
    let pairs = || ours.iter().zip(&theirs.data).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let sum = |of: fn((f64, f64)) -> f64| pairs().map(of).sum::<f64>();
    sum(|(a, b)| a * b) / (sum(|(a, _)| a * a) * sum(|(_, b)| b * b)).sqrt()
}

/// Where the processor multiplies in bfloat16, activations are rounded, too.
#[test]
fn towers_in_bfloat16_stay_near_their_reference() {
    for name in ALL {
        let (golden, copy) = (media_golden(name), in_bfloat16(name));
        let (model, _) = load_from(copy.path());
        let encoder = model.media_encoder().unwrap();
        let images = golden.images.iter().map(|it| (tiles(it), &it.features, &it.deepstack[..]));
        let clips =
            golden.videos.iter().map(|it| (clip(it, false), &it.features, &it.deepstack[..]));
        let sounds = golden.sounds.iter().map(|it| (vec![sound(it)], &it.features, &[][..]));
        let mut least = 1f64;
        for (pieces, features, deepstack) in images.chain(clips).chain(sounds) {
            let wanted = std::iter::once(features).chain(deepstack);
            let found = encoded(encoder, &pieces);
            assert_eq!(found.len(), 1 + deepstack.len());
            least = found.iter().zip(wanted).map(|(a, b)| cosine(a, b)).fold(least, f64::min);
        }
        println!("{name}: cosine at least {least:.6}");
        assert!(least >= BF16_COSINE, "{name}: {least}");
    }
}

/// Rounded weights alone (with `avx2`) move single ones of these values by up to 0.87. To the bit the same in
/// chunks and in company.
#[test]
fn conversations_in_bfloat16_stay_near_their_reference() {
    for name in ALL {
        let copy = in_bfloat16(name);
        let whole = load(copy.path(), |o| o.block_size = 8);
        let chunked = load(copy.path(), |o| (o.prefill_chunk, o.block_size) = (5, 16));
        let (cases, mut requests): (Vec<_>, Vec<_>) = chats(name).into_iter().unzip();
        for request in &mut requests {
            request.options.prompt_logprobs = Some(VOCAB_SIZE);
        }
        let crowded = chats_together(&chunked, &requests);
        let mut distances = Vec::new();
        for ((case, request), crowded) in cases.iter().zip(&requests).zip(crowded) {
            let alone = chat(&whole, request);
            assert_eq!(crowded.all_bits(), alone.all_bits(), "{name}: in chunks and in company");
            distances.extend(distance::of_prompt(&alone, &case.text));
        }
        let worst = distances.iter().copied().fold(0., f32::max);
        let mean = distances.iter().sum::<f32>() / distances.len() as f32;
        println!("{name}: worst {worst:.3}, mean {mean:.3}");
        assert!(distances.len() > 100, "{name}: {}", distances.len());
        assert!(worst < 2. * BF16_WORST && mean < BF16_MEAN, "{name}: {worst} {mean}");
    }
}
