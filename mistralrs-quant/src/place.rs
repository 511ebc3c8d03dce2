//! Where tensors are and what computes there. Knows candle's devices; not weights, layers or models.

use candle_core::{DType, Device, Result, Tensor};

/// A device, and the type of numbers that is computed with there. Where it is `f32` on the CPU, this project's
/// kernels compute; everywhere else candle's own operations do. So another type on the CPU is a second device, too:
/// candle refuses to mix types as it refuses to mix devices, and what was not brought along shows.
#[derive(Debug, Clone)]
pub struct Place {
    device: Device,
    dtype: DType,
}

impl Default for Place {
    /// The kernels on the CPU.
    fn default() -> Self {
        Self::new(Device::Cpu, DType::F32)
    }
}

impl Place {
    /// A place on a device.
    pub const fn new(device: Device, dtype: DType) -> Self {
        Self { device, dtype }
    }

    /// Where `x` is.
    pub fn of(x: &Tensor) -> Self {
        Self::new(x.device().clone(), x.dtype())
    }

    /// Whether this project's kernels compute here.
    pub fn has_kernels(&self) -> bool {
        self.device.is_cpu() && self.dtype == DType::F32
    }

    /// Whether two places are one.
    pub fn is(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.device.same_device(&other.device)
    }

    /// `x` here: itself if it is here already, else a copy.
    ///
    /// # Errors
    /// When a device fails or has no memory left.
    pub fn take(&self, x: &Tensor) -> Result<Tensor> {
        x.to_device(&self.device)?.to_dtype(self.dtype)
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of numbers here.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
}

/// Whether this project's kernels compute with `x`: numbers in `f32` on the CPU.
pub fn has_kernels(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}
