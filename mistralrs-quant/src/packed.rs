//! A weight of which there is one copy in memory: in tiles for integer arithmetic where the
//! processor has kernels for them, else its bytes as they are stored, in the memory map or owned.
//! Knows candle's CPU storage; the arithmetic is in `mistralrs-kernels`.

use crate::checkpoint::{TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use crate::isq::{self, Isq};
use crate::method::{QuantMethod, WeightInfo};
use crate::place::Place;
use crate::placed::Placed;
use crate::slices::f32_slice;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Storage, Tensor, bail};
use mistralrs_kernels::{
    GatedWeights, Gating, PackedPart, PackedWeight, QuantType, Slabs, WeightRows, matmul,
    matmul_packed_mlp, matmul_packed_new,
};
use rayon::prelude::*;
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

/// Fewer numbers than this are converted by the calling thread alone.
const PARALLEL_NUMBERS: usize = 64 * 1024;
/// Fewer rows than this fill no tile, and most of it would be wasted.
pub(crate) const LEAST_ROWS: usize = 16;

/// How a weight is kept.
#[derive(Debug, Clone, Default)]
pub struct WeightOptions {
    /// What it is quantized to.
    pub isq: Isq,
    /// Leave it in the memory map, where the system can let go of it and read it again: for models
    /// larger than memory. Slower than tiles, which are memory of our own.
    pub stay_mapped: bool,
    /// Memory for tiles: weights of one model lie in the same.
    pub slabs: Slabs,
    /// Where it is multiplied.
    pub place: Place,
}

impl From<Option<QuantType>> for WeightOptions {
    fn from(isq: Option<QuantType>) -> Self {
        Self { isq: isq.into(), ..Self::default() }
    }
}

impl WeightOptions {
    /// The same for weights that are not among those that are quantized, unless they are named.
    #[must_use]
    pub fn only_named(&self) -> Self {
        Self { isq: self.isq.only_named(), ..self.clone() }
    }

    /// The same for weights that stay as they are stored, whoever names them.
    #[must_use]
    pub fn as_stored(&self) -> Self {
        Self { isq: Isq::default(), ..self.clone() }
    }
}

/// Makes a weight of a two-dimensional tensor.
///
/// # Errors
/// The tensor is no matrix, its bytes do not fit its shape and type, or it is to be quantized but
/// already is.
pub fn weight(
    info: &TensorInfo,
    bytes: TensorBytes,
    options: &WeightOptions,
) -> Result<Arc<dyn QuantMethod>> {
    let &[rows, cols] = info.shape.as_slice() else {
        return Err(Error::NotAMatrix {
            tensor: info.name.clone(),
            file: info.file.clone(),
            found: info.shape.clone(),
        });
    };
    check_length(info, &bytes)?;
    let requested = options.isq.decide(&info.name);
    let ty = isq::target(info, requested, cols)?;
    let bytes = isq::requantize(bytes, info.ty, ty, cols);
    let stored = info.ty;
    let about = |bytes| WeightInfo { ty, rows, cols, bytes, stored, requested };
    if !options.place.has_kernels() {
        let about = about(bytes.len());
        return match Placed::new(Packed::stored(bytes, about), &options.place) {
            Ok(placed) => Ok(Arc::new(placed)),
            Err(source) => Err(unmade(info, source)),
        };
    }
    let form = match options.stay_mapped {
        true => Form::Stored(bytes),
        false => Form::fastest(bytes, ty, (rows, cols), &options.slabs),
    };
    let info = about(form.size());
    Ok(Arc::new(Packed { form, info }))
}

/// Makes an f32 tensor of any stored tensor, of its shape: norms and biases.
///
/// # Errors
/// Its bytes do not fit its shape and type.
pub fn dense(info: &TensorInfo, bytes: TensorBytes) -> Result<Tensor> {
    let (row_bytes, cols) = check_length(info, &bytes)?;
    let numbers = dequantized(info.ty, &bytes, row_bytes, cols);
    bytes.release();
    Tensor::from_vec(numbers, info.shape.as_slice(), &Device::Cpu)
        .map_err(|source| unmade(info, source))
}

fn unmade(info: &TensorInfo, source: candle_core::Error) -> Error {
    Error::Tensor { tensor: info.name.clone(), file: info.file.clone(), source: Box::new(source) }
}

/// Whether the bytes are as many as the shape needs; the bytes and the numbers of a row.
pub(crate) fn check_length(info: &TensorInfo, bytes: &[u8]) -> Result<(usize, usize)> {
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
pub(crate) fn dequantized(ty: QuantType, bytes: &[u8], row_bytes: usize, cols: usize) -> Vec<f32> {
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

/// The one copy of a weight's numbers.
#[derive(Debug)]
enum Form {
    Stored(TensorBytes),
    Tiled(PackedWeight),
}

impl Form {
    /// The form that is multiplied fastest here.
    fn fastest(
        bytes: TensorBytes,
        ty: QuantType,
        (rows, cols): (usize, usize),
        slabs: &Slabs,
    ) -> Self {
        let stored = WeightRows { ty, bytes: &bytes, rows, cols };
        match (rows >= LEAST_ROWS).then(|| PackedWeight::new(&stored, slabs)).flatten() {
            Some(tiled) => {
                bytes.release();
                Self::Tiled(tiled)
            }
            None => Self::Stored(bytes),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Stored(bytes) => bytes.len(),
            Self::Tiled(tiled) => tiled.size(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Packed {
    form: Form,
    info: WeightInfo,
}

impl Packed {
    /// A weight that is kept as it was stored.
    pub(crate) fn stored(bytes: TensorBytes, info: WeightInfo) -> Self {
        Self { form: Form::Stored(bytes), info }
    }

    /// Its bytes, if they are kept as they were stored.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.form {
            Form::Stored(bytes) => Some(bytes),
            Form::Tiled(_) => None,
        }
    }

    /// Turns the rows that `ids` names into numbers.
    fn read_rows(&self, ids: &[usize]) -> Vec<f32> {
        let WeightInfo { ty, rows, cols, .. } = self.info;
        let mut numbers = vec![0.; ids.len() * cols];
        if cols == 0 {
            return numbers;
        }
        let parts = numbers.par_chunks_mut(cols).with_min_len(PARALLEL_NUMBERS.div_ceil(cols));
        parts.zip(ids).for_each(|(out, &row)| match &self.form {
            Form::Tiled(tiled) if row < rows => tiled.dequantize_row(row, out),
            Form::Tiled(_) => {}
            Form::Stored(bytes) => {
                let row_bytes = bytes.len().checked_div(rows).unwrap_or(0);
                let start = row * row_bytes;
                if let Some(bytes) = bytes.get(start..start + row_bytes) {
                    ty.dequantize_row(bytes, out);
                }
            }
        });
        numbers
    }
}

/// A weight, or some rows of it, and what is added to its products.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    pub(crate) weight: &'a dyn QuantMethod,
    /// `[out]`, for all rows of the weight.
    pub(crate) bias: Option<&'a Tensor>,
    /// All without.
    pub(crate) rows: Option<Range<usize>>,
}

/// The products of `x` `[tokens, in]`, contiguous, with several parts, if all of them are tiled: `x` is then
/// rounded for all of them at once. The numbers are those of [`QuantMethod::forward`], biases added.
pub(crate) fn forward_parts(
    parts: &[Part<'_>],
    x: &Tensor,
) -> candle_core::Result<Option<Vec<Tensor>>> {
    with_tiles(parts, |parts| on_numbers(x, parts, parts, |x| Some(matmul_packed_new(parts, x))))
}

/// `down(act(gate(x)) · up(x))` for `x` `[tokens, in]`, contiguous, of the parts gate, up and down, if all
/// are tiled and fit each other: the numbers of the products and of what joins them.
pub(crate) fn forward_mlp(
    parts: &[Part<'_>; 3],
    x: &Tensor,
    gating: Gating,
) -> candle_core::Result<Option<Tensor>> {
    let y = with_tiles(parts, |parts| {
        let &[gate, up, down] = parts else { return Ok(None) };
        let w = GatedWeights { gate, up, down };
        on_numbers(x, &[gate, up], &[down], |x| matmul_packed_mlp(w, x, gating).map(|y| vec![y]))
    });
    Ok(y?.and_then(|mut y| y.pop()))
}

/// Hands over the parts' tiles, if all of them are tiled and their biases fit.
fn with_tiles<T>(
    parts: &[Part<'_>],
    work: impl FnOnce(&[PackedPart<'_>]) -> candle_core::Result<Option<T>>,
) -> candle_core::Result<Option<T>> {
    let biases: Vec<_> =
        parts.iter().map(|part| part.bias.map(Tensor::storage_and_layout)).collect();
    let tiled = parts.iter().zip(&biases).map(|(part, bias)| {
        let weight: &dyn Any = part.weight;
        let Form::Tiled(tiled) = &weight.downcast_ref::<Packed>()?.form else { return None };
        let mut tiled = PackedPart::from(tiled);
        if let Some((storage, layout)) = bias {
            let bias = numbers_of(storage, layout).filter(|_| layout.dims().len() == 1)?;
            tiled = (bias.len() == tiled.len()).then(|| tiled.with_bias(bias))?;
        }
        match &part.rows {
            Some(rows) => tiled.rows(rows.clone()),
            None => Some(tiled),
        }
    });
    match tiled.collect::<Option<Vec<_>>>() {
        Some(tiled) => work(&tiled),
        None => Ok(None),
    }
}

/// The numbers of a contiguous f32 tensor on the CPU.
fn numbers_of<'a>(storage: &'a Storage, layout: &Layout) -> Option<&'a [f32]> {
    let Storage::Cpu(CpuStorage::F32(numbers)) = storage else {
        return None;
    };
    let (start, end) = layout.contiguous_offsets()?;
    numbers.get(start..end)
}

/// Hands the numbers of `x` to `multiply`, if they are there and fit the parts `first`; the results are as
/// many as the rows of the parts `last` wide, in order.
fn on_numbers(
    x: &Tensor,
    first: &[PackedPart<'_>],
    last: &[PackedPart<'_>],
    multiply: impl FnOnce(&[f32]) -> Option<Vec<Vec<f32>>>,
) -> candle_core::Result<Option<Vec<Tensor>>> {
    let cols = x.dims().last().copied().unwrap_or(0);
    if first.iter().any(|part| part.cols() != cols) {
        return Ok(None);
    }
    let (storage, layout) = x.storage_and_layout();
    let Some(ys) = numbers_of(&storage, layout).and_then(multiply) else {
        return Ok(None);
    };
    let mut shape = layout.dims().to_vec();
    let tensors = ys.into_iter().zip(last).map(|(y, part)| {
        if let Some(last) = shape.last_mut() {
            *last = part.len();
        }
        Tensor::from_vec(y, shape.as_slice(), &Device::Cpu)
    });
    tensors.collect::<candle_core::Result<Vec<_>>>().map(Some)
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
        let WeightInfo { rows, cols, .. } = self.info;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
            bail!("row {id} of a weight with {rows} rows");
        }
        let ids: Vec<usize> = ids.into_iter().map(|id| id as usize).collect();
        Tensor::from_vec(self.read_rows(&ids), (ids.len(), cols), &Device::Cpu)
    }

    fn dequantize(&self) -> candle_core::Result<Tensor> {
        let WeightInfo { rows, cols, .. } = self.info;
        let all: Vec<usize> = (0..rows).collect();
        Tensor::from_vec(self.read_rows(&all), (rows, cols), &Device::Cpu)
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
        let Packed { form, info } = self.0;
        let x = f32_slice(storage, layout, self.name())?;
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
        let y = match form {
            Form::Tiled(tiled) => matmul_packed_new(&[tiled.into()], x).pop().unwrap_or_default(),
            Form::Stored(bytes) => {
                let mut y = vec![0.; shape.elem_count()];
                if !y.is_empty() {
                    let &WeightInfo { ty, rows, cols, .. } = info;
                    matmul(&WeightRows { ty, bytes, rows, cols }, x, &mut y);
                }
                y
            }
        };
        Ok((CpuStorage::F32(y), shape))
    }
}

#[cfg(test)]
pub(crate) mod tests;
