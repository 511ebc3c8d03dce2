//! What mixtures of experts share beyond `decoder`: reading their keys, and the memory of a step.
//! Formats: the configuration classes of Hugging Face transformers.

use super::config::{LARGEST_DIMENSION, TextConfig, with_defaults};
use super::{ModelShape, decoder};
use crate::error::LoadError;
use crate::layers::{PreNormLayer, RmsNorm, Routing, Scores, Sublayer};
use crate::weights::Weights;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A text model some of whose layers are mixtures.
#[derive(Debug, Clone, PartialEq)]
pub struct MoeConfig {
    /// The keys of every decoder.
    pub text: TextConfig,
    /// How tokens find their experts.
    pub routing: Routing,
    /// Width inside an expert.
    pub intermediate: usize,
    /// Width inside the shared expert; 0 where there is none.
    pub shared: usize,
}

impl MoeConfig {
    /// Sizes of a model whose attention is the usual one.
    pub fn shape(&self) -> ModelShape {
        let shape = decoder::shape(&self.text);
        ModelShape {
            activations_per_token: shape.activations_per_token + self.activations(),
            ..shape
        }
    }

    /// Numbers per token in the midst of a mixture: what goes into and comes out of each chosen
    /// expert, what is in between, and the same of the shared expert.
    pub fn activations(&self) -> usize {
        let experts = self.routing.top_k * (2 * self.text.hidden_size + 3 * self.intermediate);
        experts + self.text.hidden_size + 3 * self.shared
    }
}

/// The usual pre-norm layer, around attention and a feed-forward block of whatever kinds.
///
/// # Errors
/// When a norm is missing or misshapen.
pub fn layer<A: Sublayer, F: Sublayer>(
    text: &TextConfig,
    weights: &Weights,
    self_attn: A,
    mlp: F,
) -> Result<PreNormLayer<A, F>, LoadError> {
    let norm = |name| RmsNorm::load(&weights.pp(name), text.hidden_size, text.rms_norm_eps);
    Ok(PreNormLayer {
        input_layernorm: norm("input_layernorm")?,
        self_attn,
        post_attention_layernorm: norm("post_attention_layernorm")?,
        mlp,
    })
}

/// `config.json`, key by key, with the name of the file for messages.
pub struct Keys<'a> {
    file: &'a Path,
    json: Value,
}

impl<'a> Keys<'a> {
    /// The keys of a file, and of `defaults` those that it does not have.
    pub fn new(file: &'a Path, json: &Value, defaults: Value) -> Self {
        Self { file, json: with_defaults(json, defaults) }
    }

    /// The keys of every decoder. All mixtures here have SiLU.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn text(&self) -> Result<TextConfig, LoadError> {
        let text = TextConfig::parse(self.file, &self.json)?;
        match text.hidden_act.as_str() {
            "silu" | "swish" => Ok(text),
            other => Err(self.bad(format!("`hidden_act` is {other}; this architecture has silu"))),
        }
    }

    /// All of them.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Sets a key.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(keys) = self.json.as_object_mut() {
            keys.insert(key.to_owned(), value.into());
        }
    }

    /// The value of a key; `None` if it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// A whole number from 0 on, if the key is there.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] if it is something else.
    pub fn number(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
        let number = number.filter(|n| *n <= LARGEST_DIMENSION);
        number.map(Some).ok_or_else(|| self.bad(format!("`{key}` is {value}, no size")))
    }

    /// A whole number from 1 on: that of the first of several names that is there.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] if none is, or it is something else.
    pub fn size(&self, names: &[&str]) -> Result<usize, LoadError> {
        let name = names.iter().find(|name| self.get(name).is_some()).or(names.first());
        let name = name.copied().unwrap_or_default();
        match self.number(name)? {
            Some(size) if size > 0 => Ok(size),
            found => {
                let found = found.map_or("missing".to_owned(), |n| n.to_string());
                Err(self.bad(format!("`{name}` is {found}, must be at least 1")))
            }
        }
    }

    /// A finite number.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] if it is something else.
    pub fn float(&self, key: &str, default: f64) -> Result<f64, LoadError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let number = value.as_f64().filter(|number| number.is_finite());
        number.ok_or_else(|| self.bad(format!("`{key}` is {value}, no number")))
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] if it is something else.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, LoadError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.bad(format!("`{key}` is {value}, not true or false")))
    }

    /// A list of whole numbers; empty if absent.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] if it is something else.
    pub fn numbers(&self, key: &str) -> Result<Vec<usize>, LoadError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let number = |n: &Value| n.as_u64().and_then(|n| usize::try_from(n).ok());
        let numbers = value.as_array().and_then(|all| all.iter().map(number).collect());
        numbers.ok_or_else(|| self.bad(format!("`{key}` is {value}, no list of layers")))
    }

    /// Refuses a key that would change the arithmetic, unless it has one of the values that do not.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] naming the key.
    pub fn only(&self, key: &str, values: &[Value]) -> Result<(), LoadError> {
        match self.get(key) {
            Some(value) if !values.contains(value) => {
                Err(self.bad(format!("`{key}` is {value}, which is not supported")))
            }
            _ => Ok(()),
        }
    }

    /// Qwen's: shares of one, which add up to one again where the file says so.
    ///
    /// # Errors
    /// As [`Self::routing`].
    pub fn routing_by_shares(&self, experts: usize) -> Result<Routing, LoadError> {
        self.routing(Routing {
            experts,
            top_k: self.size(&["num_experts_per_tok"])?,
            scores: Scores::Softmax,
            corrected: false,
            groups: None,
            normalize: self.flag("norm_topk_prob", false)?,
            scale: 1.0,
        })
    }

    /// Checks that as many experts can be chosen as are to be.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] with the numbers.
    pub fn routing(&self, routing: Routing) -> Result<Routing, LoadError> {
        let eligible = match routing.groups {
            None => routing.experts,
            Some(groups) => {
                let fits = routing.experts.is_multiple_of(groups.count.max(1));
                if groups.count == 0 || !fits || groups.kept == 0 || groups.kept > groups.count {
                    return Err(self.bad(format!(
                        "{} of {} groups of {} experts cannot be chosen",
                        groups.kept, groups.count, routing.experts
                    )));
                }
                routing.experts / groups.count * groups.kept
            }
        };
        if routing.top_k > eligible {
            let k = routing.top_k;
            return Err(self.bad(format!("`num_experts_per_tok` is {k}, of {eligible} experts")));
        }
        Ok(routing)
    }

    /// An error about this file.
    pub fn bad(&self, reason: String) -> LoadError {
        LoadError::BadFile { file: PathBuf::from(self.file), reason }
    }
}
