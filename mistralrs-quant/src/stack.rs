//! Stacks of stored matrices: the same product many times over, with one piece of memory for all.
//! Knows stored bytes; not what the matrices are for. The arithmetic is in `mistralrs-kernels`.

use crate::checkpoint::{TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use crate::isq;
use crate::packed::{LEAST_ROWS, WeightOptions, check_length, dequantized};
use mistralrs_kernels::{PackedWeight, QuantType, Slabs, WeightRows, matmul, matmul_packed_parts};

/// One stored matrix: what its header says, as if it were a tensor of its own, and its bytes.
#[derive(Debug, Clone)]
pub struct StoredMatrix {
    /// Name, type and the shape `[out, in]`.
    pub info: TensorInfo,
    /// Rows of its type.
    pub bytes: TensorBytes,
}

impl StoredMatrix {
    /// Cuts a tensor of more dimensions into matrices `[rows, cols]`, in the order they lie in.
    ///
    /// # Errors
    /// The tensor's bytes do not fit its shape and type, or `rows · cols` do not divide it.
    pub fn cut(
        info: &TensorInfo,
        bytes: &TensorBytes,
        (rows, cols): (usize, usize),
    ) -> Result<Vec<Self>> {
        let (row_bytes, _) = check_length(info, bytes)?;
        let part = rows.saturating_mul(row_bytes);
        if info.shape.last() != Some(&cols) || part == 0 || !bytes.len().is_multiple_of(part) {
            return Err(Error::Misshapen {
                tensor: info.name.clone(),
                file: info.file.clone(),
                wanted: vec![rows, cols],
                found: info.shape.clone(),
            });
        }
        let of_part = TensorInfo { shape: vec![rows, cols], ..info.clone() };
        let starts = (0..bytes.len()).step_by(part);
        let cut = |start| Self { info: of_part.clone(), bytes: bytes.part(start..start + part) };
        Ok(starts.map(cut).collect())
    }
}

impl StoredMatrix {
    /// `count` of its rows, shared; too few of them if they are not all there.
    #[must_use]
    pub fn rows(&self, first: usize, count: usize) -> Self {
        let cols = self.info.shape.last().copied().unwrap_or(0);
        let row_bytes = self.info.ty.row_bytes(cols).unwrap_or(0);
        let start = first.saturating_mul(row_bytes);
        let end = start.saturating_add(count.saturating_mul(row_bytes));
        let info = TensorInfo { shape: vec![count, cols], ..self.info.clone() };
        Self { info, bytes: self.bytes.part(start..end) }
    }

    /// Columns as rows: in the type it is stored in, or in F32 where that has blocks along a row.
    ///
    /// # Errors
    /// Its bytes do not fit its shape and type.
    pub fn transposed(&self) -> Result<Self> {
        let (row_bytes, cols) = check_length(&self.info, &self.bytes)?;
        let numbers = dequantized(self.info.ty, &self.bytes, row_bytes, cols);
        self.bytes.release();
        let ty = match self.info.ty {
            plain if plain.block_len() == 1 => plain,
            _ => QuantType::F32,
        };
        let rows = numbers.len().checked_div(cols).unwrap_or(0);
        let info = TensorInfo { shape: vec![cols, rows], ty, ..self.info.clone() };
        let row_bytes = ty.row_bytes(rows).unwrap_or(0);
        let bytes = TensorBytes::build(cols * row_bytes, |out| {
            let mut row = Vec::with_capacity(rows);
            for (column, out) in out.chunks_exact_mut(row_bytes.max(1)).enumerate() {
                row.clear();
                row.extend(numbers.iter().skip(column).step_by(cols.max(1)));
                ty.quantize_row(&row, out);
            }
        });
        Ok(Self { info, bytes })
    }
}

/// Matrices of one shape, each addressed by its number: one of each expert, one of each head.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) form: Form,
    pub(crate) count: usize,
    /// Of each matrix.
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

/// How a stack is kept.
#[derive(Debug)]
pub(crate) enum Form {
    /// As they are stored; the types may differ.
    Stored(Vec<(QuantType, TensorBytes)>),
    /// All in tiles.
    Tiled(PackedWeight),
}

impl Stack {
    pub(crate) fn new(
        matrices: Vec<StoredMatrix>,
        shape: &[usize],
        options: &WeightOptions,
    ) -> Result<Self> {
        let &[rows, cols] = shape else {
            return Err(Error::EmptyStack);
        };
        let count = matrices.len();
        let parts = matrices
            .into_iter()
            .map(|matrix| prepare(matrix, shape, options))
            .collect::<Result<Vec<_>>>()?;
        let form = match options.stay_mapped || rows < LEAST_ROWS {
            true => Form::Stored(parts),
            false => Form::fastest(parts, (rows, cols), &options.slabs),
        };
        Ok(Self { form, count, rows, cols })
    }

    pub(crate) fn bytes(&self) -> usize {
        match &self.form {
            Form::Stored(parts) => parts.iter().map(|(_, bytes)| bytes.len()).sum(),
            Form::Tiled(tiled) => tiled.size(),
        }
    }

    pub(crate) fn is_tiled(&self) -> bool {
        matches!(self.form, Form::Tiled(_))
    }

    /// `x [m, cols]` times matrix `at`: `y [m, rows]`.
    pub(crate) fn multiply(&self, at: usize, x: &[f32], y: &mut [f32]) {
        match &self.form {
            Form::Tiled(tiled) => matmul_packed_parts(&[tiled.part(at)], x, &mut [y]),
            Form::Stored(parts) => {
                if let Some((ty, bytes)) = parts.get(at) {
                    let weight = WeightRows { ty: *ty, bytes, rows: self.rows, cols: self.cols };
                    matmul(&weight, x, y);
                }
            }
        }
    }
}

impl Form {
    /// Tiles, if the types are equal and have them here.
    fn fastest(
        parts: Vec<(QuantType, TensorBytes)>,
        (rows, cols): (usize, usize),
        slabs: &Slabs,
    ) -> Self {
        let first = parts.first().map(|(ty, _)| *ty);
        let same = parts.iter().all(|(ty, _)| Some(*ty) == first);
        let stored = || {
            let rows_of = |part| {
                let (ty, bytes): &(QuantType, TensorBytes) = part;
                WeightRows { ty: *ty, bytes, rows, cols }
            };
            parts.iter().map(rows_of).collect::<Vec<_>>()
        };
        match same.then(|| PackedWeight::stack(&stored(), slabs)).flatten() {
            Some(tiled) => {
                parts.iter().for_each(|(_, bytes)| bytes.release());
                Self::Tiled(tiled)
            }
            None => Self::Stored(parts),
        }
    }
}

/// Checks one matrix and quantizes it if asked.
fn prepare(
    StoredMatrix { info, bytes }: StoredMatrix,
    shape: &[usize],
    options: &WeightOptions,
) -> Result<(QuantType, TensorBytes)> {
    if info.shape != shape {
        return Err(Error::Misshapen {
            tensor: info.name,
            file: info.file,
            wanted: shape.to_vec(),
            found: info.shape,
        });
    }
    check_length(&info, &bytes)?;
    let cols = shape.last().copied().unwrap_or(0);
    let ty = isq::target(&info, options.isq.decide(&info.name), cols)?;
    Ok((ty, isq::requantize(bytes, info.ty, ty, cols)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::tests::{info, noise, stored};

    #[test]
    fn rows_and_columns() {
        let numbers = noise(6 * 64, 1);
        for ty in [QuantType::F32, QuantType::BF16, QuantType::Q8_0] {
            let whole = StoredMatrix { info: info(&[6, 64], ty), bytes: stored(&numbers, 64, ty) };
            let rows = whole.rows(2, 3);
            assert_eq!(rows.info.shape, [3, 64]);
            assert_eq!(&*rows.bytes, &*stored(&numbers[2 * 64..5 * 64], 64, ty));
            assert!(check_length(&whole.rows(4, 3).info, &whole.rows(4, 3).bytes).is_err());
            let there = crate::dense(&rows.info, rows.bytes.clone()).unwrap();
            let turned = rows.transposed().unwrap();
            let back = crate::dense(&turned.info, turned.bytes).unwrap();
            let back = back.t().unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(there.to_vec2::<f32>().unwrap(), back, "{ty:?}");
        }
    }
}
