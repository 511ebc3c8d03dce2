//! The keys of a Gemma 3n: what differs from layer to layer, and who reads whose keys and values.
//! Formats: `configuration_gemma3n.py` of Hugging Face transformers.

use super::super::config::{MOST_LAYERS, RopeConfig, TextConfig};
use super::super::moe::Keys;
use super::senses::SensesConfig;
use crate::error::LoadError;
use crate::layers::KvPlace;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::Path;

/// Says that the table of embeddings for layers has more layers than the model, and which are read. Only a
/// slice has this key.
pub(super) const PER_LAYER_TABLE: &str = "per_layer_table";

/// The keys, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemma3nConfig {
    pub(super) text: TextConfig,
    /// Width of the MLP, for each layer.
    intermediate: Vec<usize>,
    /// For each layer, how far above the mean a gate must be; ±∞ or 0 where all are open.
    deviations: Vec<f32>,
    pub(super) streams: usize,
    pub(super) active: usize,
    pub(super) correct_scale: bool,
    /// Numbers that each layer is told of a token.
    pub(super) per_layer: usize,
    pub(super) per_layer_vocab: usize,
    pub(super) per_layer_table: PerLayerTable,
    pub(super) laurel_rank: usize,
    /// How many of the last layers have no keys and values of their own.
    borrowing: usize,
    pub(super) softcap: Option<f64>,
    pub(super) senses: SensesConfig,
}

/// The table of what layers are told of each token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PerLayerTable {
    /// Layers it is for.
    pub layers: usize,
    /// The place in it of each layer of the model.
    pub read: Vec<usize>,
}

impl PerLayerTable {
    fn parse(keys: &Keys<'_>, layers: usize) -> Result<Self, LoadError> {
        let Some(value) = keys.get(PER_LAYER_TABLE) else {
            return Ok(Self { layers, read: (0..layers).collect() });
        };
        let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let of = value.get("layers").and_then(number).filter(|of| *of <= MOST_LAYERS);
        let read = value.get("read").and_then(Value::as_array);
        let read = read.and_then(|read| read.iter().map(number).collect::<Option<Vec<_>>>());
        match (of, read) {
            (Some(of), Some(read)) if read.len() == layers && read.iter().all(|at| *at < of) => {
                Ok(Self { layers: of, read })
            }
            _ => Err(keys.bad(format!("`{PER_LAYER_TABLE}` is {value} for {layers} layers"))),
        }
    }
}

impl Gemma3nConfig {
    pub(super) fn parse(file: &Path, json: &Value) -> Result<Self, LoadError> {
        let defaults = json!({
            "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 35,
            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
            "vocab_size": 262_400, "max_position_embeddings": 32768, "tie_word_embeddings": true,
            "hidden_activation": "gelu_pytorch_tanh", "rope_theta": 1e6,
            "rope_local_base_freq": 1e4, "sliding_window": 512, "final_logit_softcapping": 30.0,
            "vocab_size_per_layer_input": 262_144, "hidden_size_per_layer_input": 256,
            "altup_active_idx": 0, "altup_correct_scale": true, "altup_num_inputs": 4,
            "num_kv_shared_layers": 15, "laurel_rank": 64,
        });
        let mut keys = Keys::new(file, json, defaults);
        keys.only("hidden_activation", &[json!("gelu_pytorch_tanh")])?;
        let layers = keys.size(&["num_hidden_layers"])?;
        let intermediate = match keys.get("intermediate_size") {
            Some(Value::Array(_)) => keys.numbers("intermediate_size")?,
            _ => vec![keys.size(&["intermediate_size"])?],
        };
        keys.set("intermediate_size", intermediate.iter().copied().max().unwrap_or(0));
        let text = TextConfig::parse(file, keys.json())?;
        let config = Self {
            senses: SensesConfig::parse(file, json, (text.hidden_size, text.vocab_size))?,
            text,
            deviations: deviations(&keys, layers)?,
            intermediate,
            streams: keys.size(&["altup_num_inputs"])?,
            active: keys.number("altup_active_idx")?.unwrap_or(0),
            correct_scale: keys.flag("altup_correct_scale", true)?,
            per_layer: keys.size(&["hidden_size_per_layer_input"])?,
            per_layer_vocab: keys.size(&["vocab_size_per_layer_input"])?,
            per_layer_table: PerLayerTable::parse(&keys, layers)?,
            laurel_rank: keys.size(&["laurel_rank"])?,
            borrowing: keys.number("num_kv_shared_layers")?.unwrap_or(0),
            softcap: match keys.get("final_logit_softcapping") {
                Some(_) => Some(keys.float("final_logit_softcapping", 0.0)?).filter(|c| *c != 0.0),
                None => None,
            },
        };
        config.check(&keys).map(|()| config)
    }

    fn check(&self, keys: &Keys<'_>) -> Result<(), LoadError> {
        let layers = self.text.num_hidden_layers;
        let widths = self.intermediate.len();
        if widths != 1 && widths != layers || self.intermediate.contains(&0) {
            return Err(keys.bad(format!("{widths} `intermediate_size` for {layers} layers")));
        }
        if self.active >= self.streams {
            let (active, streams) = (self.active, self.streams);
            return Err(keys.bad(format!("`altup_active_idx` is {active} of {streams}")));
        }
        if self.text.local_rope.is_none() {
            return Err(keys.bad("`rope_local_base_freq` is missing".to_owned()));
        }
        let lends =
            |layer: usize| (0..self.own_caches()).any(|own| self.slides(own) == self.slides(layer));
        match (0..layers).find(|layer| !lends(*layer)) {
            None => Ok(()),
            Some(layer) => {
                let borrowing = self.borrowing;
                let reason = format!(
                    "`num_kv_shared_layers` is {borrowing}: no layer before them is of the kind of layer {layer}"
                );
                Err(keys.bad(reason))
            }
        }
    }

    /// Whether a layer has a window.
    pub(super) fn slides(&self, layer: usize) -> bool {
        self.text.slides(layer, !(layer + 1).is_multiple_of(5))
    }

    /// The window of a layer, if it has one.
    pub(super) fn window(&self, layer: usize) -> Option<usize> {
        self.text.sliding_window.filter(|_| self.slides(layer))
    }

    /// How many layers keep keys and values.
    pub(super) fn own_caches(&self) -> usize {
        self.text.num_hidden_layers.saturating_sub(self.borrowing)
    }

    /// A layer's own cache, or that of the last layer of its kind that has one.
    pub(super) fn kv_place(&self, layer: usize) -> KvPlace {
        let own = self.own_caches();
        if layer < own {
            return KvPlace { cache: layer, borrowed: false };
        }
        let lender = (0..own).rev().find(|lender| self.slides(*lender) == self.slides(layer));
        KvPlace { cache: lender.unwrap_or(0), borrowed: true }
    }

    pub(super) fn intermediate(&self, layer: usize) -> usize {
        let of_all = self.intermediate.first();
        self.intermediate.get(layer).or(of_all).copied().unwrap_or(0)
    }

    /// The columns of the table of embeddings for layers that are read: ranges that do not touch.
    pub(super) fn per_layer_columns(&self) -> Vec<Range<usize>> {
        let mut columns: Vec<Range<usize>> = Vec::new();
        for place in &self.per_layer_table.read {
            let next = place * self.per_layer..(place + 1) * self.per_layer;
            match columns.last_mut() {
                Some(last) if last.end == next.start => last.end = next.end,
                _ => columns.push(next),
            }
        }
        columns
    }

    /// How many standard deviations above their mean a layer's gates open, if not all do.
    pub(super) fn deviations(&self, layer: usize) -> Option<f32> {
        self.deviations.get(layer).copied().filter(|deviations| deviations.is_finite())
    }

    /// Of the layers with a window.
    pub(super) fn local_rope(&self) -> &RopeConfig {
        self.text.local_rope.as_ref().unwrap_or(&self.text.rope)
    }

    /// A factor as the type of the weights holds it: transformers multiplies in that type.
    pub(super) fn held(&self, factor: f64) -> f64 {
        let dtype = match self.text.dtype.as_deref() {
            Some("bfloat16") => DType::BF16,
            Some("float16") => DType::F16,
            _ => DType::F32,
        };
        let held = Tensor::new(factor as f32, &Device::Cpu).and_then(|t| t.to_dtype(dtype));
        let held = held.and_then(|t| t.to_dtype(DType::F32)).and_then(|t| t.to_scalar::<f32>());
        held.map_or(factor, f64::from)
    }
}

/// Of each layer: from the share of gates that stay shut, or told outright (GGUF).
fn deviations(keys: &Keys<'_>, layers: usize) -> Result<Vec<f32>, LoadError> {
    const TOLD: &str = "activation_sparsity_scale";
    const SHARES: &str = "activation_sparsity_pattern";
    let list = |key: &str, value: &Value| -> Result<Vec<Option<f64>>, LoadError> {
        let all = value.as_array().map(|all| all.iter().map(Value::as_f64).collect::<Vec<_>>());
        match all {
            Some(all) if all.len() == layers => Ok(all),
            _ => Err(keys.bad(format!("`{key}` is {value}, no list of {layers} numbers"))),
        }
    };
    if let Some(told) = keys.get(TOLD) {
        let told = list(TOLD, told)?.into_iter();
        return Ok(told.map(|number| number.unwrap_or(f64::INFINITY) as f32).collect());
    }
    let shares = match keys.get(SHARES) {
        Some(shares) => list(SHARES, shares)?,
        None => (0..layers).map(|l| Some(if l < 10 && layers > 10 { 0.95 } else { 0.0 })).collect(),
    };
    let shares = shares.into_iter().map(|share| match share {
        Some(share) if (0.0..1.0).contains(&share) => Ok(quantile(share) as f32),
        _ => Err(keys.bad(format!("`{SHARES}` must hold shares from 0 to 1"))),
    });
    shares.collect()
}

/// What a normally distributed number is below with probability `p`, in standard deviations; by
/// halving an interval, with the series of the distribution around its middle.
fn quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let below = |x: f64| {
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term.abs() > 1e-17 {
            odd += 2.0;
            term *= x * x / odd;
            sum += term;
        }
        0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
    };
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) < p { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(extra: Value) -> Result<Gemma3nConfig, String> {
        Gemma3nConfig::parse(Path::new("config.json"), &extra).map_err(|error| error.to_string())
    }

    #[test]
    fn quantiles_of_the_table() {
        for (p, x) in
            [(0.5, 0.0), (0.95, 1.644_853_627), (0.025, -1.959_963_985), (0.999, 3.090_232_306)]
        {
            assert!((quantile(p) - x).abs() < 1e-8, "{p}: {}", quantile(p));
        }
        assert_eq!(quantile(0.0), f64::NEG_INFINITY);
    }

    #[test]
    fn silent_keys_are_the_published_ones() {
        let config = config(json!({})).unwrap();
        assert_eq!((config.text.num_hidden_layers, config.own_caches()), (35, 20));
        assert_eq!(
            (config.intermediate(3), config.streams, config.softcap),
            (16384, 4, Some(30.0))
        );
        assert!((0..10).all(|l| config.deviations(l) == Some(1.644_853_6)));
        assert!((10..35).all(|l| config.deviations(l).is_none()));
        assert_eq!((config.window(4), config.window(5)), (None, Some(512)));
        // Layers 19 and 18 are the last with caches of their own.
        let place = |cache, borrowed| KvPlace { cache, borrowed };
        assert_eq!(
            (config.kv_place(18), config.kv_place(19)),
            (place(18, false), place(19, false))
        );
        assert_eq!((config.kv_place(20), config.kv_place(34)), (place(18, true), place(19, true)));
    }

    #[test]
    fn what_differs_from_layer_to_layer() {
        let few = |extra: Value| {
            let mut keys = json!({"num_hidden_layers": 3, "num_kv_shared_layers": 0,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]});
            keys.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            config(keys)
        };
        let widths = few(json!({"intermediate_size": [8, 4, 6]})).unwrap();
        assert_eq!([0, 1, 2].map(|l| widths.intermediate(l)), [8, 4, 6]);
        assert_eq!(widths.text.intermediate_size, 8);
        let gates = few(json!({"activation_sparsity_pattern": [0.0, 0.5, 0.9]})).unwrap();
        assert_eq!([0, 1].map(|l| gates.deviations(l).map(|d| d.abs() < 1e-6)), [None, Some(true)]);
        let told = few(json!({"activation_sparsity_scale": [1.5, null, null]})).unwrap();
        assert_eq!([0, 1].map(|l| told.deviations(l)), [Some(1.5), None]);
        let error = |extra| few(extra).unwrap_err();
        assert!(error(json!({"intermediate_size": [8, 4]})).contains("2 `intermediate_size`"));
        assert!(error(json!({"activation_sparsity_pattern": [0.5]})).contains("list of 3"));
        assert!(error(json!({"activation_sparsity_pattern": [0.5, 1.0, 0.0]})).contains("shares"));
        assert!(error(json!({"altup_active_idx": 4})).contains("4 of 4"));
        assert!(error(json!({"num_kv_shared_layers": 2})).contains("kind of layer 1"));
        assert!(error(json!({"hidden_activation": "silu"})).contains("hidden_activation"));
        for table in [
            json!({"layers": 3, "read": [0, 1]}),
            json!({"layers": 3, "read": [0, 1, 3]}),
            json!(3),
        ] {
            assert!(error(json!({PER_LAYER_TABLE: table})).contains("per_layer_table"));
        }
    }
}
