//! A part of a checkpoint: some of its tensors, under other names, and of some matrices only some rows or
//! columns. Who reads it sees no difference to files that have no more. Knows no models.

use super::{Checkpoint, TensorBytes, TensorInfo};
use crate::error::{Error, Result};
use crate::packed::check_length;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

/// What is left of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// All of it.
    Whole,
    /// These rows of a matrix, one range after the other.
    Rows(Vec<Range<usize>>),
    /// The first so many columns of a matrix.
    Columns(usize),
}

#[derive(Debug)]
struct CutCheckpoint {
    whole: Arc<dyn Checkpoint>,
    tensors: Vec<CutTensor>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct CutTensor {
    /// As it is seen.
    info: TensorInfo,
    /// Its name in the whole.
    stored: String,
    cut: Cut,
}

/// The part of a checkpoint that `part` leaves: of a tensor its new name and what is left of it, or nothing.
/// Rows that lie together stay in the memory map; others, and columns, are copied when they are read.
///
/// # Errors
/// A tensor is no matrix or has fewer rows or columns than are wanted, a row ends within a block of its type,
/// or two tensors get the same name.
pub fn cut_checkpoint(
    whole: Arc<dyn Checkpoint>,
    part: impl Fn(&TensorInfo) -> Option<(String, Cut)>,
) -> Result<Arc<dyn Checkpoint>> {
    let (mut tensors, mut by_name) = (Vec::<CutTensor>::new(), HashMap::new());
    for stored in whole.names() {
        let Some(info) = whole.info(stored) else { continue };
        let Some((name, cut)) = part(info) else { continue };
        let (shape, cut) = cut_shape(info, cut)?;
        match by_name.entry(name.clone()) {
            Entry::Vacant(free) => free.insert(tensors.len()),
            Entry::Occupied(_) => {
                let (first, second) = (info.file.clone(), info.file.clone());
                return Err(Error::Duplicate { tensor: name, first, second });
            }
        };
        let info = TensorInfo { name, shape, ..info.clone() };
        tensors.push(CutTensor { info, stored: stored.to_owned(), cut });
    }
    Ok(Arc::new(CutCheckpoint { whole, tensors, by_name }))
}

/// What shape is left, and the same cut where it takes everything, or ranges that lie together, in fewer words.
fn cut_shape(info: &TensorInfo, cut: Cut) -> Result<(Vec<usize>, Cut)> {
    if cut == Cut::Whole {
        return Ok((info.shape.clone(), cut));
    }
    let &[rows, cols] = info.shape.as_slice() else {
        return Err(Error::NotAMatrix {
            tensor: info.name.clone(),
            file: info.file.clone(),
            found: info.shape.clone(),
        });
    };
    let misshapen = |wanted: Vec<usize>| Error::Misshapen {
        tensor: info.name.clone(),
        file: info.file.clone(),
        wanted,
        found: info.shape.clone(),
    };
    match cut {
        Cut::Columns(wanted) if wanted == 0 || wanted > cols => Err(misshapen(vec![rows, wanted])),
        Cut::Columns(wanted) if wanted == cols => Ok((info.shape.clone(), Cut::Whole)),
        Cut::Columns(wanted) if info.ty.row_bytes(wanted).is_none() => Err(Error::NotDivisible {
            tensor: info.name.clone(),
            file: info.file.clone(),
            ty: info.ty,
            cols: wanted,
        }),
        Cut::Columns(wanted) => Ok((vec![rows, wanted], cut)),
        Cut::Rows(ranges) => {
            let last = ranges.iter().map(|range| range.end).max().unwrap_or(0);
            if last > rows || ranges.iter().any(|range| range.start > range.end) {
                return Err(misshapen(vec![last, cols]));
            }
            let ranges = together(ranges);
            let left = ranges.iter().map(ExactSizeIterator::len).sum();
            let is_whole = matches!(ranges.as_slice(), [all] if *all == (0..rows));
            let cut = if is_whole { Cut::Whole } else { Cut::Rows(ranges) };
            Ok((vec![left, cols], cut))
        }
        Cut::Whole => Ok((info.shape.clone(), cut)),
    }
}

/// Ranges of which no one begins where the one before it ends.
fn together(ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match found.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => found.push(range),
        }
    }
    found
}

impl CutCheckpoint {
    fn find(&self, name: &str) -> Option<&CutTensor> {
        self.by_name.get(name).and_then(|&index| self.tensors.get(index))
    }
}

impl Checkpoint for CutCheckpoint {
    fn names(&self) -> Vec<&str> {
        self.tensors.iter().map(|tensor| tensor.info.name.as_str()).collect()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.find(name).map(|tensor| &tensor.info)
    }

    fn read(&self, name: &str) -> Result<TensorBytes> {
        let Some(CutTensor { info, stored, cut }) = self.find(name) else {
            let file = self.tensors.first().map(|first| first.info.file.clone());
            let file = file.unwrap_or_default();
            return Err(Error::Missing { tensor: name.to_owned(), file });
        };
        let bytes = self.whole.read(stored)?;
        let Some(whole) = self.whole.info(stored).filter(|_| *cut != Cut::Whole) else {
            return Ok(bytes);
        };
        let (row_bytes, _) = check_length(whole, &bytes)?;
        let in_bytes =
            |rows: &Range<usize>| rows.start * row_bytes..rows.end.saturating_mul(row_bytes);
        let copied = match cut {
            Cut::Whole => return Ok(bytes),
            Cut::Rows(ranges) => match ranges.as_slice() {
                [one] => return Ok(bytes.part(in_bytes(one)).aligned_for(info.ty)),
                several => copy(&bytes, several.iter().map(in_bytes)),
            },
            Cut::Columns(cols) => {
                let left = info.ty.row_bytes(*cols).unwrap_or(0);
                let starts = (0..bytes.len()).step_by(row_bytes.max(1));
                copy(&bytes, starts.map(|start| start..start + left))
            }
        };
        // The copy is what is used from now on.
        bytes.release();
        Ok(copied)
    }
}

fn copy(bytes: &[u8], parts: impl Iterator<Item = Range<usize>> + Clone) -> TensorBytes {
    let len = parts.clone().map(|part| part.len()).sum();
    TensorBytes::build(len, |mut out| {
        for part in parts {
            let Some((bytes, (place, rest))) = bytes
                .get(part.clone())
                .zip(std::mem::take(&mut out).split_at_mut_checked(part.len()))
            else {
                return;
            };
            place.copy_from_slice(bytes);
            out = rest;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mistralrs_kernels::QuantType;
    use std::path::PathBuf;

    /// Tensors of which every byte is told by its place.
    #[derive(Debug)]
    struct Counted(Vec<TensorInfo>);

    impl Checkpoint for Counted {
        fn names(&self) -> Vec<&str> {
            self.0.iter().map(|info| info.name.as_str()).collect()
        }

        fn info(&self, name: &str) -> Option<&TensorInfo> {
            self.0.iter().find(|info| info.name == name)
        }

        fn read(&self, name: &str) -> Result<TensorBytes> {
            let info = self.info(name).unwrap();
            let row = info.ty.row_bytes(*info.shape.last().unwrap()).unwrap();
            let rows: usize = info.shape.iter().rev().skip(1).product();
            let bytes: Vec<u8> = (0..row * rows).map(|at| at as u8).collect();
            Ok(TensorBytes::from(&bytes[..]))
        }
    }

    fn cut(
        ty: QuantType,
        shape: &[usize],
        cut: Cut,
    ) -> std::result::Result<(Vec<usize>, Vec<u8>), String> {
        let info = |name: &str| TensorInfo {
            name: name.into(),
            shape: shape.to_vec(),
            ty,
            file: PathBuf::from("a.safetensors"),
        };
        let whole = Arc::new(Counted(vec![info("left.out"), info("old")]));
        let part = |info: &TensorInfo| (info.name == "old").then(|| ("new".into(), cut.clone()));
        let checkpoint = cut_checkpoint(whole, part).map_err(|error| error.to_string())?;
        assert_eq!(checkpoint.names(), ["new"]);
        assert!(checkpoint.info("old").is_none() && checkpoint.read("old").is_err());
        let info = checkpoint.info("new").unwrap();
        assert_eq!((info.name.as_str(), info.ty), ("new", ty));
        Ok((info.shape.clone(), checkpoint.read("new").unwrap().to_vec()))
    }

    #[test]
    fn rows_and_columns_are_those_asked_for() {
        let bf16 = |wanted| cut(QuantType::BF16, &[4, 3], wanted).unwrap();
        let all: Vec<u8> = (0..24).collect();
        assert_eq!(bf16(Cut::Whole), (vec![4, 3], all.clone()));
        assert_eq!(bf16(Cut::Columns(3)), (vec![4, 3], all.clone()));
        assert_eq!(bf16(Cut::Rows(vec![0..1, 1..4])), (vec![4, 3], all));
        assert_eq!(
            bf16(Cut::Rows(std::iter::once(1..3).collect())),
            (vec![2, 3], (6..18).collect())
        );
        let apart = (0..6).chain(12..24).collect();
        assert_eq!(bf16(Cut::Rows(vec![0..1, 2..3, 3..4])), (vec![3, 3], apart));
        let first = [0, 6, 12, 18].into_iter().flat_map(|start| start..start + 4).collect();
        assert_eq!(bf16(Cut::Columns(2)), (vec![4, 2], first));
        // Blocks of 32 numbers in 34 bytes.
        let blocks = cut(QuantType::Q8_0, &[2, 64], Cut::Columns(32)).unwrap();
        assert_eq!(blocks, (vec![2, 32], (0..34).chain(68..102).collect()));
        assert_eq!(cut(QuantType::F32, &[5], Cut::Whole).unwrap().0, [5]);
    }

    #[test]
    fn what_is_not_there_or_within_a_block_is_refused() {
        let refused = |shape: &[usize], wanted| cut(QuantType::Q8_0, shape, wanted).unwrap_err();
        for (wanted, told) in [
            (Cut::Columns(48), "a row of 48 is no multiple of the 32 numbers in a Q8_0 block"),
            (Cut::Columns(96), "has shape [2, 64], the model needs [2, 96]"),
            (Cut::Columns(0), "has shape [2, 64], the model needs [2, 0]"),
            (Cut::Rows(vec![0..1, 2..3]), "has shape [2, 64], the model needs [3, 64]"),
        ] {
            let error = refused(&[2, 64], wanted);
            assert!(error.contains(told) && error.contains("`old` in a.safetensors"), "{error}");
        }
        assert!(refused(&[2, 2, 32], Cut::Columns(32)).contains("two dimensions"));
        let info = TensorInfo {
            name: "a".into(),
            shape: vec![1],
            ty: QuantType::F32,
            file: PathBuf::from("a.safetensors"),
        };
        let whole = Arc::new(Counted(vec![info.clone(), TensorInfo { name: "b".into(), ..info }]));
        let same = cut_checkpoint(whole, |_| Some(("c".into(), Cut::Whole))).unwrap_err();
        assert!(same.to_string().contains("`c`"), "{same}");
    }
}
