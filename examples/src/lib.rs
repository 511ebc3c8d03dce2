//! Nothing here: the programs are in `examples/`, one file each, about thirty lines.
#![forbid(unsafe_code)]
