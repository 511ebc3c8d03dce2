//! From a model's headers and the machine's devices to the places of its layers.

use super::LoadOptions;
use super::accelerators::{self, Accelerator};
use super::device_map::{self, LayerMap, MapRequest};
use super::opened::Opened;
use super::topology::DeviceName;
use crate::error::LoadError;
use crate::kv_cache::{KvNumbers, KvSpec};
use crate::models::{self, ModelShape};
use crate::places::LayerPlaces;
use mistralrs_quant::Place;

/// Tokens that an automatic map leaves room for, unless fewer or more are asked for.
const USUAL_TOKENS: usize = 4096;

/// Where layers are, and what that leaves for main memory.
pub(super) struct Mapping {
    pub places: LayerPlaces,
    /// Bytes of weights that are not on accelerators.
    pub weight_bytes: u64,
    /// Layers whose keys and values are in main memory.
    pub kv: KvSpec,
    /// Tokens for which the accelerators have room, if there are any.
    pub most_kv_tokens: Option<usize>,
}

impl Mapping {
    /// Asks the machine and decides.
    ///
    /// # Errors
    /// When layers are wanted on devices that are not there.
    pub(super) fn make(
        options: &LoadOptions,
        opened: &Opened,
        shape: &ModelShape,
    ) -> Result<Self, LoadError> {
        let devices = match &options.layers {
            LayerMap::Places(_) => Vec::new(),
            LayerMap::Automatic | LayerMap::Counts(_) => accelerators::found(),
        };
        let sizes = LayerSizes::read(opened, options);
        let numbers = opened.kv_numbers(options);
        let request = sizes.request(options, shape, numbers, &devices);
        let counts = match &options.layers {
            LayerMap::Places(places) => return Ok(Self::of(places.clone(), &sizes, shape)),
            LayerMap::Automatic => device_map::plan(&request),
            LayerMap::Counts(wanted) => {
                device_map::counts_of(wanted, sizes.layers.len(), devices.len())?
            }
        };
        let mut assigned = device_map::assigned(&counts, sizes.layers.len());
        for (number, device) in assigned.iter_mut().enumerate() {
            let named = options.topology.as_ref().and_then(|it| it.device_of_layer(number));
            if let Some(name) = named {
                *device = numbered(*name, &devices)?;
            }
        }
        let place = |device: Option<usize>| {
            device.and_then(|it| devices.get(it)).map_or_else(Place::default, |it| it.place.clone())
        };
        let of_layers = assigned.iter().copied().map(place).collect();
        let places = LayerPlaces::new(place(device_map::primary(&assigned)), of_layers);
        if !places.are_all_here() {
            let names: Vec<String> = devices.iter().map(|it| it.name.to_string()).collect();
            tracing::info!("{}", device_map::described(&names, &assigned));
        }
        let tokens = device_map::most_tokens(&request, &assigned, &on_device(&shape.kv, numbers));
        Ok(Self { most_kv_tokens: tokens, ..Self::of(places, &sizes, shape) })
    }

    /// What such places leave for main memory.
    fn of(places: LayerPlaces, sizes: &LayerSizes, shape: &ModelShape) -> Self {
        let here = |number: &usize| places.of_layer(*number).has_kernels();
        let layers = sizes.layers.iter().enumerate().filter(|(number, _)| here(number));
        let fixed = if places.primary().has_kernels() { sizes.fixed } else { 0 };
        let kept = shape.kv.layers.iter().enumerate().filter(|(number, _)| here(number));
        Self {
            weight_bytes: layers.map(|(_, bytes)| bytes).sum::<u64>() + fixed + sizes.towers,
            kv: KvSpec { layers: kept.map(|(_, layer)| *layer).collect() },
            places,
            most_kv_tokens: None,
        }
    }
}

/// The number of a device that a topology names; `None` is the CPU.
fn numbered(name: DeviceName, devices: &[Accelerator]) -> Result<Option<usize>, LoadError> {
    if name == DeviceName::Cpu {
        return Ok(None);
    }
    match devices.iter().position(|device| device.name == name) {
        Some(number) => Ok(Some(number)),
        None => Err(LoadError::Option {
            option: "--topology",
            reason: format!("`device: {name}` is not there"),
        }),
    }
}

/// Bytes of each layer's keys and values for one token, away from this project's kernels.
fn on_device(kv: &KvSpec, numbers: KvNumbers) -> Vec<u64> {
    // There bytes are halves.
    let numbers = if numbers == KvNumbers::F32 { KvNumbers::F32 } else { KvNumbers::F16 };
    kv.layers.iter().map(|layer| layer.bytes_per_token(numbers) as u64).collect()
}

/// Bytes of weights by where they go.
struct LayerSizes {
    layers: Vec<u64>,
    /// Embeddings, last norm, head.
    fixed: u64,
    /// What looks and listens, and stays in main memory.
    towers: u64,
}

impl LayerSizes {
    fn read(opened: &Opened, options: &LoadOptions) -> Self {
        let checkpoint = opened.checkpoint();
        let text = models::text_prefix(|name| checkpoint.info(name).is_some());
        let mut sizes = Self { layers: Vec::new(), fixed: 0, towers: 0 };
        for (name, bytes) in opened.bytes_by_tensor(&options.quantization().0) {
            let layer = name.strip_prefix(text).and_then(|rest| rest.strip_prefix("layers."));
            let number = layer.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            match number {
                // A header may claim any number; there are no more layers than tensors.
                Some(number) if number < checkpoint.names().len() => {
                    if sizes.layers.len() <= number {
                        sizes.layers.resize(number + 1, 0);
                    }
                    sizes.layers.iter_mut().skip(number).take(1).for_each(|sum| *sum += bytes);
                }
                _ if name.starts_with(text) || name.ends_with("lm_head.weight") => {
                    sizes.fixed += bytes;
                }
                _ => sizes.towers += bytes,
            }
        }
        sizes
    }

    fn request(
        &self,
        options: &LoadOptions,
        shape: &ModelShape,
        numbers: KvNumbers,
        devices: &[Accelerator],
    ) -> MapRequest {
        let asked = options.kv_cache_tokens.or(options.max_seq_len).unwrap_or(USUAL_TOKENS);
        let tokens = asked.min(shape.context.saturating_mul(options.max_seqs.max(1))) as u64;
        let per_token = on_device(&shape.kv, numbers).into_iter().max().unwrap_or(0);
        let step_tokens = options.prefill_chunk + options.max_seqs;
        let bytes = |numbers: usize| (numbers as u64).saturating_mul(size_of::<f32>() as u64);
        MapRequest {
            layers: self.layers.clone(),
            fixed: self.fixed,
            kv_per_layer: per_token.saturating_mul(tokens),
            layer_activations: bytes(step_tokens.saturating_mul(shape.activations_per_token)),
            fixed_activations: bytes(options.max_seqs.saturating_mul(shape.vocab_size)),
            free: devices.iter().map(|device| device.free_bytes).collect(),
        }
    }
}
