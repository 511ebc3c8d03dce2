//! Media in the engine: what a sequence's tokens stand for, what the encoder has made of it, and what
//! is kept of that for later requests. Knows positions and hashes; no model, no blocks.

use crate::error::EngineError;
use crate::forward::{ContentHash, Encoded, MediaItem, MediaSpan, RopePositions};
use crate::models::MediaEncoder;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// The media of one sequence, in order of position.
#[derive(Debug, Default)]
pub struct SequenceMedia {
    items: Vec<MediaItem>,
    /// Beside each item what was made of it, from when it is first needed until its tokens are
    /// computed.
    encoded: Vec<Option<Arc<Encoded>>>,
    /// Along three axes, once they are known, for models that rotate by them.
    positions: Option<Option<RopePositions>>,
}

impl SequenceMedia {
    /// Media at their places.
    pub fn new(items: Vec<MediaItem>) -> Self {
        Self { encoded: vec![None; items.len()], items, positions: None }
    }

    /// All of them.
    pub fn items(&self) -> &[MediaItem] {
        &self.items
    }

    /// Up to which position both sequences' tokens stand for the same, as far as media tell.
    pub fn agrees_until(&self, other: &Self) -> usize {
        let same =
            |a: &MediaItem, b: &MediaItem| a.tokens == b.tokens && a.media.hash() == b.media.hash();
        let pairs = self.items.iter().zip(&other.items);
        let common = pairs.take_while(|(a, b)| same(a, b)).count();
        let next = [&self.items, &other.items].map(|items| items.get(common));
        let starts = next.into_iter().flatten().map(|item| item.tokens.start);
        starts.min().unwrap_or(usize::MAX)
    }

    /// The number of tokens from `computed` on, near `count`, that cut no medium: what is before one
    /// that does not fit, else all of it.
    pub fn whole_chunk(&self, computed: usize, count: usize) -> usize {
        let end = computed + count;
        let cut = self.items.iter().find(|item| item.tokens.start < end && end < item.tokens.end);
        match cut {
            Some(item) if item.tokens.start > computed => item.tokens.start - computed,
            Some(item) => item.tokens.end - computed,
            None => count,
        }
    }

    /// The positions of the media that begin before `end`.
    pub fn ranges_before(&self, end: usize) -> Vec<Range<usize>> {
        let before = self.items.iter().take_while(|item| item.tokens.start < end);
        before.map(|item| item.tokens.clone()).collect()
    }

    /// Encodes what the tokens at `positions` need and is not encoded.
    ///
    /// # Errors
    /// When the encoder fails, or gives another number of rows than the medium has tokens.
    pub fn prepare(
        &mut self,
        positions: &Range<usize>,
        prompt_len: usize,
        encoder: &dyn MediaEncoder,
        cache: &mut EncodedCache,
    ) -> Result<(), EngineError> {
        let needed: Vec<usize> = self.needed(positions).collect();
        for at in needed {
            let (Some(item), Some(slot)) = (self.items.get(at), self.encoded.get_mut(at)) else {
                continue;
            };
            if slot.is_none() {
                let encoded = cache.get_or_encode(item, encoder)?;
                if encoded.len() != item.tokens.len() {
                    return Err(EngineError::Bug(
                        "an encoder gave another number of rows than told",
                    ));
                }
                *slot = Some(encoded);
            }
        }
        let items = &self.items;
        self.positions.get_or_insert_with(|| encoder.positions(prompt_len, items));
        Ok(())
    }

    /// Positions along three axes, if the model has them and they are known.
    pub fn positions(&self) -> Option<&RopePositions> {
        self.positions.as_ref().and_then(Option::as_ref)
    }

    /// The rows that stand for media among those at `positions`, of which the first is `first_row`.
    ///
    /// # Errors
    /// When a medium has not been encoded.
    pub fn spans(
        &self,
        positions: Range<usize>,
        first_row: usize,
    ) -> Result<Vec<MediaSpan>, EngineError> {
        let span = |at: usize| {
            let (Some(item), Some(Some(encoded))) = (self.items.get(at), self.encoded.get(at))
            else {
                return Err(EngineError::Bug("a medium was not encoded before its step"));
            };
            let start = item.tokens.start.max(positions.start);
            let end = item.tokens.end.min(positions.end);
            let row = |position: usize| position - positions.start + first_row;
            Ok(MediaSpan {
                rows: row(start)..row(end),
                first: start - item.tokens.start,
                encoded: Arc::clone(encoded),
            })
        };
        self.needed(&positions).map(span).collect()
    }

    /// Lets go of what was made of media whose tokens are all computed.
    pub fn drop_computed(&mut self, computed: usize) {
        for (item, encoded) in self.items.iter().zip(&mut self.encoded) {
            if item.tokens.end <= computed {
                *encoded = None;
            }
        }
    }

    /// The numbers of the items that some of `positions` stand for.
    fn needed(&self, positions: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let first = self.items.partition_point(|item| item.tokens.end <= positions.start);
        let end = self.items.partition_point(|item| item.tokens.start < positions.end);
        first..end.max(first)
    }
}

/// What encoders made of media, by content, up to a number of bytes; the longest unused goes first.
#[derive(Debug)]
pub struct EncodedCache {
    entries: HashMap<ContentHash, (Arc<Encoded>, u64)>,
    by_age: BTreeMap<u64, ContentHash>,
    clock: u64,
    bytes: usize,
    limit_bytes: usize,
    /// Media encoded so far.
    pub encoded: u64,
    /// Media found here instead.
    pub found: u64,
}

impl EncodedCache {
    /// An empty cache.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            entries: HashMap::new(),
            by_age: BTreeMap::new(),
            clock: 0,
            bytes: 0,
            limit_bytes,
            encoded: 0,
            found: 0,
        }
    }

    fn get_or_encode(
        &mut self,
        item: &MediaItem,
        encoder: &dyn MediaEncoder,
    ) -> Result<Arc<Encoded>, EngineError> {
        let hash = item.media.hash();
        if let Some(encoded) = self.get(hash) {
            self.found += 1;
            return Ok(encoded);
        }
        let encoded = Arc::new(encoder.encode(&item.media)?);
        self.encoded += 1;
        self.insert(hash, Arc::clone(&encoded));
        Ok(encoded)
    }

    fn get(&mut self, hash: ContentHash) -> Option<Arc<Encoded>> {
        let (encoded, used) = self.entries.get_mut(&hash)?;
        self.by_age.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_age.insert(self.clock, hash);
        Some(Arc::clone(encoded))
    }

    /// Keeps it, unless it is larger than all that may be kept.
    fn insert(&mut self, hash: ContentHash, encoded: Arc<Encoded>) {
        let bytes = encoded.bytes();
        if bytes > self.limit_bytes {
            return;
        }
        self.clock += 1;
        self.bytes += bytes;
        self.by_age.insert(self.clock, hash);
        if let Some((old, used)) = self.entries.insert(hash, (encoded, self.clock)) {
            self.bytes -= old.bytes();
            self.by_age.remove(&used);
        }
        while self.bytes > self.limit_bytes
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            let freed = self.entries.remove(&oldest).map_or(0, |(encoded, _)| encoded.bytes());
            self.bytes -= freed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Media, Modality};
    use candle_core::{DType, Device, Tensor};

    fn item(seed: f32, tokens: Range<usize>) -> MediaItem {
        let media = Media::new(Modality::Image, vec![seed], &[1], [1; 3]).unwrap();
        MediaItem { tokens, media: Arc::new(media) }
    }

    /// Gives four rows of one number.
    struct FourRows;

    impl MediaEncoder for FourRows {
        fn encode(&self, media: &Media) -> candle_core::Result<Encoded> {
            let embeddings = media.values().reshape((1, 1))?.broadcast_as((4, 1))?.contiguous()?;
            Ok(Encoded { embeddings, deepstack: Vec::new() })
        }

        fn positions(&self, _: usize, _: &[MediaItem]) -> Option<RopePositions> {
            None
        }

        fn sees_both_ways(&self) -> bool {
            true
        }
    }

    #[test]
    fn chunks_cut_no_medium_and_always_move_on() {
        let media = SequenceMedia::new(vec![item(1.0, 3..7), item(2.0, 7..11), item(3.0, 20..24)]);
        let chunk = |computed, count| media.whole_chunk(computed, count);
        assert_eq!(chunk(0, 2), 2);
        assert_eq!(chunk(0, 3), 3);
        assert_eq!(chunk(0, 5), 3, "up to the picture");
        assert_eq!(chunk(3, 2), 4, "all of it");
        assert_eq!(chunk(3, 6), 4, "the first of two");
        assert_eq!(chunk(5, 1), 2, "the rest of a picture whose beginning was found");
        assert_eq!(chunk(11, 30), 30);
        for computed in 0..24 {
            for count in 1..24 - computed {
                let got = chunk(computed, count);
                let end = computed + got;
                assert!(
                    got > 0
                        && !media.items.iter().any(|i| i.tokens.start < end && end < i.tokens.end)
                );
            }
        }
    }

    #[test]
    fn rows_are_those_of_the_media_however_the_prompt_is_cut() {
        let mut cache = EncodedCache::new(1 << 20);
        for chunk in 1..12 {
            let mut media = SequenceMedia::new(vec![item(1.0, 1..5), item(2.0, 6..10)]);
            let mut rows = Vec::new();
            let mut start = 0;
            while start < 11 {
                let positions = start..(start + chunk).min(11);
                media.prepare(&positions, 11, &FourRows, &mut cache).unwrap();
                for span in media.spans(positions.clone(), 100).unwrap() {
                    let numbers = span.embeddings().unwrap().flatten_all().unwrap();
                    for (row, number) in span.rows.zip(numbers.to_vec1::<f32>().unwrap()) {
                        rows.push((row - 100 + positions.start, number));
                    }
                }
                start = positions.end;
                media.drop_computed(start);
            }
            let wanted = (1..5).map(|at| (at, 1.0)).chain((6..10).map(|at| (at, 2.0)));
            assert_eq!(rows, wanted.collect::<Vec<_>>(), "chunks of {chunk}");
            assert!(
                media.encoded.iter().all(Option::is_none),
                "nothing is kept of a computed prompt"
            );
        }
        assert_eq!((cache.encoded, cache.found), (2, 20));
    }

    #[test]
    fn the_longest_unused_is_forgotten() {
        let bytes = |rows: usize| rows * size_of::<f32>();
        let encoded = |rows: usize| {
            let embeddings = Tensor::zeros((rows, 1), DType::F32, &Device::Cpu).unwrap();
            Arc::new(Encoded { embeddings, deepstack: Vec::new() })
        };
        let hash = |n: f32| item(n, 0..1).media.hash();
        let mut cache = EncodedCache::new(bytes(10));
        for n in [1.0, 2.0] {
            cache.insert(hash(n), encoded(4));
        }
        assert!(cache.get(hash(1.0)).is_some());
        cache.insert(hash(3.0), encoded(4));
        assert!(cache.get(hash(2.0)).is_none(), "used before the first was");
        assert!(cache.get(hash(1.0)).is_some() && cache.get(hash(3.0)).is_some());
        cache.insert(hash(4.0), encoded(11));
        assert!(cache.get(hash(4.0)).is_none(), "larger than all there is room for");
        cache.insert(hash(3.0), encoded(6));
        assert_eq!(cache.bytes, bytes(10));
        assert_eq!(cache.entries.len(), cache.by_age.len());
    }

    #[test]
    fn sequences_agree_up_to_the_first_difference() {
        let media = |items: &[(f32, Range<usize>)]| {
            SequenceMedia::new(items.iter().map(|(seed, at)| item(*seed, at.clone())).collect())
        };
        let (one, two) = (media(&[(1.0, 2..4)]), media(&[(1.0, 2..4), (2.0, 6..9)]));
        assert_eq!(one.agrees_until(&one), usize::MAX);
        assert_eq!(one.agrees_until(&two), 6);
        assert_eq!(two.agrees_until(&media(&[(3.0, 2..4), (2.0, 6..9)])), 2);
        assert_eq!(media(&[]).agrees_until(&one), 2);
    }
}
