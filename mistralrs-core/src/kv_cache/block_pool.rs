//! Blocks of one group of layers as numbers: who holds which, which can be shared, which can be reused.
//! Knows no tensor.
//!
//! A full block becomes findable when it is sealed as a link of a chain, and stays findable after its last
//! holder let go, until it is reused, least recently used first. A hit is compared token by token, and
//! picture by picture where tokens stand for pictures.

use super::chain::{ChainHash, Link};
use crate::forward::ContentHash;
use std::collections::{BTreeMap, HashMap};

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
    fn is(&self, link: &Link<'_>) -> bool {
        let Link { parent, filling, .. } = link;
        self.parent == *parent && *self.tokens == *filling.tokens && *self.media == *filling.media
    }
}

/// All blocks of a group.
#[derive(Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    /// Free and not findable.
    blank: Vec<u32>,
    /// Free but findable, by time of release.
    idle: BTreeMap<u64, u32>,
    by_hash: HashMap<ChainHash, u32>,
    clock: u64,
}

impl BlockPool {
    /// A pool of `num_blocks` blocks.
    pub fn new(num_blocks: usize) -> Self {
        let num_blocks = u32::try_from(num_blocks).unwrap_or(u32::MAX);
        Self {
            blocks: (0..num_blocks).map(|_| Block::default()).collect(),
            blank: (0..num_blocks).rev().collect(),
            idle: BTreeMap::new(),
            by_hash: HashMap::new(),
            clock: 0,
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

    /// Whether nobody holds this block.
    pub fn is_free(&self, block: u32) -> bool {
        self.blocks.get(block as usize).is_some_and(|block| block.holders == 0)
    }

    /// The block that was sealed as this link.
    pub fn find(&self, link: &Link<'_>) -> Option<u32> {
        let number = *self.by_hash.get(&link.hash)?;
        let sealed = self.blocks.get(number as usize)?.sealed.as_ref()?;
        sealed.is(link).then_some(number)
    }

    /// Holds a block that was found.
    pub fn hold(&mut self, number: u32) {
        if let Some(block) = self.blocks.get_mut(number as usize) {
            if block.holders == 0 {
                self.idle.remove(&block.idle_since);
            }
            block.holders += 1;
        }
    }

    /// A block of one's own: a blank one, else the longest idle, which is then forgotten.
    pub fn take(&mut self) -> Option<u32> {
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

    /// Makes a full, computed block findable, unless somebody holds another one of this content: one that
    /// nobody holds is older and forgotten. Only for blocks whose keys and values are really there: after
    /// the forward pass.
    pub fn seal(&mut self, block: u32, link: &Link<'_>) {
        match self.by_hash.get(&link.hash) {
            Some(&other) if self.is_free(other) => self.forget(other),
            Some(_) => return,
            None => {}
        }
        let Some(entry) = self.blocks.get_mut(block as usize) else { return };
        if let Some(old) = entry.sealed.take() {
            self.by_hash.remove(&old.hash);
        }
        let (tokens, media) = (link.filling.tokens.into(), link.filling.media.as_slice().into());
        entry.sealed = Some(Sealed { hash: link.hash, parent: link.parent, tokens, media });
        self.by_hash.insert(link.hash, block);
    }

    /// Makes a block blank that nobody holds.
    fn forget(&mut self, number: u32) {
        let Some(block) = self.blocks.get_mut(number as usize) else { return };
        if let Some(sealed) = block.sealed.take() {
            self.by_hash.remove(&sealed.hash);
            self.idle.remove(&block.idle_since);
            self.blank.push(number);
        }
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
