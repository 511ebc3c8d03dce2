//! A topology: the operator's file that says, by layer or by name of a tensor, what weights become while
//! they are loaded and where they lie. Knows names; not how a weight is quantized (`mistralrs-quant`).
//! Format: the topology of the 0.6 line, a YAML map from selectors to `isq` and `device`.

mod entry;

pub use entry::{DeviceName, TopologyEntry};

use super::cost::is_other_sense;
use crate::error::LoadError;
use entry::{Listed, Selector};
use mistralrs_quant::{Isq, IsqOverride, QuantType};
use std::cmp::Reverse;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a topology file says.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// For messages.
    file: PathBuf,
    /// In the order of the file.
    entries: Vec<Listed>,
}

impl Topology {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError::Io`], or [`LoadError::BadFile`] with the selector and with what is allowed.
    pub fn read(file: &Path) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| LoadError::Io { file: file.to_owned(), source })?;
        Self::parse(file, &text)
    }

    /// Reads the text of a file; an empty one says nothing.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] with the selector and with what is allowed.
    pub fn parse(file: &Path, text: &str) -> Result<Self, LoadError> {
        let entries = entry::list(text)
            .map_err(|reason| LoadError::BadFile { file: file.to_owned(), reason })?;
        Ok(Self { file: file.to_owned(), entries })
    }

    /// The entry of a layer. Of several ranges the one that ends last decides, of those that end together
    /// the last in the file, and it does so for the whole entry.
    pub fn layer(&self, layer: usize) -> Option<&TopologyEntry> {
        let mut ranges = self.ranges().into_iter();
        ranges.find(|(range, _)| range.contains(&layer)).map(|(_, listed)| &listed.entry)
    }

    /// The entry of the tensor that is named so in Hugging Face's files, `.weight` included, if it is named
    /// by an expression: the last in the file that matches.
    pub fn named(&self, tensor: &str) -> Option<&TopologyEntry> {
        self.overrides().find(|(pattern, _)| pattern.is_match(tensor)).map(|(_, entry)| entry)
    }

    /// The expressions and their entries in order of priority: the last in the file first.
    pub fn overrides(&self) -> impl Iterator<Item = (&regex::Regex, &TopologyEntry)> {
        self.entries.iter().rev().filter_map(|listed| match &listed.selector {
            Selector::Names(pattern) => Some((pattern, &listed.entry)),
            Selector::Layers(_) => None,
        })
    }

    /// The device of a layer; `None` leaves it to whoever maps devices. A file may say less than the model
    /// has layers.
    pub fn device_of_layer(&self, layer: usize) -> Option<&DeviceName> {
        self.layer(layer)?.device.as_ref()
    }

    /// The devices it names, in the order of the file, for layers and for single tensors.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceName> {
        self.entries.iter().filter_map(|listed| listed.entry.device.as_ref())
    }

    /// Refuses what this build cannot do, before anything is loaded.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] with the first selector whose device this build has not, or which takes single tensors
    /// to another one than the CPU: only layers go elsewhere.
    pub fn check_devices(&self) -> Result<(), LoadError> {
        for Listed { text, entry, selector, .. } in &self.entries {
            let is_layers = matches!(selector, Selector::Layers(_));
            let has = |device: &DeviceName| match device {
                DeviceName::Cpu => true,
                DeviceName::Cuda(_) => is_layers && cfg!(feature = "cuda"),
                DeviceName::Metal(_) => is_layers && cfg!(feature = "metal"),
            };
            if let Some(device) = entry.device.filter(|it| !has(it)) {
                let why = match is_layers {
                    true => "this build has no such device",
                    false => "single tensors stay where their layer is",
                };
                let reason = format!(
                    "selector `{text}`: device `{device}`: {why}; write `device: cpu` or leave the device out"
                );
                return Err(LoadError::BadFile { file: self.file.clone(), reason });
            }
        }
        Ok(())
    }

    /// What weights become where all others become `all`.
    pub fn isq(&self, all: Option<QuantType>) -> (Isq, Decisions) {
        let mut counted = Vec::with_capacity(self.entries.len());
        let mut layers = Vec::new();
        for (range, listed) in self.ranges() {
            let inside = move |name: &str| layer_of(name).is_some_and(|it| range.contains(&it));
            let rule = Arc::new(IsqOverride::new(listed.entry.isq, inside));
            counted.push((listed, Arc::clone(&rule)));
            layers.push(rule);
        }
        let mut named = Vec::new();
        for listed in self.entries.iter().rev() {
            if let Selector::Names(pattern) = &listed.selector {
                let pattern = pattern.clone();
                let matches = move |name: &str| pattern.is_match(name);
                let rule = Arc::new(IsqOverride::new(listed.entry.isq, matches));
                counted.push((listed, Arc::clone(&rule)));
                named.push(rule);
            }
        }
        let rules = counted.into_iter().map(|(listed, rule)| (listed.clone(), rule)).collect();
        let decisions = Decisions { file: self.file.clone(), rules };
        (Isq::with_overrides(all, layers, named), decisions)
    }

    /// Ranges in order of priority.
    fn ranges(&self) -> Vec<(Range<usize>, &Listed)> {
        let mut ranges: Vec<_> = self
            .entries
            .iter()
            .rev()
            .filter_map(|listed| match &listed.selector {
                Selector::Layers(range) => Some((range.clone(), listed)),
                Selector::Names(_) => None,
            })
            .collect();
        // Stable: those that end together stay in the order of the file, the last first.
        ranges.sort_by_key(|(range, _)| Reverse(range.end));
        ranges
    }
}

/// How many weights each selector of a topology has decided on, known when they are loaded.
#[derive(Debug, Default)]
pub struct Decisions {
    file: PathBuf,
    rules: Vec<(Listed, Arc<IsqOverride>)>,
}

impl Decisions {
    /// What each selector has done, in the order of the file.
    pub fn done(&self) -> Vec<String> {
        let told = self.in_order().into_iter().filter(|(_, rule)| rule.decided() > 0);
        told.map(|(Listed { text, entry, .. }, rule)| {
            let matrices = if rule.decided() == 1 { "matrix" } else { "matrices" };
            format!("topology: `{text}` ({entry}) holds for {} {matrices}", rule.decided())
        })
        .collect()
    }

    /// A warning for each selector that has decided on nothing in a model with these tensors.
    pub fn warnings(&self, tensors: &[&str]) -> Vec<String> {
        let file = self.file.display();
        let idle = self.in_order().into_iter().filter(|(_, rule)| rule.decided() == 0);
        idle.map(|(Listed { text, selector, .. }, _)| {
            let reason = if tensors.iter().any(|name| selector.matches(name)) {
                "has no effect: what it matches is decided on by other selectors, or stays as it is stored \
                 (norms, biases, routers, convolutions; embeddings and towers unless an expression names them)"
                    .to_owned()
            } else {
                format!("matches no tensor of the model{}", examples(selector, tensors))
            };
            format!("{file}: selector `{text}` {reason}")
        })
        .collect()
    }

    fn in_order(&self) -> Vec<&(Listed, Arc<IsqOverride>)> {
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by_key(|(listed, _)| listed.place);
        rules
    }
}

/// What a selector that matches nothing could have matched.
fn examples(selector: &Selector, tensors: &[&str]) -> String {
    match selector {
        Selector::Layers(_) => match tensors.iter().filter_map(|name| layer_of(name)).max() {
            Some(last) => format!(", whose layers are 0 to {last}"),
            None => ", which has no numbered layers".to_owned(),
        },
        Selector::Names(_) => {
            let in_layer = tensors.iter().find(|name| layer_of(name).is_some());
            match in_layer.or(tensors.first()) {
                Some(name) => format!(", which has names such as `{name}`"),
                None => String::new(),
            }
        }
    }
}

/// The layer of the text model that a tensor belongs to: what sees and hears has layers of its own.
pub(super) fn layer_of(tensor: &str) -> Option<usize> {
    let mut parts = tensor.split('.');
    if tensor.split('.').any(is_other_sense) {
        return None;
    }
    parts.find(|part| matches!(*part, "layers" | "layer"))?;
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests;
