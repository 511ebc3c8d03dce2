//! The fields that chat and plain completion share: how an answer is to be generated.
//! Wire names are OpenAI's where it has one, else the most common one of the open servers.

use super::values::{Count, Number, Present, Seed, Strings, Whole};
use super::{Limits, form};
use crate::error::ApiError;
use mistralrs_core::sampling::{DryParams, Mirostat, Xtc};
use mistralrs_core::{GenerateOptions, SamplingParams};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

const MAX_STOP_STRINGS: usize = 16;
const MAX_STOP_BYTES: usize = 1024;
const MAX_STOP_TOKEN_IDS: usize = 256;
/// OpenAI's bound; 0.6-era clients send up to this many as well.
pub(crate) const MAX_TOP_LOGPROBS: usize = 20;
const MAX_LOGIT_BIAS: f32 = 100.0;

/// How an answer is to be generated. Absent or `null` = the model's own default.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct GenerateBody {
    /// The loaded model's id, or `default`; absent = the loaded model.
    pub model: Option<String>,
    /// Most tokens to generate.
    pub max_tokens: Option<Count>,
    /// OpenAI's newer name of `max_tokens`; wins over it.
    pub max_completion_tokens: Option<Count>,
    /// No end before this many tokens.
    pub min_tokens: Option<Count>,
    /// Divides the logits; 0 = always the best token.
    pub temperature: Option<Number>,
    /// Keep the smallest set of tokens whose probability reaches this.
    pub top_p: Option<Number>,
    /// Keep this many best tokens; 0 or -1 = off.
    pub top_k: Option<Whole>,
    /// Drop tokens less likely than this share of the best one.
    pub min_p: Option<Number>,
    /// Keep the tokens nearest the entropy, up to this probability.
    pub typical_p: Option<Number>,
    /// Keep logits within this many standard deviations of the best.
    pub top_n_sigma: Option<Number>,
    /// Chance that XTC drops the top choices.
    pub xtc_probability: Option<Number>,
    /// Probability above which a token is a top choice (0.1).
    pub xtc_threshold: Option<Number>,
    /// 0 = off, 2 = Mirostat 2.
    pub mirostat: Option<Whole>,
    /// Mirostat's target surprise in bits (5).
    pub mirostat_tau: Option<Number>,
    /// Mirostat's learning rate (0.1).
    pub mirostat_eta: Option<Number>,
    /// Divides the logits of tokens that occurred; 1 = off.
    #[serde(alias = "repeat_penalty")]
    pub repetition_penalty: Option<Number>,
    /// Subtracted per occurrence.
    pub frequency_penalty: Option<Number>,
    /// Subtracted from tokens that occurred.
    pub presence_penalty: Option<Number>,
    /// The three penalties look at this many last tokens; -1 = all.
    #[serde(alias = "penalty_last_n")]
    pub repeat_last_n: Option<Whole>,
    /// DRY: strength; 0 = off.
    pub dry_multiplier: Option<Number>,
    /// DRY: growth per repeated token (1.75).
    pub dry_base: Option<Number>,
    /// DRY: repetitions up to this length are free (2).
    pub dry_allowed_length: Option<Count>,
    /// DRY: look at this many last tokens; -1 = all.
    pub dry_penalty_last_n: Option<Whole>,
    /// DRY: strings a repetition cannot cross.
    pub dry_sequence_breakers: Option<Strings>,
    /// Token id → number added to its logit, -100 to 100.
    #[schema(value_type = Option<BTreeMap<String, f32>>)]
    pub logit_bias: Option<BTreeMap<String, Number>>,
    /// Same seed, same request, same answer.
    pub seed: Option<Seed>,
    /// Answers to one prompt.
    pub n: Option<Count>,
    /// The answer ends before the first of these (at most 16).
    pub stop: Option<Strings>,
    /// The answer ends when one of these ids is drawn.
    pub stop_token_ids: Option<Vec<u32>>,
    /// Go on past the model's end-of-sequence tokens.
    pub ignore_eos: Option<bool>,
    /// Answer in server-sent events.
    pub stream: Option<bool>,
    /// What a stream carries.
    pub stream_options: Option<StreamOptions>,
    /// The whole request must end within this many milliseconds.
    pub timeout_ms: Option<Count>,
    /// Cut the front of a prompt that is too long instead of refusing it.
    pub truncate_sequence: Option<bool>,

    /// The form of the answer: `{"type": "regex" | "lark" | "json_schema" | "llguidance", "value": …}`.
    #[schema(value_type = Option<Object>)]
    pub grammar: Option<Value>,
    /// Has no effect.
    pub user: Option<Present>,
    /// Has no effect.
    pub metadata: Option<Present>,
    /// Has no effect.
    pub store: Option<Present>,
    /// Has no effect.
    pub service_tier: Option<Present>,
    /// Has no effect.
    pub safety_identifier: Option<Present>,
    /// Has no effect: prefixes are cached by content.
    pub prompt_cache_key: Option<Present>,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
pub struct StreamOptions {
    /// A last chunk with the token counts.
    pub include_usage: Option<bool>,
    /// Has no effect: chunks are never padded.
    pub include_obfuscation: Option<bool>,
}

/// How one request is to be answered, apart from what it asks.
#[derive(Debug, Clone)]
pub struct Generate {
    /// For the engine, the same for every answer but for the seed.
    pub options: GenerateOptions,
    /// Answers to each prompt.
    pub n: usize,
    /// Answer in server-sent events.
    pub stream: bool,
    /// A last chunk with the token counts.
    pub include_usage: bool,
}

impl GenerateBody {
    /// Checks the form and translates. What has no effect is added to `warnings`.
    ///
    /// # Errors
    /// [`ApiError`] naming the field.
    pub fn into_core(
        self,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) -> Result<Generate, ApiError> {
        self.warn(warnings);
        let form = form::grammar(self.grammar.as_ref())?;
        let n = self.n.map_or(1, |n| n.0);
        if n == 0 || n > limits.max_n {
            return Err(ApiError::invalid(
                "n",
                format!("`n` is {n}; it has to be 1 to {} (--max-n)", limits.max_n),
            ));
        }
        let timeout = match self.timeout_ms {
            Some(Count(0)) => {
                return Err(ApiError::invalid("timeout_ms", "`timeout_ms` has to be 1 or more"));
            }
            Some(Count(millis)) => Some(Duration::from_millis(millis as u64)),
            None => None,
        };
        let (max_tokens, min_tokens) = self.token_bounds(limits)?;
        let stream = self.stream.unwrap_or(false);
        let include_usage =
            stream && self.stream_options.and_then(|o| o.include_usage).unwrap_or(false);
        let sampling = self.sampling(limits, warnings)?;
        let stop_token_ids = self.stop_token_ids(limits)?;
        let options = GenerateOptions {
            max_tokens,
            min_tokens,
            sampling,
            form,
            thinking_budget: None,
            stop: stop_strings(self.stop)?,
            stop_token_ids,
            ignore_eos: self.ignore_eos.unwrap_or(false),
            logprobs: None,
            prompt_logprobs: None,
            truncate_sequence: self.truncate_sequence.unwrap_or(false),
            timeout,
        };
        Ok(Generate { options, n, stream, include_usage })
    }

    fn warn(&self, warnings: &mut Vec<String>) {
        let no_effect = [
            ("user", self.user),
            ("metadata", self.metadata),
            ("store", self.store),
            ("service_tier", self.service_tier),
            ("safety_identifier", self.safety_identifier),
            ("prompt_cache_key", self.prompt_cache_key),
        ];
        warn_no_effect(&no_effect, warnings);
        if self.stream_options.is_some() && !self.stream.unwrap_or(false) {
            warnings.push("`stream_options` has no effect without `stream`".to_owned());
        }
        if let (Some(old), Some(new)) = (self.max_tokens, self.max_completion_tokens)
            && old != new
        {
            warnings
                .push("`max_tokens` was ignored: `max_completion_tokens` is given too".to_owned());
        }
        let mirostat_on = self.mirostat.is_some_and(|mode| mode.0 != 0);
        let dependents = [
            (
                "xtc_threshold",
                self.xtc_threshold.is_some(),
                "xtc_probability",
                self.xtc_probability.is_some(),
            ),
            ("mirostat_tau", self.mirostat_tau.is_some(), "mirostat", mirostat_on),
            ("mirostat_eta", self.mirostat_eta.is_some(), "mirostat", mirostat_on),
            ("dry_base", self.dry_base.is_some(), "dry_multiplier", self.dry_multiplier.is_some()),
            (
                "dry_allowed_length",
                self.dry_allowed_length.is_some(),
                "dry_multiplier",
                self.dry_multiplier.is_some(),
            ),
            (
                "dry_penalty_last_n",
                self.dry_penalty_last_n.is_some(),
                "dry_multiplier",
                self.dry_multiplier.is_some(),
            ),
            (
                "dry_sequence_breakers",
                self.dry_sequence_breakers.is_some(),
                "dry_multiplier",
                self.dry_multiplier.is_some(),
            ),
        ];
        for (field, given, needs, there) in dependents {
            if given && !there {
                warnings.push(format!("`{field}` has no effect without `{needs}`"));
            }
        }
    }

    fn token_bounds(&self, limits: &Limits) -> Result<(Option<usize>, usize), ApiError> {
        let (field, max) = match (self.max_completion_tokens, self.max_tokens) {
            (Some(max), _) => ("max_completion_tokens", Some(max.0)),
            (None, max) => ("max_tokens", max.map(|max| max.0)),
        };
        if let Some(max) = max {
            check_max_tokens(field, max, limits)?;
        }
        let min = self.min_tokens.map_or(0, |min| min.0);
        let bound = max.unwrap_or(limits.context_tokens);
        if min > bound {
            let message =
                format!("`min_tokens` is {min}, more than the {bound} tokens there can be");
            return Err(ApiError::invalid("min_tokens", message));
        }
        Ok((max, min))
    }

    fn stop_token_ids(&self, limits: &Limits) -> Result<Vec<u32>, ApiError> {
        let ids = self.stop_token_ids.clone().unwrap_or_default();
        if ids.len() > MAX_STOP_TOKEN_IDS {
            let message =
                format!("`stop_token_ids` has {} entries; at most {MAX_STOP_TOKEN_IDS}", ids.len());
            return Err(ApiError::invalid("stop_token_ids", message));
        }
        for (i, &id) in ids.iter().enumerate() {
            check_token(&format!("stop_token_ids[{i}]"), id, limits)?;
        }
        Ok(ids)
    }

    fn sampling(
        &self,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) -> Result<SamplingParams, ApiError> {
        let number = |value: Option<Number>| value.map(|value| value.0);
        Ok(SamplingParams {
            temperature: number(self.temperature),
            top_k: or_all("top_k", self.top_k)?.map(|k| k.unwrap_or(0)),
            top_p: number(self.top_p),
            min_p: number(self.min_p),
            typical_p: number(self.typical_p),
            top_n_sigma: number(self.top_n_sigma),
            xtc: self.xtc_probability.map(|probability| Xtc {
                probability: probability.0,
                threshold: number(self.xtc_threshold).unwrap_or(0.1),
            }),
            mirostat: self.mirostat()?,
            repetition_penalty: number(self.repetition_penalty),
            frequency_penalty: number(self.frequency_penalty),
            presence_penalty: number(self.presence_penalty),
            penalty_last_n: or_all("repeat_last_n", self.repeat_last_n)?.flatten(),
            dry: self.dry()?,
            logit_bias: self.logit_bias(limits, warnings)?,
            seed: self.seed.map(|seed| seed.0),
        })
    }

    fn mirostat(&self) -> Result<Option<Mirostat>, ApiError> {
        match self.mirostat {
            None | Some(Whole(0)) => Ok(None),
            Some(Whole(2)) => Ok(Some(Mirostat {
                tau: self.mirostat_tau.map_or(5.0, |tau| tau.0),
                eta: self.mirostat_eta.map_or(0.1, |eta| eta.0),
            })),
            Some(Whole(1)) => Err(ApiError::unsupported(
                "mirostat",
                "only Mirostat 2 is supported: `mirostat` 0 or 2",
            )),
            Some(Whole(mode)) => Err(ApiError::invalid(
                "mirostat",
                format!("`mirostat` is {mode}; it has to be 0 or 2"),
            )),
        }
    }

    fn dry(&self) -> Result<Option<DryParams>, ApiError> {
        let Some(multiplier) = self.dry_multiplier else {
            return Ok(None);
        };
        let defaults = DryParams::default();
        let breakers = self.dry_sequence_breakers.clone().map(|strings| strings.0);
        if let Some(i) = breakers.iter().flatten().position(String::is_empty) {
            return Err(ApiError::invalid(
                format!("dry_sequence_breakers[{i}]"),
                "a sequence breaker cannot be empty",
            ));
        }
        Ok(Some(DryParams {
            multiplier: multiplier.0,
            base: self.dry_base.map_or(defaults.base, |base| base.0),
            allowed_length: self
                .dry_allowed_length
                .map_or(defaults.allowed_length, |length| length.0),
            last_n: or_all("dry_penalty_last_n", self.dry_penalty_last_n)?.flatten(),
            sequence_breakers: breakers.unwrap_or(defaults.sequence_breakers),
        }))
    }

    fn logit_bias(
        &self,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<(u32, f32)>, ApiError> {
        let Some(map) = &self.logit_bias else {
            return Ok(Vec::new());
        };
        let mut clamped = 0_usize;
        let mut biases = Vec::with_capacity(map.len().min(limits.vocab_size));
        for (key, &Number(bias)) in map {
            let short: String = key.chars().take(40).collect();
            let param = format!("logit_bias.{short}");
            let id = key.parse::<u32>().map_err(|_| {
                ApiError::invalid(&*param, format!("`{short}` in `logit_bias` is no token id"))
            })?;
            check_token(&param, id, limits)?;
            let bounded = bias.clamp(-MAX_LOGIT_BIAS, MAX_LOGIT_BIAS);
            clamped += usize::from(bounded.to_bits() != bias.to_bits());
            biases.push((id, bounded));
        }
        if clamped > 0 {
            warnings.push(format!("`logit_bias`: {clamped} value(s) clamped to -100…100"));
        }
        Ok(biases)
    }
}

/// Refuses a number of tokens that there cannot be.
pub(crate) fn check_max_tokens(field: &str, max: usize, limits: &Limits) -> Result<(), ApiError> {
    let context = limits.context_tokens;
    let message = match max {
        0 => format!("`{field}` has to be 1 or more"),
        max if max > context => {
            format!("`{field}` is {max}; the model's context is {context} tokens, prompt included")
        }
        _ => return Ok(()),
    };
    Err(ApiError::invalid(field, message))
}

/// Tells which of these fields are there for nothing.
pub(crate) fn warn_no_effect(fields: &[(&str, Option<Present>)], warnings: &mut Vec<String>) {
    let there = fields.iter().filter(|(_, value)| value.is_some());
    warnings.extend(there.map(|(field, _)| format!("`{field}` has no effect here")));
}

/// Refuses an id outside the vocabulary.
pub(crate) fn check_token(param: &str, id: u32, limits: &Limits) -> Result<(), ApiError> {
    if (id as usize) < limits.vocab_size {
        return Ok(());
    }
    Err(ApiError::invalid(
        param,
        format!("{id} is no token id: the vocabulary has {} tokens", limits.vocab_size),
    ))
}

/// −1 = no bound (`Some(None)`); less is refused.
#[expect(clippy::option_option, reason = "absent, unbounded and a number are three answers")]
fn or_all(param: &str, value: Option<Whole>) -> Result<Option<Option<usize>>, ApiError> {
    match value {
        None => Ok(None),
        Some(Whole(-1)) => Ok(Some(None)),
        Some(Whole(n)) => match usize::try_from(n) {
            Ok(n) => Ok(Some(Some(n))),
            Err(_) => {
                Err(ApiError::invalid(param, format!("`{param}` is {n}; it has to be -1 or more")))
            }
        },
    }
}

fn stop_strings(stop: Option<Strings>) -> Result<Vec<String>, ApiError> {
    let strings = stop.unwrap_or_default().0;
    if strings.len() > MAX_STOP_STRINGS {
        let message = format!("`stop` has {} strings; at most {MAX_STOP_STRINGS}", strings.len());
        return Err(ApiError::invalid("stop", message));
    }
    for (i, string) in strings.iter().enumerate() {
        if string.is_empty() || string.len() > MAX_STOP_BYTES {
            let message = format!(
                "a stop string has to have 1 to {MAX_STOP_BYTES} bytes, this one has {}",
                string.len()
            );
            return Err(ApiError::invalid(format!("stop[{i}]"), message));
        }
    }
    Ok(strings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LIMITS: Limits = Limits { max_n: 4, max_choices: 8, context_tokens: 100, vocab_size: 50 };

    fn read(body: Value) -> Result<(Generate, Vec<String>), ApiError> {
        let body: GenerateBody =
            serde_json::from_value(body).map_err(|e| ApiError::malformed("", e.to_string()))?;
        let mut warnings = Vec::new();
        let generate = body.into_core(&LIMITS, &mut warnings)?;
        Ok((generate, warnings))
    }

    #[test]
    fn every_field_arrives() {
        let (generate, warnings) = read(json!({
            "max_tokens": 7.0, "min_tokens": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
            "typical_p": 0.8, "top_n_sigma": 1.5, "xtc_probability": 0.5, "xtc_threshold": 0.2, "mirostat": 2,
            "mirostat_tau": 4, "mirostat_eta": 0.2, "repeat_penalty": 1.1, "frequency_penalty": 0.1,
            "presence_penalty": 0.2, "repeat_last_n": 64, "dry_multiplier": 0.8, "dry_base": 2, "dry_allowed_length": 3,
            "dry_penalty_last_n": -1, "dry_sequence_breakers": ["x"], "logit_bias": {"3": -100, "4": 5}, "seed": 9,
            "n": 3, "stop": ["a", "b"], "stop_token_ids": [1], "ignore_eos": true, "stream": true,
            "stream_options": {"include_usage": true}, "timeout_ms": 1500, "truncate_sequence": true
        }))
        .unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!((generate.n, generate.stream, generate.include_usage), (3, true, true));
        let options = generate.options;
        assert_eq!((options.max_tokens, options.min_tokens), (Some(7), 2));
        assert_eq!(options.stop, ["a", "b"]);
        assert_eq!(options.stop_token_ids, [1]);
        assert!(options.ignore_eos && options.truncate_sequence);
        assert_eq!(options.timeout, Some(Duration::from_millis(1500)));
        let expected = SamplingParams {
            temperature: Some(0.5),
            top_k: Some(40),
            top_p: Some(0.9),
            min_p: Some(0.05),
            typical_p: Some(0.8),
            top_n_sigma: Some(1.5),
            xtc: Some(Xtc { probability: 0.5, threshold: 0.2 }),
            mirostat: Some(Mirostat { tau: 4.0, eta: 0.2 }),
            repetition_penalty: Some(1.1),
            frequency_penalty: Some(0.1),
            presence_penalty: Some(0.2),
            penalty_last_n: Some(64),
            dry: Some(DryParams {
                multiplier: 0.8,
                base: 2.0,
                allowed_length: 3,
                last_n: None,
                sequence_breakers: vec!["x".into()],
            }),
            logit_bias: vec![(3, -100.0), (4, 5.0)],
            seed: Some(9),
        };
        assert_eq!(options.sampling, expected);
    }

    #[test]
    fn null_and_absent_are_the_same() {
        let (generate, warnings) = read(
            json!({"temperature": null, "stop": null, "n": null, "user": null, "logit_bias": null}),
        )
        .unwrap();
        assert_eq!(generate.options.sampling, SamplingParams::default());
        assert_eq!((generate.n, warnings.len()), (1, 0));
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let (_, warnings) =
            read(json!({"user": "x", "store": true, "dry_base": 2, "logit_bias": {"1": 900}}))
                .unwrap();
        let expected = [
            "`user` has no effect here",
            "`store` has no effect here",
            "`dry_base` has no effect without `dry_multiplier`",
            "`logit_bias`: 1 value(s) clamped to -100…100",
        ];
        assert_eq!(warnings, expected);
    }

    #[test]
    fn impossible_values_name_their_field() {
        let table = [
            (json!({"n": 0}), "n"),
            (json!({"n": 5}), "n"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": 101}), "max_completion_tokens"),
            (json!({"max_tokens": 4, "min_tokens": 5}), "min_tokens"),
            (json!({"stop": ""}), "stop[0]"),
            (json!({"stop": vec!["x"; 17]}), "stop"),
            (json!({"stop_token_ids": [1, 50]}), "stop_token_ids[1]"),
            (json!({"logit_bias": {"50": 1}}), "logit_bias.50"),
            (json!({"logit_bias": {"-1": 1}}), "logit_bias.-1"),
            (json!({"logit_bias": {"the": 1}}), "logit_bias.the"),
            (json!({"mirostat": 1}), "mirostat"),
            (json!({"mirostat": 3}), "mirostat"),
            (json!({"top_k": -2}), "top_k"),
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"grammar": {"type": "regex"}}), "grammar.value"),
            (
                json!({"dry_multiplier": 1, "dry_sequence_breakers": ["a", ""]}),
                "dry_sequence_breakers[1]",
            ),
        ];
        for (body, param) in table {
            let error = read(body.clone()).map(|_| ()).expect_err(&body.to_string());
            assert_eq!((error.status().as_u16(), error.field()), (400, Some(param)), "{body}");
        }
    }
}
