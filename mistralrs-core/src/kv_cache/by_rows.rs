//! Keys and values away from this project's kernels: position after position, written and read by candle's operations.

use super::KvNumbers;
use candle_core::{DType, Result, Tensor, bail};
use mistralrs_quant::Place;

/// Room for blocks `[blocks, block_size, kv_heads, head_dim]`: in halves unless all of a number is to be kept.
pub(super) fn room(
    shape: (usize, usize, usize, usize),
    numbers: KvNumbers,
    place: &Place,
) -> Result<Tensor> {
    let dtype = if numbers == KvNumbers::F32 { place.dtype() } else { DType::F16 };
    Tensor::zeros(shape, dtype, place.device())
}

/// Puts row `i` of `rows` `[tokens, kv_heads × head_dim]` into slot `slots[i]` of `cache`.
pub(super) fn store(cache: &Tensor, rows: &Tensor, slots: &[usize]) -> Result<()> {
    let (blocks, block_size, heads, dim) = cache.dims4()?;
    if rows.dims() != [slots.len(), heads * dim] {
        bail!("{:?} numbers for {} tokens of {heads} heads of {dim}", rows.dims(), slots.len());
    }
    if let Some(slot) = slots.iter().find(|slot| **slot >= blocks * block_size) {
        bail!("slot {slot} lies outside the KV cache");
    }
    let rows = rows.to_dtype(cache.dtype())?.reshape((slots.len(), heads, dim))?.contiguous()?;
    let cache = cache.reshape((blocks * block_size, heads, dim))?;
    // Tokens that follow one another mostly have slots that do: one copy for each run of them.
    let mut first = 0;
    for run in slots.chunk_by(|a, b| a + 1 == *b) {
        if let Some(&slot) = run.first() {
            cache.slice_set(&rows.narrow(0, first, run.len())?, 0, slot)?;
        }
        first += run.len();
    }
    Ok(())
}
