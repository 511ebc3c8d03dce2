//! Keys and values of all sequences in fixed-size blocks: one K and one V tensor per layer.
//! Knows tensors and slots; which sequence owns which block is [`block_pool`]'s business.

pub mod block_pool;

use crate::slices::{f16_slice_mut, f32_slice, f32_slice_mut};
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Shape, Tensor, bail};
use mistralrs_kernels::round_to_halves;

/// What one layer keeps per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKvSpec {
    /// Heads of keys and values.
    pub num_kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Keys are kept, and attention reads its values from them too: latent attention.
    pub values_are_keys: bool,
}

/// What a model keeps per token, layer by layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSpec {
    /// One entry per layer.
    pub layers: Vec<LayerKvSpec>,
}

impl KvSpec {
    /// The same for each of `num_layers` layers.
    pub fn uniform(num_layers: usize, num_kv_heads: usize, head_dim: usize) -> Self {
        let layer = LayerKvSpec { num_kv_heads, head_dim, values_are_keys: false };
        Self { layers: vec![layer; num_layers] }
    }

    /// Bytes of keys and values for one token, all layers together.
    pub fn bytes_per_token(&self, numbers: KvNumbers) -> usize {
        let tensors = |l: &LayerKvSpec| if l.values_are_keys { 1 } else { 2 };
        let kept = |l: &LayerKvSpec| tensors(l) * l.num_kv_heads * l.head_dim;
        self.layers.iter().map(kept).sum::<usize>() * numbers.dtype().size_in_bytes()
    }
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvNumbers {
    /// As they were computed.
    F32,
    /// Rounded to IEEE halves, the largest to the largest half: half the memory to hold and to read, each
    /// number off by at most a 2048th of itself.
    F16,
}

impl KvNumbers {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
        }
    }
}

/// One layer's cache. K and V are tensors of their own, since an in-place write to one must not lock
/// the other; or V is K.
#[derive(Debug)]
pub struct LayerKv {
    /// `[blocks, block_size, kv_heads, head_dim]`
    pub k: Tensor,
    /// `[blocks, block_size, kv_heads, head_dim]`
    pub v: Tensor,
}

/// The cache of all layers.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerKv>,
    block_size: usize,
}

impl KvCache {
    /// Reserves room for `num_blocks` blocks of `block_size` tokens on `device`. On the CPU the pages
    /// are zeroed by the system when first touched, so an unused cache costs nothing.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn allocate(
        spec: &KvSpec,
        num_blocks: usize,
        block_size: usize,
        numbers: KvNumbers,
        device: &Device,
    ) -> Result<Self> {
        let layer = |l: &LayerKvSpec| {
            let shape = (num_blocks, block_size, l.num_kv_heads, l.head_dim);
            let k = untouched(shape, numbers, device)?;
            let v = match l.values_are_keys {
                true => k.clone(),
                false => untouched(shape, numbers, device)?,
            };
            Ok(LayerKv { k, v })
        };
        let layers = spec.layers.iter().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, block_size })
    }

    /// Room for `tokens` tokens of one pass through `num_layers` layers of one shape: a layer
    /// overwrites what the one before it has read. For encoders, which keep nothing.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn for_one_pass(
        layer: LayerKvSpec,
        num_layers: usize,
        tokens: usize,
        device: &Device,
    ) -> Result<Self> {
        let shape = (tokens, 1, layer.num_kv_heads, layer.head_dim);
        let k = Tensor::zeros(shape, DType::F32, device)?;
        let v = Tensor::zeros(shape, DType::F32, device)?;
        let layers = (0..num_layers).map(|_| LayerKv { k: k.clone(), v: v.clone() }).collect();
        Ok(Self { layers, block_size: 1 })
    }

    /// Tokens per block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// One layer's keys and values.
    ///
    /// # Errors
    /// When the model has more layers than its `KvSpec` said.
    pub fn layer(&self, index: usize) -> Result<&LayerKv> {
        match self.layers.get(index) {
            Some(layer) => Ok(layer),
            None => bail!("layer {index} has no KV cache: it has {} layers", self.layers.len()),
        }
    }

    /// Writes `k` and `v` `[tokens, kv_heads × head_dim]` of one layer into `slots` `[tokens]`.
    ///
    /// # Errors
    /// When shapes disagree or a slot lies outside the cache.
    pub fn store(&mut self, layer: usize, k: &Tensor, v: &Tensor, slots: &[usize]) -> Result<()> {
        let layer = self.layer(layer)?;
        let op = StoreRows { slots };
        layer.k.inplace_op2(&k.contiguous()?, &op)?;
        layer.v.inplace_op2(&v.contiguous()?, &op)
    }

    /// Writes `k` `[tokens, kv_heads × head_dim]` of a layer whose values are its keys.
    ///
    /// # Errors
    /// As for [`Self::store`].
    pub fn store_keys(&mut self, layer: usize, k: &Tensor, slots: &[usize]) -> Result<()> {
        self.layer(layer)?.k.inplace_op2(&k.contiguous()?, &StoreRows { slots })
    }
}

/// Copies row `i` of the source to row `slots[i]` of the cache, seen as `[slots, row]`.
struct StoreRows<'a> {
    slots: &'a [usize],
}

impl InplaceOp2 for StoreRows<'_> {
    fn name(&self) -> &'static str {
        "kv-store"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<()> {
        let rows = f32_slice(rows, rows_layout, self.name())?;
        if let CpuStorage::F16(_) = cache {
            let cache = f16_slice_mut(cache, cache_layout, self.name())?;
            return self.copy(rows, cache, round_to_halves);
        }
        let cache = f32_slice_mut(cache, cache_layout, self.name())?;
        self.copy(rows, cache, |row, target| target.copy_from_slice(row))
    }
}

impl StoreRows<'_> {
    fn copy<T>(
        &self,
        rows: &[f32],
        cache: &mut [T],
        store: impl Fn(&[f32], &mut [T]),
    ) -> Result<()> {
        let width = match self.slots.len() {
            0 => return Ok(()),
            tokens => rows.len() / tokens,
        };
        for (row, &slot) in rows.chunks_exact(width.max(1)).zip(self.slots) {
            match cache.get_mut(slot * width..(slot + 1) * width) {
                Some(target) => store(row, target),
                None => bail!("slot {slot} lies outside the KV cache"),
            }
        }
        Ok(())
    }
}

/// Zeros that the system makes when they are first touched. Candle writes those of halves one by one:
/// filling the cache of a long context took seconds, and all of its memory at once.
fn untouched(
    shape: (usize, usize, usize, usize),
    numbers: KvNumbers,
    device: &Device,
) -> Result<Tensor> {
    if !matches!((numbers, device), (KvNumbers::F16, Device::Cpu)) {
        return Tensor::zeros(shape, numbers.dtype(), device);
    }
    let count = Shape::from(shape).elem_count();
    match bytemuck::try_zeroed_vec::<half::f16>(count) {
        Ok(zeros) => Tensor::from_vec(zeros, shape, device),
        Err(()) => bail!("no memory for a cache of {count} numbers per layer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of this process in memory.
    #[cfg(target_os = "linux")]
    fn resident_bytes() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_unused_cache_takes_no_memory() {
        let spec = KvSpec::uniform(1, 1, 64);
        for numbers in [KvNumbers::F32, KvNumbers::F16] {
            let before = resident_bytes();
            // A GiB in halves, two in f32.
            let cache = KvCache::allocate(&spec, 1 << 18, 16, numbers, &Device::Cpu).unwrap();
            let taken = resident_bytes().saturating_sub(before);
            assert!(
                taken < 1 << 29,
                "{numbers:?}: {taken} bytes of {:?}",
                cache.layers[0].k.shape()
            );
        }
    }

    #[test]
    fn rows_land_in_their_slots_and_nowhere_else() {
        let spec = KvSpec::uniform(2, 1, 2);
        let mut cache = KvCache::allocate(&spec, 3, 4, KvNumbers::F32, &Device::Cpu).unwrap();
        let k = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap();
        let v = Tensor::new(&[[5f32, 6.], [7., 8.]], &Device::Cpu).unwrap();
        cache.store(1, &k, &v, &[11, 2]).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let stored = flat(&cache.layer(1).unwrap().k);
        assert_eq!(stored[22..24], [1., 2.]);
        assert_eq!(stored[4..6], [3., 4.]);
        assert_eq!(stored.iter().filter(|x| **x != 0.).count(), 4);
        assert_eq!(flat(&cache.layer(1).unwrap().v)[22..24], [5., 6.]);
        assert!(flat(&cache.layer(0).unwrap().k).iter().all(|x| *x == 0.));
    }

    #[test]
    fn halves_are_the_nearest_and_never_infinite() {
        let spec = KvSpec::uniform(1, 1, 4);
        assert_eq!(spec.bytes_per_token(KvNumbers::F16), 2 * 4 * 2);
        let mut cache = KvCache::allocate(&spec, 1, 2, KvNumbers::F16, &Device::Cpu).unwrap();
        let k = Tensor::new(&[[1e9f32, -1e9, 0.1, f32::NAN]], &Device::Cpu).unwrap();
        cache.store(0, &k, &k, &[1]).unwrap();
        let stored = cache.layer(0).unwrap().k.to_dtype(DType::F32).unwrap();
        let stored = stored.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(stored[..7], [0., 0., 0., 0., 65504., -65504., 0.099_975_586]);
        assert!(stored[7].is_nan());
    }

    #[test]
    fn values_may_be_the_keys() {
        let layer = LayerKvSpec { num_kv_heads: 1, head_dim: 2, values_are_keys: true };
        let spec = KvSpec { layers: vec![layer] };
        assert_eq!(spec.bytes_per_token(KvNumbers::F32), 2 * 4);
        let mut cache = KvCache::allocate(&spec, 1, 4, KvNumbers::F32, &Device::Cpu).unwrap();
        let k = Tensor::new(&[[1f32, 2.]], &Device::Cpu).unwrap();
        cache.store_keys(0, &k, &[3]).unwrap();
        let v = cache.layer(0).unwrap().v.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(v, [0., 0., 0., 0., 0., 0., 1., 2.]);
    }

    #[test]
    fn a_slot_outside_the_cache_is_an_error() {
        let mut cache =
            KvCache::allocate(&KvSpec::uniform(1, 1, 2), 1, 4, KvNumbers::F32, &Device::Cpu)
                .unwrap();
        let rows = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(cache.store(0, &rows, &rows, &[4]).is_err());
        assert!(cache.store(1, &rows, &rows, &[0]).is_err());
    }
}
