//! The blocks of all layers. Layers that look equally far back are a group with a pool of its own, and a
//! sequence has a table in each. A group that sees everything gives a sequence blocks for all of its tokens
//! when it is admitted; one with a window gives them as tokens are computed and takes back those that have
//! left the window, so that it holds no more of a sequence than the window and one step. Knows no tensor.
//!
//! A prefix is found up to the last end of a block from which every group can go on: all blocks where the
//! group sees everything, those within the window where it has one. Of what lies before all windows only the
//! chain's hash is compared.

use super::block_pool::BlockPool;
use super::chain::{ChainHash, ChainHasher, Content, Link};

#[derive(Debug)]
struct Group {
    pool: BlockPool,
    window: Option<usize>,
}

impl Group {
    /// Tokens before which nobody looks once `computed` tokens are.
    fn unseen(&self, computed: usize) -> usize {
        // The next token sees itself and the `window - 1` before it.
        self.window.map_or(0, |window| (computed + 1).saturating_sub(window))
    }
}

/// The blocks of one sequence in one group.
#[derive(Debug, Clone, Default)]
pub struct BlockTable {
    blocks: Vec<u32>,
    given_back: usize,
}

impl BlockTable {
    /// In order of position; of the leading ones that are not held only the places are left.
    pub fn blocks(&self) -> &[u32] {
        &self.blocks
    }

    /// Those held.
    pub fn held(&self) -> &[u32] {
        self.blocks.get(self.given_back..).unwrap_or_default()
    }
}

/// The blocks of one sequence in all groups.
#[derive(Debug, Default)]
pub struct SequenceBlocks {
    tables: Vec<BlockTable>,
    /// Leading blocks whose content is known to all groups, and the chain hash at their end.
    sealed: usize,
    chain: ChainHash,
}

impl SequenceBlocks {
    /// One table per group; none before it is admitted.
    pub fn tables(&self) -> &[BlockTable] {
        &self.tables
    }
}

/// All blocks of a cache.
#[derive(Debug)]
pub struct BlockGroups {
    groups: Vec<Group>,
    block_size: usize,
    sharing: bool,
    hasher: ChainHasher,
}

impl BlockGroups {
    /// Groups of so many blocks and such a window each, blocks of `block_size` tokens; without `sharing`
    /// no block is ever found again.
    pub fn new(
        groups: impl IntoIterator<Item = (usize, Option<usize>)>,
        block_size: usize,
        sharing: bool,
    ) -> Self {
        let group = |(num_blocks, window)| Group { pool: BlockPool::new(num_blocks), window };
        Self {
            groups: groups.into_iter().map(group).collect(),
            block_size: block_size.max(1),
            sharing,
            hasher: ChainHasher::default(),
        }
    }

    /// Tokens per block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Whether blocks are ever found again.
    pub fn is_sharing(&self) -> bool {
        self.sharing
    }

    /// Whether every group has this many free blocks.
    pub fn have_free(&self, count: usize) -> bool {
        self.groups.iter().all(|group| group.pool.free() >= count)
    }

    /// A number of all pools together, and of those with a window.
    pub fn count(&self, number: impl Fn(&BlockPool) -> usize) -> (usize, usize) {
        self.groups.iter().fold((0, 0), |(all, windowed), group| {
            let count = number(&group.pool);
            (all + count, windowed + if group.window.is_some() { count } else { 0 })
        })
    }

    /// Takes the blocks that a sequence needs to be admitted, shared ones where sealed chains match that
    /// begin at `root`, if it may `share`; and how many tokens these hold. At least the last token is left
    /// to compute, so that there are logits. `None`, and nothing taken, if there are not enough free blocks.
    pub fn reserve(
        &mut self,
        content: Content<'_>,
        root: ChainHash,
        share: bool,
    ) -> Option<(SequenceBlocks, usize)> {
        let mut blocks = self.find(content, root, share && self.sharing);
        let tokens = content.tokens.len();
        for (group, table) in self.groups.iter().zip(&blocks.tables) {
            let wanted = tokens.min(group.window.unwrap_or(usize::MAX)).div_ceil(self.block_size);
            let held = table.held();
            let idle_hits = held.iter().filter(|block| group.pool.is_free(**block)).count();
            if wanted.saturating_sub(held.len()) > group.pool.free() - idle_hits {
                return None;
            }
        }
        for (group, table) in self.groups.iter_mut().zip(&blocks.tables) {
            table.held().iter().for_each(|block| group.pool.hold(*block));
        }
        let cached_tokens = blocks.sealed * self.block_size;
        self.cover(&mut blocks, tokens, cached_tokens).then_some((blocks, cached_tokens))
    }

    /// The longest prefix of `content`, short of the last token, from which every group can go on.
    fn find(&self, content: Content<'_>, root: ChainHash, share: bool) -> SequenceBlocks {
        let mut tables = vec![BlockTable::default(); self.groups.len()];
        // Of each group, how many blocks in a row are there.
        let mut runs = vec![0; self.groups.len()];
        let usable = if share { content.tokens.len().saturating_sub(1) } else { 0 };
        let (mut found, mut parent) = ((0, root), root);
        for number in 0..usable / self.block_size {
            let Some(link) = self.link(content, number, parent) else { break };
            let end = number + 1;
            let mut reached = true;
            for (group, (table, run)) in self.groups.iter().zip(tables.iter_mut().zip(&mut runs)) {
                let block = group.pool.find(&link);
                *run = block.map_or(0, |_| *run + 1);
                table.blocks.push(block.unwrap_or_default());
                let seen = end - group.unseen(end * self.block_size) / self.block_size;
                reached &= *run >= seen;
            }
            parent = link.hash;
            if reached {
                found = (end, parent);
            } else if self.groups.iter().zip(&runs).any(|(g, run)| g.window.is_none() && *run < end)
            {
                break;
            }
        }
        let (sealed, chain) = found;
        for (group, table) in self.groups.iter().zip(&mut tables) {
            table.blocks.truncate(sealed);
            table.given_back = group.unseen(sealed * self.block_size) / self.block_size;
        }
        SequenceBlocks { tables, sealed, chain }
    }

    fn link<'a>(&self, content: Content<'a>, number: usize, parent: ChainHash) -> Option<Link<'a>> {
        let filling = content.block(number, self.block_size)?;
        Some(self.hasher.link(parent, filling))
    }

    /// Makes the tables reach to token `all` where the group sees everything, to token `next` where it has
    /// a window; false, and nothing taken, if a pool is exhausted.
    pub fn cover(&mut self, blocks: &mut SequenceBlocks, all: usize, next: usize) -> bool {
        let block_size = self.block_size;
        let missing = |group: &Group, table: &BlockTable| {
            let tokens = if group.window.is_some() { next } else { all };
            tokens.div_ceil(block_size).saturating_sub(table.blocks.len())
        };
        let mut pairs = self.groups.iter().zip(&blocks.tables);
        if pairs.any(|(group, table)| missing(group, table) > group.pool.free()) {
            return false;
        }
        for (group, table) in self.groups.iter_mut().zip(&mut blocks.tables) {
            for _ in 0..missing(group, table) {
                table.blocks.extend(group.pool.take());
            }
        }
        true
    }

    /// `computed` tokens of `content` are in the cache: full blocks become findable, and those that have
    /// left a window are given back. Until they are reused they stay findable.
    pub fn advance(&mut self, blocks: &mut SequenceBlocks, content: Content<'_>, computed: usize) {
        while self.sharing && (blocks.sealed + 1) * self.block_size <= computed {
            let Some(link) = self.link(content, blocks.sealed, blocks.chain) else { break };
            for (group, table) in self.groups.iter_mut().zip(&blocks.tables) {
                if let Some(block) = table.blocks.get(blocks.sealed) {
                    group.pool.seal(*block, &link);
                }
            }
            blocks.chain = link.hash;
            blocks.sealed += 1;
        }
        for (group, table) in self.groups.iter_mut().zip(&mut blocks.tables) {
            let unseen = group.unseen(computed) / self.block_size;
            if let Some(left) = table.blocks.get(table.given_back..unseen) {
                group.pool.release(left);
                table.given_back = unseen;
            }
        }
    }

    /// Lets go of all blocks of a sequence.
    pub fn release(&mut self, blocks: &mut SequenceBlocks) {
        for (group, table) in self.groups.iter_mut().zip(&blocks.tables) {
            group.pool.release(table.held());
        }
        *blocks = SequenceBlocks::default();
    }

    /// Checks every pool against the tables of all sequences.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check_invariants(&self, all: &[&SequenceBlocks]) -> Result<(), String> {
        self.groups.iter().enumerate().try_for_each(|(number, group)| {
            let tables = all.iter().filter_map(|blocks| blocks.tables.get(number));
            group.pool.check_invariants(tables.map(BlockTable::held))
        })
    }
}

#[cfg(test)]
mod tests;
