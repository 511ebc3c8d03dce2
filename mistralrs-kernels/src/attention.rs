//! Attention over a paged key/value cache.

/// What all spans of one attention call share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Positions per cache block.
    pub block_size: usize,
    /// Factor of each query-key product.
    pub scale: f32,
    /// How many positions, its own included, a query sees; `None` for all.
    pub window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
}

/// One sequence's queries of this call.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSpan<'a> {
    /// The span's first row in `q` and `out`.
    pub query_start: usize,
    /// Its number of rows.
    pub query_len: usize,
    /// Positions in the cache, those of the queries included.
    pub context_len: usize,
    /// Cache block of each `block_size` positions.
    pub block_table: &'a [u32],
}

/// Attention of each query over the positions it may see.
pub fn paged_attention(
    shape: &AttentionShape,
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    spans: &[AttentionSpan<'_>],
    out: &mut [f32],
) {
    crate::scalar::paged_attention(shape, q, k_cache, v_cache, spans, out);
}
