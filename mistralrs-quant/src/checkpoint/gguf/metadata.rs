//! The key-value half of a GGUF header, owned: typed values and getters that forgive the width of a
//! number. Knows nothing of tensors, models or tokenizers.
//! Source: the GGUF specification (docs/gguf.md in the ggml repository), versions 2 and 3.

use std::collections::BTreeMap;

/// The metadata of a GGUF file: key → value, ordered by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    entries: BTreeMap<String, Value>,
}

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is named after the number it holds")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A metadata array: one element type, numbers side by side.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is named after the numbers it holds")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Strings),
    Array(Vec<Array>),
}

/// Many strings in two allocations: a vocabulary has 150 thousand of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    /// Where each string ends in `text`; it starts where the one before ends.
    ends: Vec<usize>,
}

impl Strings {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// The strings in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Appends a string.
    pub fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(self.text.len());
    }

    /// Makes room for `strings` more.
    pub(super) fn reserve(&mut self, strings: usize) {
        self.ends.reserve(strings);
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut all = Self::default();
        for string in strings {
            all.push(string.as_ref());
        }
        all
    }
}

impl Metadata {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// All keys and values, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Adds a value; returns the one that stood there before.
    pub fn insert(&mut self, key: impl Into<String>, value: Value) -> Option<Value> {
        self.entries.insert(key.into(), value)
    }

    /// A string.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::String(string) => Some(string),
            _ => None,
        }
    }

    /// An integer of any width that is not negative.
    pub fn get_u64(&self, key: &str) -> Option<u64> {
        match *self.get(key)? {
            Value::U8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::U64(n) => Some(n),
            Value::I8(n) => n.try_into().ok(),
            Value::I16(n) => n.try_into().ok(),
            Value::I32(n) => n.try_into().ok(),
            Value::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// A float of either width.
    pub fn get_f32(&self, key: &str) -> Option<f32> {
        match *self.get(key)? {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            _ => None,
        }
    }

    /// A truth value.
    pub fn get_bool(&self, key: &str) -> Option<bool> {
        match *self.get(key)? {
            Value::Bool(yes) => Some(yes),
            _ => None,
        }
    }

    /// An array of any type.
    pub fn get_array(&self, key: &str) -> Option<&Array> {
        match self.get(key)? {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// An array of strings.
    pub fn get_strs(&self, key: &str) -> Option<Vec<&str>> {
        match self.get_array(key)? {
            Array::String(strings) => Some(strings.iter().collect()),
            _ => None,
        }
    }

    /// An array of integers of any width; `None` if one does not fit.
    pub fn get_i32s(&self, key: &str) -> Option<Vec<i32>> {
        match self.get_array(key)? {
            Array::U8(all) => Some(all.iter().map(|&n| n.into()).collect()),
            Array::I8(all) => Some(all.iter().map(|&n| n.into()).collect()),
            Array::U16(all) => Some(all.iter().map(|&n| n.into()).collect()),
            Array::I16(all) => Some(all.iter().map(|&n| n.into()).collect()),
            Array::I32(all) => Some(all.clone()),
            Array::U32(all) => fitting(all),
            Array::U64(all) => fitting(all),
            Array::I64(all) => fitting(all),
            _ => None,
        }
    }

    /// An array of floats of either width.
    pub fn get_f32s(&self, key: &str) -> Option<Vec<f32>> {
        match self.get_array(key)? {
            Array::F32(all) => Some(all.clone()),
            Array::F64(all) => Some(all.iter().map(|&x| x as f32).collect()),
            _ => None,
        }
    }
}

fn fitting<T: Copy + TryInto<i32>>(all: &[T]) -> Option<Vec<i32>> {
    all.iter().map(|&n| n.try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getters_forgive_the_width_but_not_the_sign_or_the_kind() {
        let mut metadata = Metadata::default();
        metadata.insert("u16", Value::U16(7));
        metadata.insert("i64", Value::I64(7));
        metadata.insert("minus", Value::I32(-7));
        metadata.insert("f64", Value::F64(0.5));
        metadata.insert("text", Value::String("seven".to_owned()));
        assert_eq!(metadata.get_u64("u16"), Some(7));
        assert_eq!(metadata.get_u64("i64"), Some(7));
        assert_eq!(metadata.get_u64("minus"), None);
        assert_eq!(metadata.get_u64("f64"), None);
        assert_eq!(metadata.get_f32("f64"), Some(0.5));
        assert_eq!(metadata.get_str("text"), Some("seven"));
        assert_eq!(metadata.get_str("u16"), None);
        assert_eq!(metadata.get_str("absent"), None);
    }

    #[test]
    fn integer_arrays_must_fit() {
        let mut metadata = Metadata::default();
        metadata.insert("fits", Value::Array(Array::U32(vec![1, 2])));
        metadata.insert("large", Value::Array(Array::U32(vec![1, u32::MAX])));
        assert_eq!(metadata.get_i32s("fits"), Some(vec![1, 2]));
        assert_eq!(metadata.get_i32s("large"), None);
        assert_eq!(metadata.get_f32s("fits"), None);
    }

    #[test]
    fn strings_keep_their_borders() {
        let strings: Strings = ["", "a", "", "bc", "ü"].into_iter().collect();
        assert_eq!(strings.len(), 5);
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["", "a", "", "bc", "ü"]);
        assert_eq!(strings.get(3), Some("bc"));
        assert_eq!(strings.get(5), None);
    }
}
