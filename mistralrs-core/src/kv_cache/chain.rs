//! What a block holds, as links of a chain: the hash of a block's content and of the hash before it stands for
//! everything up to the block's end. Knows tokens and media; no pool and no tensor.

use crate::forward::{ContentHash, MediaItem};
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
    /// `[block_size]`
    pub tokens: &'a [u32],
    /// The media that some of the tokens stand for, and where each begins, from the block's start.
    pub media: Vec<(ContentHash, i64)>,
}

/// A full block in its chain.
#[derive(Debug, Clone)]
pub struct Link<'a> {
    /// Stands for everything up to the block's end.
    pub hash: ChainHash,
    /// Stands for everything before the block.
    pub parent: ChainHash,
    /// What it holds.
    pub filling: Filling<'a>,
}

/// Makes links. One hasher serves all pools, so a chain is hashed once; its key is drawn when the program
/// starts, so nobody can prepare two contents of one hash.
#[derive(Debug, Default)]
pub struct ChainHasher(RandomState);

impl ChainHasher {
    /// The link that holds `filling`, behind `parent`.
    pub fn link<'a>(&self, parent: ChainHash, filling: Filling<'a>) -> Link<'a> {
        let hash = ChainHash(self.0.hash_one((parent, &filling)));
        Link { hash, parent, filling }
    }
}
