//! Writes small GGUF files for tests; the reader's mirror image, sharing none of its code.
//! Source: the GGUF specification (docs/gguf.md in the ggml repository).

use super::{Array, Value};
use mistralrs_kernels::QuantType;
use std::path::{Path, PathBuf};

pub(crate) struct GgufWriter {
    pub(crate) version: u32,
    pub(crate) alignment: usize,
    values: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

struct Tensor {
    name: String,
    /// Row-major; the file has the opposite order.
    shape: Vec<usize>,
    type_id: u32,
    bytes: Vec<u8>,
}

impl GgufWriter {
    pub(crate) fn new(architecture: &str) -> Self {
        let writer = Self { version: 3, alignment: 32, values: Vec::new(), tensors: Vec::new() };
        writer.value("general.architecture", Value::String(architecture.to_owned()))
    }

    pub(crate) fn value(mut self, key: &str, value: Value) -> Self {
        self.values.push((key.to_owned(), value));
        self
    }

    pub(crate) fn tensor(self, name: &str, shape: &[usize], ty: QuantType, bytes: Vec<u8>) -> Self {
        self.tensor_of_type(name, shape, ty.gguf_id(), bytes)
    }

    pub(crate) fn tensor_of_type(
        mut self,
        name: &str,
        shape: &[usize],
        type_id: u32,
        bytes: Vec<u8>,
    ) -> Self {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.tensors.push(Tensor { name, shape, type_id, bytes });
        self
    }

    pub(crate) fn f32s(self, name: &str, shape: &[usize], numbers: &[f32]) -> Self {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensor(name, shape, QuantType::F32, bytes)
    }

    pub(crate) fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let file = folder.join(name);
        std::fs::write(&file, self.build()).unwrap();
        file
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.values.len() as u64).to_le_bytes());
        for (key, value) in &self.values {
            put_string(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_string(&mut out, &tensor.name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for &dimension in tensor.shape.iter().rev() {
                out.extend((dimension as u64).to_le_bytes());
            }
            out.extend(tensor.type_id.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset = (offset + tensor.bytes.len()).next_multiple_of(self.alignment);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&tensor.bytes);
        }
        out
    }
}

fn put_string(out: &mut Vec<u8>, string: &str) {
    out.extend((string.len() as u64).to_le_bytes());
    out.extend(string.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let (id, bytes): (u32, Vec<u8>) = match value {
        Value::U8(n) => (0, n.to_le_bytes().into()),
        Value::I8(n) => (1, n.to_le_bytes().into()),
        Value::U16(n) => (2, n.to_le_bytes().into()),
        Value::I16(n) => (3, n.to_le_bytes().into()),
        Value::U32(n) => (4, n.to_le_bytes().into()),
        Value::I32(n) => (5, n.to_le_bytes().into()),
        Value::F32(x) => (6, x.to_le_bytes().into()),
        Value::Bool(yes) => (7, vec![u8::from(*yes)]),
        Value::String(string) => {
            let mut bytes = Vec::new();
            put_string(&mut bytes, string);
            (8, bytes)
        }
        Value::Array(array) => {
            let mut bytes = Vec::new();
            put_array(&mut bytes, array);
            (9, bytes)
        }
        Value::U64(n) => (10, n.to_le_bytes().into()),
        Value::I64(n) => (11, n.to_le_bytes().into()),
        Value::F64(x) => (12, x.to_le_bytes().into()),
    };
    out.extend(id.to_le_bytes());
    out.extend(bytes);
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    fn bytes<const N: usize, T: Copy>(all: &[T], of: fn(T) -> [u8; N]) -> Vec<u8> {
        all.iter().flat_map(|&x| of(x)).collect()
    }
    let (id, len, elements): (u32, usize, Vec<u8>) = match array {
        Array::U8(all) => (0, all.len(), all.clone()),
        Array::I8(all) => (1, all.len(), bytes(all, i8::to_le_bytes)),
        Array::U16(all) => (2, all.len(), bytes(all, u16::to_le_bytes)),
        Array::I16(all) => (3, all.len(), bytes(all, i16::to_le_bytes)),
        Array::U32(all) => (4, all.len(), bytes(all, u32::to_le_bytes)),
        Array::I32(all) => (5, all.len(), bytes(all, i32::to_le_bytes)),
        Array::F32(all) => (6, all.len(), bytes(all, f32::to_le_bytes)),
        Array::Bool(all) => (7, all.len(), bytes(all, |yes| [u8::from(yes)])),
        Array::String(all) => {
            let mut bytes = Vec::new();
            all.iter().for_each(|string| put_string(&mut bytes, string));
            (8, all.len(), bytes)
        }
        Array::Array(all) => {
            let mut bytes = Vec::new();
            all.iter().for_each(|array| put_array(&mut bytes, array));
            (9, all.len(), bytes)
        }
        Array::U64(all) => (10, all.len(), bytes(all, u64::to_le_bytes)),
        Array::I64(all) => (11, all.len(), bytes(all, i64::to_le_bytes)),
        Array::F64(all) => (12, all.len(), bytes(all, f64::to_le_bytes)),
    };
    out.extend(id.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
    out.extend(elements);
}
