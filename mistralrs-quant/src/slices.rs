//! CPU storage as slices, for the operations of this crate. Knows candle and nothing else.

use candle_core::{CpuStorage, Layout, Result, bail};

/// The numbers of a contiguous f32 tensor.
///
/// # Errors
/// When the tensor is of another type or strided; `op` is named in the text.
pub(crate) fn f32_slice<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
    op: &str,
) -> Result<&'a [f32]> {
    let CpuStorage::F32(numbers) = storage else {
        bail!("{op} computes in f32, its input is another type");
    };
    match layout.contiguous_offsets().and_then(|(start, end)| numbers.get(start..end)) {
        Some(slice) => Ok(slice),
        None => bail!("the input of {op} is not contiguous: {layout:?}"),
    }
}
