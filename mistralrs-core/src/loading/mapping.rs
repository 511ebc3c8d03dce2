//! From a model's headers and the machine's devices to the places of its layers.

use super::LoadOptions;
use super::accelerators::{self, Accelerator};
use super::cost::is_other_sense;
use super::device_map::{self, LayerMap, MapRequest};
use super::opened::Opened;
use super::topology::{DeviceName, Topology, layer_of};
use crate::error::LoadError;
use crate::kv_cache::{KvNumbers, KvSpec};
use crate::models::ModelShape;
use crate::places::LayerPlaces;
use mistralrs_quant::{Place, WeightSize};

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
            LayerMap::Places(places) => {
                nothing_else_named(options)?;
                return Ok(Self::of(places.clone(), &sizes, shape));
            }
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
        let fixed = if places.primary().has_kernels() { sizes.fixed.here } else { 0 };
        let kept = shape.kv.layers.iter().enumerate().filter(|(number, _)| here(number));
        Self {
            weight_bytes: layers.map(|(_, size)| size.here).sum::<u64>() + fixed + sizes.stays,
            kv: KvSpec { layers: kept.map(|(_, layer)| *layer).collect() },
            places,
            most_kv_tokens: None,
        }
    }
}

/// Where somebody has said where all layers are, a topology must not send any elsewhere.
fn nothing_else_named(options: &LoadOptions) -> Result<(), LoadError> {
    let mut named = options.topology.iter().flat_map(Topology::devices);
    match named.find(|device| **device != DeviceName::Cpu) {
        Some(device) => Err(LoadError::Option {
            option: "--topology",
            reason: format!("`device: {device}` contradicts the places that are given (`--cpu`)"),
        }),
        None => Ok(()),
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
    layers: Vec<WeightSize>,
    /// Embeddings, last norm, head.
    fixed: WeightSize,
    /// What stays in main memory wherever layers are: towers, experts, the up-projections of latent attention.
    stays: u64,
}

/// Parts of the names of weights within layers that stay in main memory.
const STAYS: [&str; 4] = [".experts.", ".kv_b_proj.", ".k_b_proj.", ".v_b_proj."];

impl LayerSizes {
    fn read(opened: &Opened, options: &LoadOptions) -> Self {
        let checkpoint = opened.checkpoint();
        let mut sizes = Self { layers: Vec::new(), fixed: WeightSize::default(), stays: 0 };
        for (name, size) in opened.sizes_by_tensor(&options.quantization().0) {
            match layer_of(&name) {
                // A header may claim any number; there are no more layers than tensors.
                Some(number) if number < checkpoint.names().len() => {
                    if sizes.layers.len() <= number {
                        sizes.layers.resize(number + 1, WeightSize::default());
                    }
                    match sizes.layers.get_mut(number) {
                        Some(sum) if !STAYS.iter().any(|part| name.contains(part)) => *sum += size,
                        _ => sizes.stays += size.here,
                    }
                }
                _ if name.split('.').any(is_other_sense) => sizes.stays += size.here,
                _ => sizes.fixed += size,
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
            layers: self.layers.iter().map(|size| size.there).collect(),
            fixed: self.fixed.there,
            kv_per_layer: per_token.saturating_mul(tokens),
            layer_activations: bytes(step_tokens.saturating_mul(shape.activations_per_token)),
            fixed_activations: bytes(options.max_seqs.saturating_mul(shape.vocab_size)),
            free: devices.iter().map(|device| device.free_bytes).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loading::source;
    use mistralrs_testkit::{GGUF_MODELS, HF_MODELS, fixture};

    fn sizes(name: &str) -> (LayerSizes, Opened) {
        let options = LoadOptions::new(fixture(name).to_string_lossy());
        let files = source::resolve(&options).unwrap();
        let opened = Opened::open(&files, &options.purpose).unwrap();
        (LayerSizes::read(&opened, &options), opened)
    }

    #[test]
    fn every_weight_is_counted_once_and_every_layer_found() {
        for name in HF_MODELS.iter().chain(GGUF_MODELS) {
            let (sizes, opened) = sizes(name);
            let here = sizes.layers.iter().map(|size| size.here).sum::<u64>();
            let all = here + sizes.fixed.here + sizes.stays;
            assert_eq!(all, opened.weight_bytes(&LoadOptions::new("").quantization().0), "{name}");
            let text = opened.config.get("text_config").unwrap_or(&opened.config);
            let layers = text["num_hidden_layers"].as_u64().unwrap();
            assert_eq!(sizes.layers.len() as u64, layers, "{name}");
            assert!(sizes.layers.iter().all(|size| size.here > 0 && size.there > 0), "{name}");
            assert!(sizes.fixed.here > 0, "{name}");
            let stays =
                ["moe", "mixtral", "deepseek", "vl", "vision", "media", "idefics", "smolvlm"];
            let sees_or_mixes = stays.iter().any(|part| name.contains(part));
            assert!(sizes.stays > 0 || !sees_or_mixes, "{name}");
        }
    }

    #[test]
    fn places_that_are_given_leave_nothing_to_a_topology() {
        let topology = Topology::parse("t.yml".as_ref(), "0:\n  device: cuda[0]\n").unwrap();
        let mut options = LoadOptions::new("");
        options.topology = Some(topology);
        assert!(nothing_else_named(&options).unwrap_err().to_string().contains("cuda[0]"));
        options.topology = Some(Topology::parse("t.yml".as_ref(), "0:\n  device: cpu\n").unwrap());
        nothing_else_named(&options).unwrap();
    }
}
