//! Nothing: the programs live in `examples/examples/`, and `examples/server/` talks to the server.
#![forbid(unsafe_code)]
