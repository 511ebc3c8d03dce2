//! Tensors that a GGUF file holds in parts, put together: queries, keys and values of a tower, row below row; and
//! kernels of one frame each, whose frames become an axis of one kernel. The parts of `a.weight` have the names
//! `a#0.weight`, `a#1.weight` and so on, which no file has.

use super::super::catalog::Catalog;
use super::super::{Checkpoint, TensorBytes, TensorInfo};
use crate::error::Result;
use crate::packed::{check_length, dequantized};
use mistralrs_kernels::QuantType;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Axes of the kernels of one frame, `[out, channels, height, width]`; the frames' axis is put behind the channels'.
const KERNEL_AXES: usize = 4;
const CHANNELS_END: usize = 2;

/// The tensors that are made of parts, and which those are.
#[derive(Debug, Default)]
pub(super) struct Joined {
    wholes: Vec<Whole>,
    by_name: HashMap<String, usize>,
    parts: HashSet<String>,
}

#[derive(Debug)]
struct Whole {
    info: TensorInfo,
    /// In order.
    parts: Vec<String>,
    /// How often all parts take turns.
    turns: usize,
}

impl Joined {
    /// Finds what belongs together. Parts that do not fit stay as they are, and nobody finds the whole.
    pub(super) fn find(catalog: &Catalog) -> Self {
        let mut groups: BTreeMap<String, BTreeMap<usize, &TensorInfo>> = BTreeMap::new();
        for info in catalog.names().into_iter().filter_map(|name| catalog.info(name)) {
            if let Some((whole, number)) = part_of(&info.name) {
                groups.entry(whole).or_default().insert(number, info);
            }
        }
        let mut joined = Self::default();
        for (name, parts) in groups {
            let in_order = parts.keys().copied().eq(0..parts.len());
            let parts: Vec<&TensorInfo> = parts.into_values().collect();
            // A tensor that is there, whole, is no reason to hide the parts.
            if let Some(whole) = Whole::of(&name, &parts)
                && in_order
                && catalog.info(&name).is_none()
            {
                joined.by_name.insert(name, joined.wholes.len());
                joined.parts.extend(whole.parts.iter().cloned());
                joined.wholes.push(whole);
            }
        }
        joined
    }

    /// The names of what is there: stored and no part, or put together.
    pub(super) fn names<'a>(&'a self, stored: Vec<&'a str>) -> Vec<&'a str> {
        let wholes = self.wholes.iter().map(|whole| whole.info.name.as_str());
        stored.into_iter().filter(|name| !self.parts.contains(*name)).chain(wholes).collect()
    }

    /// Whether this name is only that of a part.
    pub(super) fn hides(&self, name: &str) -> bool {
        self.parts.contains(name)
    }

    /// What is known of a tensor that is made of parts.
    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.whole(name).map(|whole| &whole.info)
    }

    /// The bytes of a tensor that is made of parts.
    pub(super) fn read(&self, name: &str, catalog: &Catalog) -> Option<Result<TensorBytes>> {
        self.whole(name).map(|whole| whole.read(catalog))
    }

    fn whole(&self, name: &str) -> Option<&Whole> {
        self.by_name.get(name).and_then(|index| self.wholes.get(*index))
    }
}

impl Whole {
    fn of(name: &str, parts: &[&TensorInfo]) -> Option<Self> {
        let first = parts.first()?;
        let all = |same: &dyn Fn(&TensorInfo) -> bool| parts.iter().all(|part| same(part));
        let (shape, turns) = if first.shape.len() == KERNEL_AXES {
            let turns = first.shape.iter().take(CHANNELS_END).product();
            let mut shape = first.shape.clone();
            shape.insert(CHANNELS_END, parts.len());
            all(&|part| part.shape == first.shape).then_some((shape, turns))?
        } else {
            let rest = first.shape.get(1..)?;
            let rows = parts.iter().try_fold(0usize, |all, part| {
                all.checked_add(part.shape.first().copied().unwrap_or(0))
            })?;
            let same = all(&|part| part.shape.get(1..) == Some(rest) && !part.shape.is_empty());
            same.then(|| ([&[rows], rest].concat(), 1))?
        };
        let ty = if all(&|part| part.ty == first.ty) { first.ty } else { QuantType::F32 };
        let info = TensorInfo { name: name.to_owned(), shape, ty, file: first.file.clone() };
        let parts = parts.iter().map(|part| part.name.clone()).collect();
        Some(Self { info, parts, turns })
    }

    fn read(&self, catalog: &Catalog) -> Result<TensorBytes> {
        let parts = self.parts.iter().map(|name| self.part(name, catalog));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let len = parts.iter().map(|part| part.len()).sum();
        let joined = TensorBytes::build(len, |out| {
            let mut out = out;
            for turn in 0..self.turns {
                for part in &parts {
                    let bytes = part.len() / self.turns.max(1);
                    let from = part.get(turn * bytes..(turn + 1) * bytes).unwrap_or_default();
                    let Some((here, rest)) = std::mem::take(&mut out).split_at_mut_checked(bytes)
                    else {
                        return;
                    };
                    here.copy_from_slice(from);
                    out = rest;
                }
            }
        });
        // The copy is what is used from now on.
        parts.iter().for_each(TensorBytes::release);
        Ok(joined)
    }

    /// The bytes of a part, in the type of the whole.
    fn part(&self, name: &str, catalog: &Catalog) -> Result<TensorBytes> {
        let bytes = catalog.read(name)?;
        let Some(info) = catalog.info(name) else { return Ok(bytes) };
        let (row_bytes, cols) = check_length(info, &bytes)?;
        if info.ty == self.info.ty {
            return Ok(bytes);
        }
        let numbers = dequantized(info.ty, &bytes, row_bytes, cols);
        Ok(TensorBytes::from(bytemuck::cast_slice(&numbers)))
    }
}

/// `a.qkv#1.weight` → (`a.qkv.weight`, 1).
fn part_of(name: &str) -> Option<(String, usize)> {
    let (module, parameter) = name.rsplit_once('.')?;
    let (module, number) = module.rsplit_once('#')?;
    Some((format!("{module}.{parameter}"), number.parse().ok()?))
}
