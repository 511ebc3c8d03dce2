//! From 8-bit values to what a model was trained on: rescaled, and normalized per channel (row G9).

use crate::error::{Error, Result};
use candle_core::{D, Tensor};

/// `(x − mean) / std` per channel; in and out `[channels, height, width]` or
/// `[batch, channels, height, width]` of a floating type.
///
/// # Errors
/// [`Error::Invalid`] if the numbers of channels differ, the rank is another, or the values are
/// integers (mean and deviation would become 0).
pub fn normalize(images: &Tensor, mean: &[f64], std: &[f64]) -> Result<Tensor> {
    let rank = images.rank();
    if !(3..=4).contains(&rank) {
        return Err(Error::Invalid(format!("images have 3 or 4 dimensions, not {rank}")));
    }
    let channels = images.dim(D::Minus(3))?;
    if mean.len() != channels || std.len() != channels {
        let (mean, std) = (mean.len(), std.len());
        return Err(Error::Invalid(format!(
            "{channels} channels, but {mean} means and {std} deviations"
        )));
    }
    if !images.dtype().is_float() {
        let dtype = images.dtype().as_str();
        return Err(Error::Invalid(format!("images have to be of a floating type, not {dtype}")));
    }
    let per_channel = |values: &[f64]| {
        Tensor::new(values, images.device())?.to_dtype(images.dtype())?.reshape((channels, 1, 1))
    };
    let centered = images.broadcast_sub(&per_channel(mean)?)?;
    Ok(centered.broadcast_div(&per_channel(std)?)?)
}

/// What becomes of each of the 256 values in each channel: rescaling and normalization at the price
/// of a look-up. To the bit as torchvision computes them fused.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelTable {
    values: Box<[[f32; 256]; 3]>,
}

impl PixelTable {
    /// `rescale` is the factor (1/255), `normalize` mean and deviation per channel; `None` = not done.
    pub fn new(rescale: Option<f64>, normalize: Option<([f64; 3], [f64; 3])>) -> Self {
        let mut values = Box::new([[0f32; 256]; 3]);
        for (channel, table) in values.iter_mut().enumerate() {
            let pick = |triple: [f64; 3]| triple.get(channel).copied().unwrap_or_default() as f32;
            for (value, entry) in table.iter_mut().enumerate() {
                let value = value as f32;
                *entry = match (rescale, normalize) {
                    (Some(factor), Some((mean, std))) => {
                        let unit = (1. / factor) as f32;
                        (value - pick(mean) * unit) / (pick(std) * unit)
                    }
                    (None, Some((mean, std))) => (value - pick(mean)) / pick(std),
                    (Some(factor), None) => value * factor as f32,
                    (None, None) => value,
                };
            }
        }
        Self { values }
    }

    /// The entry of a value in a channel (0, 1 or 2).
    pub fn channel(&self, channel: usize) -> &[f32; 256] {
        &self.values[channel % 3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    const MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
    const STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

    fn images(batch: usize) -> Tensor {
        let n = batch * 3 * 5 * 7;
        let values = (0..n).map(|i| (i * 37 % 256) as f32 / 255.).collect::<Vec<_>>();
        Tensor::from_vec(values, (batch, 3, 5, 7), &Device::Cpu).unwrap()
    }

    #[test]
    fn by_broadcasting_as_by_a_loop() {
        for (batch, squeeze) in [(1, true), (1, false), (4, false)] {
            let images = images(batch);
            let images = if squeeze { images.squeeze(0).unwrap() } else { images };
            let normal = normalize(&images, &MEAN, &STD).unwrap();
            assert_eq!(normal.dims(), images.dims());
            let values = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let found = normal.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (i, (value, found)) in values.iter().zip(found).enumerate() {
                let channel = i / 35 % 3;
                let wanted = (f64::from(*value) - MEAN[channel]) / STD[channel];
                assert!((f64::from(found) - wanted).abs() < 1e-6, "{i}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let images = images(2);
        assert!(normalize(&images, &MEAN[..2], &STD).is_err());
        assert!(normalize(&images, &MEAN, &STD[..1]).is_err());
        let bytes = images.to_dtype(DType::U8).unwrap();
        assert!(normalize(&bytes, &MEAN, &STD).unwrap_err().to_string().contains("u8"));
        assert!(normalize(&images.flatten_all().unwrap(), &MEAN, &STD).is_err());
    }

    #[test]
    fn the_table_says_the_same() {
        let table = PixelTable::new(Some(1. / 255.), Some((MEAN, STD)));
        let all: Vec<f32> = (0..3 * 256).map(|i| (i % 256) as f32 / 255.).collect();
        let all = Tensor::from_vec(all, (3, 16, 16), &Device::Cpu).unwrap();
        let normal = normalize(&all, &MEAN, &STD).unwrap().flatten_all().unwrap();
        for (i, wanted) in normal.to_vec1::<f32>().unwrap().into_iter().enumerate() {
            let found = table.channel(i / 256)[i % 256];
            assert!((found - wanted).abs() < 1e-6, "{i}");
        }
        assert_eq!(PixelTable::new(Some(0.5), None).channel(0)[3], 1.5);
        assert_eq!(PixelTable::new(None, None).channel(2)[7], 7.);
    }
}
