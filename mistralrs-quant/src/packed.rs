//! A weight whose bytes stay as they are stored, plain or in blocks, in the memory map or owned:
//! there is one copy, and products are computed from it. Knows candle's CPU storage; the
//! arithmetic is in `mistralrs-kernels`.

use crate::checkpoint::{TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use crate::isq;
use crate::method::{QuantMethod, WeightInfo};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor, bail};
use mistralrs_kernels::{QuantType, WeightRows, matmul};
use rayon::prelude::*;
use std::sync::Arc;

/// Fewer numbers than this are converted by the calling thread alone.
const PARALLEL_NUMBERS: usize = 64 * 1024;

/// Makes a weight of a two-dimensional tensor, quantizing it to `isq` if asked.
///
/// # Errors
/// The tensor is no matrix, its bytes do not fit its shape and type, or it is to be quantized but
/// already is.
pub fn weight(
    info: &TensorInfo,
    bytes: TensorBytes,
    isq: Option<QuantType>,
) -> Result<Arc<dyn QuantMethod>> {
    let &[rows, cols] = info.shape.as_slice() else {
        return Err(Error::NotAMatrix {
            tensor: info.name.clone(),
            file: info.file.clone(),
            found: info.shape.clone(),
        });
    };
    check_length(info, &bytes)?;
    let ty = isq::target(info, isq, cols)?;
    let bytes = isq::requantize(&bytes, info.ty, ty, cols).unwrap_or(bytes);
    let info = WeightInfo { ty, rows, cols, bytes: bytes.len(), stored: info.ty, requested: isq };
    Ok(Arc::new(Packed { bytes, info }))
}

/// Makes an f32 tensor of any stored tensor, of its shape: norms and biases.
///
/// # Errors
/// Its bytes do not fit its shape and type.
pub fn dense(info: &TensorInfo, bytes: TensorBytes) -> Result<Tensor> {
    let (row_bytes, cols) = check_length(info, &bytes)?;
    let numbers = dequantized(info.ty, &bytes, row_bytes, cols);
    Tensor::from_vec(numbers, info.shape.as_slice(), &Device::Cpu).map_err(|source| Error::Tensor {
        tensor: info.name.clone(),
        file: info.file.clone(),
        source: Box::new(source),
    })
}

/// Whether the bytes are as many as the shape needs; the bytes and the numbers of a row.
fn check_length(info: &TensorInfo, bytes: &[u8]) -> Result<(usize, usize)> {
    let cols = info.shape.last().copied().unwrap_or(1);
    let Some(row_bytes) = info.ty.row_bytes(cols) else {
        return Err(Error::NotDivisible {
            tensor: info.name.clone(),
            file: info.file.clone(),
            ty: info.ty,
            cols,
        });
    };
    let outer = info.shape.iter().rev().skip(1);
    let wanted = outer.fold(row_bytes, |all, &n| all.saturating_mul(n));
    if bytes.len() != wanted {
        return Err(Error::WrongLength {
            tensor: info.name.clone(),
            file: info.file.clone(),
            wanted,
            found: bytes.len(),
        });
    }
    Ok((row_bytes, cols))
}

/// All rows of `bytes` as f32.
fn dequantized(ty: QuantType, bytes: &[u8], row_bytes: usize, cols: usize) -> Vec<f32> {
    if row_bytes == 0 || cols == 0 {
        return Vec::new();
    }
    let mut numbers = vec![0.; bytes.len() / row_bytes * cols];
    numbers
        .par_chunks_mut(cols)
        .with_min_len(PARALLEL_NUMBERS.div_ceil(cols))
        .zip(bytes.par_chunks(row_bytes))
        .for_each(|(row, bytes)| ty.dequantize_row(bytes, row));
    numbers
}

#[derive(Debug)]
struct Packed {
    bytes: TensorBytes,
    info: WeightInfo,
}

impl QuantMethod for Packed {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        if !x.device().is_cpu() {
            bail!(
                "a weight in {} is on the CPU, its input on {:?}",
                self.info.ty.name(),
                x.device()
            );
        }
        x.contiguous()?.apply_op1_no_bwd(&Product(self))
    }

    fn rows(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        let ids = ids.to_vec1::<u32>()?;
        let WeightInfo { ty, rows, cols, .. } = self.info;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
            bail!("row {id} of a weight with {rows} rows");
        }
        let row_bytes = self.bytes.len().checked_div(rows).unwrap_or(0);
        let mut numbers = vec![0.; ids.len() * cols];
        if cols > 0 {
            numbers
                .par_chunks_mut(cols)
                .with_min_len(PARALLEL_NUMBERS.div_ceil(cols))
                .zip(&ids)
                .for_each(|(row, &id)| {
                    let start = id as usize * row_bytes;
                    if let Some(bytes) = self.bytes.get(start..start + row_bytes) {
                        ty.dequantize_row(bytes, row);
                    }
                });
        }
        Tensor::from_vec(numbers, (ids.len(), cols), &Device::Cpu)
    }

    fn dequantize(&self) -> candle_core::Result<Tensor> {
        let WeightInfo { ty, rows, cols, .. } = self.info;
        let row_bytes = self.bytes.len().checked_div(rows).unwrap_or(0);
        Tensor::from_vec(dequantized(ty, &self.bytes, row_bytes, cols), (rows, cols), &Device::Cpu)
    }

    fn info(&self) -> WeightInfo {
        self.info
    }
}

/// The product as candle's operation: it hands over the numbers without a copy.
struct Product<'a>(&'a Packed);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "packed-weight-product"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Packed { bytes, info } = self.0;
        let CpuStorage::F32(x) = storage else {
            bail!("a linear layer computes in f32, its input is {:?}", storage.dtype());
        };
        let Some(x) = layout.contiguous_offsets().and_then(|(start, end)| x.get(start..end)) else {
            bail!("the input of a linear layer is not contiguous: {layout:?}");
        };
        let mut shape = layout.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == info.cols => *last = info.rows,
            _ => bail!(
                "an input of shape {:?} for a weight [{}, {}]",
                layout.dims(),
                info.rows,
                info.cols
            ),
        }
        let shape = Shape::from(shape);
        let mut y = vec![0.; shape.elem_count()];
        if !y.is_empty() {
            let weight = WeightRows { ty: info.ty, bytes, rows: info.rows, cols: info.cols };
            matmul(&weight, x, &mut y);
        }
        Ok((CpuStorage::F32(y), shape))
    }
}

#[cfg(test)]
pub(crate) mod tests;
