//! A linear layer per head: each head's numbers times a matrix of its own, as the up-projections of
//! multi-head latent attention. Knows tensors and stacks; not attention.

use crate::error::Result;
use crate::packed::WeightOptions;
use crate::slices::f32_slice;
use crate::stack::{Stack, StoredMatrix};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, bail};
use mistralrs_kernels::in_parallel_parts;

/// Below so many multiplications, heads are computed one after the other.
const SERIAL: usize = 512 << 10;

/// One matrix `[out, in]` for each head.
#[derive(Debug)]
pub struct HeadLinear(Stack);

impl HeadLinear {
    /// A layer of one stored matrix per head, all of one shape, each treated by `options` as a weight
    /// of its own would be.
    ///
    /// # Errors
    /// There is none, shapes differ, bytes do not fit a shape, or matrices are to be quantized that
    /// already are.
    pub fn new(heads: Vec<StoredMatrix>, options: &WeightOptions) -> Result<Self> {
        let shape = heads.first().map(|head| head.info.shape.clone()).unwrap_or_default();
        Stack::new(heads, &shape, options).map(Self)
    }

    /// `x [tokens, heads × in]` (f32) → `[tokens, heads × out]`. A row does not depend on the others,
    /// to the bit.
    ///
    /// # Errors
    /// `x` has another type, width or device.
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.contiguous()?.apply_op1_no_bwd(&Product(&self.0))
    }
}

struct Product<'a>(&'a Stack);

impl Product<'_> {
    /// `x [tokens, heads, in]` → `[tokens, heads, out]`.
    fn multiply(&self, x: &[f32], tokens: usize) -> Vec<f32> {
        let Stack { count, rows, cols, .. } = *self.0;
        let of_head = |head: usize| {
            let mut gathered = Vec::with_capacity(tokens * cols);
            for token in x.chunks_exact(count * cols) {
                gathered.extend(token.iter().skip(head * cols).take(cols));
            }
            let mut y = vec![0.; tokens * rows];
            self.0.multiply(head, &gathered, &mut y);
            y
        };
        let mut ys = vec![Vec::new(); count];
        let parts = if tokens * count * rows * cols < SERIAL { count } else { 1 };
        in_parallel_parts(&mut ys, parts, |turn, ys| {
            for (head, y) in (turn * parts..).zip(ys) {
                *y = of_head(head);
            }
        });
        let mut out = Vec::with_capacity(tokens * count * rows);
        for token in 0..tokens {
            for y in &ys {
                out.extend_from_slice(y.get(token * rows..(token + 1) * rows).unwrap_or_default());
            }
        }
        out
    }
}

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "head-linear"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = f32_slice(storage, layout, self.name())?;
        let Stack { count, rows, cols, .. } = *self.0;
        let (tokens, width) = layout.shape().dims2()?;
        if width != count * cols || width == 0 {
            bail!("{width} numbers for {count} heads of {cols}");
        }
        let y = self.multiply(x, tokens);
        Ok((CpuStorage::F32(y), Shape::from((tokens, count * rows))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::tests::{info, noise, stored};
    use crate::weight;
    use candle_core::Device;
    use mistralrs_kernels::QuantType;

    /// Head by head through weights of their own.
    #[test]
    fn heads_are_layers_of_their_own() {
        let tensor = |numbers: &[f32], shape| Tensor::from_slice(numbers, shape, &Device::Cpu);
        for (ty, rows, cols) in [
            (QuantType::F32, 7, 13),
            (QuantType::BF16, 20, 9),
            (QuantType::Q8_0, 16, 64),
            (QuantType::Q4_K, 40, 256),
        ] {
            for (heads, tokens) in [(1, 1), (5, 1), (3, 18)] {
                let matrix = |head: usize| StoredMatrix {
                    info: info(&[rows, cols], ty),
                    bytes: stored(&noise(rows * cols, head as u32 + 1), cols, ty),
                };
                let all: Vec<_> = (0..heads).map(matrix).collect();
                let layer = HeadLinear::new(all.clone(), &WeightOptions::default()).unwrap();
                let numbers = noise(tokens * heads * cols, 9);
                let x = tensor(&numbers, (tokens, heads * cols)).unwrap();
                let y = layer.forward(&x).unwrap();
                assert_eq!(y.dims(), [tokens, heads * rows]);
                for (head, matrix) in all.into_iter().enumerate() {
                    let alone =
                        weight(&matrix.info, matrix.bytes, &WeightOptions::default()).unwrap();
                    let wanted = alone.forward(&x.narrow(1, head * cols, cols).unwrap()).unwrap();
                    let mine = y.narrow(1, head * rows, rows).unwrap();
                    let numbers = |t: Tensor| t.to_vec2::<f32>().unwrap();
                    assert_eq!(numbers(mine), numbers(wanted), "{ty:?}");
                }
            }
        }
        let layer = HeadLinear::new(vec![], &WeightOptions::default());
        assert!(layer.unwrap_err().to_string().contains("at least one"));
    }
}
