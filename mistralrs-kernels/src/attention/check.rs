//! Whether an attention call's numbers fit its slices: everything that the kernels rely on.
//! Block tables come from elsewhere, so each entry in use is looked at.

use super::{AttentionShape, AttentionSpan, Sight};

/// Panics unless the spans' rows, positions and blocks lie within `q` and the caches' `blocks` and
/// no two spans share rows.
pub(super) fn fits(
    shape: &AttentionShape,
    q_len: usize,
    blocks: Option<usize>,
    spans: &[AttentionSpan<'_>],
) {
    assert!(
        shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads),
        "heads are no multiple of kv_heads in {shape:?}"
    );
    let row = shape.heads.saturating_mul(shape.head_dim);
    assert!(row > 0 && shape.block_size > 0, "nothing to attend to in {shape:?}");
    assert!(q_len.is_multiple_of(row), "q is not [tokens, {row}]");
    assert!(blocks.is_some(), "the cache is not whole blocks of {shape:?}");
    for span in spans {
        check_span(shape, q_len / row, blocks.unwrap_or(0), span);
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
