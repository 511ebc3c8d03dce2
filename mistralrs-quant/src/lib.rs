pub use mistralrs_kernels::QuantType;
/// e
#[derive(Debug, thiserror::Error)]
#[error("e")]
pub struct Error;
