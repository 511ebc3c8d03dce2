//! Which instruction set the kernels use: found or forced once, then fixed for the process.
//! Each kernel's body is written once, generic over `Simd`; the modules made here compile it once
//! per instruction set behind `#[target_feature]`. Knows the bodies, nothing above them.

use crate::attention;
use crate::block::{self, Format, Writable};
use crate::depthwise;
use crate::elementwise::{Affine, RopeShape, body};
use crate::matmul;
use crate::packed::{self, PackedKernels};
use crate::simd::{self, Simd};
use half::f16;
use std::ops::Range;
use std::sync::OnceLock;

/// The instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Whatever the compilation target guarantees.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// The same with AVX-VNNI: products of packed weights take fewer instructions.
    AvxVnni,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with VNNI: products of packed weights in integers.
    Avx512Vnni,
    /// The same with BF16: products of packed 16-bit floats, too.
    Avx512Bf16,
    /// AVX-512 VNNI with AMX: products of many rows in integers.
    Amx,
}

/// Why an instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstructionSetError {
    /// No kernels of this name exist.
    #[error(
        "there is no instruction set {name:?}: use amx, avx512bf16, avx512vnni, avx512, avxvnni, avx2 or scalar"
    )]
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
    const ALL: [Self; 7] = [
        Self::Amx,
        Self::Avx512Bf16,
        Self::Avx512Vnni,
        Self::Avx512,
        Self::AvxVnni,
        Self::Avx2,
        Self::Scalar,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
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
            Self::AvxVnni => Self::Avx2.is_present() && is_x86_feature_detected!("avxvnni"),
            Self::Avx512 => {
                Self::Avx2.is_present()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Avx512Vnni => Self::Avx512.is_present() && is_x86_feature_detected!("avx512vnni"),
            Self::Avx512Bf16 => {
                Self::Avx512Vnni.is_present() && is_x86_feature_detected!("avx512bf16")
            }
            Self::Amx => Self::Avx512Vnni.is_present() && has_tiles(),
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

    /// Whether nothing else here is faster: Intel's processors multiply 16-bit floats at half the speed of
    /// `f32`, so on them the next best is.
    #[cfg(target_arch = "x86_64")]
    fn is_fastest(self) -> bool {
        let vendor = std::arch::x86_64::__cpuid(0);
        let is_intel = vendor.ebx == u32::from_le_bytes(*b"Genu");
        self.is_present() && !(self == Self::Avx512Bf16 && is_intel)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_fastest(self) -> bool {
        self.is_present()
    }
}

/// Whether the processor multiplies tiles of bytes, and the system lets this process do so: it saves 8 KB more for
/// each thread that uses them, and wants to be asked first.
/// Source: Intel's manual, `CPUID` leaf 7, bits 24 (tiles) and 25 (bytes) of EDX; Linux, `arch_prctl` with
/// `ARCH_REQ_XCOMP_PERM` for state 18.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_tiles() -> bool {
    const ASK: libc::c_ulong = 0x1023;
    const TILES: libc::c_ulong = 18;
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| {
        let has = std::arch::x86_64::__cpuid(0).eax >= 7
            && std::arch::x86_64::__cpuid_count(7, 0).edx >> 24 & 3 == 3;
        // SAFETY: asks for a permission and touches no memory.
        has && unsafe { libc::syscall(libc::SYS_arch_prctl, ASK, TILES) } == 0
    })
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn has_tiles() -> bool {
    false
}

static CHOSEN: OnceLock<Isa> = OnceLock::new();

/// The instruction set of this process.
pub(crate) fn chosen() -> Isa {
    *CHOSEN.get_or_init(|| Isa::available().find(|isa| isa.is_fastest()).unwrap_or(Isa::Scalar))
}

/// The name of the instruction set that kernels use: `amx`, `avx512bf16`, `avx512vnni`, `avx512`, `avxvnni`, `avx2` or
/// `scalar`.
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
        return Err(InstructionSetError::Missing { name: isa.name(), have: have.join(", ") });
    }
    let chosen = *CHOSEN.get_or_init(|| isa);
    if chosen != isa {
        return Err(InstructionSetError::AlreadyChosen { chosen: chosen.name() });
    }
    Ok(())
}

/// Turns a row of whole blocks into numbers.
pub(crate) type Dequantize = unsafe fn(&[u8], &mut [f32]);
/// Stores a row of numbers as whole blocks.
pub(crate) type Quantize = unsafe fn(&[f32], &mut [u8]);

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
            Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16 | Isa::Amx => self.avx512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => self.avx2,
            _ => self.scalar,
        }
    }
}

/// The kernels of one instruction set. To call one, the instruction set must be present; what else
/// a kernel needs stands at its body.
pub(crate) struct Kernels {
    pub(crate) isa: Isa,
    /// Numbers of a vector.
    pub(crate) lanes: usize,
    pub(crate) multiply: unsafe fn(&matmul::Job<'_>, Range<usize>),
    pub(crate) attend: unsafe fn(&attention::Job<'_>, &attention::Task),
    pub(crate) rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub(crate) layer_norm: unsafe fn(&[f32], Affine<'_>, f32, &mut [f32]),
    pub(crate) gelu: unsafe fn(&mut [f32]),
    pub(crate) gate_itself: unsafe fn(&mut [f32], f32, f32),
    pub(crate) softcap: unsafe fn(&mut [f32], f32),
    pub(crate) depthwise: unsafe fn(&depthwise::Job<'_>, &depthwise::Task),
    pub(crate) add: unsafe fn(&mut [f32], &[f32]),
    pub(crate) round_to_halves: unsafe fn(&[f32], &mut [f16]),
    pub(crate) round_to_q8: unsafe fn(&[f32], usize, &mut [u8]),
    pub(crate) rope: unsafe fn(&mut [f32], RopeShape, &[f32], &[f32]),
    pub(crate) silu_mul: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) gelu_tanh_mul: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) softmax: unsafe fn(&mut [f32]),
    pub(crate) max: unsafe fn(&[f32]) -> f32,
    /// Products of packed weights, where there is a fast way to compute them.
    pub(crate) packed: Option<PackedKernels>,
}

static KERNELS: Clones<&Kernels> = Clones {
    scalar: &scalar::KERNELS,
    #[cfg(target_arch = "x86_64")]
    avx2: &avx2::KERNELS,
    #[cfg(target_arch = "x86_64")]
    avx512: &avx512::KERNELS,
};

/// The kernels of `isa`; to call them, it must be present.
fn kernels_of(isa: Isa) -> &'static Kernels {
    #[cfg(target_arch = "x86_64")]
    match isa {
        Isa::Avx512Vnni => return &AVX512_VNNI,
        Isa::Avx512Bf16 => return &AVX512_BF16,
        Isa::Amx => return &AMX,
        Isa::Avx512 => return &AVX512,
        Isa::AvxVnni => return &AVX_VNNI,
        Isa::Avx2 => return &AVX2,
        Isa::Scalar => {}
    }
    KERNELS.get(isa)
}

#[cfg(target_arch = "x86_64")]
static AVX2: Kernels = Kernels { packed: Some(packed::avx2::plain::KERNELS), ..avx2::KERNELS };

#[cfg(target_arch = "x86_64")]
static AVX_VNNI: Kernels =
    Kernels { isa: Isa::AvxVnni, packed: Some(packed::avx2::vnni::KERNELS), ..avx2::KERNELS };

/// Without VNNI wide integers gain little.
#[cfg(target_arch = "x86_64")]
static AVX512: Kernels = Kernels { packed: Some(packed::avx2::plain::KERNELS), ..avx512::KERNELS };

#[cfg(target_arch = "x86_64")]
static AVX512_VNNI: Kernels =
    Kernels { isa: Isa::Avx512Vnni, packed: Some(packed::avx512_vnni::KERNELS), ..avx512::KERNELS };

#[cfg(target_arch = "x86_64")]
static AVX512_BF16: Kernels =
    Kernels { isa: Isa::Avx512Bf16, packed: Some(packed::avx512_bf16::KERNELS), ..avx512::KERNELS };

#[cfg(target_arch = "x86_64")]
static AMX: Kernels =
    Kernels { isa: Isa::Amx, packed: Some(packed::amx::KERNELS), ..avx512::KERNELS };

/// The kernels of this process.
pub(crate) fn kernels() -> &'static Kernels {
    kernels_of(chosen())
}

/// The kernels of every instruction set this processor has, to test them against each other.
#[cfg(test)]
pub(crate) fn all_kernels() -> impl Iterator<Item = &'static Kernels> {
    Isa::available().map(kernels_of)
}

/// Compiles one body behind the features.
macro_rules! compile {
    ([$($features:literal)?] $name:ident($($arg:ident: $ty:ty),*) = unsafe $body:expr) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name($($arg: $ty),*) {
            // SAFETY: the caller vouches for the instruction set and for what the body needs.
            unsafe { $body($($arg),*) }
        }
    };
    ([$($features:literal)?] $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)? = $body:expr) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name($($arg: $ty),*) $(-> $out)? {
            $body($($arg),*)
        }
    };
}

/// Compiles every kernel for one instruction set: its vectors, how many rows of one operand a
/// register tile takes, how many query rows one of attention's takes, its features.
macro_rules! compile_kernels {
    ($module:ident, $isa:ident, $simd:ident, $wide:literal, $rows:literal, $features:tt) => {
        mod $module {
            use super::*;

            pub(super) const KERNELS: Kernels = Kernels {
                isa: Isa::$isa,
                lanes: <simd::$simd as Simd>::LANES,
                multiply,
                attend,
                rms_norm,
                layer_norm,
                gelu,
                gate_itself,
                softcap,
                depthwise,
                add,
                round_to_halves,
                round_to_q8,
                rope,
                silu_mul,
                gelu_tanh_mul,
                softmax,
                max,
                packed: None,
            };

            compile!($features multiply(job: &matmul::Job<'_>, rows: Range<usize>)
                = unsafe matmul::multiply::<simd::$simd, $wide>);
            compile!($features attend(job: &attention::Job<'_>, task: &attention::Task)
                = unsafe attention::attend::<simd::$simd, $rows>);
            compile!($features rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32])
                = body::rms_norm);
            compile!($features layer_norm(
                x: &[f32], affine: Affine<'_>, eps: f32, out: &mut [f32]
            ) = body::layer_norm);
            compile!($features gelu(x: &mut [f32]) = body::gelu);
            compile!($features gate_itself(x: &mut [f32], factor: f32, cubic: f32)
                = body::gate_itself);
            compile!($features softcap(x: &mut [f32], cap: f32) = body::softcap);
            compile!($features depthwise(job: &depthwise::Job<'_>, task: &depthwise::Task)
                = unsafe depthwise::convolve::<simd::$simd>);
            compile!($features add(sum: &mut [f32], x: &[f32]) = body::add);
            compile!($features round_to_halves(x: &[f32], out: &mut [f16])
                = body::round_to_halves);
            compile!($features round_to_q8(x: &[f32], head_dim: usize, out: &mut [u8])
                = attention::round_heads);
            compile!($features rope(x: &mut [f32], shape: RopeShape, cos: &[f32], sin: &[f32])
                = body::rope);
            compile!($features silu_mul(gate: &[f32], up: &[f32], out: &mut [f32])
                = body::silu_mul);
            compile!($features gelu_tanh_mul(gate: &[f32], up: &[f32], out: &mut [f32])
                = body::gelu_tanh_mul);
            compile!($features softmax(x: &mut [f32]) = body::softmax);
            compile!($features max(x: &[f32]) -> f32 = body::max);
            compile_formats!($features);
        }
    };
}

/// Compiles what is generic over the stored format.
macro_rules! compile_formats {
    ([$($features:literal)?]) => {
        $(#[target_feature(enable = $features)])?
        pub(super) unsafe fn dequantize<F: Format<B, L>, const B: usize, const L: usize>(
            bytes: &[u8],
            out: &mut [f32],
        ) {
            block::dequantize_row::<F, B, L>(bytes, out);
        }

        $(#[target_feature(enable = $features)])?
        pub(super) unsafe fn quantize<F: Writable<B, L>, const B: usize, const L: usize>(
            x: &[f32],
            out: &mut [u8],
        ) {
            block::quantize_row::<F, B, L>(x, out);
        }
    };
}

compile_kernels!(scalar, Scalar, Portable, 2, 2, []);
#[cfg(target_arch = "x86_64")]
compile_kernels!(avx2, Avx2, Avx2, 2, 2, ["avx2,fma,f16c"]);
#[cfg(target_arch = "x86_64")]
compile_kernels!(
    avx512,
    Avx512,
    Avx512,
    4,
    6,
    ["avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"]
);

/// The row dequantizers of a format.
pub(crate) const fn dequantize_clones<F: Format<B, L>, const B: usize, const L: usize>()
-> Clones<Dequantize> {
    Clones {
        scalar: scalar::dequantize::<F, B, L>,
        #[cfg(target_arch = "x86_64")]
        avx2: avx2::dequantize::<F, B, L>,
        #[cfg(target_arch = "x86_64")]
        avx512: avx512::dequantize::<F, B, L>,
    }
}

/// The row quantizers of a format.
pub(crate) const fn quantize_clones<F: Writable<B, L>, const B: usize, const L: usize>()
-> Clones<Quantize> {
    Clones {
        scalar: scalar::quantize::<F, B, L>,
        #[cfg(target_arch = "x86_64")]
        avx2: avx2::quantize::<F, B, L>,
        #[cfg(target_arch = "x86_64")]
        avx512: avx512::quantize::<F, B, L>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_made_once() {
        let name = instruction_set();
        assert_eq!(force_instruction_set(name), Ok(()));
        assert!(Isa::available().any(|isa| isa.name() == name));
        let unknown = force_instruction_set("avx1024");
        assert!(matches!(unknown, Err(InstructionSetError::Unknown { name }) if name == "avx1024"));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.name() != name) {
            let wanted = if isa.is_present() {
                InstructionSetError::AlreadyChosen { chosen: name }
            } else {
                let have: Vec<_> = Isa::available().map(Isa::name).collect();
                InstructionSetError::Missing { name: isa.name(), have: have.join(", ") }
            };
            assert_eq!(force_instruction_set(isa.name()), Err(wanted));
        }
    }
}
