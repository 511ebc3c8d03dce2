//! Which instruction set the kernels use: found or forced once, then fixed for the process.
//! Each kernel's body is written once, generic over `Simd`; the modules made here compile it once
//! per instruction set behind `#[target_feature]`. Knows the bodies, nothing above them.

use crate::block::{self, Format};
use std::sync::OnceLock;

/// The instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Whatever the compilation target guarantees.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// Why an instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstructionSetError {
    /// No kernels of this name exist.
    #[error("there is no instruction set {name:?}: use avx512, avx2 or scalar")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The processor cannot run these kernels.
    #[error("this processor has no {name}: leave the choice to the program, or use one of {have}")]
    Missing {
        /// What was asked for.
        name: &'static str,
        /// The names that work here, comma-separated.
        have: String,
    },
    /// Another choice is already in use.
    #[error(
        "kernels already run on {chosen}: the instruction set must be forced before their first use"
    )]
    AlreadyChosen {
        /// The name in use.
        chosen: &'static str,
    },
}

impl Isa {
    const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Scalar];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_present(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            Self::Avx512 => {
                Self::Avx2.is_present()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_present(self) -> bool {
        self == Self::Scalar
    }

    /// The instruction sets this processor has, best first; never empty.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_present())
    }
}

static CHOSEN: OnceLock<Isa> = OnceLock::new();

/// The instruction set of this process.
pub(crate) fn chosen() -> Isa {
    *CHOSEN.get_or_init(|| Isa::available().next().unwrap_or(Isa::Scalar))
}

/// The name of the instruction set that kernels use: `avx512`, `avx2` or `scalar`.
pub fn instruction_set() -> &'static str {
    chosen().name()
}

/// Makes kernels use the named instruction set; must come before any kernel runs.
///
/// # Errors
/// If the name is unknown, the processor lacks it, or another one is already in use.
pub fn force_instruction_set(name: &str) -> Result<(), InstructionSetError> {
    let Some(isa) = Isa::ALL.into_iter().find(|isa| isa.name() == name) else {
        return Err(InstructionSetError::Unknown { name: name.into() });
    };
    if !isa.is_present() {
        let have: Vec<_> = Isa::available().map(Isa::name).collect();
        return Err(InstructionSetError::Missing {
            name: isa.name(),
            have: have.join(", "),
        });
    }
    let chosen = *CHOSEN.get_or_init(|| isa);
    if chosen != isa {
        return Err(InstructionSetError::AlreadyChosen {
            chosen: chosen.name(),
        });
    }
    Ok(())
}

/// One function, compiled for each instruction set.
pub(crate) struct Clones<F> {
    scalar: F,
    #[cfg(target_arch = "x86_64")]
    avx2: F,
    #[cfg(target_arch = "x86_64")]
    avx512: F,
}

impl<F: Copy> Clones<F> {
    /// The clone for `isa`; to call it, `isa` must be present.
    pub(crate) fn get(&self, isa: Isa) -> F {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => self.avx512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => self.avx2,
            _ => self.scalar,
        }
    }
}

/// Compiles every kernel for one instruction set.
macro_rules! compile_kernels {
    ($module:ident $(, $features:literal)?) => {
        mod $module {
            use super::{block, Format};

            $(#[target_feature(enable = $features)])?
            pub(super) unsafe fn dequantize<F: Format<B, L>, const B: usize, const L: usize>(
                bytes: &[u8],
                out: &mut [f32],
            ) {
                block::dequantize_row::<F, B, L>(bytes, out);
            }

            $(#[target_feature(enable = $features)])?
            pub(super) unsafe fn quantize<F: Format<B, L>, const B: usize, const L: usize>(
                x: &[f32],
                out: &mut [u8],
            ) {
                block::quantize_row::<F, B, L>(x, out);
            }
        }
    };
}

compile_kernels!(scalar);
#[cfg(target_arch = "x86_64")]
compile_kernels!(avx2, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
compile_kernels!(avx512, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl");

/// The row dequantizers of a format.
pub(crate) const fn dequantize_clones<F: Format<B, L>, const B: usize, const L: usize>()
-> Clones<unsafe fn(&[u8], &mut [f32])> {
    Clones {
        scalar: scalar::dequantize::<F, B, L>,
        #[cfg(target_arch = "x86_64")]
        avx2: avx2::dequantize::<F, B, L>,
        #[cfg(target_arch = "x86_64")]
        avx512: avx512::dequantize::<F, B, L>,
    }
}

/// The row quantizers of a format.
pub(crate) const fn quantize_clones<F: Format<B, L>, const B: usize, const L: usize>()
-> Clones<unsafe fn(&[f32], &mut [u8])> {
    Clones {
        scalar: scalar::quantize::<F, B, L>,
        #[cfg(target_arch = "x86_64")]
        avx2: avx2::quantize::<F, B, L>,
        #[cfg(target_arch = "x86_64")]
        avx512: avx512::quantize::<F, B, L>,
    }
}
