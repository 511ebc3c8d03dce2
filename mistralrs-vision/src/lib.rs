//! Pixels to tensors: decoding, resizing, normalizing and cutting images into patches, a recipe per
//! model family. Knows images; not core, not the network. Empty until the first model that sees:
//! the crate holds its place in the dependency rule (`docs/ARCHITECTURE.md`).
#![forbid(unsafe_code)]
