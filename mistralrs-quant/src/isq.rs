//! In-situ quantization: plain numbers become blocks while a model is loaded. Knows bytes and types;
//! which weights are quantized is decided by whoever loads.

use crate::checkpoint::{TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use mistralrs_kernels::QuantType;
use rayon::prelude::*;

/// The type a weight with rows of `cols` numbers gets when `wanted` is asked for: that, or the next
/// best whose blocks divide a row, or what is stored.
///
/// # Errors
/// [`Error::AlreadyQuantized`] if the stored numbers are in blocks of another type.
pub(crate) fn target(
    info: &TensorInfo,
    wanted: Option<QuantType>,
    cols: usize,
) -> Result<QuantType> {
    let Some(wanted) = wanted.filter(|&wanted| wanted != info.ty) else {
        return Ok(info.ty);
    };
    if info.ty.block_len() > 1 {
        return Err(Error::AlreadyQuantized {
            tensor: info.name.clone(),
            file: info.file.clone(),
            stored: info.ty,
            wanted,
        });
    }
    let mut candidates = std::iter::successors(Some(wanted), |&ty| with_shorter_blocks(ty));
    Ok(candidates.find(|ty| cols.is_multiple_of(ty.block_len())).unwrap_or(info.ty))
}

/// For rows that are no multiple of 256: the type with blocks of 32 that keeps at least as much.
/// The same choices as `llama-quantize` makes.
fn with_shorter_blocks(ty: QuantType) -> Option<QuantType> {
    match ty {
        QuantType::Q2_K | QuantType::Q3_K => Some(QuantType::Q4_0),
        QuantType::Q4_K => Some(QuantType::Q5_0),
        QuantType::Q5_K => Some(QuantType::Q5_1),
        QuantType::Q6_K => Some(QuantType::Q8_0),
        _ => None,
    }
}

/// Rows of `cols` numbers of type `from`, converted to `to`; the same bytes if there is nothing to convert.
pub(crate) fn requantize(
    bytes: TensorBytes,
    from: QuantType,
    to: QuantType,
    cols: usize,
) -> TensorBytes {
    let (Some(from_row @ 1..), Some(to_row)) = (from.row_bytes(cols), to.row_bytes(cols)) else {
        return bytes;
    };
    if from == to {
        return bytes;
    }
    let converted = TensorBytes::build(bytes.len() / from_row * to_row, |out| {
        out.par_chunks_mut(to_row).zip(bytes.par_chunks(from_row)).for_each_init(
            || vec![0.; cols],
            |numbers, (out, row)| {
                from.dequantize_row(row, numbers);
                to.quantize_row(numbers, out);
            },
        );
    });
    bytes.release();
    converted
}

#[cfg(test)]
mod tests;
