//! Whether an attention call's numbers fit its slices: everything that the kernels rely on.
//! Block tables come from elsewhere, so each entry in use is looked at.

use super::{AttentionShape, AttentionSpan, Sight};

/// Panics unless the spans' rows, positions and blocks lie within `q` and the caches and no two
/// spans share rows.
pub(super) fn fits(
    shape: &AttentionShape,
    q_len: usize,
    cache_len: usize,
    spans: &[AttentionSpan<'_>],
) {
    assert!(
        shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads),
        "heads are no multiple of kv_heads in {shape:?}"
    );
    let row = shape.heads.saturating_mul(shape.head_dim);
    let block = [shape.block_size, shape.kv_heads, shape.head_dim]
        .into_iter()
        .fold(1, usize::saturating_mul);
    assert!(row > 0 && block > 0, "nothing to attend to in {shape:?}");
    assert!(q_len.is_multiple_of(row), "q is not [tokens, {row}]");
    assert!(cache_len.is_multiple_of(block), "the cache is not [blocks, {block}]");
    for span in spans {
        check_span(shape, q_len / row, cache_len / block, span);
    }
    let mut starts: Vec<_> = spans
        .iter()
        .filter(|span| span.query_len > 0)
        .map(|span| (span.query_start, span.query_start + span.query_len))
        .collect();
    starts.sort_unstable();
    assert!(starts.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two spans share rows");
}

fn check_span(shape: &AttentionShape, tokens: usize, blocks: usize, span: &AttentionSpan<'_>) {
    let AttentionSpan { query_start, query_len, context_len, block_table, together } = *span;
    let end = query_start.checked_add(query_len);
    assert!(
        end.is_some_and(|end| end <= tokens),
        "query rows {query_start} + {query_len} of {tokens}"
    );
    assert!(
        context_len <= block_table.len().saturating_mul(shape.block_size),
        "{} blocks of {} are too few for {context_len} positions",
        block_table.len(),
        shape.block_size
    );
    let mut next = 0;
    for group in together {
        assert!(
            next <= group.start && group.start < group.end && group.end <= context_len,
            "the group {group:?} after {next} of {context_len} positions"
        );
        next = group.end;
    }
    if query_len == 0 {
        return;
    }
    // Which way a query looks does not change where the first one begins to see.
    let first = span.visible(0, shape.window, Sight::Back).start / shape.block_size;
    let end = context_len.div_ceil(shape.block_size);
    for block in block_table.get(first..end).unwrap_or(&[]) {
        assert!((*block as usize) < blocks, "block {block} of {blocks}");
    }
}
