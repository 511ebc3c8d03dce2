//! What the operator calls the types that weights are quantized to. The numbers are the 0.6 line's short names.

use mistralrs_quant::QuantType;

const BITS: [(&str, &str); 6] =
    [("2", "Q2_K"), ("3", "Q3_K"), ("4", "Q4_K"), ("5", "Q5_K"), ("6", "Q6_K"), ("8", "Q8_0")];
const NOT_BUILT: [&str; 10] =
    ["q8_1", "q8k", "hqq4", "hqq8", "fp8", "afq2", "afq3", "afq4", "afq6", "afq8"];

/// Why a name is no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsqNameError {
    /// Known to the 0.6 line.
    #[error("{0} is not built yet")]
    NotBuilt(String),
    /// Files of it are read.
    #[error("{0}: nothing is quantized to it while loading; files that have it are read")]
    ReadOnly(String),
    /// Known to nobody.
    #[error(
        "{0}: no such type; one of 2 3 4 5 6 8 q4_0 q4_1 q5_0 q5_1 q8_0 q2k q3k q4k q5k q6k iq4_nl iq4_xs"
    )]
    Unknown(String),
}

/// The type of this name, in any case.
///
/// # Errors
/// [`IsqNameError`] with the name, and with those that there are.
pub fn isq_type(name: &str) -> Result<QuantType, IsqNameError> {
    let lower = name.to_ascii_lowercase();
    if NOT_BUILT.contains(&lower.as_str()) {
        return Err(IsqNameError::NotBuilt(name.to_owned()));
    }
    let full =
        BITS.iter().find(|(bits, _)| *bits == lower).map_or(lower.as_str(), |(_, full)| full);
    match QuantType::from_name(full) {
        Some(ty) if ty.is_writable() => Ok(ty),
        Some(_) => Err(IsqNameError::ReadOnly(name.to_owned())),
        None => Err(IsqNameError::Unknown(name.to_owned())),
    }
}
