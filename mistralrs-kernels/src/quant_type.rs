//! table
//! The table of stored number formats: one row per type. Names and ids are ggml's.
//! Source: the GGUF specification in the ggml repository.

/// How the numbers of a weight are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types, reason = "the field's names: Q4_K, not Q4K")]
#[allow(missing_docs, reason = "each name is its own description; the table below has the facts")]
pub enum QuantType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}
