//! Logits to a token. Every sequence owns its [`Sampler`]: chain, history and seeded random numbers,
//! so that a result never depends on who shares the batch. Knows no tensor, no text, no engine.

mod candidates;
mod filters;
pub mod grammar;
pub mod params;
mod processors;
mod ranking;
mod thinking;

#[cfg(test)]
mod tests;

pub use params::{DryParams, GenerationDefaults, Mirostat, SamplingParams, Xtc};

pub use thinking::{ThinkingLimit, ThinkingStart, TokenBytes};

pub use grammar::{CompiledGrammar, Constraint, Grammar, GrammarCompiler, Onset, Standing};

use candidates::{Candidates, Pool};
use grammar::Allowed;
use params::Chain;
use processors::entry;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

/// Chooses the tokens of one sequence, in order. The n-th choice is a function of the parameters,
/// the seed, the logits and histories so far, and of nothing else.
pub struct Sampler {
    chain: Chain,
    rng: ChaCha8Rng,
    pool: Pool,
    constraint: Option<Constraint>,
    thinking: Option<ThinkingLimit>,
}

impl Sampler {
    /// For one sequence. `params` are merged with the defaults and validated; `breakers` are the
    /// tokens no DRY match crosses ([`breaker_ids`]).
    pub fn new(params: &SamplingParams, breakers: HashSet<u32>, seed: u64) -> Self {
        Self {
            chain: params.chain(breakers),
            rng: ChaCha8Rng::seed_from_u64(seed),
            pool: Pool::default(),
            constraint: None,
            thinking: None,
        }
    }

    /// The answer must have a form: it goes before everything else, minimum lengths and bans
    /// included.
    pub fn constrained(mut self, constraint: Option<Constraint>) -> Self {
        self.constraint = constraint;
        self
    }

    /// Reasoning has a bound: what closes it goes before everything else, the form included.
    pub fn thinking(mut self, limit: Option<ThinkingLimit>) -> Self {
        self.thinking = limit;
        self
    }

    /// Computes what the form allows next, if there is one: work that needs no logits.
    pub fn prepare(&mut self) {
        if let Some(constraint) = &mut self.constraint {
            constraint.prepare();
        }
    }

    /// Whether [`Sampler::prepare`] has anything to do.
    pub fn is_constrained(&self) -> bool {
        self.constraint.is_some()
    }

    /// Where the answer stands; open without a form.
    pub fn standing(&self) -> Standing {
        self.constraint.as_ref().map_or(Standing::Open, Constraint::standing)
    }

    /// The tokens that must follow the chosen one, whatever the model says. They count as chosen.
    pub fn forced(&mut self) -> Vec<u32> {
        self.constraint.as_mut().map(Constraint::forced).unwrap_or_default()
    }

    /// Chooses the next token. `logits` has one entry per token of the vocabulary and is
    /// overwritten; `history` is prompt + generated; `suppressed` ids are not chosen. NaN never
    /// wins. If nothing is left (all suppressed, banned or NaN) the answer is the smallest id that
    /// is not suppressed, and 0 if there is none.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32], suppressed: &[u32]) -> u32 {
        let mut constraint = self.constraint.take();
        let allowed = constraint.as_mut().and_then(|constraint| constraint.apply(logits));
        let forced = self.thinking.as_ref().and_then(ThinkingLimit::forced);
        let id =
            forced.unwrap_or_else(|| self.choose(logits, history, suppressed, allowed.as_ref()));
        if let Some(thinking) = &mut self.thinking {
            thinking.take(id);
        }
        if let Some(constraint) = &mut constraint {
            constraint.take(id);
        }
        self.constraint = constraint;
        id
    }

    fn choose(
        &mut self,
        logits: &mut [f32],
        history: &[u32],
        suppressed: &[u32],
        allowed: Option<&Allowed<'_>>,
    ) -> u32 {
        // Nothing is suppressed that is the only thing the form allows.
        let possible = |id: &u32| !suppressed.contains(id);
        let suppressed = match allowed {
            Some(allowed) if !allowed.ids().any(|id| possible(&id)) => &[],
            _ => suppressed,
        };
        for &id in suppressed {
            if let Some(logit) = entry(logits, id) {
                *logit = f32::NEG_INFINITY;
            }
        }
        for stage in &mut self.chain.processors {
            stage.process(logits, history);
        }
        let chosen = if self.chain.greedy { ranking::argmax(logits) } else { self.draw(logits) };
        let fits = |id: &u32| allowed.is_none_or(|allowed| allowed.contains(*id));
        let mut ids = (0..).take(logits.len());
        let fallback = || ids.find(|id| fits(id) && !suppressed.contains(id));
        chosen.filter(fits).or_else(fallback).unwrap_or(0)
    }

    fn draw(&mut self, logits: &mut [f32]) -> Option<u32> {
        let mut candidates = Candidates::new(logits, &mut self.pool, &mut self.rng);
        for filter in &mut self.chain.filters {
            filter.apply(&mut candidates);
        }
        let (id, probability) = candidates.draw()?;
        for filter in &mut self.chain.filters {
            filter.drawn(probability);
        }
        Some(id)
    }
}

/// Natural-log probability of `chosen` and of the `top` best tokens, best first, equal ones by id.
/// `logits` are the model's, before anything changed them. An id outside the vocabulary and a NaN
/// have -inf.
pub fn logprobs(logits: &[f32], chosen: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    let highest = ranking::maximum(logits).clamp(f32::MIN, f32::MAX);
    let shifted = |logit: f32| {
        let finite = if logit > f32::MAX { f32::MAX } else { logit };
        finite - highest
    };
    let all: Vec<f32> = logits.iter().map(|&logit| shifted(logit)).collect();
    let total = ranking::sum_of_exp(&all);
    let log_total = total.ln();
    let logprob = |logit: f32| {
        if logit > f32::NEG_INFINITY {
            (f64::from(shifted(logit)) - log_total) as f32
        } else {
            f32::NEG_INFINITY
        }
    };
    let chosen = usize::try_from(chosen).ok().and_then(|id| logits.get(id));
    let chosen = chosen.map_or(f32::NEG_INFINITY, |&logit| logprob(logit));
    let best = ranking::best(logits, top).into_iter();
    (chosen, best.map(|(id, logit)| (id, logprob(logit))).collect())
}

/// The tokens that no DRY match crosses (row B1): each breaker is encoded behind a letter, which
/// keeps the tokenizer from choosing the form it uses at the start of a word, and the last id
/// counts. `encode` must not add special tokens. A breaker without tokens is skipped.
///
/// # Errors
/// The first error of `encode`.
pub fn breaker_ids<E>(
    breakers: &[String],
    mut encode: impl FnMut(&str) -> Result<Vec<u32>, E>,
) -> Result<HashSet<u32>, E> {
    let mut ids = HashSet::new();
    for breaker in breakers {
        ids.extend(encode(&format!("a{breaker}"))?.last());
    }
    Ok(ids)
}
