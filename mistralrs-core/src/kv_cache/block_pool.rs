//! Blocks as numbers: who holds which, which can be shared, which can be reused. Knows no tensor.
//!
//! A full block becomes findable when it is sealed under the hash of everything up to its end (a
//! chain: parent's hash and its own content), and stays findable after its last holder let go, until
//! it is reused, least recently used first. A hit is compared token by token, and picture by picture
//! where tokens stand for pictures.

use crate::forward::{ContentHash, MediaItem};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

/// Identifies all tokens of a sequence up to the end of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainHash(u64);

impl ChainHash {
    /// Where the chains of sequences begin whose keys are rotated as in long ones: the same tokens
    /// have other keys there.
    pub const LONG: Self = Self(1);
}

/// The tokens of a sequence, and the media that some of them stand for.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// All tokens.
    pub tokens: &'a [u32],
    /// In order of position.
    pub media: &'a [MediaItem],
}

impl<'a> Content<'a> {
    /// Nothing but text.
    pub fn text(tokens: &'a [u32]) -> Self {
        Self { tokens, media: &[] }
    }

    /// What the block of this number holds; `None` if it is not full.
    pub fn block(&self, number: usize, block_size: usize) -> Option<Filling<'a>> {
        let (start, end) = (number * block_size, (number + 1) * block_size);
        let tokens = self.tokens.get(start..end)?;
        let inside = |item: &&MediaItem| item.tokens.start < end && item.tokens.end > start;
        let place = |item: &MediaItem| (item.media.hash(), item.tokens.start as i64 - start as i64);
        let media = self.media.iter().filter(inside).map(place).collect();
        Some(Filling { tokens, media })
    }
}

/// What one full block holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filling<'a> {
    tokens: &'a [u32],
    /// The media that some of the tokens stand for, and where each begins, from the block's start.
    media: Vec<(ContentHash, i64)>,
}

#[derive(Debug, Default)]
struct Block {
    holders: u32,
    /// Set while the block is findable.
    sealed: Option<Sealed>,
    /// Its key in `idle`, while it has no holder and is findable.
    idle_since: u64,
}

#[derive(Debug)]
struct Sealed {
    hash: ChainHash,
    parent: ChainHash,
    tokens: Box<[u32]>,
    media: Box<[(ContentHash, i64)]>,
}

impl Sealed {
    fn holds(&self, filling: &Filling<'_>, parent: ChainHash) -> bool {
        self.parent == parent && *self.tokens == *filling.tokens && *self.media == *filling.media
    }
}

/// What [`BlockPool::reserve`] hands out.
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Blocks for the whole of the tokens, the shared ones first.
    pub blocks: Vec<u32>,
    /// Tokens whose keys and values are already there; a multiple of the block size.
    pub cached_tokens: usize,
    /// Chain hash at the end of the shared part.
    pub chain: ChainHash,
}

/// All blocks of a cache.
#[derive(Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    block_size: usize,
    sharing: bool,
    /// Free and not findable.
    blank: Vec<u32>,
    /// Free but findable, by time of release.
    idle: BTreeMap<u64, u32>,
    by_hash: HashMap<ChainHash, u32>,
    clock: u64,
    hasher: RandomState,
}

impl BlockPool {
    /// A pool of `num_blocks` blocks of `block_size` tokens; without `sharing` no block is ever found again.
    pub fn new(num_blocks: usize, block_size: usize, sharing: bool) -> Self {
        let num_blocks = u32::try_from(num_blocks).unwrap_or(u32::MAX);
        Self {
            blocks: (0..num_blocks).map(|_| Block::default()).collect(),
            block_size: block_size.max(1),
            sharing,
            blank: (0..num_blocks).rev().collect(),
            idle: BTreeMap::new(),
            by_hash: HashMap::new(),
            clock: 0,
            hasher: RandomState::new(),
        }
    }

    /// All blocks.
    pub fn total(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks somebody holds.
    pub fn used(&self) -> usize {
        self.total() - self.free()
    }

    /// Blocks nobody holds.
    pub fn free(&self) -> usize {
        self.blank.len() + self.idle.len()
    }

    /// Blocks nobody holds that can still be found.
    pub fn cached(&self) -> usize {
        self.idle.len()
    }

    /// Tokens per block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Whether blocks are ever found again.
    pub fn is_sharing(&self) -> bool {
        self.sharing
    }

    /// Takes blocks for all of `content`, shared ones where a sealed chain matches that begins at
    /// `root` (`None`: do not share). At least the last token is left to compute, so that there are
    /// logits. `None`, and nothing taken, if there are not enough free blocks.
    pub fn reserve(
        &mut self,
        content: Content<'_>,
        root: Option<ChainHash>,
    ) -> Option<Reservation> {
        let (mut blocks, chain) = match root.filter(|_| self.sharing) {
            Some(root) => self.find_chain(content, root),
            None => Default::default(),
        };
        let wanted = content.tokens.len().div_ceil(self.block_size);
        let idle_hits = blocks.iter().filter(|&&b| self.holders(b) == 0).count();
        if wanted - blocks.len() > self.free() - idle_hits {
            return None;
        }
        let cached_tokens = blocks.len() * self.block_size;
        for &block in &blocks {
            self.hold(block);
        }
        while blocks.len() < wanted {
            blocks.push(self.take_free()?);
        }
        Some(Reservation { blocks, cached_tokens, chain })
    }

    /// Extends `blocks` until they hold `num_tokens`; false, with `blocks` unchanged, if the pool is exhausted.
    pub fn grow(&mut self, blocks: &mut Vec<u32>, num_tokens: usize) -> bool {
        let wanted = num_tokens.div_ceil(self.block_size);
        let missing = wanted.saturating_sub(blocks.len());
        if missing > self.free() {
            return false;
        }
        blocks.extend((0..missing).filter_map(|_| self.take_free()));
        true
    }

    /// Makes a full, computed block findable; returns the chain hash at its end. Only for blocks
    /// whose keys and values are really there: after the forward pass.
    pub fn seal(&mut self, block: u32, parent: ChainHash, filling: &Filling<'_>) -> ChainHash {
        let hash = ChainHash(self.hasher.hash_one((parent, filling)));
        if self.sharing
            && filling.tokens.len() == self.block_size
            && !self.by_hash.contains_key(&hash)
            && let Some(entry) = self.blocks.get_mut(block as usize)
        {
            if let Some(old) = entry.sealed.take() {
                self.by_hash.remove(&old.hash);
            }
            let (tokens, media) = (filling.tokens.into(), filling.media.as_slice().into());
            entry.sealed = Some(Sealed { hash, parent, tokens, media });
            self.by_hash.insert(hash, block);
        }
        hash
    }

    /// Lets go of blocks. The later ones are reused first: a prefix is worth more than what follows it.
    pub fn release(&mut self, blocks: &[u32]) {
        for &number in blocks.iter().rev() {
            let Some(block) = self.blocks.get_mut(number as usize) else { continue };
            debug_assert!(block.holders > 0, "block {number} released twice");
            block.holders = block.holders.saturating_sub(1);
            if block.holders == 0 {
                if block.sealed.is_some() {
                    self.clock += 1;
                    block.idle_since = self.clock;
                    self.idle.insert(self.clock, number);
                } else {
                    self.blank.push(number);
                }
            }
        }
    }

    fn holders(&self, block: u32) -> u32 {
        self.blocks.get(block as usize).map_or(0, |b| b.holders)
    }

    /// The longest sealed chain that `content` begins with, short of the last token.
    fn find_chain(&self, content: Content<'_>, root: ChainHash) -> (Vec<u32>, ChainHash) {
        let usable = content.tokens.len().saturating_sub(1);
        let (mut found, mut parent) = (Vec::new(), root);
        for number in 0..usable / self.block_size {
            let Some(filling) = content.block(number, self.block_size) else { break };
            let hash = ChainHash(self.hasher.hash_one((parent, &filling)));
            let Some(&block) = self.by_hash.get(&hash) else { break };
            let same = |sealed: &Sealed| sealed.holds(&filling, parent);
            if !self.blocks.get(block as usize).and_then(|b| b.sealed.as_ref()).is_some_and(same) {
                break;
            }
            found.push(block);
            parent = hash;
        }
        (found, parent)
    }

    fn hold(&mut self, number: u32) {
        if let Some(block) = self.blocks.get_mut(number as usize) {
            if block.holders == 0 {
                self.idle.remove(&block.idle_since);
            }
            block.holders += 1;
        }
    }

    /// A block of one's own: a blank one, else the longest idle, which is then forgotten.
    fn take_free(&mut self) -> Option<u32> {
        let number = match self.blank.pop() {
            Some(number) => number,
            None => self.idle.pop_first()?.1,
        };
        let block = self.blocks.get_mut(number as usize)?;
        if let Some(sealed) = block.sealed.take() {
            self.by_hash.remove(&sealed.hash);
        }
        block.holders = 1;
        Some(number)
    }

    /// Checks that every block is in exactly one state and that `holders` of the given tables add up.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check_invariants<'a>(
        &self,
        tables: impl Iterator<Item = &'a [u32]>,
    ) -> Result<(), String> {
        let mut counted = vec![0u32; self.blocks.len()];
        for &block in tables.flatten() {
            match counted.get_mut(block as usize) {
                Some(count) => *count += 1,
                None => return Err(format!("block {block} does not exist")),
            }
        }
        let mut free = vec![0u32; self.blocks.len()];
        for &block in self.blank.iter().chain(self.idle.values()) {
            if let Some(count) = free.get_mut(block as usize) {
                *count += 1;
            }
        }
        for (number, (block, (counted, free))) in
            self.blocks.iter().zip(counted.into_iter().zip(free)).enumerate()
        {
            if block.holders != counted {
                return Err(format!(
                    "block {number}: {} holders, {counted} counted",
                    block.holders
                ));
            }
            if free != u32::from(counted == 0) {
                return Err(format!("block {number}: {counted} holders, {free} times free"));
            }
            if let Some(sealed) = &block.sealed
                && self.by_hash.get(&sealed.hash).map(|b| *b as usize) != Some(number)
            {
                return Err(format!("block {number} is sealed but cannot be found"));
            }
        }
        let sealed = self.blocks.iter().filter(|b| b.sealed.is_some()).count();
        if sealed != self.by_hash.len() {
            return Err(format!("{sealed} blocks sealed, {} findable", self.by_hash.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Media, Modality};
    use std::ops::Range;
    use std::sync::Arc;

    const ROOT: Option<ChainHash> = Some(ChainHash(0));
    use proptest::prelude::*;

    /// Seals all full blocks of a table, as the engine does after a step.
    fn seal_all(pool: &mut BlockPool, blocks: &[u32], tokens: &[u32]) {
        let mut chain = ChainHash::default();
        for (number, block) in blocks.iter().enumerate() {
            let Some(filling) = Content::text(tokens).block(number, pool.block_size()) else {
                break;
            };
            chain = pool.seal(*block, chain, &filling);
        }
    }

    #[test]
    fn a_prefix_is_found_while_held_and_after_release() {
        let mut pool = BlockPool::new(8, 4, true);
        let tokens: Vec<u32> = (0..10).collect();
        let first = pool.reserve(Content::text(&tokens), ROOT).unwrap();
        assert_eq!((first.blocks.len(), first.cached_tokens), (3, 0));
        seal_all(&mut pool, &first.blocks, &tokens);
        let second = pool.reserve(Content::text(&tokens), ROOT).unwrap();
        assert_eq!(second.cached_tokens, 8);
        assert_eq!(second.blocks[..2], first.blocks[..2]);
        pool.release(&first.blocks);
        pool.release(&second.blocks);
        assert_eq!((pool.used(), pool.cached()), (0, 2));
        let third = pool.reserve(Content::text(&tokens[..8]), ROOT).unwrap();
        assert_eq!(third.cached_tokens, 4, "the last token is left to compute");
        pool.check_invariants([&third.blocks[..]].into_iter()).unwrap();
    }

    fn picture(seed: f32, tokens: Range<usize>) -> MediaItem {
        let media = Media::new(Modality::Image, vec![seed], &[1], [1; 3]).unwrap();
        MediaItem { tokens, media: Arc::new(media) }
    }

    /// The blocks that `second` finds of `first`.
    fn shared(first: Content<'_>, second: Content<'_>) -> usize {
        let mut pool = BlockPool::new(32, 4, true);
        let blocks = pool.reserve(first, ROOT).unwrap().blocks;
        let mut chain = ChainHash::default();
        for (number, block) in blocks.iter().enumerate() {
            let Some(filling) = first.block(number, 4) else { break };
            chain = pool.seal(*block, chain, &filling);
        }
        pool.reserve(second, ROOT).unwrap().cached_tokens / 4
    }

    #[test]
    fn the_same_text_with_another_picture_is_not_found() {
        // One word, six tokens of a picture, more words.
        let tokens: Vec<u32> = [1, 9, 9, 9, 9, 9, 9].into_iter().chain(2..9).collect();
        let with = |media: &[MediaItem], other: &[MediaItem]| {
            let content = |media| Content { tokens: &tokens, media };
            shared(content(media), content(other))
        };
        let (cat, dog) = ([picture(1.0, 1..7)], [picture(2.0, 1..7)]);
        assert_eq!(with(&cat, &cat), 3);
        assert_eq!(with(&cat, &dog), 0);
        assert_eq!(with(&cat, &[]), 0, "a text of placeholders is no picture");
        // Two pictures of three tokens: the first ends with its block.
        let pair = |second| [picture(1.0, 1..4), picture(second, 4..7)];
        assert_eq!(with(&pair(3.0), &pair(3.0)), 3);
        assert_eq!(with(&pair(3.0), &pair(4.0)), 1);
        // The same picture, begun elsewhere.
        assert_eq!(with(&cat, &[picture(1.0, 2..8)]), 0);
    }

    #[test]
    fn exhaustion_takes_nothing() {
        let mut pool = BlockPool::new(2, 4, true);
        let mut held = pool.reserve(Content::text(&[1; 5]), ROOT).unwrap().blocks;
        assert!(pool.reserve(Content::text(&[2; 1]), ROOT).is_none());
        assert!(!pool.grow(&mut held, 9));
        assert_eq!(held.len(), 2);
        pool.release(&held);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn without_sharing_nothing_is_found() {
        let mut pool = BlockPool::new(4, 2, false);
        let table = pool.reserve(Content::text(&[1, 2, 3]), ROOT).unwrap().blocks;
        seal_all(&mut pool, &table, &[1, 2, 3]);
        pool.release(&table);
        assert_eq!(pool.cached(), 0);
        assert_eq!(pool.reserve(Content::text(&[1, 2, 3]), ROOT).unwrap().cached_tokens, 0);
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Reserve(Vec<u32>),
        Grow(usize, usize),
        Seal(usize),
        Release(usize),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            proptest::collection::vec(0u32..2, 1..20).prop_map(Operation::Reserve),
            (any::<usize>(), 1usize..6).prop_map(|(i, n)| Operation::Grow(i, n)),
            any::<usize>().prop_map(Operation::Seal),
            any::<usize>().prop_map(Operation::Release),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn invariants_hold_after_every_operation(
            operations in proptest::collection::vec(operation(), 1..60),
            size in 1usize..5,
        ) {
            let mut pool = BlockPool::new(12, size, true);
            let mut live: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
            for operation in operations {
                let index = |i: usize| (!live.is_empty()).then(|| i % live.len());
                match operation {
                    Operation::Reserve(tokens) => {
                        if let Some(r) = pool.reserve(Content::text(&tokens), ROOT) {
                            prop_assert_eq!(r.blocks.len(), tokens.len().div_ceil(size));
                            prop_assert!(r.cached_tokens < tokens.len());
                            live.push((tokens, r.blocks));
                        }
                    }
                    Operation::Grow(i, n) => if let Some(i) = index(i) {
                        let wanted = live[i].0.len() + n;
                        if pool.grow(&mut live[i].1, wanted) {
                            live[i].0.resize(wanted, 7);
                        }
                    },
                    Operation::Seal(i) => if let Some(i) = index(i) {
                        seal_all(&mut pool, &live[i].1, &live[i].0);
                    },
                    Operation::Release(i) => if let Some(i) = index(i) {
                        let (_, blocks) = live.swap_remove(i);
                        pool.release(&blocks);
                    },
                }
                pool.check_invariants(live.iter().map(|(_, b)| &b[..])).unwrap();
            }
        }
    }
}
