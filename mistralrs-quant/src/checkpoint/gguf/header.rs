//! The header of one GGUF file: metadata and the table of tensors, with every place and length
//! checked against the file. Names and shapes are still GGUF's. Knows nothing of architectures.
//! Source: the GGUF specification (docs/gguf.md in the ggml repository), versions 2 and 3.

use super::metadata::Metadata;
use super::reader::Reader;
use crate::error::{Error, Result};
use mistralrs_kernels::QuantType;
use std::ops::Range;
use std::path::Path;

const MAGIC: [u8; 4] = *b"GGUF";
const VERSIONS: Range<u32> = 2..4;
const DEFAULT_ALIGNMENT: u64 = 32;
/// ggml tensors have at most four dimensions.
const MAX_DIMENSIONS: u32 = 4;
/// The shortest entry of the tensor table: name length, number of dimensions, type, offset.
const MIN_TENSOR_ENTRY_BYTES: usize = 8 + 4 + 4 + 8;

/// What stands before the tensor data.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<TensorEntry>,
}

/// One line of the tensor table.
#[derive(Debug, PartialEq)]
pub(super) struct TensorEntry {
    pub(super) name: String,
    /// Row-major: the longest-striding dimension first, the opposite of the file's order.
    pub(super) shape: Vec<usize>,
    pub(super) ty: QuantType,
    /// Where its bytes are, counted from the start of the file; inside the file.
    pub(super) range: Range<usize>,
}

/// A line of the table before the start of the data is known.
struct Unplaced {
    name: String,
    shape: Vec<usize>,
    ty: QuantType,
    offset: u64,
    len: usize,
}

/// Reads the header of the file whose content is `bytes`.
pub(super) fn parse(bytes: &[u8], file: &Path) -> Result<Header> {
    let mut reader = Reader::new(bytes, file);
    check_version(&mut reader, file)?;
    let tensor_count = reader.u64()?;
    let value_count = reader.u64()?;
    let metadata = parse_metadata(&mut reader, value_count, file)?;
    let tensor_count = reader.count(tensor_count, MIN_TENSOR_ENTRY_BYTES)?;
    let mut unplaced = Vec::with_capacity(tensor_count);
    for _ in 0..tensor_count {
        unplaced.push(parse_tensor(&mut reader, file)?);
    }
    let alignment = alignment(&metadata, file)?;
    let data_start = (reader.position() as u64).checked_next_multiple_of(alignment);
    let tensors = unplaced.into_iter().map(|tensor| {
        let range = data_start.and_then(|start| place(&tensor, start, alignment, bytes.len()));
        match range {
            Some(range) => {
                Ok(TensorEntry { name: tensor.name, shape: tensor.shape, ty: tensor.ty, range })
            }
            None => Err(reader.corrupt(format!(
                "tensor `{}` of {} bytes at offset {} of the data does not lie inside the file, \
                 or not at a multiple of {alignment}",
                tensor.name, tensor.len, tensor.offset
            ))),
        }
    });
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    if let Some((first, second)) = overlapping(&tensors) {
        return Err(reader.corrupt(format!("tensors `{first}` and `{second}` overlap")));
    }
    Ok(Header { metadata, tensors })
}

/// Two tensors that lie on the same bytes.
fn overlapping(tensors: &[TensorEntry]) -> Option<(&str, &str)> {
    let mut placed: Vec<_> = tensors.iter().filter(|tensor| !tensor.range.is_empty()).collect();
    placed.sort_by_key(|tensor| tensor.range.start);
    placed.array_windows().find_map(|[first, second]| {
        (first.range.end > second.range.start).then_some((&*first.name, &*second.name))
    })
}

fn check_version(reader: &mut Reader<'_>, file: &Path) -> Result<()> {
    let unsupported = |found: String| Error::UnsupportedFormat {
        file: file.to_owned(),
        found,
        supported: "little-endian GGUF, versions 2 and 3",
    };
    let Ok(magic) = reader.array::<4>() else {
        return Err(unsupported("a file of fewer than 4 bytes".to_owned()));
    };
    if magic != MAGIC {
        return Err(unsupported(format!("a file that starts with `{}`", magic.escape_ascii())));
    }
    let version = reader.u32()?;
    if VERSIONS.contains(&version) {
        Ok(())
    } else if VERSIONS.contains(&version.swap_bytes()) {
        Err(unsupported("big-endian GGUF".to_owned()))
    } else {
        Err(unsupported(format!("GGUF version {version}")))
    }
}

fn parse_metadata(reader: &mut Reader<'_>, count: u64, file: &Path) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for _ in 0..count {
        let key = reader.name()?;
        let value = reader.value()?;
        if metadata.insert(key, value).is_some() {
            let (file, key) = (file.to_owned(), key.to_owned());
            return Err(Error::Metadata { file, key, reason: "stands there twice".to_owned() });
        }
    }
    Ok(metadata)
}

fn parse_tensor(reader: &mut Reader<'_>, file: &Path) -> Result<Unplaced> {
    let name = reader.name()?.to_owned();
    let dimensions = reader.u32()?;
    if dimensions > MAX_DIMENSIONS {
        return Err(reader.corrupt(format!(
            "tensor `{name}` has {dimensions} dimensions; the format allows {MAX_DIMENSIONS}"
        )));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let dimension = reader.u64()?;
        shape.push(usize::try_from(dimension).map_err(|_| {
            reader.corrupt(format!("tensor `{name}` has an impossible dimension: {dimension}"))
        })?);
    }
    shape.reverse();
    let type_id = reader.u32()?;
    let ty = QuantType::from_gguf_id(type_id).ok_or_else(|| Error::UnsupportedType {
        tensor: name.clone(),
        file: file.to_owned(),
        found: type_name(type_id),
        supported: supported_types(),
    })?;
    let offset = reader.u64()?;
    let cols = shape.last().copied().unwrap_or(1);
    if !cols.is_multiple_of(ty.block_len()) {
        return Err(Error::NotDivisible { tensor: name, file: file.to_owned(), ty, cols });
    }
    let rows = shape.iter().rev().skip(1).try_fold(1_usize, |all, &n| all.checked_mul(n));
    let len = ty.row_bytes(cols).zip(rows).and_then(|(row, rows)| row.checked_mul(rows));
    match len {
        Some(len) => Ok(Unplaced { name, shape, ty, offset, len }),
        None => Err(reader.corrupt(format!("tensor `{name}` has an impossible shape: {shape:?}"))),
    }
}

/// The tensor's bytes in the file, if they are inside it and aligned.
fn place(tensor: &Unplaced, start: u64, alignment: u64, file_len: usize) -> Option<Range<usize>> {
    if !tensor.offset.is_multiple_of(alignment) {
        return None;
    }
    let start = usize::try_from(start.checked_add(tensor.offset)?).ok()?;
    let end = start.checked_add(tensor.len)?;
    (end <= file_len).then_some(start..end)
}

fn alignment(metadata: &Metadata, file: &Path) -> Result<u64> {
    const KEY: &str = "general.alignment";
    if metadata.get(KEY).is_none() {
        return Ok(DEFAULT_ALIGNMENT);
    }
    metadata.get_u64(KEY).filter(|alignment| alignment.is_power_of_two()).ok_or_else(|| {
        Error::Metadata {
            file: file.to_owned(),
            key: KEY.to_owned(),
            reason: "must be a power of two".to_owned(),
        }
    })
}

/// The types of the table, comma-separated.
fn supported_types() -> String {
    QuantType::ALL.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(", ")
}

/// ggml's name of a type that is not in our table.
fn type_name(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("type {id}"),
    };
    name.to_owned()
}
