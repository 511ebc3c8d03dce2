//! In-situ quantization: plain numbers become blocks while a model is loaded. Knows bytes, types and
//! who decides on a type; what names mean is known to whoever loads.

use crate::checkpoint::{TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use mistralrs_kernels::QuantType;
use rayon::prelude::*;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A rule for weights of certain names.
pub struct IsqOverride {
    matches: Box<dyn Fn(&str) -> bool + Send + Sync>,
    ty: Option<QuantType>,
    /// Weights it has decided on.
    decided: AtomicUsize,
}

impl IsqOverride {
    /// Makes the weights whose names `matches` knows numbers of type `ty`, or of the type of all.
    pub fn new(
        ty: Option<QuantType>,
        matches: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { matches: Box::new(matches), ty, decided: AtomicUsize::new(0) }
    }

    /// On how many weights it has decided.
    pub fn decided(&self) -> usize {
        self.decided.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for IsqOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsqOverride").field("ty", &self.ty).finish_non_exhaustive()
    }
}

/// The type that the weight `name` becomes, `None` where it stays as it is stored: the first override that
/// matches decides, with its own type or else that of `all`; without one it is the type of all where
/// `is_one_of_all` says so (row F3).
pub fn resolve(
    name: &str,
    overrides: &[Arc<IsqOverride>],
    all: Option<QuantType>,
    is_one_of_all: impl FnOnce(&str) -> bool,
) -> Option<QuantType> {
    match first(name, overrides) {
        Some(found) => found.ty.or(all),
        None => all.filter(|_| is_one_of_all(name)),
    }
}

fn first<'a>(name: &str, overrides: &'a [Arc<IsqOverride>]) -> Option<&'a IsqOverride> {
    overrides.iter().find(|it| (it.matches)(name)).map(Arc::as_ref)
}

/// What weights become while they are loaded. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Isq {
    all: Option<QuantType>,
    /// In the place of `all` for the weights of a layer, in order of priority.
    layers: Arc<[Arc<IsqOverride>]>,
    /// For weights that are named one by one, before all others, in order of priority.
    named: Arc<[Arc<IsqOverride>]>,
}

impl From<Option<QuantType>> for Isq {
    fn from(all: Option<QuantType>) -> Self {
        Self { all, ..Self::default() }
    }
}

impl Isq {
    /// All weights become `all`, but for those of `layers` and those that are `named`; both in order of
    /// priority, and what is named goes first.
    pub fn with_overrides(
        all: Option<QuantType>,
        layers: impl IntoIterator<Item = Arc<IsqOverride>>,
        named: impl IntoIterator<Item = Arc<IsqOverride>>,
    ) -> Self {
        Self { all, layers: layers.into_iter().collect(), named: named.into_iter().collect() }
    }

    /// Only what is named: for weights that are not among all.
    #[must_use]
    pub fn only_named(&self) -> Self {
        Self { named: Arc::clone(&self.named), ..Self::default() }
    }

    /// The type that the weight of this name becomes, if it is not to stay as it is stored.
    pub fn of(&self, name: &str) -> Option<QuantType> {
        let of_layer = resolve(name, &self.layers, self.all, |_| true);
        resolve(name, &self.named, of_layer, |_| true)
    }

    /// As [`Self::of`], for a weight that is made: whoever decides counts it.
    pub(crate) fn decide(&self, name: &str) -> Option<QuantType> {
        let named = first(name, &self.named);
        let silent = named.is_none_or(|named| named.ty.is_none());
        let layer = first(name, &self.layers).filter(|_| silent);
        for found in [named, layer].into_iter().flatten() {
            found.decided.fetch_add(1, Ordering::Relaxed);
        }
        self.of(name)
    }
}

/// The type a weight with rows of `cols` numbers gets when `wanted` is asked for: that, or the next
/// best whose blocks divide a row, or what is stored.
///
/// # Errors
/// [`Error::AlreadyQuantized`] if the stored numbers are in blocks of another type, [`Error::ReadOnlyType`] if none are
/// stored in the one asked for.
pub(crate) fn target(
    info: &TensorInfo,
    wanted: Option<QuantType>,
    cols: usize,
) -> Result<QuantType> {
    let Some(wanted) = wanted.filter(|&wanted| wanted != info.ty) else {
        return Ok(info.ty);
    };
    if !wanted.is_writable() {
        return Err(Error::ReadOnlyType { tensor: info.name.clone(), wanted });
    }
    if info.ty.block_len() > 1 {
        return Err(Error::AlreadyQuantized {
            tensor: info.name.clone(),
            file: info.file.clone(),
            stored: info.ty,
            wanted,
        });
    }
    let mut candidates = std::iter::successors(Some(wanted), |&ty| with_shorter_blocks(ty));
    Ok(candidates.find(|ty| cols.is_multiple_of(ty.block_len())).unwrap_or(info.ty))
}

/// For rows that are no multiple of 256: the type with blocks of 32 that keeps at least as much.
/// The same choices as `llama-quantize` makes.
fn with_shorter_blocks(ty: QuantType) -> Option<QuantType> {
    match ty {
        QuantType::Q2_K | QuantType::Q3_K => Some(QuantType::Q4_0),
        QuantType::Q4_K => Some(QuantType::Q5_0),
        QuantType::Q5_K => Some(QuantType::Q5_1),
        QuantType::Q6_K => Some(QuantType::Q8_0),
        QuantType::IQ4_XS => Some(QuantType::IQ4_NL),
        _ => None,
    }
}

/// Rows of `cols` numbers of type `from`, converted to `to`; the same bytes if there is nothing to convert.
pub(crate) fn requantize(
    bytes: TensorBytes,
    from: QuantType,
    to: QuantType,
    cols: usize,
) -> TensorBytes {
    let (Some(from_row @ 1..), Some(to_row)) = (from.row_bytes(cols), to.row_bytes(cols)) else {
        return bytes;
    };
    if from == to {
        return bytes;
    }
    let converted = TensorBytes::build(bytes.len() / from_row * to_row, |out| {
        out.par_chunks_mut(to_row).zip(bytes.par_chunks(from_row)).for_each_init(
            || vec![0.; cols],
            |numbers, (out, row)| {
                from.dequantize_row(row, numbers);
                to.quantize_row(numbers, out);
            },
        );
    });
    bytes.release();
    converted
}

#[cfg(test)]
mod tests;
