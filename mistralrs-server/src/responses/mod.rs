//! OpenAI's Responses dialect: items in, items out, kept for a while. Over the same words as `openai/`, whose
//! fields of sampling, tools and messages it shares. Pure but for the store; knows no model.
//!
//! A conversation is a list of items as JSON. What a response said goes the same way back in as what a client
//! sends, so a stored response and a client that sends everything again mean the same.

pub mod events;
pub mod input;
pub mod request;
pub mod response;
pub mod store;

#[cfg(test)]
mod tests;
