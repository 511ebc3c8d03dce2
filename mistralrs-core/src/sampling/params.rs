//! What a caller may ask of the sampler, which values are possible, and in which order the stages
//! run (`SamplingParams::chain`). `None` = the model's generation default, else off. Knows the
//! fields by the names that OpenAI clients use, and nothing of how a request arrived.

use super::filters::{
    CandidateFilter, ExcludeTopChoices, MinP, SurpriseLimit, TopK, TopNSigma, TopP, Typical,
};
use super::processors::{BAN, Bias, Dry, LogitsProcessor, Penalties, Temperature};
use crate::error::RequestError;
use serde_json::Value;
use std::collections::HashSet;

/// DRY: punishes tokens that would extend a repeated span (row P-B1).
#[derive(Debug, Clone, PartialEq)]
pub struct DryParams {
    /// 0 = off.
    pub multiplier: f32,
    /// Growth per token of match length.
    pub base: f32,
    /// Matches shorter than this go unpunished.
    pub allowed_length: usize,
    /// Look at this many last tokens; `None` = all, 0 = off.
    pub last_n: Option<usize>,
    /// Strings a match cannot cross.
    pub sequence_breakers: Vec<String>,
}

impl Default for DryParams {
    fn default() -> Self {
        Self {
            multiplier: 0.0,
            base: 1.75,
            allowed_length: 2,
            last_n: None,
            sequence_breakers: ["\n", ":", "\"", "*"].map(String::from).to_vec(),
        }
    }
}

/// Mirostat 2: holds the surprise of the text near `tau`; replaces the other filters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mirostat {
    /// Target surprise in bits.
    pub tau: f32,
    /// Learning rate.
    pub eta: f32,
}

/// XTC: with `probability`, drops all but the least likely of the tokens above `threshold`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xtc {
    /// Chance per token.
    pub probability: f32,
    /// Probability above which a token counts as a top choice.
    pub threshold: f32,
}

/// How the next token is chosen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 (or below 1e-7) = take the best.
    pub temperature: Option<f32>,
    /// Keep the k best; 0 = off.
    pub top_k: Option<usize>,
    /// Keep the smallest set whose probability reaches p: 1 = off, 0 = the best only.
    pub top_p: Option<f32>,
    /// Drop what is less likely than `min_p` × the best.
    pub min_p: Option<f32>,
    /// Keep the tokens nearest the distribution's entropy, up to this mass; 1 = off.
    pub typical_p: Option<f32>,
    /// Keep logits within n standard deviations of the best; 0 = off.
    pub top_n_sigma: Option<f32>,
    /// Exclude top choices.
    pub xtc: Option<Xtc>,
    /// Mirostat 2.
    pub mirostat: Option<Mirostat>,
    /// Divides positive and multiplies negative logits of seen tokens; 1 = off.
    pub repetition_penalty: Option<f32>,
    /// Subtracted once per occurrence.
    pub frequency_penalty: Option<f32>,
    /// Subtracted from tokens that occurred.
    pub presence_penalty: Option<f32>,
    /// The three penalties look at this many last tokens; `None` = all, 0 = off.
    pub penalty_last_n: Option<usize>,
    /// DRY.
    pub dry: Option<DryParams>,
    /// Added to the logits of these tokens; -100 bans the token.
    pub logit_bias: Vec<(u32, f32)>,
    /// Same seed, same prompt, same answer.
    pub seed: Option<u64>,
}

/// The values a number may take. `param` is the field as OpenAI clients spell it.
#[derive(Debug)]
struct Limits {
    param: &'static str,
    low: f32,
    high: f32,
    /// Whether `low` itself is possible.
    with_low: bool,
}

impl Limits {
    const fn closed(param: &'static str, low: f32, high: f32) -> Self {
        Self { param, low, high, with_low: true }
    }

    const fn above(param: &'static str, low: f32, high: f32) -> Self {
        Self { param, low, high, with_low: false }
    }

    fn hold(&self, value: f32) -> bool {
        value.is_finite()
            && value <= self.high
            && (value > self.low || (self.with_low && value == self.low))
    }

    fn check(&self, value: Option<f32>) -> Result<(), RequestError> {
        match value {
            Some(value) if !self.hold(value) => {
                Err(RequestError::invalid(self.param, self.complaint(value)))
            }
            _ => Ok(()),
        }
    }

    fn complaint(&self, value: f32) -> String {
        let Self { param, low, high, with_low } = self;
        let from = if *with_low { "at least" } else { "above" };
        if *high == f32::MAX {
            format!("`{param}` must be a finite number {from} {low}, but it is {value}")
        } else {
            format!("`{param}` must be {from} {low} and at most {high}, but it is {value}")
        }
    }
}

const TEMPERATURE: Limits = Limits::closed("temperature", 0.0, 100.0);
const TOP_P: Limits = Limits::closed("top_p", 0.0, 1.0);
const MIN_P: Limits = Limits::closed("min_p", 0.0, 1.0);
const TYPICAL_P: Limits = Limits::above("typical_p", 0.0, 1.0);
const TOP_N_SIGMA: Limits = Limits::closed("top_n_sigma", 0.0, f32::MAX);
const XTC_PROBABILITY: Limits = Limits::closed("xtc_probability", 0.0, 1.0);
const XTC_THRESHOLD: Limits = Limits::closed("xtc_threshold", 0.0, 1.0);
const MIROSTAT_TAU: Limits = Limits::above("mirostat_tau", 0.0, f32::MAX);
const MIROSTAT_ETA: Limits = Limits::above("mirostat_eta", 0.0, f32::MAX);
const REPETITION: Limits = Limits::above("repetition_penalty", 0.0, f32::MAX);
const FREQUENCY: Limits = Limits::closed("frequency_penalty", -2.0, 2.0);
const PRESENCE: Limits = Limits::closed("presence_penalty", -2.0, 2.0);
const DRY_MULTIPLIER: Limits = Limits::closed("dry_multiplier", 0.0, f32::MAX);
const DRY_BASE: Limits = Limits::closed("dry_base", 1.0, f32::MAX);
const LOGIT_BIAS: Limits = Limits::closed("logit_bias", BAN, -BAN);

/// Below this, a temperature means: take the best.
const COLDEST: f32 = 1e-7;

/// The stages between the logits and the token, in their order.
pub(super) struct Chain {
    /// On all logits.
    pub processors: Vec<Box<dyn LogitsProcessor>>,
    /// On the candidates.
    pub filters: Vec<Box<dyn CandidateFilter>>,
    /// Take the best after the processors: no filter, no draw.
    pub greedy: bool,
}

impl SamplingParams {
    /// Checks every value before the request costs anything.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] names the field and its limits.
    pub fn validate(&self, vocab_size: usize) -> Result<(), RequestError> {
        TEMPERATURE.check(self.temperature)?;
        TOP_P.check(self.top_p)?;
        MIN_P.check(self.min_p)?;
        TYPICAL_P.check(self.typical_p)?;
        TOP_N_SIGMA.check(self.top_n_sigma)?;
        XTC_PROBABILITY.check(self.xtc.map(|x| x.probability))?;
        XTC_THRESHOLD.check(self.xtc.map(|x| x.threshold))?;
        MIROSTAT_TAU.check(self.mirostat.map(|m| m.tau))?;
        MIROSTAT_ETA.check(self.mirostat.map(|m| m.eta))?;
        REPETITION.check(self.repetition_penalty)?;
        FREQUENCY.check(self.frequency_penalty)?;
        PRESENCE.check(self.presence_penalty)?;
        if let Some(dry) = &self.dry {
            DRY_MULTIPLIER.check(Some(dry.multiplier))?;
            DRY_BASE.check(Some(dry.base))?;
            if dry.sequence_breakers.iter().any(String::is_empty) {
                let message = "`dry_sequence_breakers` must not hold an empty string; \
                               leave it out, or send an empty list for no breakers";
                return Err(RequestError::invalid("dry_sequence_breakers", message));
            }
        }
        for &(id, bias) in &self.logit_bias {
            if usize::try_from(id).map_or(true, |id| id >= vocab_size) {
                let message = format!(
                    "`logit_bias` names the token {id}, but the vocabulary has {vocab_size} tokens (0 to {})",
                    vocab_size.saturating_sub(1)
                );
                return Err(RequestError::invalid("logit_bias", message));
            }
            LOGIT_BIAS.check(Some(bias))?;
        }
        Ok(())
    }

    /// Fills the fields left open from `defaults`; `seed` and `logit_bias` belong to one request
    /// and are never filled.
    pub fn or(self, defaults: &SamplingParams) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature.or(defaults.temperature),
            top_k: self.top_k.or(defaults.top_k),
            top_p: self.top_p.or(defaults.top_p),
            min_p: self.min_p.or(defaults.min_p),
            typical_p: self.typical_p.or(defaults.typical_p),
            top_n_sigma: self.top_n_sigma.or(defaults.top_n_sigma),
            xtc: self.xtc.or(defaults.xtc),
            mirostat: self.mirostat.or(defaults.mirostat),
            repetition_penalty: self.repetition_penalty.or(defaults.repetition_penalty),
            frequency_penalty: self.frequency_penalty.or(defaults.frequency_penalty),
            presence_penalty: self.presence_penalty.or(defaults.presence_penalty),
            penalty_last_n: self.penalty_last_n.or(defaults.penalty_last_n),
            dry: self.dry.or_else(|| defaults.dry.clone()),
            logit_bias: self.logit_bias,
            seed: self.seed,
        }
    }

    /// The one place with the order of the stages:
    ///
    /// logit bias → DRY → frequency, presence, repetition → temperature → top-nσ → top-k → typical
    /// → top-p → min-p → XTC → draw.
    ///
    /// Temperature closes the stages on all logits (row B3), so every filter judges the
    /// probabilities that the draw will use; top-nσ is indifferent to it. Each filter sees what the
    /// ones before it left, renormalized. Mirostat replaces all filters. At temperature 0, and with
    /// `top_k` 1, the best token is taken: then no filter could change the outcome.
    pub(super) fn chain(&self, breakers: HashSet<u32>) -> Chain {
        let temperature = self.temperature.unwrap_or(1.0);
        let greedy = temperature < COLDEST || (self.top_k == Some(1) && self.mirostat.is_none());
        let mut processors = self.processors(breakers);
        let filters = match self.mirostat {
            _ if greedy => Vec::new(),
            Some(Mirostat { tau, eta }) => {
                vec![Box::new(SurpriseLimit::new(tau, eta)) as Box<dyn CandidateFilter>]
            }
            None => self.filters(),
        };
        if !greedy {
            processors.push(Box::new(Temperature { temperature }));
        }
        Chain { processors, filters, greedy }
    }

    /// The stages before temperature that are switched on.
    fn processors(&self, breakers: HashSet<u32>) -> Vec<Box<dyn LogitsProcessor>> {
        let mut stages: Vec<Box<dyn LogitsProcessor>> = Vec::new();
        if !self.logit_bias.is_empty() {
            stages.push(Box::new(Bias { biases: self.logit_bias.clone() }));
        }
        if let Some(dry) = self.dry.as_ref().filter(|dry| dry.multiplier > 0.0) {
            stages.push(Box::new(Dry::new(dry, breakers)));
        }
        let frequency = self.frequency_penalty.unwrap_or(0.0);
        let presence = self.presence_penalty.unwrap_or(0.0);
        let repetition = self.repetition_penalty.unwrap_or(1.0);
        if frequency != 0.0 || presence != 0.0 || repetition != 1.0 {
            stages.push(Box::new(Penalties {
                frequency,
                presence,
                repetition,
                last_n: self.penalty_last_n,
                counts: Vec::new(),
            }));
        }
        stages
    }

    /// The stages after temperature that are switched on.
    fn filters(&self) -> Vec<Box<dyn CandidateFilter>> {
        let mut stages: Vec<Box<dyn CandidateFilter>> = Vec::new();
        if let Some(n) = self.top_n_sigma.filter(|&n| n > 0.0) {
            stages.push(Box::new(TopNSigma { n }));
        }
        if let Some(k) = self.top_k.filter(|&k| k > 0) {
            stages.push(Box::new(TopK { k }));
        }
        if let Some(p) = self.typical_p.filter(|&p| p < 1.0) {
            stages.push(Box::new(Typical { p }));
        }
        if let Some(p) = self.top_p.filter(|&p| p < 1.0) {
            stages.push(Box::new(TopP { p }));
        }
        if let Some(p) = self.min_p.filter(|&p| p > 0.0) {
            stages.push(Box::new(MinP { p }));
        }
        if let Some(Xtc { probability, threshold }) = self.xtc.filter(|xtc| xtc.probability > 0.0) {
            stages.push(Box::new(ExcludeTopChoices { probability, threshold }));
        }
        stages
    }
}

/// Reads the defaults that a model's `generation_config.json` brings.
#[derive(Debug)]
pub struct GenerationDefaults;

impl GenerationDefaults {
    /// The sampling fields of the file. `do_sample: false` means temperature 0. A value that is no
    /// number or out of its limits is left out with a warning: a slip in the file must not refuse
    /// every request.
    pub fn from_json(json: &Value) -> SamplingParams {
        let greedy = json.get("do_sample") == Some(&Value::Bool(false));
        let temperature = number(json, &TEMPERATURE);
        SamplingParams {
            temperature: if greedy { Some(0.0) } else { temperature },
            top_k: whole_number(json, "top_k"),
            top_p: number(json, &TOP_P),
            min_p: number(json, &MIN_P),
            typical_p: number(json, &TYPICAL_P),
            repetition_penalty: number(json, &REPETITION),
            ..SamplingParams::default()
        }
    }
}

fn number(json: &Value, limits: &Limits) -> Option<f32> {
    let value = json.get(limits.param).filter(|value| !value.is_null())?;
    let number = value.as_f64().map(|number| number as f32).filter(|&number| limits.hold(number));
    if number.is_none() {
        tracing::warn!(field = limits.param, %value, "ignoring a value of generation_config.json that is impossible");
    }
    number
}

/// Negative numbers mean off, as 0 does.
fn whole_number(json: &Value, field: &'static str) -> Option<usize> {
    let value = json.get(field).filter(|value| !value.is_null())?;
    let number = value.as_i64().map(|number| usize::try_from(number).unwrap_or(0));
    if number.is_none() {
        tracing::warn!(field, %value, "ignoring a value of generation_config.json that is impossible");
    }
    number
}
