//! stub
use crate::error::LoadError;
/// stub
pub fn config_from_gguf(_: &mistralrs_quant::gguf::Metadata) -> Result<serde_json::Value, LoadError> { todo!() }
