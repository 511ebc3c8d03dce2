//! The engine from the outside: one binary, real (tiny) models, no network.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod accuracy;
mod answers;
mod batching;
mod broken;
mod clips;
mod distance;
mod embedding;
mod features;
mod forms;
mod fuzz;
mod generation;
mod golden;
mod loading;
mod matformer;
mod media;
mod mmproj;
mod models_page;
mod names;
mod places;
mod quantized;
mod released;
mod tools;
mod topology;
mod tower_memory;
