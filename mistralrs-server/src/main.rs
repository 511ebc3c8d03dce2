//! Development entry point of the chat and bench rooms (not to be merged).
mod bench;
mod chat;
fn main() {}
