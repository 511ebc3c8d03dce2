//! CPU storage as slices, for the custom operations of the rooms above. Knows candle and nothing else.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use half::f16;
use std::cell::Cell;

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

/// Hands the numbers of a contiguous f32 tensor to `work` where they lie, to be read and written. They are those of
/// every tensor that shares its memory.
///
/// # Errors
/// When the tensor is of another type, strided or on another device; `op` is named in the text.
pub fn with_f32<R>(x: &Tensor, op: &'static str, work: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
    let with = With { op, work: Cell::new(Some(work)), result: Cell::new(None) };
    x.inplace_op1(&with)?;
    match with.result.into_inner() {
        Some(result) => Ok(result),
        None => bail!("{op} did not run"),
    }
}

/// What [`with_f32`] has candle do, once.
struct With<F, R> {
    op: &'static str,
    work: Cell<Option<F>>,
    result: Cell<Option<R>>,
}

impl<F: FnOnce(&mut [f32]) -> R, R> InplaceOp1 for With<F, R> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let numbers = f32_slice_mut(x, layout, self.op)?;
        self.result.set(self.work.take().map(|work| work(numbers)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn numbers_are_those_of_the_tensor() {
        let x = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        let row = x.get(1).unwrap();
        let sum = with_f32(&row, "sum", |row| {
            row[0] = 10.0;
            row.iter().sum::<f32>()
        });
        assert_eq!(sum.unwrap(), 19.0);
        assert_eq!(x.to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [10.0, 4.0, 5.0]]);
        let strided = with_f32(&x.t().unwrap(), "turned", |_| ()).unwrap_err();
        assert!(strided.to_string().contains("turned wants contiguous"), "{strided}");
        let bytes = with_f32(&x.to_dtype(DType::U8).unwrap(), "bytes", |_| ()).unwrap_err();
        assert!(bytes.to_string().contains("bytes wants f32"), "{bytes}");
    }
}
