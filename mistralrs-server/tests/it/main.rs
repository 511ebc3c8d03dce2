//! The server over HTTP, with a small real model. One binary; every test may run beside every other.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod bench;
mod bfcl;
mod binary;
mod chat;
mod completions;
mod demo;
mod embeddings;
mod hostile;
mod lifecycle;
mod load;
mod looking;
mod mcp;
mod messages;
mod openapi;
mod pictures;
mod refusals;
mod responses;
mod seeing;
mod streams;
mod support;
mod text;
mod tools;
