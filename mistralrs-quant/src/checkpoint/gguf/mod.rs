//! GGUF: one file (or the pieces of a split one) with everything a model needs. Tensor names become
//! Hugging Face's at this door, shapes row-major, and Llama's query and key rows get back the order
//! that half-split rotary embedding expects. A vision tower's file (`mmproj`) is one, too. Knows no model, only names.
//! Source: the GGUF specification (docs/gguf.md in the ggml repository), versions 2 and 3.

mod header;
mod metadata;
mod names;
mod parts;
mod reader;
mod split;
#[cfg(test)]
mod tests;
mod towers;
mod undo;

pub use metadata::{Array, Metadata, Strings, Value};

use super::catalog::{self, Catalog};
use super::{Checkpoint, TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use mistralrs_kernels::mapped_file::MappedFile;
use names::{Architecture, Change, Translated};
use parts::Joined;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An opened GGUF checkpoint.
#[derive(Debug)]
pub struct GgufFile {
    metadata: Metadata,
    catalog: Catalog,
    /// Tensors whose values are not those of the Hugging Face checkpoint.
    changed: HashMap<String, Change>,
    /// Tensors that the file has in parts.
    joined: Joined,
}

/// One piece: its map and its header.
struct Piece {
    file: PathBuf,
    map: Arc<MappedFile>,
    header: header::Header,
}

impl GgufFile {
    /// Opens a GGUF file, or all pieces of a split one in any order. Only headers are read.
    ///
    /// # Errors
    /// A file cannot be opened, breaks the format, has a type or architecture that is not
    /// supported; pieces are absent or do not belong together.
    pub fn open(files: &[PathBuf]) -> Result<Self> {
        let pieces = files.iter().map(|file| Piece::open(file)).collect::<Result<Vec<_>>>()?;
        Self::from_pieces(split::in_order(pieces)?)
    }

    /// Opens a GGUF file that is part of the program; `name` stands for its path in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn embedded(name: &Path, bytes: &'static [u8]) -> Result<Self> {
        Self::from_pieces(vec![Piece::parse(name, Arc::new(MappedFile::embedded(bytes)))?])
    }

    fn from_pieces(mut pieces: Vec<Piece>) -> Result<Self> {
        // A file without tensors (a vocabulary) needs no names translated.
        let has_tensors = pieces.iter().any(|piece| !piece.header.tensors.is_empty());
        let first = pieces.first_mut().ok_or(Error::NoFiles)?;
        let metadata = std::mem::take(&mut first.header.metadata);
        let architecture = has_tensors.then(|| names::find(&metadata, &first.file)).transpose()?;
        let (changed, joined) = (HashMap::new(), Joined::default());
        let mut gguf = Self { catalog: Catalog::new(&first.file), metadata, changed, joined };
        if let Some(architecture) = architecture {
            for piece in pieces {
                gguf.add(piece, architecture)?;
            }
        }
        if gguf.projector().is_some() {
            gguf.joined = Joined::find(&gguf.catalog);
        }
        Ok(gguf)
    }

    /// The metadata (of the first piece).
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Of a vision tower's file (`mmproj`): the kind of its projector. `None` for a text model's file.
    pub fn projector(&self) -> Option<&str> {
        self.metadata.get_str("general.architecture").filter(|name| *name == towers::CLIP)?;
        towers::projector(&self.metadata)
    }

    fn add(&mut self, piece: Piece, architecture: &Architecture) -> Result<()> {
        let Piece { file, map, header } = piece;
        let swaps = self.projector().is_some()
            && towers::swaps_feed_forward(&header.tensors, &self.metadata);
        for tensor in header.tensors {
            let stored = if swaps { towers::swapped(&tensor.name) } else { tensor.name };
            let Translated { name, change } =
                architecture.translate(&stored, &self.metadata, &file)?;
            let info = TensorInfo { name, shape: tensor.shape, ty: tensor.ty, file: file.clone() };
            if let Some(change) = change {
                undo::check(&info, change)?;
                self.changed.insert(info.name.clone(), change);
            }
            self.catalog.add(info, &map, tensor.range)?;
        }
        Ok(())
    }
}

impl Checkpoint for GgufFile {
    fn names(&self) -> Vec<&str> {
        self.joined.names(self.catalog.names())
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        let stored = || self.catalog.info(name).filter(|_| !self.joined.hides(name));
        self.joined.info(name).or_else(stored)
    }

    fn read(&self, name: &str) -> Result<TensorBytes> {
        if let Some(bytes) = self.joined.read(name, &self.catalog) {
            return bytes;
        }
        let bytes = self.catalog.read(name)?;
        let change = self.changed.get(name).zip(self.info(name));
        Ok(match change {
            Some((Change::Interleaved(heads), info)) => undo::half_split(info, &bytes, *heads),
            Some((Change::PlusOne, _)) => undo::minus_one(&bytes),
            None => bytes,
        })
    }
}

impl Metadata {
    /// Reads only the metadata of a GGUF file, whatever its architecture.
    ///
    /// # Errors
    /// The file cannot be opened or breaks the format.
    pub fn read(file: &Path) -> Result<Self> {
        Piece::open(file).map(|piece| piece.header.metadata)
    }
}

impl Piece {
    fn open(file: &Path) -> Result<Self> {
        Self::parse(file, catalog::map(file)?)
    }

    fn parse(file: &Path, map: Arc<MappedFile>) -> Result<Self> {
        let header = header::parse(map.bytes(), file)?;
        Ok(Self { file: file.to_owned(), map, header })
    }
}
