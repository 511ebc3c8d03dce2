//! A cursor over untrusted little-endian bytes: every length is checked against what is left before
//! anything is read or allocated, so memory stays proportional to the file. Knows GGUF's value
//! encoding, not the header around it.
//! Source: the GGUF specification (docs/gguf.md in the ggml repository), versions 2 and 3.

use super::metadata::{Array, Strings, Value};
use crate::error::{Error, Result};
use std::path::Path;

/// Arrays of arrays are legal; real files have none. Deeper than this is an attack on the stack.
const MAX_ARRAY_DEPTH: usize = 4;
/// An array element that is itself an array starts with its type and its length.
const ARRAY_HEADER_BYTES: usize = 4 + 8;
/// A string starts with its length.
const STRING_HEADER_BYTES: usize = 8;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    file: &'a Path,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], file: &'a Path) -> Self {
        Self { bytes, at: 0, file }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// An error at the current position.
    pub(super) fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::Corrupt { file: self.file.to_owned(), offset: self.at as u64, reason: reason.into() }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.ends(N as u64)),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length followed by that many bytes.
    pub(super) fn string_bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u64()?;
        self.take(len)
    }

    /// A name: unlike text in values it must be UTF-8.
    pub(super) fn name(&mut self) -> Result<&'a str> {
        let start = self.at;
        let bytes = self.string_bytes()?;
        std::str::from_utf8(bytes).map_err(|error| Error::Corrupt {
            file: self.file.to_owned(),
            offset: start as u64,
            reason: format!("a name is no UTF-8: {error}"),
        })
    }

    /// A type id and the value after it.
    pub(super) fn value(&mut self) -> Result<Value> {
        let type_id = self.u32()?;
        Ok(match type_id {
            0 => Value::U8(self.array().map(u8::from_le_bytes)?),
            1 => Value::I8(self.array().map(i8::from_le_bytes)?),
            2 => Value::U16(self.array().map(u16::from_le_bytes)?),
            3 => Value::I16(self.array().map(i16::from_le_bytes)?),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(self.array().map(i32::from_le_bytes)?),
            6 => Value::F32(self.array().map(f32::from_le_bytes)?),
            7 => {
                let byte = self.array()?;
                Value::Bool(self.truth(byte)?)
            }
            // Text that is no UTF-8 is read with replacement characters: a vocabulary with one odd
            // token is more use than no vocabulary.
            8 => Value::String(String::from_utf8_lossy(self.string_bytes()?).into_owned()),
            9 => Value::Array(self.array_value(1)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(self.array().map(i64::from_le_bytes)?),
            12 => Value::F64(self.array().map(f64::from_le_bytes)?),
            other => return Err(self.corrupt(format!("{other} is no metadata value type"))),
        })
    }

    fn array_value(&mut self, depth: usize) -> Result<Array> {
        if depth > MAX_ARRAY_DEPTH {
            return Err(self.corrupt(format!("arrays nested deeper than {MAX_ARRAY_DEPTH}")));
        }
        let type_id = self.u32()?;
        let len = self.u64()?;
        Ok(match type_id {
            0 => Array::U8(self.numbers(len, u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(len, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(len, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(len, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(len, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(len, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(len, f32::from_le_bytes)?),
            7 => {
                let truths = self.take(len)?.iter().map(|&byte| self.truth([byte]));
                Array::Bool(truths.collect::<Result<_>>()?)
            }
            8 => Array::String(self.strings(len)?),
            9 => {
                self.count(len, ARRAY_HEADER_BYTES)?;
                Array::Array((0..len).map(|_| self.array_value(depth + 1)).collect::<Result<_>>()?)
            }
            10 => Array::U64(self.numbers(len, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(len, i64::from_le_bytes)?),
            12 => Array::F64(self.numbers(len, f64::from_le_bytes)?),
            other => return Err(self.corrupt(format!("{other} is no metadata array type"))),
        })
    }

    fn numbers<const N: usize, T>(&mut self, len: u64, from: fn([u8; N]) -> T) -> Result<Vec<T>> {
        let count = self.count(len, N)?;
        let bytes = self.take((count * N) as u64)?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|&chunk| from(chunk)).collect())
    }

    fn strings(&mut self, len: u64) -> Result<Strings> {
        let count = self.count(len, STRING_HEADER_BYTES)?;
        let mut strings = Strings::default();
        strings.reserve(count);
        for _ in 0..count {
            strings.push(&String::from_utf8_lossy(self.string_bytes()?));
        }
        Ok(strings)
    }

    fn truth(&self, [byte]: [u8; 1]) -> Result<bool> {
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.corrupt(format!("a truth value is 0 or 1, not {other}"))),
        }
    }

    /// `len` as a number of elements of at least `element_bytes`, if so many can still follow.
    pub(super) fn count(&self, len: u64, element_bytes: usize) -> Result<usize> {
        let left = self.bytes.len().saturating_sub(self.at);
        match usize::try_from(len) {
            Ok(count) if count <= left / element_bytes => Ok(count),
            _ => Err(self.corrupt(format!(
                "{len} elements of at least {element_bytes} bytes do not fit into the {left} bytes left"
            ))),
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let taken = usize::try_from(len)
            .ok()
            .and_then(|len| self.at.checked_add(len))
            .and_then(|end| self.bytes.get(self.at..end));
        match taken {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.ends(len)),
        }
    }

    fn ends(&self, wanted: u64) -> Error {
        let left = self.bytes.len().saturating_sub(self.at);
        self.corrupt(format!("{wanted} bytes are needed here, the file ends after {left}"))
    }
}
