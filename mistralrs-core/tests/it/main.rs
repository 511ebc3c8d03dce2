//! The engine from the outside: one binary, real (tiny) models, no network.

mod answers;
mod batching;
mod generation;
mod golden;
