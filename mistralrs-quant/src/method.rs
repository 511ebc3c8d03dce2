//! What a weight can do, however it is stored. Knows tensors; not files, layers or models. A
//! further way to store or to wrap a weight (LoRA, another device) is a further implementation.

use candle_core::{Result, Tensor};
use mistralrs_kernels::QuantType;
use std::any::Any;
use std::fmt::Debug;

/// A weight `[out, in]` in some stored form.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use mistralrs_quant::{QuantType, TensorBytes, TensorInfo, WeightOptions, weight};
///
/// let numbers: Vec<u8> = [1_f32, 2., 3., 4., 5., 6.].iter().flat_map(|x| x.to_le_bytes()).collect();
/// let info = TensorInfo {
///     name: "lm_head.weight".into(),
///     shape: vec![3, 2],
///     ty: QuantType::F32,
///     file: "model.safetensors".into(),
/// };
/// let weight = weight(&info, TensorBytes::from(&numbers[..]), &WeightOptions::default())?;
/// let x = Tensor::new(&[[1_f32, 10.]], &Device::Cpu)?;
/// assert_eq!(weight.forward(&x)?.to_vec2::<f32>()?, [[21., 43., 65.]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait QuantMethod: Any + Debug + Send + Sync {
    /// `x [tokens, in]` times the transposed weight: `[tokens, out]`, in a tensor of its own. Both are at the weight's
    /// [`Place`](crate::Place): `f32` on the CPU unless another was asked for.
    ///
    /// # Errors
    /// `x` is of another type, its last dimension is not `in`, or it is on another device.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;

    /// The rows `ids [n]` (u32), in numbers of the weight's place, `[n, in]`: an embedding.
    ///
    /// # Errors
    /// `ids` is no u32 vector, or an id is not below `out`.
    fn rows(&self, ids: &Tensor) -> Result<Tensor>;

    /// The whole weight, as f32 `[out, in]` on the CPU.
    ///
    /// # Errors
    /// candle cannot make the tensor.
    fn dequantize(&self) -> Result<Tensor>;

    /// What the weight is and what it costs.
    fn info(&self) -> WeightInfo;
}

/// What a weight is and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightInfo {
    /// How its numbers are stored in memory.
    pub ty: QuantType,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// Its size in bytes, in memory or in the memory map.
    pub bytes: usize,
    /// How its numbers are stored in the file.
    pub stored: QuantType,
    /// The type in-situ quantization was asked for. Where it differs from `ty`, rows of `cols`
    /// numbers cannot be cut into blocks of this type and the next best was taken.
    pub requested: Option<QuantType>,
}
