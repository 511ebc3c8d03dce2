//! The cursor's way to a mixture of experts, however a checkpoint names and stacks it: a tensor per
//! expert and matrix (Hugging Face hubs), gate and up of all experts in one (transformers 5), or a
//! stack per matrix (GGUF).

use super::Weights;
use candle_core::Tensor;
use mistralrs_quant::{
    ExpertWeights, HeadLinear, Linear, Place, QuantMethod, Result, StoredExpert, StoredMatrix,
};
use std::sync::{Arc, PoisonError};

/// Gate, up and down as most families name them, and as Mixtral does.
const NAMES: [[&str; 3]; 2] = [["gate_proj", "up_proj", "down_proj"], ["w1", "w3", "w2"]];

impl Weights {
    /// The `count` experts of this module, each with its matrices quantized like linear layers. Wherever the layer is, they
    /// are in main memory, where this project's kernels compute.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn experts(
        &self,
        count: usize,
        hidden: usize,
        intermediate: usize,
    ) -> Result<Arc<dyn ExpertWeights>> {
        let (narrow, wide) = ((intermediate, hidden), (hidden, intermediate));
        // The names of stacks, without and with `.weight`: transformers' and GGUF's.
        let stacked = ["", ".weight"].into_iter().find_map(|end| {
            let is = |name: &str| self.contains(&format!("{name}{end}"));
            (is("gate_up_proj") || is("gate_proj")).then_some((end, is("gate_up_proj")))
        });
        let triples = match stacked {
            Some((end, true)) => {
                let names = [format!("gate_up_proj{end}"), format!("down_proj{end}")];
                let [both, downs] = match self.is_transposed(&names[0], (hidden, 2 * intermediate))
                {
                    true => self.transposed_stacks(&names, count, (hidden, intermediate))?,
                    // Of each expert all gates, then all ups.
                    false => [
                        self.stack(&names[0], 2 * count, narrow)?,
                        self.stack(&names[1], count, wide)?,
                    ],
                };
                let (gates, ups) = both.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
                let parts = |all: Vec<(usize, StoredMatrix)>| all.into_iter().map(|(_, m)| m);
                zip3(parts(gates), parts(ups), downs.into_iter())
            }
            Some((end, false)) => {
                let stack = |name, shape| self.stack(&format!("{name}{end}"), count, shape);
                let (gates, ups) = (stack("gate_proj", narrow)?, stack("up_proj", narrow)?);
                let downs = stack("down_proj", wide)?;
                zip3(gates.into_iter(), ups.into_iter(), downs.into_iter())
            }
            None => {
                let first = self.pp(0);
                let known = |[gate, ..]: &[&str; 3]| first.contains(&format!("{gate}.weight"));
                let [gate, up, down] =
                    NAMES.into_iter().find(known).unwrap_or(["gate_proj", "up_proj", "down_proj"]);
                let matrix = |expert, name, shape| self.pp(expert).pp(name).stored(shape);
                (0..count)
                    .map(|expert| {
                        Ok(StoredExpert {
                            gate: matrix(expert, gate, narrow)?,
                            up: matrix(expert, up, narrow)?,
                            down: matrix(expert, down, wide)?,
                        })
                    })
                    .collect::<Result<_>>()?
            }
        };
        mistralrs_quant::experts(triples, &self.with_kernels().options)
    }

    /// The up-projections of latent attention, where this project's kernels compute, per head: of keys `[kv_rank, nope]` (transposed) and of
    /// values `[value, kv_rank]`. Hugging Face has one `kv_b_proj`, of a head's keys first, then of its
    /// values; GGUF files the same, or both apart.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn latent_heads(
        &self,
        heads: usize,
        kv_rank: usize,
        nope: usize,
        value: usize,
    ) -> Result<(HeadLinear, HeadLinear)> {
        let options = &self.with_kernels().options;
        if self.contains("k_b_proj.weight") {
            let keys = self.stack("k_b_proj.weight", heads, (kv_rank, nope))?;
            let values = self.stack("v_b_proj.weight", heads, (value, kv_rank))?;
            return Ok((HeadLinear::new(keys, options)?, HeadLinear::new(values, options)?));
        }
        let whole = self.pp("kv_b_proj").stored((heads * (nope + value), kv_rank))?;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for head in StoredMatrix::cut(&whole.info, &whole.bytes, (nope + value, kv_rank))? {
            keys.push(head.rows(0, nope).transposed()?);
            values.push(head.rows(nope, value));
        }
        Ok((HeadLinear::new(keys, options)?, HeadLinear::new(values, options)?))
    }

    /// The module's `weight` `[out, in]`, kept as it is stored, whoever names it: routers and other small
    /// matrices that decide much. A file may hold a single row as a vector.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn plain(&self, out: usize, input: usize) -> Result<Linear> {
        let name = self.full_name("weight");
        let is_vector = self.shared.checkpoint.info(&name).is_some_and(|i| i.shape == [input]);
        let shape = if out == 1 && is_vector { vec![input] } else { vec![out, input] };
        let mut info = self.find(&name, &shape)?.clone();
        info.shape = vec![out, input];
        let bytes = self.shared.checkpoint.read(&name)?;
        let options = &self.options.as_stored();
        Ok(Linear::new(mistralrs_quant::weight(&info, bytes, options)?, None))
    }

    /// A matrix that is stored the other way round, `[in, out]`, as a layer; turned once, and kept as it
    /// is stored unless it is named.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn transposed_linear(&self, name: &str, input: usize, out: usize) -> Result<Linear> {
        let name = self.full_name(name);
        let info = self.find(&name, &[input, out])?.clone();
        let bytes = self.shared.checkpoint.read(&name)?;
        let StoredMatrix { info, bytes } = StoredMatrix { info, bytes }.transposed()?;
        let options = &self.options.only_named();
        Ok(Linear::new(mistralrs_quant::weight(&info, bytes, options)?, None))
    }

    /// The module's `weight` `[out, in, 1, 1]`, a convolution's kernel of one place, as a layer.
    ///
    /// # Errors
    /// When it is missing or of another form.
    pub fn pointwise(&self) -> Result<Linear> {
        let name = self.full_name("weight");
        let found = self.shape("weight")?;
        let (out, input) = match found.as_slice() {
            &[out, input, 1, 1] => (out, input),
            _ => (found.first().copied().unwrap_or(0), found.get(1).copied().unwrap_or(0)),
        };
        let mut info = self.find(&name, &[out, input, 1, 1])?.clone();
        info.shape = vec![out, input];
        let bytes = self.shared.checkpoint.read(&name)?;
        Ok(Linear::new(mistralrs_quant::weight(&info, bytes, &self.options)?, None))
    }

    /// The module's `weight` of any shape as a matrix `[first axis, all others]`, kept as it is stored,
    /// whoever names it.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn flattened(&self, shape: &[usize]) -> Result<Arc<dyn QuantMethod>> {
        let name = self.full_name("weight");
        let mut info = self.find(&name, shape)?.clone();
        let out = shape.first().copied().unwrap_or(1);
        info.shape = vec![out, shape.iter().skip(1).product()];
        let bytes = self.shared.checkpoint.read(&name)?;
        mistralrs_quant::weight(&info, bytes, &self.options.as_stored())
    }

    /// The numbers of a vector that is there under one of several names.
    ///
    /// # Errors
    /// When it is missing (the last name is told) or has not `len` numbers.
    pub fn first_of(&self, names: &[&str], len: usize) -> Result<Vec<f32>> {
        let name = names.iter().find(|name| self.contains(name)).or(names.last());
        let name = name.copied().unwrap_or_default();
        let numbers = Place::default().take(&self.tensor(name, &[len])?);
        let numbers = numbers.and_then(|numbers| numbers.to_vec1::<f32>());
        numbers.map_err(|source| self.refused(&self.full_name(name), source))
    }

    /// `count` matrices `[out, in]` of this module: one by one under their numbers, or GGUF's one `weight`.
    ///
    /// # Errors
    /// When one is missing or misshapen.
    pub fn stacked_linear(&self, count: usize, out: usize, input: usize) -> Result<Vec<Linear>> {
        if !self.contains("weight") {
            return (0..count).map(|number| self.pp(number).linear(out, input, false)).collect();
        }
        let linear = |StoredMatrix { info, bytes }| {
            Ok(Linear::new(mistralrs_quant::weight(&info, bytes, &self.options)?, None))
        };
        self.stack("weight", count, (out, input))?.into_iter().map(linear).collect()
    }

    /// A vector that is a parameter of its own; GGUF puts `.weight` behind its name.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor> {
        match self.contains(name) {
            true => self.tensor(name, &[len]),
            false => self.pp(name).tensor("weight", &[len]),
        }
    }

    /// Says that nobody needs the tensors of this module, or the one of this name.
    pub fn ignore(&self) {
        let place = self.full_name("");
        let inside = |name: &&str| {
            let rest = name.strip_prefix(place.trim_end_matches('.'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let names = self.shared.checkpoint.names().into_iter().filter(inside);
        // The set is valid at every instruction, so a poisoned lock can be taken over.
        let mut used = self.shared.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.extend(names.map(str::to_owned));
    }

    /// A tensor of `count` matrices: `[count, rows, cols]`, or `[count / 2, 2 · rows, cols]`.
    fn stack(
        &self,
        name: &str,
        count: usize,
        (rows, cols): (usize, usize),
    ) -> Result<Vec<StoredMatrix>> {
        let name = self.full_name(name);
        let halves = if name.contains("gate_up_proj") { 2 } else { 1 };
        let info = self.find(&name, &[count / halves, halves * rows, cols])?;
        StoredMatrix::cut(info, &self.shared.checkpoint.read(&name)?, (rows, cols))
    }

    /// Whether a stack holds matrices `[rows, cols]` that are usually stored the other way round.
    fn is_transposed(&self, name: &str, (rows, cols): (usize, usize)) -> bool {
        let info = self.shared.checkpoint.info(&self.full_name(name));
        rows != cols && info.is_some_and(|info| info.shape.ends_with(&[rows, cols]))
    }

    /// Stacks as in the files of Qwen3-VL-MoE, turned: of each expert `[hidden, gate and up]`, cut into
    /// gates and ups one after the other, and `[intermediate, hidden]`.
    fn transposed_stacks(
        &self,
        [both, downs]: &[String; 2],
        count: usize,
        (hidden, intermediate): (usize, usize),
    ) -> Result<[Vec<StoredMatrix>; 2]> {
        let cut = |name: &str, (rows, cols)| {
            let name = self.full_name(name);
            let info = self.find(&name, &[count, rows, cols])?;
            let matrices =
                StoredMatrix::cut(info, &self.shared.checkpoint.read(&name)?, (rows, cols))?;
            matrices.iter().map(StoredMatrix::transposed).collect::<Result<Vec<_>>>()
        };
        let whole = cut(both, (hidden, 2 * intermediate))?;
        let halves = |matrix: &StoredMatrix| {
            [matrix.rows(0, intermediate), matrix.rows(intermediate, intermediate)]
        };
        Ok([whole.iter().flat_map(halves).collect(), cut(downs, (intermediate, hidden))?])
    }

    /// The module's `weight` as it is stored.
    fn stored(&self, (rows, cols): (usize, usize)) -> Result<StoredMatrix> {
        let name = self.full_name("weight");
        let info = self.find(&name, &[rows, cols])?.clone();
        Ok(StoredMatrix { info, bytes: self.shared.checkpoint.read(&name)? })
    }
}

fn zip3(
    gates: impl Iterator<Item = StoredMatrix>,
    ups: impl Iterator<Item = StoredMatrix>,
    downs: impl Iterator<Item = StoredMatrix>,
) -> Vec<StoredExpert> {
    let zipped = gates.zip(ups).zip(downs);
    zipped.map(|((gate, up), down)| StoredExpert { gate, up, down }).collect()
}
