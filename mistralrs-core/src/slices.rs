//! CPU storage as slices, for the custom operations of the rooms above. Knows candle and nothing else.

use candle_core::{CpuStorage, Layout, Result, bail};
use half::f16;

/// The numbers of a contiguous f32 tensor.
///
/// # Errors
/// When the tensor is of another type or strided; `op` is named in the text.
pub fn f32_slice<'a>(storage: &'a CpuStorage, layout: &Layout, op: &str) -> Result<&'a [f32]> {
    let CpuStorage::F32(numbers) = storage else { bail!("{op} wants f32") };
    match layout.contiguous_offsets().and_then(|(start, end)| numbers.get(start..end)) {
        Some(slice) => Ok(slice),
        None => bail!("{op} wants contiguous tensors"),
    }
}

/// Like [`f32_slice`], to be written to.
///
/// # Errors
/// The same.
pub fn f32_slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
    op: &str,
) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(numbers) = storage else { bail!("{op} wants f32") };
    match layout.contiguous_offsets().and_then(|(start, end)| numbers.get_mut(start..end)) {
        Some(slice) => Ok(slice),
        None => bail!("{op} wants contiguous tensors"),
    }
}

/// The halves of a contiguous f16 tensor, to be written to.
///
/// # Errors
/// When the tensor is of another type or strided; `op` is named in the text.
pub fn f16_slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
    op: &str,
) -> Result<&'a mut [f16]> {
    let CpuStorage::F16(numbers) = storage else { bail!("{op} wants f16") };
    match layout.contiguous_offsets().and_then(|(start, end)| numbers.get_mut(start..end)) {
        Some(slice) => Ok(slice),
        None => bail!("{op} wants contiguous tensors"),
    }
}

/// The halves of a contiguous f16 tensor.
///
/// # Errors
/// The same.
pub fn f16_slice<'a>(storage: &'a CpuStorage, layout: &Layout, op: &str) -> Result<&'a [f16]> {
    let CpuStorage::F16(numbers) = storage else { bail!("{op} wants f16") };
    match layout.contiguous_offsets().and_then(|(start, end)| numbers.get(start..end)) {
        Some(slice) => Ok(slice),
        None => bail!("{op} wants contiguous tensors"),
    }
}
