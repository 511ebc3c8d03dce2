//! One sequence inside the engine: its tokens, how far they are computed, its blocks and its
//! sampler. Owns the arithmetic of positions; nobody else counts.

use super::media::SequenceMedia;
use super::{
    EngineLimits, FailureKind, GenerationRequest, PositionLogprobs, Submission, Timings, TokenEvent,
};
use crate::kv_cache::block_groups::{BlockGroups, BlockTable, SequenceBlocks};
use crate::kv_cache::chain::{ChainHash, Content};
use crate::request::FinishReason;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

/// A request on its way to becoming an answer.
pub struct Sequence {
    /// Prompt and generated tokens.
    pub tokens: Vec<u32>,
    /// What some tokens of the prompt stand for.
    pub media: SequenceMedia,
    prompt_len: usize,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    /// They cover `tokens` up to what is planned.
    blocks: SequenceBlocks,
    /// More tokens than this have their keys rotated otherwise.
    short_context: usize,
    /// Whether the keys in `blocks` are those of a long sequence.
    long: bool,
    /// Tokens found in the prefix cache when first admitted.
    cached_tokens: usize,
    /// Whether it was ever admitted: only then it has left the queue.
    pub admitted: bool,
    prompt_announced: bool,
    prompt_logprobs: Vec<Option<PositionLogprobs>>,
    /// What was asked for.
    pub request: GenerationRequest,
    events: UnboundedSender<TokenEvent>,
    submitted: Instant,
    started: Option<Instant>,
    first_token: Option<Instant>,
}

impl Sequence {
    pub(super) fn new(submission: Submission, limits: &EngineLimits) -> Self {
        let Submission { mut request, events, submitted } = submission;
        let tokens = std::mem::take(&mut request.prompt);
        let media = SequenceMedia::new(std::mem::take(&mut request.media));
        Self {
            prompt_len: tokens.len(),
            tokens,
            media,
            computed: 0,
            blocks: SequenceBlocks::default(),
            short_context: limits.short_context.unwrap_or(usize::MAX),
            long: false,
            cached_tokens: 0,
            admitted: false,
            prompt_announced: false,
            prompt_logprobs: Vec::new(),
            request,
            events,
            submitted,
            started: None,
            first_token: None,
        }
    }

    /// Tokens not computed yet; at least one while the sequence lives.
    pub fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Tokens whose keys and values are in the cache.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Its blocks, a table for each group of layers.
    pub fn tables(&self) -> &[BlockTable] {
        self.blocks.tables()
    }

    /// Its blocks.
    #[cfg(test)]
    pub fn blocks(&self) -> &SequenceBlocks {
        &self.blocks
    }

    /// Tokens that were not drawn.
    pub fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// Tokens drawn so far.
    pub fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Nobody listens any more.
    pub fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// The deadline has passed.
    pub fn is_late(&self) -> bool {
        self.request.timeout.is_some_and(|limit| self.submitted.elapsed() >= limit)
    }

    /// Whether the logits of every prompt row are wanted, not only of the last.
    pub fn scores_prompt(&self) -> bool {
        self.request.prompt_logprobs.is_some() && !self.prompt_announced
    }

    /// Whether it has more tokens than the model's short context, if the model has one.
    pub fn is_long(&self) -> bool {
        self.tokens.len() > self.short_context
    }

    /// Whether it has become long and what is in its blocks must be computed again.
    pub fn has_outgrown_its_blocks(&self) -> bool {
        self.is_long() && !self.long
    }

    /// Whether it is about to compute full blocks that `other` could share when they are done.
    pub fn is_computing_prefix_of(&self, other: &Self, block_size: usize) -> bool {
        if self.remaining() <= 1 || other.scores_prompt() || self.is_long() != other.is_long() {
            return false;
        }
        let usable = (other.tokens.len() - 1).min(self.media.agrees_until(&other.media));
        let same = self.tokens.iter().zip(&other.tokens).take(usable);
        let common = same.take_while(|(a, b)| a == b).count();
        common / block_size * block_size > self.computed
    }

    /// Takes the blocks it needs to begin, shared ones where possible; false if there are not enough.
    pub fn admit(&mut self, groups: &mut BlockGroups) -> bool {
        let long = self.is_long();
        let root = if long { ChainHash::LONG } else { ChainHash::default() };
        let reserved = groups.reserve(self.content(), root, !self.scores_prompt());
        let Some((blocks, cached_tokens)) = reserved else { return false };
        self.long = long;
        self.blocks = blocks;
        self.computed = cached_tokens;
        true
    }

    /// What its blocks hold.
    fn content(&self) -> Content<'_> {
        Content { tokens: &self.tokens, media: self.media.items() }
    }

    /// Notes that it starts for the first time; tokens of the prompt, and of these the cached ones.
    pub fn start(&mut self) -> (usize, usize) {
        self.admitted = true;
        self.cached_tokens = self.computed;
        self.started = Some(Instant::now());
        (self.prompt_len, self.cached_tokens)
    }

    /// Makes sure that there are blocks for the next `count` tokens.
    pub fn cover(&mut self, count: usize, groups: &mut BlockGroups) -> bool {
        groups.cover(&mut self.blocks, self.tokens.len(), self.computed + count)
    }

    /// Gives all blocks back; what was computed must be computed again or found in the prefix cache.
    pub fn release(&mut self, groups: &mut BlockGroups) {
        groups.release(&mut self.blocks);
        self.computed = 0;
        self.prompt_logprobs.clear();
    }

    /// `count` further tokens are in the cache.
    pub fn advance(&mut self, count: usize, groups: &mut BlockGroups) {
        self.computed += count;
        let content = Content { tokens: &self.tokens, media: self.media.items() };
        groups.advance(&mut self.blocks, content, self.computed);
        self.media.drop_computed(self.computed);
    }

    /// Keeps the log-probabilities of prompt positions until the prompt is announced.
    pub fn keep_prompt_logprobs(&mut self, logprobs: impl Iterator<Item = PositionLogprobs>) {
        if self.prompt_logprobs.is_empty() {
            self.prompt_logprobs.push(None);
        }
        self.prompt_logprobs.extend(logprobs.map(Some));
    }

    /// Tells the caller, once, that the prompt is computed.
    pub fn announce_prompt(&mut self) {
        if self.prompt_announced {
            return;
        }
        self.prompt_announced = true;
        let logprobs = std::mem::take(&mut self.prompt_logprobs);
        self.send(TokenEvent::Prompt { cached_tokens: self.cached_tokens, logprobs });
    }

    /// Ids that must not be drawn now.
    pub fn suppressed(&self) -> &[u32] {
        match self.generated() < self.request.min_tokens {
            true => &self.request.stop_token_ids,
            false => &[],
        }
    }

    /// Appends a drawn token and tells the caller; says whether this ended the sequence.
    pub fn push(
        &mut self,
        token_id: u32,
        logprobs: Option<PositionLogprobs>,
    ) -> Option<FinishReason> {
        self.tokens.push(token_id);
        self.first_token.get_or_insert_with(Instant::now);
        if self.request.stop_token_ids.contains(&token_id) {
            return Some(FinishReason::Stop);
        }
        self.send(TokenEvent::Token { token_id, logprobs });
        (self.generated() >= self.request.max_tokens).then_some(FinishReason::Length)
    }

    /// The last word to the caller.
    pub fn finish(&self, reason: FinishReason) {
        let since = |from: Instant, to: Option<Instant>| to.map(|to| to - from).unwrap_or_default();
        let timings = Timings {
            queue: since(self.submitted, self.started),
            first_token: since(self.submitted, self.first_token),
            decode: self.first_token.map(|first| first.elapsed()).unwrap_or_default(),
        };
        let generated_tokens = self.generated();
        self.send(TokenEvent::Finished { reason, generated_tokens, timings });
    }

    /// The last word to the caller, without success.
    pub fn fail(&self, kind: FailureKind) {
        self.send(TokenEvent::Failed(kind));
    }

    /// A caller who has left is noticed by [`Sequence::is_cancelled`], not here.
    fn send(&self, event: TokenEvent) {
        let _ = self.events.send(event);
    }
}
