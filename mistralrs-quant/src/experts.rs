//! The experts of a mixture as weights: each row of a batch goes through the few experts that a
//! router chose for it. Rows are sorted by expert, an expert multiplies all of its rows at once, and
//! the results go back in the order of the batch. Knows tensors and stored bytes; not how a router
//! chooses. The arithmetic is in `mistralrs-kernels`.
//! Source: SwiGLU experts as in arXiv 2401.04088; grouping by expert as in arXiv 2211.15841.

use crate::error::Result;
use crate::packed::WeightOptions;
use crate::slices::f32_slice;
use crate::stack::{Form, Stack, StoredMatrix};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, bail};
use mistralrs_kernels::{in_parallel_parts, matmul_packed_parts, silu_mul};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// Below so many multiplications, experts are computed one after the other: each may still wake
/// threads for itself.
const SERIAL: usize = 512 << 10;
/// Below so many numbers, one thread adds up the experts' results.
const SERIAL_NUMBERS: usize = 64 << 10;

/// The experts of one layer, however they are stored: `down(silu(gate(x)) · up(x))` each.
pub trait ExpertWeights: Debug + Send + Sync {
    /// `x [tokens, hidden]` (f32) through the experts `expert_ids [tokens, k]` (u32) of each token →
    /// their sum `[tokens, hidden]`, weighted by `weights [tokens, k]` (f32) and added in the order
    /// of `k`. A token's result does not depend on the others, to the bit.
    ///
    /// # Errors
    /// Shapes, types or devices do not fit, or an id names no expert.
    fn forward(
        &self,
        x: &Tensor,
        expert_ids: &Tensor,
        weights: &Tensor,
    ) -> candle_core::Result<Tensor>;

    /// What the experts are and what they cost.
    fn info(&self) -> ExpertsInfo;
}

/// What the experts of a layer are and what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertsInfo {
    /// How many.
    pub count: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside an expert.
    pub intermediate: usize,
    /// Size of all of them in bytes, in memory or in the memory map.
    pub bytes: usize,
    /// Whether gate, up and down each lie in tiles made for integer arithmetic.
    pub tiled: [bool; 3],
}

/// The three matrices of one expert.
#[derive(Debug, Clone)]
pub struct StoredExpert {
    /// `[intermediate, hidden]`
    pub gate: StoredMatrix,
    /// `[intermediate, hidden]`
    pub up: StoredMatrix,
    /// `[hidden, intermediate]`
    pub down: StoredMatrix,
}

/// Makes the experts of a layer, each treated by `options` as a weight of its own would be.
///
/// # Errors
/// Shapes differ from expert to expert or do not fit together, bytes do not fit a shape, or
/// matrices are to be quantized that already are.
pub fn experts(
    stored: Vec<StoredExpert>,
    options: &WeightOptions,
) -> Result<Arc<dyn ExpertWeights>> {
    let (mut gates, mut ups, mut downs) = (Vec::new(), Vec::new(), Vec::new());
    for StoredExpert { gate, up, down } in stored {
        gates.push(gate);
        ups.push(up);
        downs.push(down);
    }
    let shape = gates.first().map(|gate| gate.info.shape.clone()).unwrap_or_default();
    let turned: Vec<usize> = shape.iter().rev().copied().collect();
    let gate = Stack::new(gates, &shape, options)?;
    let up = Stack::new(ups, &shape, options)?;
    let down = Stack::new(downs, &turned, options)?;
    Ok(Arc::new(GatedExperts { gate, up, down }))
}

/// The experts of a layer on the CPU.
#[derive(Debug)]
struct GatedExperts {
    gate: Stack,
    up: Stack,
    down: Stack,
}

impl GatedExperts {
    /// One expert on rows `x [m, hidden]`: `y [m, hidden]`.
    fn compute(&self, expert: usize, x: &[f32], y: &mut [f32]) {
        let numbers = x.len() / self.gate.cols.max(1) * self.gate.rows;
        let mut scratch = vec![0.; 3 * numbers];
        let (gate, rest) = scratch.split_at_mut(numbers);
        let (up, activated) = rest.split_at_mut(numbers);
        match (&self.gate.form, &self.up.form) {
            // Rounds `x` once for both.
            (Form::Tiled(gates), Form::Tiled(ups)) => {
                matmul_packed_parts(&[gates.part(expert), ups.part(expert)], x, &mut [gate, up]);
            }
            _ => {
                self.gate.multiply(expert, x, gate);
                self.up.multiply(expert, x, up);
            }
        }
        silu_mul(gate, up, activated);
        self.down.multiply(expert, activated, y);
    }

    /// The whole layer: see [`ExpertWeights::forward`].
    fn mix(&self, x: &[f32], routes: &Routes<'_>) -> Vec<f32> {
        let hidden = self.gate.cols;
        let mut ys = vec![0.; routes.order.len() * hidden];
        let mut rest = ys.as_mut_slice();
        let mut jobs = Vec::with_capacity(routes.groups.len());
        for (expert, places) in &routes.groups {
            let (y, more) = rest.split_at_mut(places.len() * hidden);
            jobs.push((*expert, routes.order.get(places.clone()).unwrap_or_default(), y));
            rest = more;
        }
        let run = |(expert, choices, y): &mut (usize, &[usize], &mut [f32])| {
            let mut rows = Vec::with_capacity(y.len());
            for choice in *choices {
                let start = choice / routes.k * hidden;
                rows.extend_from_slice(x.get(start..start + hidden).unwrap_or_default());
            }
            self.compute(*expert, &rows, y);
        };
        if routes.order.len().saturating_mul(3 * hidden * self.gate.rows) < SERIAL {
            jobs.iter_mut().for_each(run);
        } else {
            in_parallel_parts(&mut jobs, 1, |_, jobs| jobs.iter_mut().for_each(run));
        }
        routes.sum(&ys, hidden)
    }
}

impl ExpertWeights for GatedExperts {
    fn forward(
        &self,
        x: &Tensor,
        expert_ids: &Tensor,
        weights: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let (rows, k) = expert_ids.dims2()?;
        if hidden != self.gate.cols || rows != tokens || weights.dims() != expert_ids.dims() {
            bail!(
                "experts of width {} for x {:?}, ids {:?}, weights {:?}",
                self.gate.cols,
                x.dims(),
                expert_ids.dims(),
                weights.dims()
            );
        }
        let ids = expert_ids.flatten_all()?.to_vec1::<u32>()?;
        let weights = weights.flatten_all()?.to_vec1::<f32>()?;
        let routes = Routes::new(&ids, &weights, k, self.gate.count)?;
        x.contiguous()?.apply_op1_no_bwd(&Mix { experts: self, routes: &routes })
    }

    fn info(&self) -> ExpertsInfo {
        let stacks = [&self.gate, &self.up, &self.down];
        ExpertsInfo {
            count: self.gate.count,
            hidden: self.gate.cols,
            intermediate: self.gate.rows,
            bytes: stacks.iter().map(|stack| stack.bytes()).sum(),
            tiled: stacks.map(Stack::is_tiled),
        }
    }
}

/// The choices of all tokens (choice `token · k + rank`), sorted by expert.
struct Routes<'a> {
    /// Choices, those of an expert side by side, within an expert by token.
    order: Vec<usize>,
    /// Where in `order` the choices of an expert are, for those that have any.
    groups: Vec<(usize, Range<usize>)>,
    /// Of every choice, its place in `order`.
    places: Vec<usize>,
    weights: &'a [f32],
    k: usize,
}

impl<'a> Routes<'a> {
    fn new(ids: &[u32], weights: &'a [f32], k: usize, experts: usize) -> candle_core::Result<Self> {
        let mut of_expert = vec![Vec::new(); experts];
        for (choice, id) in ids.iter().enumerate() {
            match of_expert.get_mut(*id as usize) {
                Some(choices) => choices.push(choice),
                None => bail!("expert {id} of {experts}"),
            }
        }
        let mut order = Vec::with_capacity(ids.len());
        let mut groups = Vec::new();
        for (expert, choices) in of_expert.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
            groups.push((expert, order.len()..order.len() + choices.len()));
            order.extend_from_slice(choices);
        }
        let mut places = vec![0; order.len()];
        for (place, choice) in order.iter().enumerate() {
            if let Some(of_choice) = places.get_mut(*choice) {
                *of_choice = place;
            }
        }
        Ok(Self { order, groups, places, weights, k })
    }

    /// The weighted sums of `ys [choices, hidden]`, which lie in the order of experts: for each token
    /// by rank, so that its result is the same in any company.
    fn sum(&self, ys: &[f32], hidden: usize) -> Vec<f32> {
        let (k, width) = (self.k.max(1), hidden.max(1));
        let mut out = vec![0.; self.places.len() / k * hidden];
        let tokens = SERIAL_NUMBERS.div_ceil(width * k);
        in_parallel_parts(&mut out, tokens * width, |turn, out| {
            let choices = self.places.chunks(k).zip(self.weights.chunks(k)).skip(turn * tokens);
            for (out, (places, weights)) in out.chunks_mut(width).zip(choices) {
                for (place, weight) in places.iter().zip(weights) {
                    let y = ys.get(place * hidden..(place + 1) * hidden).unwrap_or_default();
                    for (out, y) in out.iter_mut().zip(y) {
                        *out += weight * y;
                    }
                }
            }
        });
        out
    }
}

/// The layer as candle's operation: it hands over the numbers without a copy.
struct Mix<'a> {
    experts: &'a GatedExperts,
    routes: &'a Routes<'a>,
}

impl CustomOp1 for Mix<'_> {
    fn name(&self) -> &'static str {
        "experts"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = f32_slice(storage, layout, self.name())?;
        let y = match self.routes.k {
            0 => vec![0.; x.len()],
            _ => self.experts.mix(x, self.routes),
        };
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests;
