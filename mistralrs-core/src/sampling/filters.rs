//! The cuts between temperature and draw, each as its inventors published it. A filter sees the
//! probabilities of what the filters before it left over, renormalized, and never removes the last
//! candidate. Which filters run and in which order is [`super::SamplingParams::chain`]'s business.

use super::candidates::Candidates;

/// Narrows down the tokens in the running.
pub(super) trait CandidateFilter: Send {
    /// Removes candidates.
    fn apply(&mut self, candidates: &mut Candidates<'_>);

    /// Learns how probable the token was, among the last candidates, that was drawn in the end.
    fn drawn(&mut self, _probability: f64) {}
}

/// Keeps the logits within `n` standard deviations of the best (Tang et al. 2024, top-nσ).
/// Dividing by a temperature scales both sides, so it may stand before or after.
#[derive(Debug)]
pub(super) struct TopNSigma {
    pub n: f32,
}

impl CandidateFilter for TopNSigma {
    fn apply(&mut self, candidates: &mut Candidates<'_>) {
        let reach = f64::from(self.n) * candidates.deviation();
        candidates.keep_from((f64::from(candidates.best()) - reach) as f32);
    }
}

/// Keeps the `k` best; of equals at the border those with the smaller ids.
#[derive(Debug)]
pub(super) struct TopK {
    pub k: usize,
}

impl CandidateFilter for TopK {
    fn apply(&mut self, candidates: &mut Candidates<'_>) {
        candidates.keep_best(self.k);
    }
}

/// Keeps the fewest tokens of mass `p` whose surprise lies nearest the distribution's entropy
/// (Meister et al. 2022, locally typical sampling).
#[derive(Debug)]
pub(super) struct Typical {
    pub p: f32,
}

impl CandidateFilter for Typical {
    fn apply(&mut self, candidates: &mut Candidates<'_>) {
        candidates.all();
        let total = candidates.total();
        let log_total = total.ln();
        let entropy: f64 = candidates
            .all()
            .iter()
            .map(|c| f64::from(c.weight) / total * (log_total - f64::from(c.logit)))
            .sum();
        candidates.keep_mass_by(self.p, total, |c| {
            (log_total - f64::from(c.logit) - entropy).abs() as f32
        });
    }
}

/// Keeps the fewest best tokens that reach the mass `p`; the one that crosses it stays
/// (Holtzman et al. 2020, nucleus sampling).
#[derive(Debug)]
pub(super) struct TopP {
    pub p: f32,
}

impl CandidateFilter for TopP {
    fn apply(&mut self, candidates: &mut Candidates<'_>) {
        candidates.keep_mass(self.p);
    }
}

/// Drops what is less probable than `p` times the best (Nguyen et al. 2024, min-p).
#[derive(Debug)]
pub(super) struct MinP {
    pub p: f32,
}

impl CandidateFilter for MinP {
    fn apply(&mut self, candidates: &mut Candidates<'_>) {
        // A ratio of probabilities is a difference of logits: no softmax needed.
        candidates.keep_from(candidates.best() + self.p.ln());
    }
}

/// With the chance `probability`, drops every token of at least `threshold` but the least probable
/// of them, where there are several ("exclude top choices", p-e-w 2024).
#[derive(Debug)]
pub(super) struct ExcludeTopChoices {
    pub probability: f32,
    pub threshold: f32,
}

impl CandidateFilter for ExcludeTopChoices {
    fn apply(&mut self, candidates: &mut Candidates<'_>) {
        // Drawn even if there is nothing to drop: the random numbers of the tokens to come must
        // not depend on it.
        if candidates.chance() >= f64::from(self.probability) {
            return;
        }
        candidates.all();
        let total = candidates.total();
        let threshold = self.threshold;
        let is_top = |weight: f32| (f64::from(weight) / total) as f32 >= threshold;
        let least = candidates
            .all()
            .iter()
            .filter(|c| is_top(c.weight))
            .reduce(|least, c| if c.logit <= least.logit { c } else { least })
            .map(|c| c.id);
        if let Some(least) = least {
            candidates.retain(|c| c.id == least || !is_top(c.weight));
        }
    }
}

/// Keeps the surprise of the text near `tau` bits: drops what would surprise more than `limit`
/// bits and moves the limit by the error that the drawn token shows (Basu et al. 2021, version 2).
#[derive(Debug)]
pub(super) struct SurpriseLimit {
    tau: f64,
    eta: f64,
    limit: f64,
}

impl SurpriseLimit {
    /// Starts with a limit of twice the target, as published.
    pub(super) fn new(tau: f32, eta: f32) -> Self {
        let (tau, eta) = (f64::from(tau), f64::from(eta));
        Self { tau, eta, limit: 2.0 * tau }
    }
}

impl CandidateFilter for SurpriseLimit {
    fn apply(&mut self, candidates: &mut Candidates<'_>) {
        let cut = candidates.total().ln() - self.limit * std::f64::consts::LN_2;
        candidates.keep_from(cut as f32);
    }

    fn drawn(&mut self, probability: f64) {
        self.limit -= self.eta * (-probability.log2() - self.tau);
    }
}
