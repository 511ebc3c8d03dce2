//! A weight away from this project's kernels: candle's operations multiply it. Blocks stay blocks where candle
//! multiplies them, halves stay halves; the rest is widened to the place's numbers.

use crate::method::{QuantMethod, WeightInfo};
use crate::packed::Packed;
use crate::place::Place;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{GgmlDType, QMatMul};
use candle_core::{DType, Device, Module, Result, Tensor, bail};
use mistralrs_kernels::{QuantType, packed_bytes};
use std::ops::AddAssign;

/// A weight `[out, in]` at a place.
#[derive(Debug)]
pub(crate) struct Placed {
    numbers: Numbers,
    /// The same as it lies in the file: rows that are looked up are read from there.
    stored: Option<Packed>,
    info: WeightInfo,
    place: Place,
}

#[derive(Debug)]
enum Numbers {
    /// `[out, in]`
    Plain(Tensor),
    /// For places of `f32` numbers.
    Blocks(QMatMul),
}

impl Placed {
    /// Brings a weight there that is kept as it was stored.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub(crate) fn new(stored: Packed, place: &Place) -> Result<Self> {
        let info = stored.info();
        let WeightInfo { ty, rows, cols, .. } = info;
        let blocks = ggml(ty).filter(|_| place.dtype() == DType::F32);
        let numbers = match (blocks, stored.bytes()) {
            (Some(dtype), Some(bytes)) => {
                let tensor = qtensor_from_ggml(dtype, bytes, vec![rows, cols], place.device())?;
                Numbers::Blocks(QMatMul::from_qtensor(tensor)?)
            }
            _ => {
                let narrow = halves(ty).filter(|_| place.dtype() == DType::F32);
                let kept = Place::new(place.device().clone(), narrow.unwrap_or(place.dtype()));
                Numbers::Plain(kept.take(&stored.dequantize()?)?)
            }
        };
        // What was quantized while loading is not in the file: its rows are widened when they are asked for.
        let stored = info.requested.is_none().then_some(stored);
        Ok(Self { numbers, stored, info, place: place.clone() })
    }
}

impl QuantMethod for Placed {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let WeightInfo { rows, cols, .. } = self.info;
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == cols => *last = rows,
            _ => bail!("an input of shape {:?} for a weight [{rows}, {cols}]", x.dims()),
        }
        if !Place::of(x).is(&self.place) {
            bail!("a weight at {:?}, its input at {:?}", self.place, Place::of(x));
        }
        let x = x.reshape(((), cols))?;
        let y = match &self.numbers {
            Numbers::Plain(weight) => x.to_dtype(weight.dtype())?.matmul(&weight.t()?)?,
            Numbers::Blocks(weight) => weight.forward(&x)?,
        };
        y.to_dtype(self.place.dtype())?.reshape(shape)
    }

    fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match &self.stored {
            Some(stored) => self.place.take(&stored.rows(&ids.to_device(&Device::Cpu)?)?),
            None => {
                let ids = ids.to_device(self.place.device())?;
                self.place.take(&self.dequantize()?)?.index_select(&ids, 0)
            }
        }
    }

    fn dequantize(&self) -> Result<Tensor> {
        let numbers = match &self.numbers {
            Numbers::Plain(weight) => weight.clone(),
            Numbers::Blocks(QMatMul::QTensor(weight)) => weight.dequantize(self.place.device())?,
            Numbers::Blocks(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) => weight.clone(),
        };
        numbers.to_dtype(DType::F32)?.to_device(&Device::Cpu)
    }

    fn info(&self) -> WeightInfo {
        self.info
    }
}

/// candle's name of a type of blocks, if it knows the type.
fn ggml(ty: QuantType) -> Option<GgmlDType> {
    Some(match ty {
        QuantType::F32
        | QuantType::F16
        | QuantType::BF16
        | QuantType::IQ4_NL
        | QuantType::IQ4_XS
        | QuantType::IQ3_S
        | QuantType::IQ3_XXS
        | QuantType::IQ2_S
        | QuantType::IQ2_XS
        | QuantType::IQ2_XXS
        | QuantType::IQ1_M
        | QuantType::IQ1_S => return None,
        QuantType::Q4_0 => GgmlDType::Q4_0,
        QuantType::Q4_1 => GgmlDType::Q4_1,
        QuantType::Q5_0 => GgmlDType::Q5_0,
        QuantType::Q5_1 => GgmlDType::Q5_1,
        QuantType::Q8_0 => GgmlDType::Q8_0,
        QuantType::Q2_K => GgmlDType::Q2K,
        QuantType::Q3_K => GgmlDType::Q3K,
        QuantType::Q4_K => GgmlDType::Q4K,
        QuantType::Q5_K => GgmlDType::Q5K,
        QuantType::Q6_K => GgmlDType::Q6K,
    })
}

/// How many bytes a weight takes, by where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WeightSize {
    /// In main memory, packed for this processor. Bfloat16 may take three quarters of it.
    pub here: u64,
    /// On a device.
    pub there: u64,
}

impl WeightSize {
    /// That of a weight of this type which takes so many bytes in a file.
    pub fn of(ty: QuantType, stored: u64) -> Self {
        let stays = ty.block_len() == 1 || ggml(ty).is_some();
        let numbers = stored / ty.block_bytes() as u64 * ty.block_len() as u64;
        let there = if stays { stored } else { numbers * size_of::<f32>() as u64 };
        Self { here: packed_bytes(ty, stored), there }
    }
}

impl AddAssign for WeightSize {
    fn add_assign(&mut self, other: Self) {
        self.here += other.here;
        self.there += other.there;
    }
}

fn halves(ty: QuantType) -> Option<DType> {
    match ty {
        QuantType::F16 => Some(DType::F16),
        QuantType::BF16 => Some(DType::BF16),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
