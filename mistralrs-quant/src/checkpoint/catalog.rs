//! The tensors of one or several mapped files, by name: what every checkpoint format is once its
//! headers are read. Knows no format.

use super::{Checkpoint, TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use mistralrs_kernels::mapped_file::MappedFile;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Catalog {
    tensors: Vec<Place>,
    by_name: HashMap<String, usize>,
    /// The first file, for errors about the whole.
    file: PathBuf,
}

/// Where a tensor's bytes are.
#[derive(Debug)]
struct Place {
    info: TensorInfo,
    map: Arc<MappedFile>,
    range: Range<usize>,
}

impl Catalog {
    pub(super) fn new(first_file: &Path) -> Self {
        Self { tensors: Vec::new(), by_name: HashMap::new(), file: first_file.to_owned() }
    }

    /// Adds a tensor whose bytes are `range` of its file.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if there already is one of this name.
    pub(super) fn add(
        &mut self,
        info: TensorInfo,
        map: &Arc<MappedFile>,
        range: Range<usize>,
    ) -> Result<()> {
        match self.by_name.entry(info.name.clone()) {
            Entry::Vacant(free) => free.insert(self.tensors.len()),
            Entry::Occupied(taken) => {
                let first = self.tensors.get(*taken.get());
                return Err(Error::Duplicate {
                    first: first.map_or(&self.file, |place| &place.info.file).clone(),
                    second: info.file,
                    tensor: info.name,
                });
            }
        };
        self.tensors.push(Place { info, map: Arc::clone(map), range });
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Place> {
        self.by_name.get(name).and_then(|&index| self.tensors.get(index))
    }
}

impl Checkpoint for Catalog {
    fn names(&self) -> Vec<&str> {
        self.tensors.iter().map(|place| place.info.name.as_str()).collect()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.find(name).map(|place| &place.info)
    }

    fn read(&self, name: &str) -> Result<TensorBytes> {
        let place = self
            .find(name)
            .ok_or_else(|| Error::Missing { tensor: name.to_owned(), file: self.file.clone() })?;
        let bytes = TensorBytes::mapped(Arc::clone(&place.map), place.range.clone());
        Ok(bytes.aligned_for(place.info.ty))
    }
}

/// Maps a file that holds weights.
pub(super) fn map(file: &Path) -> Result<Arc<MappedFile>> {
    match MappedFile::open(file) {
        Ok(map) => Ok(Arc::new(map)),
        Err(source) => Err(Error::Io { file: file.to_owned(), source }),
    }
}
