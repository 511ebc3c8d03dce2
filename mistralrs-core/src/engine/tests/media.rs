//! Media in the engine, over a model whose eyes count: what is encoded when, what the prefix cache
//! takes for the same, and where rows and positions end up.

use super::*;
use crate::forward::{Encoded, Media, Modality, RopePositions};
use crate::models::MediaEncoder;
use std::sync::Mutex;

const MARK: u32 = 9;

/// Says the number after the picture's, where the last row is a picture's; else the next number.
/// Token 13 makes the step panic, and so does a picture of that number.
struct Seer {
    encoded: Arc<AtomicUsize>,
    batches: Arc<Mutex<Vec<ForwardBatch>>>,
    both_ways: bool,
}

impl Model for Seer {
    fn forward(&self, batch: &ForwardBatch, _kv: &mut KvCache) -> candle_core::Result<Tensor> {
        let mut logits = vec![0f32; batch.logit_rows.len() * VOCAB];
        for (row, out) in batch.logit_rows.iter().zip(logits.chunks_mut(VOCAB)) {
            let row = *row as usize;
            let mut number = batch.token_ids[row] as usize;
            for span in batch.media.iter().filter(|span| span.rows.contains(&row)) {
                let features = span.embeddings()?.flatten_all()?.to_vec1::<f32>()?;
                number = features[row - span.rows.start] as usize;
            }
            out[(number + 1) % VOCAB] = 9.;
        }
        self.batches.lock().unwrap().push(batch.clone());
        Tensor::from_vec(logits, (batch.logit_rows.len(), VOCAB), &Device::Cpu)
    }

    fn media_encoder(&self) -> Option<&dyn MediaEncoder> {
        Some(self)
    }
}

impl MediaEncoder for Seer {
    fn encode(&self, media: &Media) -> candle_core::Result<Encoded> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        let numbers = media.values().to_vec1::<f32>()?;
        assert!(numbers[0] as u32 != POISON, "poisoned");
        let embeddings = media.values().unsqueeze(1)?;
        Ok(Encoded { embeddings, deepstack: Vec::new() })
    }

    fn positions(&self, tokens: usize, media: &[MediaItem]) -> Option<RopePositions> {
        let mut prompt = Vec::new();
        let mut next = 0;
        for position in 0..tokens as u32 {
            let inside = media.iter().any(|item| item.tokens.contains(&(position as usize)));
            prompt.push([next, position, 7]);
            next += u32::from(!inside);
        }
        Some(RopePositions { prompt, next })
    }

    fn sees_both_ways(&self) -> bool {
        self.both_ways
    }
}

struct Seen {
    engine: EngineHandle,
    encoded: Arc<AtomicUsize>,
    batches: Arc<Mutex<Vec<ForwardBatch>>>,
}

fn seeing(both_ways: bool, sharing: bool) -> Seen {
    let (encoded, batches) = <(Arc<AtomicUsize>, Arc<Mutex<Vec<ForwardBatch>>>)>::default();
    let model = Seer { encoded: Arc::clone(&encoded), batches: Arc::clone(&batches), both_ways };
    let kv = KvCache::allocate(
        &KvSpec::uniform(1, 1, 1),
        &[64],
        4,
        KvNumbers::F32,
        &LayerPlaces::default(),
    )
    .unwrap();
    let pool = BlockGroups::new([(64, None)], 4, sharing);
    let engine = EngineHandle::spawn(Box::new(model), kv, pool, limits()).unwrap();
    Seen { engine, encoded, batches }
}

/// Two words, a picture of `tokens` tokens of this number, and the words behind it.
fn about(number: u32, tokens: usize, words: &[u32]) -> GenerationRequest {
    let mut prompt = vec![1, 2];
    prompt.extend(vec![MARK; tokens]);
    prompt.extend(words);
    let values = vec![number as f32; tokens];
    let media = Media::new(Modality::Image, values, &[tokens], [1, 1, tokens]).unwrap();
    let media = vec![MediaItem { tokens: 2..2 + tokens, media: Arc::new(media) }];
    GenerationRequest { media, ..request(&prompt, 2) }
}

fn ask(seen: &Seen, request: GenerationRequest) -> (usize, Vec<u32>) {
    let mut events = seen.engine.submit(request).unwrap();
    let Some(TokenEvent::Prompt { cached_tokens, .. }) = events.blocking_recv() else {
        panic!("no prompt");
    };
    (cached_tokens, drain(events).0)
}

#[test]
fn the_same_text_about_another_picture_shares_no_block_of_it() {
    let seen = seeing(false, true);
    // The answer to a prompt that ends in a picture is about the picture.
    assert_eq!(ask(&seen, about(20, 10, &[])), (0, vec![21, 22]));
    assert_eq!(ask(&seen, about(25, 10, &[])), (0, vec![26, 27]), "no block is all text");
    assert_eq!(ask(&seen, about(20, 10, &[])), (8, vec![21, 22]), "found again");
    assert_eq!(ask(&seen, about(25, 10, &[])), (8, vec![26, 27]));
    assert_eq!(seen.encoded.load(Ordering::Relaxed), 2, "each picture once");
    let stats = seen.engine.stats();
    assert_eq!((stats.media_encoded_total, stats.media_found_total), (2, 2));
    assert_eq!(stats.kv_blocks_used, 0);
}

#[test]
fn a_picture_is_encoded_once_even_where_no_prefix_is_kept() {
    let seen = seeing(false, false);
    for _ in 0..3 {
        assert_eq!(ask(&seen, about(20, 10, &[4])), (0, vec![5, 6]));
    }
    assert_eq!(seen.encoded.load(Ordering::Relaxed), 1);
    assert_eq!(seen.engine.stats().media_found_total, 2);
}

#[test]
fn requests_about_different_pictures_at_once_do_not_wait_for_each_other() {
    let seen = seeing(false, true);
    let numbers = [20, 22, 24, 20];
    let asked: Vec<_> =
        numbers.iter().map(|n| seen.engine.submit(about(*n, 12, &[])).unwrap()).collect();
    for (number, events) in numbers.into_iter().zip(asked) {
        assert_eq!(drain(events).0, [number + 1, number + 2]);
    }
    assert_eq!(seen.encoded.load(Ordering::Relaxed), 3);
}

#[test]
fn rows_features_and_positions_go_together_however_a_prompt_is_cut() {
    // Chunks of eight tokens cut the picture after its sixth token.
    let seen = seeing(false, true);
    ask(&seen, about(20, 10, &[4]));
    let batches = seen.batches.lock().unwrap();
    let rows: Vec<_> =
        batches.iter().flat_map(|b| b.media.iter().map(|m| (m.rows.clone(), m.first))).collect();
    assert_eq!(rows, [(2..8, 0), (0..4, 6)]);
    let positions: Vec<_> = batches.iter().flat_map(|b| b.rope_positions.clone()).collect();
    assert_eq!(positions[..3], [[0, 0, 7], [1, 1, 7], [2, 2, 7]]);
    assert_eq!(positions[11..], [[2, 11, 7], [2, 12, 7], [3, 3, 3]], "and on behind the prompt");
    assert!(batches.iter().all(|b| b.spans[0].together.is_empty()));
}

#[test]
fn where_pictures_see_both_ways_none_is_cut() {
    let seen = seeing(true, true);
    ask(&seen, about(20, 10, &[4, 5]));
    let batches = seen.batches.lock().unwrap();
    let chunks: Vec<_> = batches.iter().map(|b| b.spans[0].query.len()).collect();
    assert_eq!(chunks, [2, 10, 2, 1], "before the picture, all of it, behind it, and a word");
    assert!(batches[0].spans[0].together.is_empty());
    assert!(batches[1..].iter().all(|b| b.spans[0].together.iter().eq(std::iter::once(&(2..12)))));
}

#[test]
fn text_beside_pictures_keeps_its_positions() {
    let seen = seeing(false, true);
    let picture = seen.engine.submit(about(20, 10, &[4])).unwrap();
    let text = seen.engine.submit(request(&[15, 16, 17], 3)).unwrap();
    assert_eq!((drain(picture).0, drain(text).0), (vec![5, 6], vec![18, 19, 20]));
    for batch in seen.batches.lock().unwrap().iter() {
        let rows = batch.token_ids.iter().zip(&batch.positions).zip(&batch.rope_positions);
        for ((_, at), along) in rows.filter(|((token, _), _)| **token >= 15) {
            assert_eq!(*along, [*at; 3]);
        }
    }
}

#[test]
fn eyes_that_fail_take_only_their_own_request_with_them() {
    let seen = seeing(false, true);
    let failed = seen.engine.submit(about(POISON, 10, &[4])).unwrap();
    assert!(matches!(drain(failed).1, TokenEvent::Failed(FailureKind::Internal(_))));
    // As many rows as the medium has, not as the prompt has placeholders.
    let mut wrong = about(20, 10, &[4]);
    wrong.media[0].tokens = 2..7;
    let failed = seen.engine.submit(wrong).unwrap();
    assert!(matches!(drain(failed).1, TokenEvent::Failed(FailureKind::Internal(_))));
    assert_eq!(ask(&seen, about(20, 10, &[4])).1, [5, 6]);
    assert_eq!(seen.engine.stats().kv_blocks_used, 0);
}
