//! What the writers of GGUF files do to values, undone. The rows of a query or key head of Llama's
//! stand in the order of interleaved rotary embedding: row 2i + j of the file is row j · head_dim / 2 + i
//! of the Hugging Face checkpoint (j = 0, 1). Whole rows move, so quantized rows are gathered as they
//! are. Gemma's norms are stored with the 1 that they multiply by.

use super::super::{TensorBytes, TensorInfo};
use super::names::Change;
use crate::error::{Error, Result};
use mistralrs_kernels::QuantType;

/// Whether a change can be undone: the rows can be cut into heads of an even number of rows, or
/// the numbers are f32.
pub(super) fn check(info: &TensorInfo, change: Change) -> Result<()> {
    let rows = info.shape.first().copied().unwrap_or(0);
    let (key, reason) = match change {
        Change::Interleaved(heads) => {
            if heads > 0 && rows.is_multiple_of(heads) && (rows / heads).is_multiple_of(2) {
                return Ok(());
            }
            let reason =
                format!("{heads} heads do not divide the {rows} rows of `{}` evenly", info.name);
            ("attention.head_count", reason)
        }
        Change::PlusOne => {
            if info.ty == QuantType::F32 {
                return Ok(());
            }
            let reason = format!("`{}` is {}; norms must be F32", info.name, info.ty.name());
            ("general.architecture", reason)
        }
    };
    Err(Error::Metadata { file: info.file.clone(), key: key.to_owned(), reason })
}

/// The f32 numbers of `bytes`, each less one.
pub(super) fn minus_one(bytes: &[u8]) -> TensorBytes {
    TensorBytes::build(bytes.len(), |out| {
        let numbers = bytes.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<4>().0);
        for (number, out) in numbers {
            *out = (f32::from_le_bytes(*number) - 1.0).to_le_bytes();
        }
    })
}

/// The rows of `bytes` (a weight `[rows, in]` or a bias `[rows]`) in half-split order.
pub(super) fn half_split(info: &TensorInfo, bytes: &[u8], heads: usize) -> TensorBytes {
    let rows = info.shape.first().copied().unwrap_or(0);
    let head_dim = rows.checked_div(heads).unwrap_or(0);
    let half = head_dim / 2;
    let row_bytes = bytes.len().checked_div(rows).unwrap_or(0);
    let head_bytes = head_dim * row_bytes;
    TensorBytes::build(bytes.len(), |out| {
        if half == 0 || row_bytes == 0 {
            return;
        }
        let heads = out.chunks_exact_mut(head_bytes).zip(bytes.chunks_exact(head_bytes));
        for (out, head) in heads {
            // [head_dim] = [half, 2] → [2, half]
            let (first, second) = out.split_at_mut(half * row_bytes);
            let halves = first.chunks_exact_mut(row_bytes).zip(second.chunks_exact_mut(row_bytes));
            for ((first, second), pair) in halves.zip(head.chunks_exact(2 * row_bytes)) {
                let (even, odd) = pair.split_at(row_bytes);
                first.copy_from_slice(even);
                second.copy_from_slice(odd);
            }
        }
    })
}
