//! Inputs made of other inputs: bytes of headers, values of JSON.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Where headers are: what lies behind is mostly numbers that may have any value.
const HEADER_BYTES: usize = 16 << 10;
/// Numbers at the borders of types and of what is allowed.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    255,
    256,
    4096,
    65_535,
    1 << 20,
    1 << 28,
    1 << 31,
    u32::MAX as u64,
    1 << 62,
    i64::MAX as u64,
    u64::MAX,
];
const WORDS: [&str; 16] = [
    "GGUF",
    "general.architecture",
    "general.alignment",
    "split.count",
    "llama.block_count",
    "tokenizer.ggml.model",
    "bert",
    "t5",
    "llama",
    "gpt2",
    "shape",
    "data_offsets",
    "F32",
    "I64",
    "__metadata__",
    "[[[[",
];

pub struct Mutator(ChaCha8Rng);

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end.max(1))
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.choose(&mut self.0)
    }

    /// One of the inputs with some bytes of its header changed.
    pub fn header(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(inputs).cloned().unwrap_or_default();
        for _ in 0..=self.below(5) {
            self.change_bytes(&mut bytes, inputs);
        }
        bytes
    }

    fn change_bytes(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(bytes.len().min(HEADER_BYTES));
        let len = 1 + self.below(64);
        let end = (at + len).min(bytes.len());
        match self.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.0.random(),
            2 | 3 => {
                let number = *self.pick(&NUMBERS).unwrap();
                let width = *self.pick(&[1, 2, 4, 8]).unwrap();
                overwrite(bytes, at, &number.to_le_bytes()[..width]);
            }
            4 => {
                let word = self.pick(&WORDS).unwrap().as_bytes();
                if self.0.random() { overwrite(bytes, at, word) } else { insert(bytes, at, word) }
            }
            5 => drop(bytes.drain(at..end)),
            6 => {
                let copy = bytes[at..end].to_vec();
                insert(bytes, at, &copy);
            }
            7 => {
                let other = self.pick(inputs).unwrap();
                let from = self.below(other.len().min(HEADER_BYTES));
                let part = other[from..(from + len).min(other.len())].to_vec();
                overwrite(bytes, at, &part);
            }
            _ if self.below(8) == 0 => bytes.truncate(at),
            _ => {
                let text = self.pick(&NUMBERS).unwrap().to_string();
                overwrite(bytes, at, text.as_bytes());
            }
        }
    }

    /// One of the inputs with some values changed, and now and then some bytes.
    pub fn json(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let bytes = self.pick(inputs).cloned().unwrap_or_default();
        let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
            return self.header(inputs);
        };
        let other = self.pick(inputs).and_then(|other| serde_json::from_slice(other).ok());
        for _ in 0..=self.below(4) {
            self.change_value(&mut value, other.as_ref().unwrap_or(&Value::Null));
        }
        let mut bytes = value.to_string().into_bytes();
        if self.below(10) == 0 {
            self.change_bytes(&mut bytes, inputs);
        }
        bytes
    }

    fn change_value(&mut self, value: &mut Value, other: &Value) {
        let deeper = self.below(4) > 0;
        match value {
            Value::Object(keys) if deeper && !keys.is_empty() => {
                let key = keys.keys().nth(self.below(keys.len())).cloned().unwrap();
                match self.below(8) {
                    0 => drop(keys.remove(&key)),
                    1 | 2 => {
                        let theirs = other.as_object().into_iter().flatten();
                        let theirs: Vec<_> = theirs.collect();
                        if let Some((key, value)) = self.pick(&theirs).copied() {
                            keys.insert(key.clone(), value.clone());
                        }
                    }
                    _ => self.change_value(&mut keys[&key], other),
                }
            }
            Value::Array(values) if deeper && !values.is_empty() => {
                let at = self.below(values.len());
                self.change_value(&mut values[at], other);
            }
            _ => *value = self.any_value(),
        }
    }

    fn any_value(&mut self) -> Value {
        let number = *self.pick(&NUMBERS).unwrap();
        match self.below(12) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(i64::MIN),
            4 => json!(*self.pick(&[0.0, -1.0, 0.5, 1e-300, 1e9, 1e308]).unwrap()),
            5 => json!(
                *self
                    .pick(&["", "yarn", "longrope", "linear", "llama3", "full_attention"])
                    .unwrap()
            ),
            6 => json!([]),
            7 => json!({}),
            8 => json!(vec![number; 1 + self.below(5)]),
            _ => json!(number),
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes.iter_mut().skip(at).zip(new).for_each(|(old, new)| *old = *new);
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    drop(bytes.splice(at..at, new.iter().copied()));
}
