//! Blocks of groups of layers: what is found again, what is held, and that random histories never mix up
//! what a block holds.

use super::*;
use crate::forward::{Media, MediaItem, Modality};
use proptest::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

const ROOT: ChainHash = ChainHash::LONG;

fn plain(num_blocks: usize, block_size: usize) -> BlockGroups {
    BlockGroups::new([(num_blocks, None)], block_size, true)
}

/// All tokens computed at once.
fn compute(groups: &mut BlockGroups, content: Content<'_>) -> (SequenceBlocks, usize) {
    let (mut blocks, cached) = groups.reserve(content, ROOT, true).unwrap();
    let tokens = content.tokens.len();
    assert!(groups.cover(&mut blocks, tokens, tokens));
    groups.advance(&mut blocks, content, tokens);
    (blocks, cached)
}

#[test]
fn a_prefix_is_found_while_held_and_after_release() {
    let mut groups = plain(8, 4);
    let tokens: Vec<u32> = (0..10).collect();
    let (mut first, cached) = compute(&mut groups, Content::text(&tokens));
    assert_eq!((first.tables[0].blocks.len(), cached), (3, 0));
    let (mut second, cached) = groups.reserve(Content::text(&tokens), ROOT, true).unwrap();
    assert_eq!(cached, 8);
    assert_eq!(second.tables[0].blocks[..2], first.tables[0].blocks[..2]);
    groups.release(&mut first);
    groups.release(&mut second);
    assert_eq!((groups.count(BlockPool::used).0, groups.count(BlockPool::cached).0), (0, 2));
    let (third, cached) = groups.reserve(Content::text(&tokens[..8]), ROOT, true).unwrap();
    assert_eq!(cached, 4, "the last token is left to compute");
    groups.check_invariants(&[&third]).unwrap();
    let other = groups.reserve(Content::text(&tokens), ChainHash::default(), true).unwrap();
    assert_eq!(other.1, 0, "another root, other keys");
}

fn picture(seed: f32, tokens: Range<usize>) -> MediaItem {
    let media = Media::new(Modality::Image, vec![seed], &[1], [1; 3]).unwrap();
    MediaItem { tokens, media: Arc::new(media) }
}

#[test]
fn the_same_text_with_another_picture_is_not_found() {
    // One word, six tokens of a picture, more words.
    let tokens: Vec<u32> = [1, 9, 9, 9, 9, 9, 9].into_iter().chain(2..9).collect();
    // The blocks that the second finds of the first.
    let shared = |first: &[MediaItem], second: &[MediaItem]| {
        let mut groups = plain(32, 4);
        compute(&mut groups, Content { tokens: &tokens, media: first });
        let second = Content { tokens: &tokens, media: second };
        groups.reserve(second, ROOT, true).unwrap().1 / 4
    };
    let (cat, dog) = ([picture(1.0, 1..7)], [picture(2.0, 1..7)]);
    assert_eq!(shared(&cat, &cat), 3);
    assert_eq!(shared(&cat, &dog), 0);
    assert_eq!(shared(&cat, &[]), 0, "a text of placeholders is no picture");
    // Two pictures of three tokens: the first ends with its block.
    let pair = |second| [picture(1.0, 1..4), picture(second, 4..7)];
    assert_eq!(shared(&pair(3.0), &pair(3.0)), 3);
    assert_eq!(shared(&pair(3.0), &pair(4.0)), 1);
    // The same picture, begun elsewhere.
    assert_eq!(shared(&cat, &[picture(1.0, 2..8)]), 0);
}

#[test]
fn what_was_computed_last_is_found_longest() {
    let mut groups = plain(4, 4);
    let (mut old, _) = compute(&mut groups, Content::text(&[1; 8]));
    groups.release(&mut old);
    // Computed again, without a look at what is there.
    let (mut new, _) = groups.reserve(Content::text(&[1; 8]), ROOT, false).unwrap();
    groups.advance(&mut new, Content::text(&[1; 8]), 8);
    groups.release(&mut new);
    let (mut other, _) = compute(&mut groups, Content::text(&[2; 8]));
    groups.check_invariants(&[&other]).unwrap();
    groups.release(&mut other);
    assert_eq!(groups.reserve(Content::text(&[1; 9]), ROOT, true).unwrap().1, 8);
}

#[test]
fn exhaustion_takes_nothing() {
    let mut groups = BlockGroups::new([(4, None), (2, Some(3))], 4, true);
    let (mut held, _) = groups.reserve(Content::text(&[1; 5]), ROOT, true).unwrap();
    assert_eq!(held.tables.iter().map(|t| t.blocks.len()).collect::<Vec<_>>(), [2, 0]);
    assert!(groups.cover(&mut held, 5, 5));
    assert!(!groups.cover(&mut held, 9, 9), "no third block in the second group");
    assert!(groups.reserve(Content::text(&[2; 1]), ROOT, true).is_none());
    assert_eq!(groups.count(BlockPool::used), (4, 2));
    groups.release(&mut held);
    assert!(groups.reserve(Content::text(&[2; 17]), ROOT, true).is_none());
    assert_eq!(groups.count(BlockPool::used), (0, 0));
}

#[test]
fn without_sharing_nothing_is_found() {
    let mut groups = BlockGroups::new([(4, None)], 2, false);
    let (mut blocks, _) = compute(&mut groups, Content::text(&[1, 2, 3]));
    groups.release(&mut blocks);
    assert_eq!(groups.count(BlockPool::cached).0, 0);
    assert_eq!(groups.reserve(Content::text(&[1, 2, 3]), ROOT, true).unwrap().1, 0);
}

#[test]
fn a_prefix_ends_where_every_group_can_go_on() {
    // Room in the second group for one sequence's window and step.
    let mut groups = BlockGroups::new([(40, None), (6, Some(9))], 4, true);
    let tokens: Vec<u32> = (0..40).collect();
    let run = |groups: &mut BlockGroups, tokens: &[u32]| {
        let content = Content::text(tokens);
        let (mut blocks, cached) = groups.reserve(content, ROOT, true).unwrap();
        let mut computed = cached;
        while computed < tokens.len() {
            computed = (computed + 8).min(tokens.len());
            assert!(groups.cover(&mut blocks, tokens.len(), computed));
            assert!(blocks.tables[1].held().len() <= 5, "window and step");
            groups.advance(&mut blocks, content, computed);
        }
        groups.check_invariants(&[&blocks]).unwrap();
        groups.release(&mut blocks);
        cached
    };
    assert_eq!(run(&mut groups, &tokens), 0);
    assert_eq!(groups.count(BlockPool::cached), (10 + 6, 6));
    // Of the second group blocks 4 to 9 are left: a window of 9 before token 36 begins in block 7.
    assert_eq!(run(&mut groups, &tokens), 36);
    // The last four tokens took the place of block 5. Token 32 looks back into block 6, token 28 into 5.
    assert_eq!(run(&mut groups, &tokens[..33]), 32);
    assert_eq!(run(&mut groups, &tokens[..29]), 0);
}

/// What happens to one of the sequences.
#[derive(Debug, Clone)]
enum Event {
    Arrive(Vec<u32>),
    Compute(usize, usize),
    Draw(usize, u32),
    Leave(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => proptest::collection::vec(0u32..2, 1..30).prop_map(Event::Arrive),
        5 => (any::<usize>(), 1usize..9).prop_map(|(i, n)| Event::Compute(i, n)),
        2 => (any::<usize>(), 0u32..2).prop_map(|(i, token)| Event::Draw(i, token)),
        1 => any::<usize>().prop_map(Event::Leave),
    ]
}

#[derive(Debug)]
struct Running {
    tokens: Vec<u32>,
    computed: usize,
    blocks: SequenceBlocks,
}

/// What was written last into each block of each group: the tokens up to its end.
type Memory = HashMap<(usize, u32), Vec<u32>>;

impl Running {
    /// Computes up to `count` tokens if there are blocks for them.
    fn compute(&mut self, count: usize, groups: &mut BlockGroups, memory: &mut Memory) {
        let end = self.tokens.len().min(self.computed + count);
        if !groups.cover(&mut self.blocks, self.tokens.len(), end) {
            return;
        }
        let size = groups.block_size();
        for (group, table) in self.blocks.tables().iter().enumerate() {
            for position in self.computed..end {
                let written = self.tokens[..=position].to_vec();
                memory.insert((group, table.blocks()[position / size]), written);
            }
        }
        self.computed = end;
        self.check(groups, memory);
        groups.advance(&mut self.blocks, Content::text(&self.tokens), end);
    }

    /// Whatever the next token looks at holds this sequence's own past.
    fn check(&self, groups: &BlockGroups, memory: &Memory) {
        let size = groups.block_size();
        for (number, (group, table)) in groups.groups.iter().zip(self.blocks.tables()).enumerate() {
            for position in group.unseen(self.computed)..self.computed {
                let block = table.blocks()[position / size];
                assert!(table.held().contains(&block), "position {position} is not held");
                let end = self.computed.min((position / size + 1) * size);
                assert_eq!(memory[&(number, block)], self.tokens[..end], "group {number}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nobody_ever_sees_another_past_than_its_own(
        events in proptest::collection::vec(event(), 1..120),
        windows in prop_oneof![
            Just(vec![None]),
            (1usize..12).prop_map(|w| vec![Some(w)]),
            (1usize..12).prop_map(|w| vec![None, Some(w)]),
            (1usize..5, 5usize..20).prop_map(|(v, w)| vec![None, Some(v), Some(w)]),
        ],
        sizes in proptest::collection::vec(6usize..30, 3),
        block_size in 1usize..5,
    ) {
        let pools = sizes.into_iter().zip(windows);
        let mut groups = BlockGroups::new(pools, block_size, true);
        let (mut live, mut memory): (Vec<Running>, _) = (Vec::new(), Memory::new());
        for event in events {
            let index = |i: usize| (!live.is_empty()).then(|| i % live.len());
            match event {
                Event::Arrive(tokens) => {
                    let reserved = groups.reserve(Content::text(&tokens), ROOT, true);
                    if let Some((blocks, computed)) = reserved {
                        prop_assert!(computed < tokens.len());
                        live.push(Running { tokens, computed, blocks });
                        live[live.len() - 1].check(&groups, &memory);
                    }
                }
                Event::Compute(i, count) => if let Some(i) = index(i) {
                    live[i].compute(count, &mut groups, &mut memory);
                },
                Event::Draw(i, token) => if let Some(i) = index(i) {
                    live[i].tokens.push(token);
                },
                Event::Leave(i) => if let Some(i) = index(i) {
                    groups.release(&mut live.swap_remove(i).blocks);
                },
            }
            let all: Vec<_> = live.iter().map(|running| &running.blocks).collect();
            groups.check_invariants(&all).unwrap();
        }
    }
}
