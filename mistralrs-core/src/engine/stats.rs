//! Counters and gauges: written by the engine thread, read by whoever asks. Every name is here.

use crate::kv_cache::block_groups::BlockGroups;
use crate::kv_cache::block_pool::BlockPool;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A snapshot of the engine's counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it; units are in them")]
pub struct EngineStats {
    pub waiting_requests: usize,
    pub running_requests: usize,
    pub kv_blocks_total: usize,
    pub kv_blocks_used: usize,
    pub kv_blocks_cached: usize,
    /// Of these, blocks of layers with a window.
    pub kv_window_blocks_total: usize,
    pub kv_window_blocks_used: usize,
    pub kv_window_blocks_cached: usize,
    pub block_size_tokens: usize,
    pub prompt_tokens_total: u64,
    pub cached_tokens_total: u64,
    pub generated_tokens_total: u64,
    pub preemptions_total: u64,
    pub steps_total: u64,
    pub failed_steps_total: u64,
    pub media_encoded_total: u64,
    pub media_found_total: u64,
}

/// The cells behind [`EngineStats`].
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "as in EngineStats")]
pub struct StatsCells {
    waiting: AtomicUsize,
    running: AtomicUsize,
    /// Of all layers, and of those with a window; so in the next two.
    blocks_total: (usize, usize),
    block_size: usize,
    blocks_used: (AtomicUsize, AtomicUsize),
    blocks_cached: (AtomicUsize, AtomicUsize),
    pub(super) prompt_tokens: AtomicU64,
    pub(super) cached_tokens: AtomicU64,
    pub(super) generated_tokens: AtomicU64,
    pub(super) preemptions: AtomicU64,
    pub(super) steps: AtomicU64,
    pub(super) failed_steps: AtomicU64,
    pub(super) media_encoded: AtomicU64,
    pub(super) media_found: AtomicU64,
}

impl StatsCells {
    /// Cells for an engine over these blocks.
    pub fn new(blocks: &BlockGroups) -> Self {
        let blocks_total = blocks.count(BlockPool::total);
        Self { blocks_total, block_size: blocks.block_size(), ..Self::default() }
    }

    /// Counts a request in, unless `limit` are waiting; then says how many.
    pub(super) fn enter_queue(&self, limit: usize) -> Result<(), usize> {
        let enter = |n| (n < limit).then_some(n + 1);
        self.waiting.fetch_update(Relaxed, Relaxed, enter).map(|_| ())
    }

    /// Counts a request out of the queue: it starts, or it is gone.
    pub(super) fn leave_queue(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Counts a failure; the number identifies it in log and answer.
    pub(super) fn failure_id(&self) -> u64 {
        self.failed_steps.fetch_add(1, Relaxed) + 1
    }

    /// Publishes the gauges.
    pub(super) fn publish(&self, running: usize, blocks: &BlockGroups) {
        self.running.store(running, Relaxed);
        let store = |cells: &(AtomicUsize, AtomicUsize), (all, windowed)| {
            cells.0.store(all, Relaxed);
            cells.1.store(windowed, Relaxed);
        };
        store(&self.blocks_used, blocks.count(BlockPool::used));
        store(&self.blocks_cached, blocks.count(BlockPool::cached));
    }

    /// Publishes how many requests are being computed, where there is no cache.
    pub(super) fn publish_running(&self, running: usize) {
        self.running.store(running, Relaxed);
    }

    /// A snapshot.
    pub fn snapshot(&self) -> EngineStats {
        EngineStats {
            waiting_requests: self.waiting.load(Relaxed),
            running_requests: self.running.load(Relaxed),
            kv_blocks_total: self.blocks_total.0,
            kv_blocks_used: self.blocks_used.0.load(Relaxed),
            kv_blocks_cached: self.blocks_cached.0.load(Relaxed),
            kv_window_blocks_total: self.blocks_total.1,
            kv_window_blocks_used: self.blocks_used.1.load(Relaxed),
            kv_window_blocks_cached: self.blocks_cached.1.load(Relaxed),
            block_size_tokens: self.block_size,
            prompt_tokens_total: self.prompt_tokens.load(Relaxed),
            cached_tokens_total: self.cached_tokens.load(Relaxed),
            generated_tokens_total: self.generated_tokens.load(Relaxed),
            preemptions_total: self.preemptions.load(Relaxed),
            steps_total: self.steps.load(Relaxed),
            failed_steps_total: self.failed_steps.load(Relaxed),
            media_encoded_total: self.media_encoded.load(Relaxed),
            media_found_total: self.media_found.load(Relaxed),
        }
    }
}
