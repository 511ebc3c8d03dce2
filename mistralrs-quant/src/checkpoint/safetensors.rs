//! The safetensors format: eight bytes of header length, a JSON header, then raw little-endian
//! numbers. One file or the shards of one model. Knows no models.
//! Source: the format section of the README in the `safetensors` repository.

use super::catalog::{self, Catalog};
use super::{Checkpoint, TensorInfo};
use crate::error::{Error, Result};
use mistralrs_kernels::QuantType;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The reference implementation reads no longer header either.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const LENGTH_BYTES: usize = 8;
/// Tables of positions (`embeddings.position_ids`) that older checkpoints carry: no model's numbers,
/// so they are passed over. Quantized weights are never stored so.
const INDEX_TABLE: &str = "I64";
const INDEX_BYTES: usize = 8;
/// The one key of the header that is no tensor.
const METADATA_KEY: &str = "__metadata__";

/// Opens a safetensors file, or all shards of a model in any order. Only headers are read.
///
/// # Errors
/// A file cannot be opened, breaks the format or holds numbers other than F32, F16 and BF16; two
/// files have a tensor of the same name.
pub fn open_safetensors(files: &[PathBuf]) -> Result<Arc<dyn Checkpoint>> {
    let mut catalog = Catalog::new(files.first().ok_or(Error::NoFiles)?);
    for file in files {
        let map = catalog::map(file)?;
        for (info, range) in parse(map.bytes(), file)? {
            catalog.add(info, &map, range)?;
        }
    }
    Ok(Arc::new(catalog))
}

/// The tensors of the file whose content is `bytes`, in the order of its data.
fn parse(bytes: &[u8], file: &Path) -> Result<Vec<(TensorInfo, Range<usize>)>> {
    let corrupt = |offset: usize, reason: String| Error::Corrupt {
        file: file.to_owned(),
        offset: offset as u64,
        reason,
    };
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>().ok_or_else(|| {
        corrupt(0, format!("{} bytes are too few for a safetensors file", bytes.len()))
    })?;
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length)
        .ok()
        .filter(|_| length <= MAX_HEADER_BYTES)
        .and_then(|length| rest.split_at_checked(length));
    let Some((header, data)) = header else {
        let reason = format!("a header of {length} bytes does not fit into the file");
        return Err(corrupt(0, reason));
    };
    let TensorTable(mut lines) = serde_json::from_slice(header)
        .map_err(|error| corrupt(LENGTH_BYTES, format!("the header is no table: {error}")))?;
    lines.sort_by_key(|(_, line)| line.data_offsets);
    let data_start = LENGTH_BYTES + header.len();
    let mut tensors = Vec::with_capacity(lines.len());
    let mut expected = 0;
    for (name, line) in lines {
        let (start, end) = line.data_offsets;
        let index_table = line.dtype == INDEX_TABLE;
        let ty = if index_table { None } else { Some(line.ty(&name, file)?) };
        let width = ty.map_or(INDEX_BYTES, QuantType::block_bytes);
        let wanted = line.shape.iter().try_fold(width, |all, &n| all.checked_mul(n));
        let fits = wanted.is_some_and(|wanted| end.checked_sub(start) == Some(wanted));
        // From the first byte to the last without holes.
        if !fits || start != expected || end > data.len() {
            return Err(corrupt(
                data_start,
                format!(
                    "tensor `{name}`, {} {:?}, is said to be at {start}..{end} of the {} data \
                     bytes; it must start at {expected} and fit its shape",
                    line.dtype,
                    line.shape,
                    data.len()
                ),
            ));
        }
        expected = end;
        if let Some(ty) = ty {
            let info = TensorInfo { name, shape: line.shape, ty, file: file.to_owned() };
            tensors.push((info, data_start + start..data_start + end));
        }
    }
    if expected != data.len() {
        let reason = format!("{} bytes of data belong to no tensor", data.len() - expected);
        return Err(corrupt(data_start + expected, reason));
    }
    Ok(tensors)
}

/// What the header says of one tensor.
#[derive(Deserialize)]
struct TensorLine {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl TensorLine {
    fn ty(&self, name: &str, file: &Path) -> Result<QuantType> {
        match self.dtype.as_str() {
            "F32" => Ok(QuantType::F32),
            "F16" => Ok(QuantType::F16),
            "BF16" => Ok(QuantType::BF16),
            other => Err(Error::UnsupportedType {
                tensor: name.to_owned(),
                file: file.to_owned(),
                found: other.to_owned(),
                supported: "F32, F16, BF16".to_owned(),
            }),
        }
    }
}

/// The header's lines as they stand: a map would hide a name that stands there twice.
struct TensorTable(Vec<(String, TensorLine)>);

impl<'de> Deserialize<'de> for TensorTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor)
    }
}

struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = TensorTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorTable, A::Error> {
        let mut lines = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                map.next_value::<IgnoredAny>()?;
            } else {
                lines.push((name, map.next_value()?));
            }
        }
        Ok(TensorTable(lines))
    }
}

#[cfg(test)]
mod tests;
