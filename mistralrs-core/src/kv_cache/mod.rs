//! Keys and values of all sequences in fixed-size blocks: one K and one V tensor per layer.
//! Knows tensors and slots; which sequence owns which block is [`block_groups`]'
//! business.

pub mod block_groups;
pub mod block_pool;
mod by_rows;
pub mod chain;

use crate::forward::ForwardBatch;
use crate::places::LayerPlaces;
use crate::slices::{f16_slice_mut, f32_slice, f32_slice_mut, u8_slice_mut};
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Shape, Tensor, bail};
use mistralrs_kernels::{CacheShape, CacheSliceMut, q8_head_bytes, store_keys, store_values};
use mistralrs_quant::Place;
use std::collections::BTreeSet;

/// What one layer keeps per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKvSpec {
    /// Heads of keys and values.
    pub num_kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Keys are kept, and attention reads its values from them too: latent attention.
    pub values_are_keys: bool,
    /// A token sees itself and the `window - 1` before it; all without.
    pub window: Option<usize>,
}

impl LayerKvSpec {
    /// Bytes kept per token.
    pub(crate) fn bytes_per_token(&self, numbers: KvNumbers) -> usize {
        let tensors = if self.values_are_keys { 1 } else { 2 };
        let per_head = numbers.per_head(self.head_dim) * numbers.dtype().size_in_bytes();
        tensors * self.num_kv_heads * per_head
    }
}

/// What a model keeps per token, layer by layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSpec {
    /// One entry per layer.
    pub layers: Vec<LayerKvSpec>,
}

impl KvSpec {
    /// The same for each of `num_layers` layers, which see everything.
    pub fn uniform(num_layers: usize, num_kv_heads: usize, head_dim: usize) -> Self {
        let layer = LayerKvSpec { num_kv_heads, head_dim, values_are_keys: false, window: None };
        Self { layers: vec![layer; num_layers] }
    }

    /// The same layers with such windows.
    #[must_use]
    pub fn with_windows(mut self, window: impl Fn(usize) -> Option<usize>) -> Self {
        self.layers
            .iter_mut()
            .enumerate()
            .for_each(|(number, layer)| layer.window = window(number));
        self
    }

    /// The windows that layers have: one group of layers each, first those that see everything.
    pub fn windows(&self) -> Vec<Option<usize>> {
        let windows: BTreeSet<_> = self.layers.iter().map(|layer| layer.window).collect();
        windows.into_iter().collect()
    }

    /// Bytes of keys and values for one token, all layers of a window together.
    pub fn bytes_per_token(&self, window: Option<usize>, numbers: KvNumbers) -> usize {
        let layers = self.layers.iter().filter(|layer| layer.window == window);
        layers.map(|layer| layer.bytes_per_token(numbers)).sum()
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
    /// Rounded to bytes with a scale for each 32 numbers of a head: little more than a quarter of the memory, each number
    /// off by at most a 254th of the largest of the 32 ([`mistralrs_kernels::round_to_q8`]).
    Q8,
}

impl KvNumbers {
    /// By its name on a command line: `f32`, `f16`, or `q8_0` (also `q8`), in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "f32" => Some(Self::F32),
            "f16" => Some(Self::F16),
            "q8_0" | "q8" => Some(Self::Q8),
            _ => None,
        }
    }

    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Q8 => DType::U8,
        }
    }

    /// Elements of the cache for a head of so many numbers.
    fn per_head(self, head_dim: usize) -> usize {
        match self {
            Self::F32 | Self::F16 => head_dim,
            Self::Q8 => q8_head_bytes(head_dim),
        }
    }
}

/// One layer's cache. K and V are tensors of their own, since an in-place write to one must not lock
/// the other. Both as [`mistralrs_kernels::CacheSlice`] says; in bytes, their number stands for `head_dim`.
#[derive(Debug, Clone)]
pub struct LayerKv {
    /// `[blocks, kv_heads, head_dim, block_size]`
    pub k: Tensor,
    /// `[blocks, kv_heads, block_size, head_dim]`; none where the keys are the values, too.
    pub v: Option<Tensor>,
    /// Number of its group of layers in a batch's slots and block tables.
    pub group: usize,
    /// Where it is. Away from this project's kernels both are `[blocks, block_size, kv_heads, head_dim]`.
    pub place: Place,
}

/// The cache of all layers.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerKv>,
    block_size: usize,
}

impl KvCache {
    /// Reserves room for blocks of `block_size` tokens where the layers are; how many, `num_blocks` says for each of
    /// [`KvSpec::windows`]. On the CPU the pages are zeroed by the system when first touched, so an unused
    /// cache costs nothing.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn allocate(
        spec: &KvSpec,
        num_blocks: &[usize],
        block_size: usize,
        numbers: KvNumbers,
        places: &LayerPlaces,
    ) -> Result<Self> {
        let windows = spec.windows();
        let layer = |(number, l): (usize, &LayerKvSpec)| {
            let place = places.of_layer(number).clone();
            let group = windows.iter().position(|window| *window == l.window).unwrap_or_default();
            let Some(&num_blocks) = num_blocks.get(group) else {
                bail!("{} groups of layers, blocks for {}", windows.len(), num_blocks.len());
            };
            let heads = l.num_kv_heads;
            let (k, v) = if place.has_kernels() {
                let per_head = numbers.per_head(l.head_dim);
                let k = untouched((num_blocks, heads, per_head, block_size), numbers)?;
                let v = || untouched((num_blocks, heads, block_size, per_head), numbers);
                (k, (!l.values_are_keys).then(v))
            } else {
                let rows =
                    || by_rows::room((num_blocks, block_size, heads, l.head_dim), numbers, &place);
                (rows()?, (!l.values_are_keys).then(rows))
            };
            Ok(LayerKv { k, v: v.transpose()?, group, place })
        };
        let layers = spec.layers.iter().enumerate().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, block_size })
    }

    /// Room for `tokens` tokens of one pass through `num_layers` layers of one shape: a layer
    /// overwrites what the one before it has read. For encoders, which keep nothing.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub fn for_one_pass(layer: LayerKvSpec, num_layers: usize, tokens: usize) -> Result<Self> {
        let (heads, dim) = (layer.num_kv_heads, layer.head_dim);
        let k = Tensor::zeros((tokens, heads, dim, 1), DType::F32, &Device::Cpu)?;
        let v = Tensor::zeros((tokens, heads, 1, dim), DType::F32, &Device::Cpu)?;
        let layer = LayerKv { k, v: Some(v), group: 0, place: Place::default() };
        let layers = vec![layer; num_layers];
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

    /// Writes `k` and `v` `[tokens, kv_heads × head_dim]` of one layer into the batch's slots.
    ///
    /// # Errors
    /// When shapes disagree or a slot lies outside the cache.
    pub fn store(
        &mut self,
        layer: usize,
        k: &Tensor,
        v: &Tensor,
        batch: &ForwardBatch,
    ) -> Result<()> {
        self.store_keys(layer, k, batch)?;
        let layer = self.layer(layer)?;
        let Some(values) = &layer.v else { bail!("this layer's values are its keys") };
        if !layer.place.has_kernels() {
            return by_rows::store(values, v, slots(layer, batch)?);
        }
        let store = StoreRows { slots: slots(layer, batch)?, are_keys: false };
        values.inplace_op2(&v.contiguous()?, &store)
    }

    /// Writes `k` `[tokens, kv_heads × head_dim]` of a layer whose values are its keys.
    ///
    /// # Errors
    /// As for [`Self::store`].
    pub fn store_keys(&mut self, layer: usize, k: &Tensor, batch: &ForwardBatch) -> Result<()> {
        let layer = self.layer(layer)?;
        if !layer.place.has_kernels() {
            return by_rows::store(&layer.k, k, slots(layer, batch)?);
        }
        let store = StoreRows { slots: slots(layer, batch)?, are_keys: true };
        layer.k.inplace_op2(&k.contiguous()?, &store)
    }
}

/// Where a layer's keys and values of this step go.
fn slots<'a>(layer: &LayerKv, batch: &'a ForwardBatch) -> Result<&'a [usize]> {
    match batch.slot_mapping.get(layer.group) {
        Some(slots) => Ok(slots),
        None => bail!("the batch has no slots for group {} of layers", layer.group),
    }
}

/// Puts row `i` of the source, as the cache keeps numbers, into its slot `slots[i]`.
struct StoreRows<'a> {
    slots: &'a [usize],
    /// Or values.
    are_keys: bool,
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
        let numbers = match cache {
            CpuStorage::F16(_) => KvNumbers::F16,
            CpuStorage::U8(_) => KvNumbers::Q8,
            _ => KvNumbers::F32,
        };
        let Some(shape) = self.checked(cache_layout, rows.len(), numbers)? else {
            return Ok(());
        };
        let op = self.name();
        let cache = match numbers {
            KvNumbers::F32 => CacheSliceMut::F32(f32_slice_mut(cache, cache_layout, op)?),
            KvNumbers::F16 => CacheSliceMut::F16(f16_slice_mut(cache, cache_layout, op)?),
            KvNumbers::Q8 => CacheSliceMut::Q8(u8_slice_mut(cache, cache_layout, op)?),
        };
        let store = if self.are_keys { store_keys } else { store_values };
        store(&shape, rows, self.slots, cache);
        Ok(())
    }
}

impl StoreRows<'_> {
    /// The shape of the cache, if `len` numbers are a row for each slot of it; `None` where there is nothing to store.
    fn checked(
        &self,
        cache: &Layout,
        len: usize,
        numbers: KvNumbers,
    ) -> Result<Option<CacheShape>> {
        let (blocks, kv_heads, per_head, block_size) = match (self.are_keys, cache.shape().dims4()?)
        {
            (true, dims) => dims,
            (false, (blocks, heads, block_size, per_head)) => (blocks, heads, per_head, block_size),
        };
        let Some(head_dim) = len.checked_div(self.slots.len() * kv_heads) else {
            return Ok(None);
        };
        let is_whole = len == self.slots.len() * kv_heads * head_dim;
        if !is_whole || per_head != numbers.per_head(head_dim) {
            bail!("{len} numbers for {} tokens of {kv_heads} heads", self.slots.len());
        }
        if let Some(slot) = self.slots.iter().find(|slot| **slot >= blocks * block_size) {
            bail!("slot {slot} lies outside the KV cache");
        }
        Ok(Some(CacheShape { kv_heads, head_dim, block_size }))
    }
}

/// Zeros that the system makes when they are first touched. Candle writes those of halves one by one:
/// filling the cache of a long context took seconds, and all of its memory at once.
fn untouched(shape: (usize, usize, usize, usize), numbers: KvNumbers) -> Result<Tensor> {
    if numbers != KvNumbers::F16 {
        return Tensor::zeros(shape, numbers.dtype(), &Device::Cpu);
    }
    let count = Shape::from(shape).elem_count();
    match bytemuck::try_zeroed_vec::<half::f16>(count) {
        Ok(zeros) => Tensor::from_vec(zeros, shape, &Device::Cpu),
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
        for numbers in [KvNumbers::F32, KvNumbers::F16, KvNumbers::Q8] {
            let before = resident_bytes();
            // A GiB in halves, two in f32, half a one in bytes.
            let cache =
                KvCache::allocate(&spec, &[1 << 18], 16, numbers, &LayerPlaces::default()).unwrap();
            let taken = resident_bytes().saturating_sub(before);
            assert!(
                taken < 1 << 28,
                "{numbers:?}: {taken} bytes of {:?}",
                cache.layers[0].k.shape()
            );
        }
    }

    /// A batch whose tokens go into these slots.
    fn into(slots: &[usize]) -> ForwardBatch {
        ForwardBatch { slot_mapping: vec![slots.to_vec()], ..ForwardBatch::default() }
    }

    #[test]
    fn layers_of_one_window_are_a_group() {
        let windows = [Some(9), None, Some(4), Some(9)];
        let spec = KvSpec::uniform(4, 1, 2).with_windows(|layer| windows[layer]);
        assert_eq!(spec.windows(), [None, Some(4), Some(9)]);
        let bytes = |window| spec.bytes_per_token(window, KvNumbers::F32);
        assert_eq!([bytes(None), bytes(Some(4)), bytes(Some(9))], [16, 16, 32]);
        let cache =
            KvCache::allocate(&spec, &[5, 1, 2], 4, KvNumbers::F32, &LayerPlaces::default())
                .unwrap();
        let blocks: Vec<_> = cache.layers.iter().map(|l| (l.group, l.k.dim(0).unwrap())).collect();
        assert_eq!(blocks, [(2, 2), (0, 5), (1, 1), (2, 2)]);
        assert!(
            KvCache::allocate(&spec, &[5, 1], 4, KvNumbers::F32, &LayerPlaces::default()).is_err()
        );
    }

    #[test]
    fn rows_land_in_their_slots_and_nowhere_else() {
        let spec = KvSpec::uniform(2, 1, 2);
        let mut cache =
            KvCache::allocate(&spec, &[3], 4, KvNumbers::F32, &LayerPlaces::default()).unwrap();
        let k = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap();
        let v = Tensor::new(&[[5f32, 6.], [7., 8.]], &Device::Cpu).unwrap();
        cache.store(1, &k, &v, &into(&[11, 2])).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let stored = flat(&cache.layer(1).unwrap().k);
        // Blocks of two numbers of four keys.
        assert_eq!([stored[19], stored[23]], [1., 2.]);
        assert_eq!([stored[2], stored[6]], [3., 4.]);
        assert_eq!(stored.iter().filter(|x| **x != 0.).count(), 4);
        assert_eq!(flat(cache.layer(1).unwrap().v.as_ref().unwrap())[22..24], [5., 6.]);
        assert!(flat(&cache.layer(0).unwrap().k).iter().all(|x| *x == 0.));
    }

    #[test]
    fn halves_are_the_nearest_and_never_infinite() {
        let spec = KvSpec::uniform(1, 1, 4);
        assert_eq!(spec.bytes_per_token(None, KvNumbers::F16), 2 * 4 * 2);
        let mut cache =
            KvCache::allocate(&spec, &[1], 2, KvNumbers::F16, &LayerPlaces::default()).unwrap();
        let k = Tensor::new(&[[1e9f32, -1e9, 0.1, f32::NAN]], &Device::Cpu).unwrap();
        cache.store(0, &k, &k, &into(&[1])).unwrap();
        let stored = cache.layer(0).unwrap().k.to_dtype(DType::F32).unwrap();
        let stored = stored.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        // A block of four numbers of two keys.
        assert_eq!(stored[..6], [0., 65504., 0., -65504., 0., 0.099_975_586]);
        assert!(stored[6] == 0. && stored[7].is_nan());
    }

    #[test]
    fn bytes_have_a_scale_for_each_32_numbers_of_a_head() {
        let spec = KvSpec::uniform(3, 2, 40);
        let bytes = [KvNumbers::F32, KvNumbers::F16, KvNumbers::Q8]
            .map(|numbers| spec.bytes_per_token(None, numbers));
        assert_eq!(bytes, [3 * 2 * 2 * 160, 3 * 2 * 2 * 80, 3 * 2 * 2 * 44]);
        let mut cache =
            KvCache::allocate(&spec, &[2], 4, KvNumbers::Q8, &LayerPlaces::default()).unwrap();
        // The last eight numbers of a head are smaller: they have a scale of their own.
        let is_small = |i: usize| i % 40 >= 32;
        let number = |i| if is_small(i) { 0.25 * i as f32 } else { 4. * i as f32 };
        let row: Vec<f32> = (0..80).map(number).collect();
        let rows = Tensor::from_vec(row.repeat(2), (2, 80), &Device::Cpu).unwrap();
        cache.store(1, &rows, &(&rows * -1.).unwrap(), &into(&[5, 0])).unwrap();
        let widened = |t: &Tensor, size| {
            let bytes = t.flatten_all().unwrap().to_vec1::<u8>().unwrap();
            mistralrs_kernels::scalar::widen_q8(&bytes, 40, size)
        };
        // Blocks of four positions: keys lie number by number, values position by position.
        let key = |slot: usize, i: usize| (slot / 4 * 2 + i / 40) * 160 + i % 40 * 4 + slot % 4;
        let value = |slot: usize, i: usize| (slot / 4 * 2 + i / 40) * 160 + slot % 4 * 40 + i % 40;
        let layer = cache.layer(1).unwrap();
        let places: [(_, &dyn Fn(usize, usize) -> usize, _); 2] = [
            (widened(&layer.k, 4), &key, 1.),
            (widened(layer.v.as_ref().unwrap(), 1), &value, -1.),
        ];
        for (numbers, place, sign) in places {
            for slot in 0..8 {
                let found: Vec<_> = (0..80).map(|i| numbers[place(slot, i)]).collect();
                let is_there = [5, 0].contains(&slot);
                for (i, (found, wanted)) in found.iter().zip(&row).enumerate() {
                    let wanted = if is_there { sign * wanted } else { 0. };
                    let bound = number(if is_small(i) { 79 } else { 71 }) / 250.;
                    assert!((found - wanted).abs() <= bound, "slot {slot}, {i}: {found}, {wanted}");
                }
            }
        }
        assert!(widened(&cache.layer(0).unwrap().k, 4).iter().all(|x| *x == 0.));
    }

    #[test]
    fn names_of_numbers() {
        let named = ["f32", "F16", "q8_0", "Q8", "q4_0", ""].map(KvNumbers::from_name);
        let q8 = Some(KvNumbers::Q8);
        assert_eq!(named, [Some(KvNumbers::F32), Some(KvNumbers::F16), q8, q8, None, None]);
    }

    #[test]
    fn rows_of_another_width_are_an_error() {
        for numbers in [KvNumbers::F32, KvNumbers::F16, KvNumbers::Q8] {
            let spec = KvSpec::uniform(1, 2, 8);
            let mut cache =
                KvCache::allocate(&spec, &[1], 4, numbers, &LayerPlaces::default()).unwrap();
            for (width, is_right) in [(16, true), (8, false), (15, false), (17, false)] {
                let rows = Tensor::zeros((3, width), DType::F32, &Device::Cpu).unwrap();
                let stored = cache.store(0, &rows, &rows, &into(&[0, 1, 2]));
                assert_eq!(stored.is_ok(), is_right, "{numbers:?}: {width}");
            }
        }
    }

    #[test]
    fn values_may_be_the_keys() {
        let layer =
            LayerKvSpec { num_kv_heads: 1, head_dim: 2, values_are_keys: true, window: None };
        let spec = KvSpec { layers: vec![layer] };
        assert_eq!(spec.bytes_per_token(None, KvNumbers::F32), 2 * 4);
        let mut cache =
            KvCache::allocate(&spec, &[1], 4, KvNumbers::F32, &LayerPlaces::default()).unwrap();
        let k = Tensor::new(&[[1f32, 2.]], &Device::Cpu).unwrap();
        cache.store_keys(0, &k, &into(&[3])).unwrap();
        assert!(cache.layer(0).unwrap().v.is_none());
        let k_again = cache.layer(0).unwrap().k.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(k_again, [0., 0., 0., 1., 0., 0., 0., 2.]);
        assert!(cache.store(0, &k, &k, &into(&[3])).is_err());
    }

    #[test]
    fn a_slot_outside_the_cache_is_an_error() {
        let mut cache = KvCache::allocate(
            &KvSpec::uniform(1, 1, 2),
            &[1],
            4,
            KvNumbers::F32,
            &LayerPlaces::default(),
        )
        .unwrap();
        let rows = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(cache.store(0, &rows, &rows, &into(&[4])).is_err());
        assert!(cache.store(1, &rows, &rows, &into(&[0])).is_err());
    }
}
