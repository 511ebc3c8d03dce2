//! The devices that this build can use beside the CPU, and what they have free.

use super::topology::DeviceName;
use mistralrs_quant::Place;

/// One of them.
#[derive(Debug, Clone)]
pub struct Accelerator {
    /// Which it is.
    pub name: DeviceName,
    /// How it computes.
    pub place: Place,
    /// Bytes of its memory that can be had now.
    pub free_bytes: u64,
}

/// All that answer. A build without `cuda` and `metal` has none.
pub fn found() -> Vec<Accelerator> {
    #[allow(unused_mut, reason = "some builds have devices to add")]
    let mut all = Vec::new();
    #[cfg(feature = "cuda")]
    all.extend((0..).map_while(cuda));
    #[cfg(feature = "metal")]
    all.extend(metal());
    all
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Option<Accelerator> {
    use candle_core::{DType, Device};
    let device = Device::new_cuda(ordinal).ok()?;
    // The new device is the thread's current one, of which the driver tells.
    let (free, _) = candle_core::cuda_backend::cudarc::driver::result::mem_get_info().ok()?;
    Some(Accelerator {
        name: DeviceName::Cuda(ordinal),
        place: Place::new(device, DType::F32),
        free_bytes: free as u64,
    })
}

#[cfg(feature = "metal")]
fn metal() -> Option<Accelerator> {
    use candle_core::{DType, Device};
    let device = Device::new_metal(0).ok()?;
    let metal = device.as_metal_device().ok()?.metal_device().clone();
    let free =
        metal.recommended_max_working_set_size().saturating_sub(metal.current_allocated_size());
    Some(Accelerator {
        name: DeviceName::Metal(0),
        place: Place::new(device, DType::F32),
        free_bytes: free as u64,
    })
}
