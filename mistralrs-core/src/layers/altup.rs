//! Alternating updates: the residual is several streams of which a layer computes one; the others are
//! predicted before it and corrected by its outcome.
//! Source: Baykal et al., "Alternating Updates for Efficient Transformers", NeurIPS 2023; the routers as
//! in `modeling_gemma3n.py` of Hugging Face transformers.

use super::RmsNorm;
use crate::slices::{f32_slice, f32_slice_mut};
use crate::weights::Weights;
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, D, InplaceOp2, Layout, Result, Shape, Tensor, bail,
};
use mistralrs_quant::{Linear, has_kernels};

/// One layer's prediction and correction.
#[derive(Debug)]
pub struct AltUp {
    router_norm: RmsNorm,
    /// `[streams, hidden]`
    modality_router: Linear,
    /// `[streams × streams, streams]`
    prediction_coefs: Linear,
    /// `[streams, streams]`
    correction_coefs: Linear,
    /// Which stream is computed.
    active: usize,
    hidden: usize,
}

impl AltUp {
    /// Reads `router_norm`, `modality_router`, `prediction_coefs` and `correction_coefs`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        weights: &Weights,
        streams: usize,
        active: usize,
        hidden: usize,
        eps: f64,
    ) -> mistralrs_quant::Result<Self> {
        let linear = |name, rows, cols| weights.pp(name).plain(rows, cols);
        Ok(Self {
            router_norm: RmsNorm::load(&weights.pp("router_norm"), hidden, eps)?,
            modality_router: linear("modality_router", streams, hidden)?,
            prediction_coefs: linear("prediction_coefs", streams * streams, streams)?,
            correction_coefs: linear("correction_coefs", streams, streams)?,
            active,
            hidden,
        })
    }

    /// The computed one of `streams` `[streams, tokens, hidden]`: `[tokens, hidden]`.
    ///
    /// # Errors
    /// When there is no such stream.
    pub fn active(&self, streams: &Tensor) -> Result<Tensor> {
        streams.get(self.active)
    }

    /// What a layer begins with: each stream and, by the active one's router, a mix of all.
    /// `[streams, tokens, hidden]` → the same.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn predict(&self, streams: &Tensor) -> Result<Tensor> {
        let coefs = self.prediction_coefs.forward(&self.route(&self.active(streams)?)?)?;
        if !has_kernels(streams) {
            return predict_tensors(streams, &coefs);
        }
        streams.contiguous()?.apply_op2_no_bwd(&coefs, &Predict)
    }

    /// What a layer ends with: each of `predictions` moved by what its outcome `activated`
    /// `[tokens, hidden]` has that was not predicted.
    ///
    /// # Errors
    /// When shapes disagree.
    pub fn correct(&self, predictions: &Tensor, activated: &Tensor) -> Result<Tensor> {
        let coefs = self.correction_coefs.forward(&self.route(activated)?)?;
        let surprise = (activated - self.active(predictions)?)?;
        if !has_kernels(predictions) {
            return correct_tensors(predictions, &surprise, &coefs);
        }
        predictions.contiguous()?.apply_op3_no_bwd(&surprise, &coefs, &Correct)
    }

    /// `[tokens, hidden]` → `[tokens, streams]`.
    fn route(&self, x: &Tensor) -> Result<Tensor> {
        let x = (self.router_norm.forward(x)? * (1.0 / self.hidden as f64))?;
        self.modality_router.forward(&x)?.tanh()
    }
}

/// `streams` with `x` `[tokens, hidden]` added to all but the first; in their memory where kernels compute.
///
/// # Errors
/// When shapes disagree.
pub fn add_to_rest(streams: Tensor, x: &Tensor) -> Result<Tensor> {
    if !has_kernels(&streams) {
        let rest = streams.narrow(0, 1, streams.dim(0)?.saturating_sub(1))?.broadcast_add(x)?;
        return Tensor::cat(&[streams.narrow(0, 0, 1)?, rest], 0);
    }
    streams.inplace_op2(&x.contiguous()?, &AddToRest)?;
    Ok(streams)
}

/// `coefs` `[tokens, streams × streams]`: those of a stream's mix one after the other.
fn predict_tensors(streams: &Tensor, coefs: &Tensor) -> Result<Tensor> {
    let (n, tokens, _) = streams.dims3()?;
    let mix = coefs.reshape((tokens, n, n))?.matmul(&streams.transpose(0, 1)?.contiguous()?)?;
    streams + mix.transpose(0, 1)?
}

/// `coefs` `[tokens, streams]`.
fn correct_tensors(predictions: &Tensor, surprise: &Tensor, coefs: &Tensor) -> Result<Tensor> {
    let pull = (coefs + 1.0)?.t()?.unsqueeze(2)?; // [streams, tokens, 1]
    predictions + pull.broadcast_mul(&surprise.unsqueeze(0)?)?
}

/// `x` with each row as large as that of `like`, in the root of its mean square.
///
/// # Errors
/// When shapes disagree.
pub fn resized(x: &Tensor, like: &Tensor) -> Result<Tensor> {
    if !has_kernels(x) {
        let mean_square = |x: &Tensor| x.sqr()?.mean_keepdim(D::Minus1);
        let factor = (mean_square(like)? / mean_square(x)?.maximum(f64::from(LEAST))?)?.sqrt()?;
        return x.broadcast_mul(&factor);
    }
    x.contiguous()?.apply_op2_no_bwd(&like.contiguous()?, &Resize)
}

/// A mean square that the reference calls zero.
const LEAST: f32 = 1e-5;

fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}

struct Predict;

impl CustomOp2 for Predict {
    fn name(&self) -> &'static str {
        "altup-predict"
    }

    fn cpu_fwd(
        &self,
        streams: &CpuStorage,
        layout: &Layout,
        coefs: &CpuStorage,
        coefs_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, tokens, hidden) = layout.shape().dims3()?;
        let streams = f32_slice(streams, layout, self.name())?;
        let coefs = f32_slice(coefs, coefs_layout, self.name())?;
        if coefs.len() != tokens * n * n {
            bail!("altup-predict: {} coefficients for {tokens} tokens", coefs.len());
        }
        let (size, width) = ((tokens * hidden).max(1), hidden.max(1));
        let mut out = streams.to_vec();
        for (to, out) in out.chunks_mut(size).enumerate() {
            for (from, stream) in streams.chunks(size).enumerate() {
                let coefs = coefs.iter().skip(to * n + from).step_by((n * n).max(1));
                let rows = out.chunks_mut(width).zip(stream.chunks(width));
                rows.zip(coefs).for_each(|((out, x), coef)| add_scaled(out, *coef, x));
            }
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

struct Correct;

impl CustomOp3 for Correct {
    fn name(&self) -> &'static str {
        "altup-correct"
    }

    fn cpu_fwd(
        &self,
        predictions: &CpuStorage,
        layout: &Layout,
        surprise: &CpuStorage,
        surprise_layout: &Layout,
        coefs: &CpuStorage,
        coefs_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, tokens, hidden) = layout.shape().dims3()?;
        let mut out = f32_slice(predictions, layout, self.name())?.to_vec();
        let surprise = f32_slice(surprise, surprise_layout, self.name())?;
        let coefs = f32_slice(coefs, coefs_layout, self.name())?;
        if coefs.len() != tokens * n || surprise.len() != tokens * hidden {
            bail!("altup-correct: {} coefficients, {} numbers", coefs.len(), surprise.len());
        }
        let (size, width) = ((tokens * hidden).max(1), hidden.max(1));
        for (stream, out) in out.chunks_mut(size).enumerate() {
            let coefs = coefs.iter().skip(stream).step_by(n.max(1));
            let rows = out.chunks_mut(width).zip(surprise.chunks(width));
            rows.zip(coefs).for_each(|((out, x), coef)| add_scaled(out, coef + 1.0, x));
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

struct AddToRest;

impl InplaceOp2 for AddToRest {
    fn name(&self) -> &'static str {
        "add-to-rest"
    }

    fn cpu_fwd(
        &self,
        streams: &mut CpuStorage,
        layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let (_, tokens, hidden) = layout.shape().dims3()?;
        let streams = f32_slice_mut(streams, layout, self.name())?;
        let x = f32_slice(x, x_layout, self.name())?;
        if x.len() != tokens * hidden {
            bail!("add-to-rest: {} numbers for {tokens} tokens", x.len());
        }
        let rest = streams.chunks_mut(x.len().max(1)).skip(1);
        rest.for_each(|stream| add_scaled(stream, 1.0, x));
        Ok(())
    }
}

struct Resize;

impl CustomOp2 for Resize {
    fn name(&self) -> &'static str {
        "resize-rows"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        like: &CpuStorage,
        like_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = x_layout.shape().dims2()?;
        let mut out = f32_slice(x, x_layout, self.name())?.to_vec();
        let like = f32_slice(like, like_layout, self.name())?;
        if out.len() != like.len() {
            bail!("resize-rows: {} numbers like {}", out.len(), like.len());
        }
        let mean_square = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>() / width as f32;
        for (out, like) in out.chunks_mut(width.max(1)).zip(like.chunks(width.max(1))) {
            let factor = (mean_square(like) / mean_square(out).max(LEAST)).sqrt();
            out.iter_mut().for_each(|x| *x *= factor);
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2) + 1;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn tensor(numbers: &[f32], shape: &[usize]) -> Tensor {
        Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap()
    }

    fn close(found: &Tensor, wanted: &[f32]) {
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
        }
    }

    /// Number by number, from the formulas.
    #[test]
    fn mixes_and_moves() {
        let (n, tokens, hidden) = (3, 4, 5);
        let (streams, x) = (noise(n * tokens * hidden, 1), noise(tokens * hidden, 2));
        let (mix, pull) = (noise(tokens * n * n, 3), noise(tokens * n, 4));
        let at = |stream: usize, token: usize, i: usize| (stream * tokens + token) * hidden + i;
        let (mut predicted, mut corrected) = (streams.clone(), streams.clone());
        let mut added = streams.clone();
        for stream in 0..n {
            for token in 0..tokens {
                for i in 0..hidden {
                    let own = at(stream, token, i);
                    for from in 0..n {
                        let coef = mix[token * n * n + stream * n + from];
                        predicted[own] += coef * streams[at(from, token, i)];
                    }
                    let x = x[token * hidden + i];
                    corrected[own] += (pull[token * n + stream] + 1.0) * x;
                    if stream > 0 {
                        added[own] += x;
                    }
                }
            }
        }
        let shape = [n, tokens, hidden];
        let all = tensor(&streams, &shape);
        let mix = tensor(&mix, &[tokens, n * n]);
        close(&all.apply_op2_no_bwd(&mix, &Predict).unwrap(), &predicted);
        let (x, pull) = (tensor(&x, &[tokens, hidden]), tensor(&pull, &[tokens, n]));
        close(&all.apply_op3_no_bwd(&x, &pull, &Correct).unwrap(), &corrected);
        let all = add_to_rest(all, &x).unwrap();
        close(&all, &added);
        assert!(all.apply_op2_no_bwd(&pull, &Predict).is_err());
        assert!(add_to_rest(all, &pull).is_err());
    }

    #[test]
    fn rows_get_the_size_of_others() {
        let x = tensor(&[3.0, 4.0, 0.0, 0.0, 1e-4, 0.0], &[3, 2]);
        let like = tensor(&[6.0, 8.0, 1.0, 1.0, 0.0, 1.0], &[3, 2]);
        // The last row counts as larger than it is.
        let small = 1e-4 * (0.5f32 / 1e-5).sqrt();
        close(&resized(&x, &like).unwrap(), &[6.0, 8.0, 0.0, 0.0, small, 0.0]);
    }
}
