//! The tokens still in the running while filters narrow them down, and the draw among them.
//! As long as nothing has been cut, the logits themselves are the candidates; the first cut
//! gathers the survivors into a list, which stays in the order of token ids, so that the draw
//! does not depend on how a cut found its way. Knows no filter and no parameter.

use super::ranking::{Ranked, exp, mass_boundary, maximum, rank_floor, sum_of_exp};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A token in the running.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// The token.
    pub id: u32,
    /// Its logit after temperature; the best of the vocabulary has 0.
    pub logit: f32,
    /// `exp(logit)`: its unnormalized probability.
    pub weight: f32,
}

/// Buffers that outlive a draw, so that a token costs no allocation.
#[derive(Debug, Default)]
pub(super) struct Pool {
    kept: Vec<Candidate>,
    ranked: Vec<Ranked>,
}

/// The tokens in the running. No method removes the last one.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    logits: &'a mut [f32],
    pool: &'a mut Pool,
    rng: &'a mut ChaCha8Rng,
    gathered: bool,
}

impl<'a> Candidates<'a> {
    /// All tokens above -inf. `logits` hold no NaN and their best is 0.
    pub(super) fn new(logits: &'a mut [f32], pool: &'a mut Pool, rng: &'a mut ChaCha8Rng) -> Self {
        pool.kept.clear();
        Self { logits, pool, rng, gathered: false }
    }

    /// A random number in [0, 1).
    pub(super) fn chance(&mut self) -> f64 {
        self.rng.random()
    }

    /// All candidates, in the order of their ids.
    pub(super) fn all(&mut self) -> &[Candidate] {
        if !self.gathered {
            self.gather(f32::NEG_INFINITY);
        }
        &self.pool.kept
    }

    /// The best logit.
    pub(super) fn best(&self) -> f32 {
        if self.gathered {
            let logits = self.pool.kept.iter().map(|c| c.logit);
            logits.fold(f32::NEG_INFINITY, f32::max)
        } else {
            maximum(self.logits)
        }
    }

    /// Standard deviation of the logits (of all of them: divided by n).
    pub(super) fn deviation(&self) -> f64 {
        if self.gathered {
            deviation(self.pool.kept.iter().map(|c| c.logit))
        } else {
            deviation(self.logits.iter().copied().filter(|l| l.is_finite()))
        }
    }

    /// Sum of the weights: a probability is a weight divided by this.
    pub(super) fn total(&self) -> f64 {
        if self.gathered {
            self.pool.kept.iter().map(|c| f64::from(c.weight)).sum()
        } else {
            sum_of_exp(self.logits)
        }
    }

    /// Keeps the candidates that pass; all of them if none does.
    pub(super) fn retain(&mut self, passes: impl Fn(&Candidate) -> bool) {
        if self.all().iter().any(&passes) {
            self.pool.kept.retain(passes);
        }
    }

    /// Keeps the logits of at least `cut`, and the best one in any case.
    pub(super) fn keep_from(&mut self, cut: f32) {
        let cut = cut.min(self.best());
        if self.gathered {
            self.pool.kept.retain(|c| c.logit >= cut);
        } else {
            self.gather(cut);
        }
    }

    /// Keeps the `k` best (of equals those with the smaller ids), at least one.
    pub(super) fn keep_best(&mut self, k: usize) {
        let k = k.max(1);
        if !self.gathered {
            self.gather(rank_floor(self.logits, k));
        }
        if k < self.pool.kept.len() {
            self.keep_up_to(
                |c| -c.logit,
                |ranked| {
                    let (_, last, _) =
                        ranked.select_nth_unstable_by_key(k - 1, |entry| entry.place);
                    Some(*last)
                },
            );
        }
    }

    /// Keeps the fewest best that together reach the probability `p`.
    pub(super) fn keep_mass(&mut self, p: f32) {
        let total = self.total();
        if !self.gathered {
            // What lies below the floor weighs less than 1 - p all together, so what lies above
            // reaches p. The margin covers the rounding of the logarithm.
            let count = self.logits.len().max(1) as f64;
            let floor = ((1.0 - f64::from(p)) * total / count).ln() - 0.01;
            self.gather((floor as f32).min(0.0));
        }
        self.keep_mass_by(p, total, |c| -c.logit);
    }

    /// Keeps the fewest candidates with the smallest keys that together reach the probability `p`
    /// out of the mass `total`.
    pub(super) fn keep_mass_by(&mut self, p: f32, total: f64, key: impl Fn(&Candidate) -> f32) {
        // Compared in f32, where 1/10 and the caller's 0.1 are the same number.
        let enough = |mass: f64| (mass / total) as f32 >= p;
        self.keep_up_to(key, |ranked| mass_boundary(ranked, enough));
    }

    /// Draws one by weight; returns it with its probability among the candidates.
    pub(super) fn draw(mut self) -> Option<(u32, f64)> {
        let chance = self.chance();
        if self.gathered {
            let weights = self.pool.kept.iter().map(|c| (c.id, c.weight));
            return pick(weights, self.total(), chance);
        }
        let total = self.total();
        for logit in self.logits.iter_mut() {
            *logit = exp(*logit);
        }
        pick((0..).zip(self.logits.iter().copied()), total, chance)
    }

    /// The first cut: from the logits to a list of those that reach `floor`.
    fn gather(&mut self, floor: f32) {
        let survivors = (0..)
            .zip(self.logits.iter())
            .filter(|&(_, &logit)| logit >= floor && logit > f32::NEG_INFINITY)
            .map(|(id, &logit)| Candidate { id, logit, weight: exp(logit) });
        self.pool.kept.clear();
        self.pool.kept.extend(survivors);
        self.gathered = true;
    }

    /// Ranks the candidates by `key` and keeps them up to the one that `boundary` names.
    fn keep_up_to(
        &mut self,
        key: impl Fn(&Candidate) -> f32,
        boundary: impl FnOnce(&mut [Ranked]) -> Option<Ranked>,
    ) {
        self.all();
        let Pool { kept, ranked } = &mut *self.pool;
        let rank = |c: &Candidate| Ranked::new(key(c), c.id, c.weight);
        ranked.clear();
        ranked.extend(kept.iter().map(rank));
        if let Some(last) = boundary(ranked) {
            kept.retain(|c| rank(c).place <= last.place);
        }
    }
}

fn deviation(logits: impl Iterator<Item = f32>) -> f64 {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for logit in logits.map(f64::from) {
        count += 1.0;
        sum += logit;
        squares += logit * logit;
    }
    let mean = sum / count;
    (squares / count - mean * mean).max(0.0).sqrt()
}

/// Walks along the weights to the point `chance × total`.
fn pick(weights: impl Iterator<Item = (u32, f32)>, total: f64, chance: f64) -> Option<(u32, f64)> {
    let point = chance * total;
    let mut walked = 0.0;
    // Rounding may put the point on the very end: then the last one with any weight is meant.
    let mut last = None;
    for (id, weight) in weights.filter(|&(_, weight)| weight > 0.0) {
        walked += f64::from(weight);
        last = Some((id, f64::from(weight) / total));
        if walked > point {
            break;
        }
    }
    last
}
