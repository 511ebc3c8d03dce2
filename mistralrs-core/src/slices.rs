//! CPU storage as slices, for the custom operations of the rooms above. Knows candle and nothing else.

use candle_core::{CpuStorage, Layout, Result, bail};
use half::f16;

/// Two functions for one type of numbers: a slice to read, and one to write to.
macro_rules! slices {
    ($read:ident, $write:ident, $kind:ident, $number:ty, $name:literal) => {
        #[doc = concat!("The numbers of a contiguous ", $name, " tensor.")]
        ///
        /// # Errors
        /// When the tensor is of another type or strided; `op` is named in the text.
        pub fn $read<'a>(
            storage: &'a CpuStorage,
            layout: &Layout,
            op: &str,
        ) -> Result<&'a [$number]> {
            let CpuStorage::$kind(numbers) = storage else { bail!("{op} wants {}", $name) };
            match layout.contiguous_offsets().and_then(|(start, end)| numbers.get(start..end)) {
                Some(slice) => Ok(slice),
                None => bail!("{op} wants contiguous tensors"),
            }
        }

        #[doc = concat!("Like [`", stringify!($read), "`], to be written to.")]
        ///
        /// # Errors
        /// The same.
        pub fn $write<'a>(
            storage: &'a mut CpuStorage,
            layout: &Layout,
            op: &str,
        ) -> Result<&'a mut [$number]> {
            let CpuStorage::$kind(numbers) = storage else { bail!("{op} wants {}", $name) };
            match layout.contiguous_offsets().and_then(|(start, end)| numbers.get_mut(start..end)) {
                Some(slice) => Ok(slice),
                None => bail!("{op} wants contiguous tensors"),
            }
        }
    };
}

slices!(f32_slice, f32_slice_mut, F32, f32, "f32");
slices!(f16_slice, f16_slice_mut, F16, f16, "f16");
slices!(u8_slice, u8_slice_mut, U8, u8, "u8");
