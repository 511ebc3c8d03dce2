//! Split GGUF files: `split.no` of `split.count` pieces. The first piece has the metadata, each has
//! the header of its own tensors.
//! Source: the `gguf-split` tool's keys, as the GGUF specification names them.

use super::Piece;
use crate::error::{Error, Result};

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";

/// The pieces sorted by their number, if they are all of one file.
pub(super) fn in_order(mut pieces: Vec<Piece>) -> Result<Vec<Piece>> {
    for piece in &pieces {
        check_count(piece, pieces.len())?;
    }
    pieces.sort_by_key(number);
    for (wanted, piece) in pieces.iter().enumerate() {
        let found = number(piece);
        if pieces.len() > 1 && found != wanted as u64 {
            let reason = format!("is piece number {found} (from 0), number {wanted} is absent");
            return Err(Error::Split { file: piece.file.clone(), reason });
        }
    }
    check_tensors(&pieces)?;
    Ok(pieces)
}

fn number(piece: &Piece) -> u64 {
    piece.header.metadata.get_u64(NUMBER).unwrap_or(0)
}

fn check_count(piece: &Piece, given: usize) -> Result<()> {
    // A file that was never split has no count, or zero.
    let count = piece.header.metadata.get_u64(COUNT).unwrap_or(0).max(1);
    if count == given as u64 {
        return Ok(());
    }
    Err(Error::Split {
        file: piece.file.clone(),
        reason: format!("belongs to a model of {count} files, {given} were given"),
    })
}

fn check_tensors(pieces: &[Piece]) -> Result<()> {
    let found = pieces.iter().map(|piece| piece.header.tensors.len() as u64).sum::<u64>();
    let first = pieces.first();
    match first.and_then(|first| Some((first, first.header.metadata.get_u64(TENSORS)?))) {
        Some((first, wanted)) if wanted != found => Err(Error::Split {
            file: first.file.clone(),
            reason: format!("announces {wanted} tensors, the files have {found}"),
        }),
        _ => Ok(()),
    }
}
