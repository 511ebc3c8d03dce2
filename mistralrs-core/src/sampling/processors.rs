//! The stages that see every logit: bias, the penalties for what was said before, temperature.
//! Knows token ids only; `history` is the prompt and what was generated, in one piece.

use super::params::DryParams;
use super::ranking::maximum;
use std::collections::{HashMap, HashSet};

/// Changes logits in place.
pub(super) trait LogitsProcessor: Send {
    /// `logits` has one entry per token of the vocabulary; `history` is prompt + generated.
    /// The result depends on nothing else.
    fn process(&mut self, logits: &mut [f32], history: &[u32]);
}

/// A bias down to this bans the token, whatever its logit.
pub(super) const BAN: f32 = -100.0;

/// Adds to the logits of some tokens.
#[derive(Debug)]
pub(super) struct Bias {
    pub biases: Vec<(u32, f32)>,
}

impl LogitsProcessor for Bias {
    fn process(&mut self, logits: &mut [f32], _history: &[u32]) {
        for &(id, bias) in &self.biases {
            if let Some(logit) = entry(logits, id) {
                *logit += if bias <= BAN { f32::NEG_INFINITY } else { bias };
            }
        }
    }
}

/// DRY, "don't repeat yourself" (p-e-w 2024, paragraph P-B1): a token that would go on with a span
/// that stood there before loses `multiplier × base^(length - allowed_length)`.
#[derive(Debug)]
pub(super) struct Dry {
    multiplier: f32,
    base: f32,
    allowed_length: usize,
    last_n: Option<usize>,
    breakers: HashSet<u32>,
    longest: HashMap<u32, usize>,
}

/// Longest span that DRY looks for: bounds the work on a prompt of nothing but repetition.
pub(super) const LONGEST_MATCH: usize = 50;

impl Dry {
    /// `breakers`: the tokens that no span crosses.
    pub(super) fn new(params: &DryParams, breakers: HashSet<u32>) -> Self {
        Self {
            multiplier: params.multiplier,
            base: params.base,
            allowed_length: params.allowed_length,
            last_n: params.last_n,
            breakers,
            longest: HashMap::new(),
        }
    }
}

impl LogitsProcessor for Dry {
    fn process(&mut self, logits: &mut [f32], history: &[u32]) {
        let window = tail(history, self.last_n);
        // Equal spans hold equal breakers: where the end of the text meets its first breaker,
        // every earlier occurrence does too. No span at all if the last token is one.
        let reach = window
            .iter()
            .rev()
            .take(LONGEST_MATCH)
            .take_while(|&token| !self.breakers.contains(token))
            .count();
        let Some(&last) = window.last().filter(|_| reach > 0) else {
            return;
        };
        self.longest.clear();
        for (index, pair) in window.windows(2).enumerate() {
            if let &[token, next] = pair
                && token == last
                && !self.breakers.contains(&next)
            {
                let length = match_length(window, index, reach);
                let longest = self.longest.entry(next).or_default();
                *longest = length.max(*longest);
            }
        }
        for (&token, &length) in &self.longest {
            if length >= self.allowed_length
                && let Some(logit) = entry(logits, token)
            {
                let excess = (length - self.allowed_length) as i32;
                *logit -= self.multiplier * self.base.powi(excess);
            }
        }
    }
}

/// How many tokens up to and including `index` equal those at the end, `reach` at most. Compares
/// one pair more than it returns, if that.
pub(super) fn match_length(window: &[u32], index: usize, reach: usize) -> usize {
    let earlier = window.get(..=index).unwrap_or_default();
    let pairs = earlier.iter().rev().zip(window.iter().rev());
    pairs.take(reach).take_while(|(a, b)| a == b).count()
}

/// Frequency, presence and repetition penalty, in this order (row B3), over the last `last_n`
/// tokens.
#[derive(Debug, Default)]
pub(super) struct Penalties {
    pub frequency: f32,
    pub presence: f32,
    pub repetition: f32,
    pub last_n: Option<usize>,
    /// Occurrences of each token; all zero between calls.
    pub counts: Vec<u32>,
}

impl LogitsProcessor for Penalties {
    fn process(&mut self, logits: &mut [f32], history: &[u32]) {
        let window = tail(history, self.last_n);
        self.counts.resize(logits.len(), 0);
        for &token in window {
            if let Some(count) = entry(&mut self.counts, token) {
                *count += 1;
            }
        }
        for &token in window {
            let (Some(count), Some(logit)) = (entry(&mut self.counts, token), entry(logits, token))
            else {
                continue;
            };
            // Back to zero with the first occurrence: a second one finds nothing to do.
            let count = std::mem::take(count);
            if count > 0 {
                let penalized = *logit - count as f32 * self.frequency - self.presence;
                *logit = if penalized > 0.0 {
                    penalized / self.repetition
                } else {
                    penalized * self.repetition
                };
            }
        }
    }
}

/// Moves the best logit to 0, which softmax does not notice, and divides by the temperature.
/// From here on there is no NaN: a token without a number is out.
#[derive(Debug)]
pub(super) struct Temperature {
    pub temperature: f32,
}

impl LogitsProcessor for Temperature {
    fn process(&mut self, logits: &mut [f32], _history: &[u32]) {
        let best = maximum(logits).min(f32::MAX);
        if best == f32::NEG_INFINITY {
            logits.fill(best);
            return;
        }
        for logit in logits {
            let finite = if *logit > f32::MAX { f32::MAX } else { *logit };
            let scaled = (finite - best) / self.temperature;
            *logit = if scaled.is_nan() { f32::NEG_INFINITY } else { scaled };
        }
    }
}

/// The entry of a token; `None` if the vocabulary does not go that far.
pub(super) fn entry<T>(per_token: &mut [T], id: u32) -> Option<&mut T> {
    per_token.get_mut(usize::try_from(id).ok()?)
}

/// The last `last_n` tokens; all for `None`.
fn tail(history: &[u32], last_n: Option<usize>) -> &[u32] {
    let start = last_n.map_or(0, |n| history.len().saturating_sub(n));
    history.get(start..).unwrap_or_default()
}
