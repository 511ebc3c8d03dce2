//! The server over HTTP, with a small real model. One binary; every test may run beside every other.

mod binary;
mod chat;
mod completions;
mod hostile;
mod lifecycle;
mod load;
mod openapi;
mod refusals;
mod streams;
mod support;
mod text;
