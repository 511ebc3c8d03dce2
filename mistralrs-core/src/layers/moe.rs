//! A mixture of experts in place of a feed-forward block: a router sends each token to a few experts,
//! a shared expert may see all of them. Which experts is arithmetic on one token's scores; the
//! experts themselves are [`ExpertWeights`].
//! Source: arXiv 2401.04088 (Mixtral), 2401.06066 and 2412.19437 (DeepSeek: shared experts, groups,
//! sigmoid scores with a correction).

use super::{GatedMlp, Step, Sublayer};
use crate::slices::f32_slice;
use crate::weights::Weights;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use mistralrs_quant::{ExpertWeights, Linear, Place, has_kernels};
use std::sync::Arc;

/// How a router's logits become experts and their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// How many experts there are.
    pub experts: usize,
    /// How many a token goes to.
    pub top_k: usize,
    /// What is compared and weighs.
    pub scores: Scores,
    /// A learned correction is added to the scores that are compared.
    pub corrected: bool,
    /// First choose among groups of experts.
    pub groups: Option<ExpertGroups>,
    /// Divide the chosen weights by their sum.
    pub normalize: bool,
    /// Multiply the weights in the end.
    pub scale: f32,
}

/// What a router's logits are turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// Shares of one.
    Softmax,
    /// Each by itself.
    Sigmoid,
}

/// Experts in groups of equal size, next to each other; only those of the best groups are eligible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertGroups {
    /// How many groups.
    pub count: usize,
    /// How many stay.
    pub kept: usize,
    /// How many of a group's best scores are added to its own.
    pub best: usize,
}

impl Routing {
    /// The experts of one token and their weights, best first; equal scores by number.
    /// `correction` is added to the scores that are compared, not to those that weigh.
    pub fn choose(&self, logits: &[f32], correction: Option<&[f32]>) -> Vec<(u32, f32)> {
        let mut scores = logits.to_vec();
        match self.scores {
            Scores::Softmax => mistralrs_kernels::softmax(&mut scores),
            Scores::Sigmoid => scores.iter_mut().for_each(|s| *s = 1.0 / (1.0 + (-*s).exp())),
        }
        let corrected: Vec<f32> = match correction {
            Some(correction) => scores.iter().zip(correction).map(|(s, c)| s + c).collect(),
            None => scores.clone(),
        };
        let mut eligible = self.eligible(&corrected);
        eligible.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        eligible.truncate(self.top_k);
        let weight = |expert: usize| scores.get(expert).copied().unwrap_or(0.0);
        let sum: f32 = eligible.iter().map(|(expert, _)| weight(*expert)).sum();
        // The tiny summand is the reference's: all scores may underflow.
        let factor = if self.normalize { self.scale / (sum + 1e-20) } else { self.scale };
        let chosen = eligible.into_iter();
        chosen.map(|(expert, _)| (expert as u32, weight(expert) * factor)).collect()
    }

    /// The experts that may be chosen, with their scores.
    fn eligible(&self, scores: &[f32]) -> Vec<(usize, f32)> {
        let numbered = scores.iter().copied().enumerate();
        let Some(ExpertGroups { count, kept, best }) = self.groups else {
            return numbered.collect();
        };
        let size = (scores.len() / count.max(1)).max(1);
        let of_group = |members: &[f32]| -> f32 {
            let mut members = members.to_vec();
            members.sort_by(|a, b| b.total_cmp(a));
            members.iter().take(best).sum()
        };
        let mut groups: Vec<_> = scores.chunks(size).map(of_group).enumerate().collect();
        groups.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        groups.truncate(kept);
        let stays = |expert: usize| groups.iter().any(|(group, _)| *group == expert / size);
        numbered.filter(|(expert, _)| stays(*expert)).collect()
    }
}

/// An expert that sees every token.
#[derive(Debug)]
pub struct SharedExpert {
    /// Its block.
    pub mlp: GatedMlp,
    /// `[1, hidden]`: the sigmoid of its product with a token scales the block's result.
    pub gate: Option<Linear>,
}

/// Router, experts and perhaps a shared expert.
#[derive(Debug)]
pub struct SparseMoe {
    gate: Linear,
    /// Added to the scores that are compared: `[experts]`.
    correction: Option<Vec<f32>>,
    routing: Routing,
    experts: Arc<dyn ExpertWeights>,
    shared: Option<SharedExpert>,
}

impl SparseMoe {
    /// Reads `gate`, perhaps its correction, and `experts` of `intermediate` columns.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        weights: &Weights,
        hidden: usize,
        intermediate: usize,
        routing: Routing,
        shared: Option<SharedExpert>,
    ) -> mistralrs_quant::Result<Self> {
        let gate = weights.pp("gate");
        // As GGUF files must name it, and as a module's parameter.
        let names = ["e_score_correction.bias", "e_score_correction_bias"];
        let correction = || gate.first_of(&names, routing.experts);
        Ok(Self {
            gate: gate.with_kernels().plain(routing.experts, hidden)?,
            correction: routing.corrected.then(correction).transpose()?,
            experts: weights.pp("experts").experts(routing.experts, hidden, intermediate)?,
            routing,
            shared,
        })
    }

    /// `[tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // Wherever the layer is, experts and router are where kernels compute: only tokens move.
        let (place, tokens) = (Place::of(x), Place::default().take(x)?);
        let logits = self.gate.forward(&tokens)?; // [tokens, experts]
        let (ids, weights) = self.route(&logits)?;
        let mixed = place.take(&self.experts.forward(&tokens, &ids, &weights)?)?;
        let Some(SharedExpert { mlp, gate }) = &self.shared else {
            return Ok(mixed);
        };
        let shared = mlp.forward(x)?;
        match gate {
            Some(gate) => mixed + gated_rows(&shared, &gate.forward(x)?)?,
            None => mixed + shared,
        }
    }

    /// Experts and weights of all tokens: `[tokens, top_k]` each.
    fn route(&self, logits: &Tensor) -> Result<(Tensor, Tensor)> {
        let (tokens, experts) = logits.dims2()?;
        let device = logits.device();
        let logits = logits.flatten_all()?.to_vec1::<f32>()?;
        let choose = |row| self.routing.choose(row, self.correction.as_deref());
        let chosen = logits.chunks(experts.max(1)).flat_map(choose);
        let (ids, weights): (Vec<u32>, Vec<f32>) = chosen.unzip();
        let shape = (tokens, ids.len().checked_div(tokens).unwrap_or(0));
        let ids = Tensor::from_vec(ids, shape, device)?;
        Ok((ids, Tensor::from_vec(weights, shape, device)?))
    }
}

impl Sublayer for SparseMoe {
    fn forward(&self, x: &Tensor, _: &mut Step<'_>) -> Result<Tensor> {
        self.forward(x)
    }
}

/// Either block of a model that has both.
#[derive(Debug)]
pub enum FeedForward {
    /// One for all tokens.
    Dense(GatedMlp),
    /// A mixture.
    Sparse(Box<SparseMoe>),
}

impl Sublayer for FeedForward {
    fn forward(&self, x: &Tensor, _: &mut Step<'_>) -> Result<Tensor> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Sparse(moe) => moe.forward(x),
        }
    }
}

/// `x` `[tokens, hidden]`, each row times the sigmoid of its gate `[tokens, 1]`.
fn gated_rows(x: &Tensor, gates: &Tensor) -> Result<Tensor> {
    match has_kernels(x) {
        true => x.apply_op2_no_bwd(gates, &GateRows),
        false => x.broadcast_mul(&(gates.neg()?.exp()? + 1.0)?.recip()?),
    }
}

struct GateRows;

impl CustomOp2 for GateRows {
    fn name(&self) -> &'static str {
        "gate-rows"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gates: &CpuStorage,
        gates_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = f32_slice(x, x_layout, self.name())?;
        let gates = f32_slice(gates, gates_layout, self.name())?;
        let width = x.len().checked_div(gates.len()).unwrap_or(0).max(1);
        if x.len() != width * gates.len() && !x.is_empty() {
            bail!("gate-rows: {} gates for {} numbers", gates.len(), x.len());
        }
        let mut out = x.to_vec();
        for (row, gate) in out.chunks_mut(width).zip(gates) {
            let share = 1.0 / (1.0 + (-gate).exp());
            row.iter_mut().for_each(|x| *x *= share);
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests;
