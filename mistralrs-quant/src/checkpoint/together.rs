//! Several checkpoints as one: a text model's and that of the tower beside it. Who reads it sees no difference to
//! files that have everything. Knows no models.

use super::{Checkpoint, TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use std::sync::Arc;

#[derive(Debug)]
struct Together(Vec<Arc<dyn Checkpoint>>);

/// The tensors of all of them.
///
/// # Errors
/// [`Error::Duplicate`] for a name that two of them have.
pub fn checkpoints_together(parts: Vec<Arc<dyn Checkpoint>>) -> Result<Arc<dyn Checkpoint>> {
    for (number, part) in parts.iter().enumerate() {
        for name in part.names() {
            let other = parts.iter().skip(number + 1).find_map(|other| other.info(name));
            if let Some((first, second)) = part.info(name).zip(other) {
                let (first, second) = (first.file.clone(), second.file.clone());
                return Err(Error::Duplicate { tensor: name.to_owned(), first, second });
            }
        }
    }
    Ok(Arc::new(Together(parts)))
}

impl Checkpoint for Together {
    fn names(&self) -> Vec<&str> {
        self.0.iter().flat_map(|part| part.names()).collect()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.0.iter().find_map(|part| part.info(name))
    }

    fn read(&self, name: &str) -> Result<TensorBytes> {
        let has = self.0.iter().find(|part| part.info(name).is_some());
        match has.or(self.0.first()) {
            Some(part) => part.read(name),
            None => Err(Error::NoFiles),
        }
    }
}
