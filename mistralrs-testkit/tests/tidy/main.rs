//! The rules of docs/STYLE.md and docs/ARCHITECTURE.md that a machine can check.
//!
//! Reads the sources as text; knows the table of allowed edges and nothing of the crates' insides.
//! A failure names the file and the rule; the rule's reason stands in docs/STYLE.md.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod docs;
mod edges;
mod encoders;
mod field_tables;
mod makefile;
mod manifests;
mod scripts;
mod sources;
mod style;
