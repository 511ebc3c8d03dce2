//! The thread with a model that can be held, looked into and broken.

use super::*;
use crate::forward::EncoderBatch;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const BOMB: u32 = 13;
const ERROR: u32 = 14;

/// Gives each text the sum of its tokens; tells the lengths of each batch, then waits to be let go.
struct Sums {
    batches: Sender<Vec<usize>>,
    go: Receiver<()>,
}

impl TextModel for Sums {
    fn compute(&mut self, batch: &EncoderBatch) -> candle_core::Result<Vec<Vec<f32>>> {
        let _ = self.batches.send(batch.spans.iter().map(ExactSizeIterator::len).collect());
        // A dropped sender lets everything go.
        let _ = self.go.recv();
        assert!(!batch.token_ids.contains(&BOMB), "the bomb");
        if batch.token_ids.contains(&ERROR) {
            candle_core::bail!("an error");
        }
        let sum = |span: &std::ops::Range<usize>| {
            vec![batch.token_ids[span.clone()].iter().sum::<u32>() as f32]
        };
        Ok(batch.spans.iter().map(sum).collect())
    }
}

fn engine(
    max_queue: usize,
    batch_tokens: usize,
) -> (EncodingHandle, Receiver<Vec<usize>>, Sender<()>) {
    let (batches, seen) = channel();
    let (go, wait) = channel();
    let model = Box::new(Sums { batches, go: wait });
    let handle = EncodingHandle::spawn(model, EncodingLimits { max_queue, batch_tokens }).unwrap();
    (handle, seen, go)
}

fn text(token: u32, length: usize) -> EncoderInput {
    EncoderInput { token_ids: vec![token; length], token_types: vec![0; length] }
}

fn next(seen: &Receiver<Vec<usize>>) -> Vec<usize> {
    seen.recv_timeout(Duration::from_secs(30)).unwrap()
}

fn wait_for(handle: &EncodingHandle, what: impl Fn(EngineStats) -> bool) {
    let start = Instant::now();
    while !what(handle.stats()) {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", handle.stats());
        std::thread::yield_now();
    }
}

#[test]
fn results_come_in_the_order_of_the_texts() {
    let (handle, _seen, go) = engine(8, 5);
    drop(go);
    let texts: Vec<_> = (1..9).map(|token| text(token, token as usize % 3 + 1)).collect();
    let wanted: Vec<_> = (1..9).map(|token| vec![(token * (token % 3 + 1)) as f32]).collect();
    assert_eq!(handle.submit(texts).unwrap().blocking_recv().unwrap().unwrap(), wanted);
    let stats = handle.stats();
    assert_eq!((stats.waiting_requests, stats.running_requests), (0, 0));
    assert_eq!(stats.prompt_tokens_total, 17);
}

#[test]
fn requests_share_batches_in_turn() {
    let (handle, seen, go) = engine(8, 10);
    let first = handle.submit(vec![text(1, 1)]).unwrap();
    assert_eq!(next(&seen), [1]);
    let long = handle.submit((0..6).map(|_| text(1, 4)).collect()).unwrap();
    let short = handle.submit(vec![text(2, 2)]).unwrap();
    go.send(()).unwrap();
    assert_eq!(first.blocking_recv().unwrap().unwrap(), [[1.]]);
    // One of the long, the short one, and another of the long.
    assert_eq!(next(&seen), [4, 2, 4]);
    go.send(()).unwrap();
    assert_eq!(short.blocking_recv().unwrap().unwrap(), [[4.]]);
    drop(go);
    assert_eq!(long.blocking_recv().unwrap().unwrap(), vec![vec![4.0]; 6]);
    assert_eq!((next(&seen), next(&seen)), (vec![4, 4], vec![4, 4]));
}

#[test]
fn a_text_longer_than_a_batch_goes_alone() {
    let (handle, seen, go) = engine(8, 3);
    drop(go);
    let texts = vec![text(1, 9), text(1, 1), text(1, 2), text(1, 3)];
    handle.submit(texts).unwrap().blocking_recv().unwrap().unwrap();
    assert_eq!((next(&seen), next(&seen), next(&seen)), (vec![9], vec![1, 2], vec![3]));
}

#[test]
fn a_full_queue_refuses_with_the_number() {
    let (handle, seen, go) = engine(2, 10);
    let running = handle.submit(vec![text(1, 1)]).unwrap();
    next(&seen);
    let waiting =
        [handle.submit(vec![text(1, 1)]).unwrap(), handle.submit(vec![text(1, 1)]).unwrap()];
    let refused = handle.submit(vec![text(1, 1)]).unwrap_err();
    assert!(matches!(refused, RequestError::Overloaded { queued: 2 }));
    drop(go);
    for reply in waiting.into_iter().chain([running]) {
        reply.blocking_recv().unwrap().unwrap();
    }
}

#[test]
fn a_batch_that_fails_takes_only_its_own_requests() {
    let (handle, seen, go) = engine(8, 4);
    let first = handle.submit(vec![text(1, 1)]).unwrap();
    next(&seen);
    let bomb = handle.submit(vec![text(BOMB, 4), text(1, 1)]).unwrap();
    let error = handle.submit(vec![text(ERROR, 4)]).unwrap();
    let good = handle.submit(vec![text(3, 2)]).unwrap();
    drop(go);
    first.blocking_recv().unwrap().unwrap();
    assert_eq!(bomb.blocking_recv().unwrap(), Err(FailureKind::Internal(1)));
    assert_eq!(error.blocking_recv().unwrap(), Err(FailureKind::Internal(2)));
    assert_eq!(good.blocking_recv().unwrap().unwrap(), [[6.]]);
    assert_eq!(handle.stats().failed_steps_total, 2);
    assert_eq!(handle.stats().waiting_requests, 0);
}

#[test]
fn who_leaves_is_not_computed() {
    let (handle, seen, go) = engine(8, 4);
    let first = handle.submit(vec![text(1, 1)]).unwrap();
    next(&seen);
    drop(handle.submit(vec![text(5, 2); 50]).unwrap());
    let last = handle.submit(vec![text(2, 3)]).unwrap();
    drop(go);
    first.blocking_recv().unwrap().unwrap();
    assert_eq!(last.blocking_recv().unwrap().unwrap(), [[6.]]);
    assert_eq!(next(&seen), [3]);
    wait_for(&handle, |stats| stats.running_requests == 0 && stats.waiting_requests == 0);
}

#[test]
fn the_end_is_told_and_later_requests_are_refused() {
    let (handle, seen, go) = engine(8, 4);
    let handle = Arc::new(handle);
    let running = handle.submit(vec![text(1, 4), text(1, 4)]).unwrap();
    next(&seen);
    let waiting = handle.submit(vec![text(1, 4)]).unwrap();
    let ending = Arc::clone(&handle);
    let end = std::thread::spawn(move || ending.shutdown());
    while !matches!(handle.submit(vec![text(1, 1)]), Err(RequestError::Shutdown)) {
        std::thread::yield_now();
    }
    // The command to end is in the queue by now or comes before the batch is done.
    std::thread::sleep(Duration::from_millis(50));
    drop(go);
    end.join().unwrap();
    assert_eq!(running.blocking_recv().unwrap(), Err(FailureKind::Shutdown));
    assert_eq!(waiting.blocking_recv().unwrap(), Err(FailureKind::Shutdown));
    assert!(matches!(handle.submit(vec![text(1, 1)]), Err(RequestError::Shutdown)));
}
