//! Convolutions over one picture's map, a row of channels for every place, so that a place's numbers lie
//! side by side before and after: a kernel for each channel by the kernels' own convolution, any other as a
//! product with the neighborhoods of all places. Not on the CPU, and as the twin in tests: [`Conv`].

use super::{Conv, ConvSteps};
use crate::error::LoadError;
use crate::slices::f32_slice;
use crate::weights::Weights;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use mistralrs_kernels::{DepthwiseShape, depthwise};
use mistralrs_quant::{QuantMethod, QuantType, TensorBytes, TensorInfo, WeightOptions};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// So many numbers of neighborhoods are multiplied at a time.
const NEIGHBORHOODS: usize = 1 << 20;

/// One picture's numbers.
#[derive(Debug, Clone)]
pub struct FeatureMap {
    /// `[height × width, channels]`, the places row by row.
    pub rows: Tensor,
    /// In places.
    pub height: usize,
    /// In places.
    pub width: usize,
}

impl FeatureMap {
    /// The same places with other numbers.
    #[must_use]
    pub fn with(&self, rows: Tensor) -> Self {
        Self { rows, ..*self }
    }

    /// `[1, channels, height, width]`
    ///
    /// # Errors
    /// When there are not as many rows as places.
    pub fn planes(&self) -> Result<Tensor> {
        self.rows.t()?.reshape((1, (), self.height, self.width))
    }

    /// From `[1, channels, height, width]`.
    ///
    /// # Errors
    /// When the planes are of another form.
    pub fn from_planes(planes: &Tensor) -> Result<Self> {
        let (_, channels, height, width) = planes.dims4()?;
        let rows = planes.reshape((channels, height * width))?.t()?.contiguous()?;
        Ok(Self { rows, height, width })
    }
}

/// A convolution whose output has the input's size divided by the stride, rounded up: where the kernel
/// reaches beyond the map there are zeros, as many before as behind it, or one more behind.
#[derive(Debug)]
pub struct MapConv {
    form: Form,
    kernel: [usize; 2],
    stride: usize,
    /// `[1, out]`
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Form {
    /// A kernel for each channel: `[height × width, channels]`.
    Depthwise(Tensor),
    /// `[out, height × width × in]`
    Dense(Arc<dyn QuantMethod>),
    /// The tensor library's, without a bias.
    Planes(Conv),
}

impl MapConv {
    /// Reads `weight` `[out, in, height, width]` and, if it is there, `bias` `[out]`.
    ///
    /// # Errors
    /// When the weight is missing or no kernel.
    pub fn load(weights: &Weights, stride: usize) -> std::result::Result<Self, LoadError> {
        let shape = weights.shape("weight")?;
        let weight = weights.tensor("weight", &shape)?;
        let out = shape.first().copied().unwrap_or(0);
        let bias = weights.contains("bias").then(|| weights.tensor("bias", &[out])).transpose()?;
        Self::new(&weight, bias.as_ref(), stride, weights.options())
    }

    /// `weight` is `[out, in, height, width]`, `bias` `[out]`; a matrix made of it lies where `options` say. A kernel
    /// is for each channel where one channel goes in and several come out.
    ///
    /// # Errors
    /// When these are no kernels, or the stride is 0.
    pub fn new(
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        options: &WeightOptions,
    ) -> std::result::Result<Self, LoadError> {
        let (out, input, height, width) = weight.dims4()?;
        if stride == 0 || weight.elem_count() == 0 {
            let shape = weight.dims();
            return Err(candle_core::Error::msg(format!("{shape:?} by steps of {stride}")).into());
        }
        let form = match (weight.device().is_cpu(), input) {
            (false, _) => Form::Planes(planes(weight, stride)?),
            (true, 1) if out > 1 => {
                Form::Depthwise(weight.reshape((out, height * width))?.t()?.contiguous()?)
            }
            (true, _) => Form::Dense(by_places(weight, options)?),
        };
        let bias = bias.map(|bias| bias.reshape((1, out))).transpose()?;
        Ok(Self { form, kernel: [height, width], stride, bias })
    }

    /// Of what comes out.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The map, convolved.
    ///
    /// # Errors
    /// When it has other channels, or the device fails.
    pub fn forward(&self, map: &FeatureMap) -> Result<FeatureMap> {
        let walk = self.walk(map)?;
        let rows = match &self.form {
            Form::Depthwise(kernels) => {
                map.rows.contiguous()?.apply_op2_no_bwd(kernels, &Depthwise(walk))?
            }
            Form::Dense(kernels) => dense(kernels.as_ref(), &walk, &map.rows)?,
            Form::Planes(conv) => {
                let [height, width] = [0, 1].map(|axis| {
                    let behind = (walk.out[axis] - 1) * self.stride + self.kernel[axis];
                    (walk.before[axis], behind.saturating_sub(walk.map[axis] + walk.before[axis]))
                });
                let planes = map.planes()?.pad_with_zeros(2, height.0, height.1)?;
                let planes = planes.pad_with_zeros(3, width.0, width.1)?;
                FeatureMap::from_planes(&conv.forward(&planes)?)?.rows
            }
        };
        let rows = match &self.bias {
            Some(bias) => rows.broadcast_add(bias)?,
            None => rows,
        };
        let [height, width] = walk.out;
        Ok(FeatureMap { rows, height, width })
    }

    fn walk(&self, map: &FeatureMap) -> Result<DepthwiseShape> {
        let sizes = [map.height, map.width];
        let (places, channels) = map.rows.dims2()?;
        if sizes.contains(&0) || map.height.checked_mul(map.width) != Some(places) {
            bail!("{places} places of a map of {sizes:?}");
        }
        let out = sizes.map(|size| size.div_ceil(self.stride));
        let before = [0, 1].map(|axis| {
            let reach = (out[axis] - 1) * self.stride + self.kernel[axis];
            reach.saturating_sub(sizes[axis]) / 2
        });
        let (kernel, stride) = (self.kernel, self.stride);
        Ok(DepthwiseShape { map: sizes, channels, kernel, stride, before, out })
    }
}

struct Depthwise(DepthwiseShape);

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        kernels: &CpuStorage,
        kernels_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = &self.0;
        let (_, channels) = kernels_layout.shape().dims2()?;
        if channels != shape.channels {
            bail!("{channels} kernels for {} channels", shape.channels);
        }
        let x = f32_slice(x, x_layout, self.name())?;
        let kernels = f32_slice(kernels, kernels_layout, self.name())?;
        let places = shape.out[0] * shape.out[1];
        let out = depthwise(shape, x, kernels);
        Ok((CpuStorage::F32(out), (places, channels).into()))
    }
}

fn planes(weight: &Tensor, stride: usize) -> Result<Conv> {
    let (out, input, _, _) = weight.dims4()?;
    let groups = if input == 1 { out } else { 1 };
    Conv::new(weight, None, ConvSteps { stride, groups, ..ConvSteps::default() })
}

/// Kernels `[out, in, height, width]` as a matrix `[out, height × width × in]`.
fn by_places(
    weight: &Tensor,
    options: &WeightOptions,
) -> std::result::Result<Arc<dyn QuantMethod>, LoadError> {
    let (out, input, height, width) = weight.dims4()?;
    let numbers = weight.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.flatten_all()?;
    let bytes: Vec<u8> =
        numbers.to_vec1::<f32>()?.iter().flat_map(|number| number.to_le_bytes()).collect();
    let info = TensorInfo {
        name: "kernels".to_owned(),
        shape: vec![out, height * width * input],
        ty: QuantType::F32,
        file: PathBuf::new(),
    };
    Ok(mistralrs_quant::weight(&info, TensorBytes::from(bytes.as_slice()), &options.as_stored())?)
}

/// A product with the neighborhoods of all places, some rows of them at a time.
fn dense(kernels: &dyn QuantMethod, walk: &DepthwiseShape, rows: &Tensor) -> Result<Tensor> {
    let numbers = walk.kernel[0] * walk.kernel[1] * walk.channels;
    if kernels.info().cols != numbers {
        bail!("kernels of {} numbers over places of {numbers}", kernels.info().cols);
    }
    let [height, width] = walk.out;
    let at_once = (NEIGHBORHOODS / (width * numbers)).clamp(1, height);
    let mut parts = Vec::with_capacity(height.div_ceil(at_once));
    let rows = rows.contiguous()?;
    for first in (0..height).step_by(at_once) {
        let some = first..height.min(first + at_once);
        let gathered = rows.apply_op1_no_bwd(&Neighborhoods { walk, rows: some })?;
        parts.push(kernels.forward(&gathered)?);
    }
    match parts.as_slice() {
        [only] => Ok(only.clone()),
        parts => Tensor::cat(parts, 0),
    }
}

/// `[places, channels]` → `[rows × out columns, kernel places × channels]`
struct Neighborhoods<'a> {
    walk: &'a DepthwiseShape,
    /// Of the output.
    rows: Range<usize>,
}

impl CustomOp1 for Neighborhoods<'_> {
    fn name(&self) -> &'static str {
        "neighborhoods"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let DepthwiseShape { map, channels, kernel, stride, before, out } = *self.walk;
        let x = f32_slice(x, layout, self.name())?;
        let numbers = kernel[0] * kernel[1] * channels;
        let mut gathered = Vec::with_capacity(self.rows.len() * out[1] * numbers);
        for row in self.rows.clone() {
            for column in 0..out[1] {
                for y in 0..kernel[0] {
                    let row = (row * stride + y).wrapping_sub(before[0]);
                    // The places of one row that the kernel covers lie side by side.
                    let start = column * stride;
                    let seen = |at: usize| at.saturating_sub(before[1]).min(map[1]);
                    let (first, end) = (seen(start), seen(start + kernel[1]));
                    let inside = match row < map[0] {
                        true => x.get(
                            (row * map[1] + first) * channels..(row * map[1] + end) * channels,
                        ),
                        false => None,
                    };
                    let inside = inside.unwrap_or_default();
                    let zeros = before[1].saturating_sub(start).min(kernel[1]) * channels;
                    let zeros = if inside.is_empty() { kernel[1] * channels } else { zeros };
                    gathered.resize(gathered.len() + zeros, 0.0);
                    gathered.extend_from_slice(inside);
                    let behind = (kernel[1] * channels).saturating_sub(zeros + inside.len());
                    gathered.resize(gathered.len() + behind, 0.0);
                }
            }
        }
        Ok((CpuStorage::F32(gathered), (self.rows.len() * out[1], numbers).into()))
    }
}

#[cfg(test)]
mod tests;
