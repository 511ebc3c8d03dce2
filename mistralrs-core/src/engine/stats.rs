//! Counters and gauges: written by the engine thread, read by whoever asks. Every name is here.

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
    blocks_total: usize,
    block_size: usize,
    blocks_used: AtomicUsize,
    blocks_cached: AtomicUsize,
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
    /// Cells for an engine over `pool`.
    pub fn new(pool: &BlockPool) -> Self {
        Self { blocks_total: pool.total(), block_size: pool.block_size(), ..Self::default() }
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
    pub(super) fn publish(&self, running: usize, pool: &BlockPool) {
        self.running.store(running, Relaxed);
        self.blocks_used.store(pool.used(), Relaxed);
        self.blocks_cached.store(pool.cached(), Relaxed);
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
            kv_blocks_total: self.blocks_total,
            kv_blocks_used: self.blocks_used.load(Relaxed),
            kv_blocks_cached: self.blocks_cached.load(Relaxed),
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
