//! Which layers go to which device: sizes from the checkpoint's headers against free memory. [`plan`] is arithmetic on
//! numbers; only `accelerators` asks the machine.

use crate::error::LoadError;
use crate::places::LayerPlaces;
use std::fmt::Write;

/// Of an accelerator's free memory a fiftieth, and at least this, is left to the system and its libraries.
const LEAST_RESERVE: u64 = 512 << 20;

/// Where the layers of a model are to be.
#[derive(Debug, Clone, Default)]
pub enum LayerMap {
    /// On the accelerators of this build as far as they have room, in order; the rest on the CPU.
    #[default]
    Automatic,
    /// So many on each of these accelerators, in order; the rest on the CPU.
    Counts(Vec<DeviceLayers>),
    /// At these places.
    Places(LayerPlaces),
}

/// Layers for one accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceLayers {
    /// Its number, from 0.
    pub ordinal: usize,
    /// How many layers.
    pub layers: usize,
}

impl LayerMap {
    /// Everything on the CPU.
    pub fn cpu() -> Self {
        Self::Places(LayerPlaces::default())
    }

    /// From `NUM`, so many layers on accelerator 0, or `ORD:NUM;ORD:NUM`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn from_spec(spec: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let text = text.trim();
            text.parse::<usize>().map_err(|_| {
                format!("`{text}` is no number: give NUM layers for device 0, or ORD:NUM;ORD:NUM")
            })
        };
        let mut counts: Vec<DeviceLayers> = Vec::new();
        for part in spec.split(';').filter(|part| !part.trim().is_empty()) {
            let (ordinal, layers) = match part.split_once(':') {
                Some((ordinal, layers)) => (number(ordinal)?, number(layers)?),
                None if counts.is_empty() && !spec.contains(';') => (0, number(part)?),
                None => return Err(format!("`{part}` names no device: write ORD:NUM;ORD:NUM")),
            };
            if counts.iter().any(|count| count.ordinal == ordinal) {
                return Err(format!("device {ordinal} is named twice"));
            }
            counts.push(DeviceLayers { ordinal, layers });
        }
        match counts.is_empty() {
            true => {
                Err("nothing is named: give NUM layers for device 0, or ORD:NUM;ORD:NUM".into())
            }
            false => Ok(Self::Counts(counts)),
        }
    }
}

/// What a map is made from, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapRequest {
    /// Weights of each layer.
    pub layers: Vec<u64>,
    /// Weights of what is no layer and goes to the first device: embeddings, last norm, head.
    pub fixed: u64,
    /// Keys and values of a layer, all of them alike.
    pub kv_per_layer: u64,
    /// Peak of intermediate tensors between layers.
    pub layer_activations: u64,
    /// The same around the layers: logits.
    pub fixed_activations: u64,
    /// Free memory of each accelerator, in order.
    pub free: Vec<u64>,
}

/// How many layers each accelerator gets; the CPU, whose memory the system can stretch, gets the rest.
///
/// Each accelerator's capacity is what it has free less a fiftieth or 512 MiB. Whoever can hold all that remains gets
/// it; else layers in order, as many as fit beside activations, and on the first device that gets any, beside what is
/// no layer. A device that has no room for one layer gets nothing.
pub fn plan(request: &MapRequest) -> Vec<usize> {
    let mut counts = Vec::with_capacity(request.free.len());
    let mut placed = 0;
    for &free in &request.free {
        let is_first = placed == 0;
        let activations = match is_first {
            true => request.layer_activations.max(request.fixed_activations),
            false => request.layer_activations,
        };
        let fixed = if is_first { request.fixed } else { 0 };
        let mut used = activations.saturating_add(fixed);
        let fits = request.layers.iter().skip(placed).take_while(|weights| {
            used = used.saturating_add(**weights).saturating_add(request.kv_per_layer);
            used <= capacity(free)
        });
        let count = fits.count();
        counts.push(count);
        placed += count;
    }
    counts
}

/// What of an accelerator's free memory may be used.
pub fn capacity(free: u64) -> u64 {
    free.saturating_sub((free / 50).max(LEAST_RESERVE))
}

/// Checks what an operator wants against the layers that there are and the `devices` found.
///
/// # Errors
/// [`LoadError::Option`] naming the device or the number of layers.
pub fn counts_of(
    wanted: &[DeviceLayers],
    layers: usize,
    devices: usize,
) -> Result<Vec<usize>, LoadError> {
    let refuse = |reason: String| Err(LoadError::Option { option: "--num-device-layers", reason });
    let mut counts = vec![0; devices];
    for &DeviceLayers { ordinal, layers } in wanted {
        let Some(count) = counts.get_mut(ordinal) else {
            return refuse(match devices {
                0 => {
                    format!("there is no device {ordinal}: this build or machine has only the CPU")
                }
                _ => format!("there is no device {ordinal}, only 0 to {}", devices - 1),
            });
        };
        *count = layers;
    }
    let all = counts.iter().fold(0usize, |all, count| all.saturating_add(*count));
    match all > layers {
        true => refuse(format!("{all} layers are named, and the model has {layers}")),
        false => Ok(counts),
    }
}

/// For each layer the accelerator that it is on, by its number among those found; `None` is the CPU.
pub fn assigned(counts: &[usize], layers: usize) -> Vec<Option<usize>> {
    let mut all: Vec<_> = counts
        .iter()
        .enumerate()
        .flat_map(|(device, count)| std::iter::repeat_n(Some(device), *count))
        .collect();
    all.resize(layers, None);
    all
}

/// The accelerator that has what is no layer: that of the first layer that is on one.
pub fn primary(assigned: &[Option<usize>]) -> Option<usize> {
    assigned.iter().copied().find_map(|device| device)
}

/// Tokens whose keys and values have room on every accelerator, beside its weights and activations; `kv_bytes` has those
/// of a token for each layer that keeps any. `None` where no layer on an accelerator does.
pub fn most_tokens(
    request: &MapRequest,
    assigned: &[Option<usize>],
    kv_bytes: &[u64],
) -> Option<usize> {
    let activations = request.layer_activations.max(request.fixed_activations);
    let room = |(device, free): (usize, &u64)| {
        let mine = |all: &[u64]| {
            let there = all.iter().zip(assigned).filter(|(_, at)| **at == Some(device));
            there.map(|(bytes, _)| bytes).fold(0, |sum: u64, bytes| sum.saturating_add(*bytes))
        };
        let fixed = if primary(assigned) == Some(device) { request.fixed } else { 0 };
        let used = mine(&request.layers).saturating_add(fixed).saturating_add(activations);
        capacity(*free).saturating_sub(used).checked_div(mine(kv_bytes))
    };
    let most = request.free.iter().enumerate().filter_map(room).min()?;
    Some(usize::try_from(most).unwrap_or(usize::MAX))
}

/// The map in a line: `layers 0-17 on cuda[0], 18-23 on cpu`.
pub fn described(names: &[String], assigned: &[Option<usize>]) -> String {
    let mut text = String::from("layers ");
    let mut first = 0;
    for run in assigned.chunk_by(|a, b| a == b) {
        let name = run.first().copied().flatten().and_then(|device| names.get(device));
        let (comma, last) = (if first > 0 { ", " } else { "" }, first + run.len() - 1);
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{first}-{last} on {}", name.map_or("cpu", String::as_str));
        first += run.len();
    }
    text
}

#[cfg(test)]
mod tests;
