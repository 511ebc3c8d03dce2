//! Anthropic's dialect, the Messages API: blocks of content in, blocks out. Over the same words as `openai/`, whose
//! fields of sampling, tools and parts it shares. Pure: no HTTP but the shape of errors, no model.
//! Source: <https://docs.anthropic.com/en/api/messages>, as of version `2023-06-01`.

pub mod content;
pub mod error;
pub mod events;
pub mod request;
pub mod response;

#[cfg(test)]
mod tests;
