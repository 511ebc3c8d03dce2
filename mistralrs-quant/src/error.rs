//! What can be wrong with a checkpoint or a weight. Variants are situations, fields are data; each
//! text names the tensor and the file and says what would be right. Tensor math itself keeps
//! `candle_core::Error`.

use mistralrs_kernels::QuantType;
use std::path::PathBuf;

/// The result of reading or preparing weights.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a checkpoint or a weight cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or mapped.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No file was given where at least one is needed.
    #[error("no weight files were given")]
    NoFiles,
    /// The file breaks its own format.
    #[error("{}: corrupt at byte {offset}: {reason}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What was expected and what stands there.
        reason: String,
    },
    /// The file is in a format, version or byte order that is not read here.
    #[error("{}: {found} is not supported; supported: {supported}", file.display())]
    UnsupportedFormat {
        /// The file.
        file: PathBuf,
        /// What the file is.
        found: String,
        /// What it may be.
        supported: &'static str,
    },
    /// A metadata key is absent or has an impossible value.
    #[error("{}: metadata key `{key}`: {reason}", file.display())]
    Metadata {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// The pieces of a split checkpoint do not belong together, or some are absent.
    #[error("{}: {reason}", file.display())]
    Split {
        /// The piece that does not fit.
        file: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// `general.architecture` of a GGUF file is not in the table of names.
    #[error(
        "{}: GGUF architecture `{found}` is not supported; supported: {supported}",
        file.display()
    )]
    UnknownArchitecture {
        /// The file.
        file: PathBuf,
        /// The name in the file.
        found: String,
        /// The names in the table, comma-separated.
        supported: String,
    },
    /// The projector of a vision tower's GGUF file is not in the table of names.
    #[error(
        "{}: a vision tower whose projector is `{found}`, which is not supported; supported: {supported}",
        file.display()
    )]
    UnknownProjector {
        /// The file.
        file: PathBuf,
        /// The name in the file.
        found: String,
        /// The names in the table, comma-separated.
        supported: String,
    },
    /// A tensor is stored as numbers that cannot be computed with.
    #[error(
        "tensor `{tensor}` in {} is stored as {found}, which is not supported; supported: {supported}",
        file.display()
    )]
    UnsupportedType {
        /// The tensor.
        tensor: String,
        /// Its file.
        file: PathBuf,
        /// The type in the file.
        found: String,
        /// The types that can be read, comma-separated.
        supported: String,
    },
    /// A tensor the model needs is in none of the files.
    #[error("tensor `{tensor}` is missing from {}", file.display())]
    Missing {
        /// The tensor.
        tensor: String,
        /// The checkpoint's first file.
        file: PathBuf,
    },
    /// The checkpoint has tensors that nobody asked for.
    #[error(
        "{} has {} tensors the model does not use: {}; is the architecture in its config right?",
        file.display(), tensors.len(), listed(tensors)
    )]
    Surplus {
        /// The checkpoint's first file.
        file: PathBuf,
        /// Their names.
        tensors: Vec<String>,
    },
    /// A tensor has another shape than the model's configuration says.
    #[error(
        "tensor `{tensor}` in {} has shape {found:?}, the model needs {wanted:?}",
        file.display()
    )]
    Misshapen {
        /// The tensor.
        tensor: String,
        /// Its file.
        file: PathBuf,
        /// The shape the model needs.
        wanted: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A linear weight is no matrix.
    #[error(
        "tensor `{tensor}` in {} has shape {found:?}; a linear weight has two dimensions",
        file.display()
    )]
    NotAMatrix {
        /// The tensor.
        tensor: String,
        /// Its file.
        file: PathBuf,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A layer of experts or heads has none.
    #[error("a layer of experts or heads needs at least one")]
    EmptyStack,
    /// Rows of a tensor cannot be cut into blocks of its type.
    #[error(
        "tensor `{tensor}` in {}: a row of {cols} is no multiple of the {} numbers in a {} block",
        file.display(), ty.block_len(), ty.name()
    )]
    NotDivisible {
        /// The tensor.
        tensor: String,
        /// Its file.
        file: PathBuf,
        /// The type with the blocks.
        ty: QuantType,
        /// Length of a row.
        cols: usize,
    },
    /// The bytes handed over are not as many as shape and type need.
    #[error(
        "tensor `{tensor}` in {}: {found} bytes, its shape and type need {wanted}",
        file.display()
    )]
    WrongLength {
        /// The tensor.
        tensor: String,
        /// Its file.
        file: PathBuf,
        /// Bytes needed.
        wanted: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Two files (or two places in one) have a tensor of the same name.
    #[error(
        "tensor `{tensor}` is both in {} and in {}; remove one of them",
        first.display(), second.display()
    )]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// The file it was found in first.
        first: PathBuf,
        /// The file it was found in again.
        second: PathBuf,
    },
    /// In-situ quantization was asked for a weight that is stored quantized.
    #[error(
        "tensor `{tensor}` in {} is already {}: it cannot be quantized again to {}; \
         leave ISQ off or load unquantized weights",
        file.display(), stored.name(), wanted.name()
    )]
    AlreadyQuantized {
        /// The tensor.
        tensor: String,
        /// Its file.
        file: PathBuf,
        /// The type in the file.
        stored: QuantType,
        /// The type asked for.
        wanted: QuantType,
    },
    /// The type asked for is one that files may hold and nothing is quantized to.
    #[error("tensor `{tensor}`: nothing is quantized to {}: ask for another type", wanted.name())]
    ReadOnlyType {
        /// The tensor.
        tensor: String,
        /// The type asked for.
        wanted: QuantType,
    },
    /// candle refused to make a tensor of the numbers.
    #[error("tensor `{tensor}` in {}: {source}", file.display())]
    Tensor {
        /// The tensor.
        tensor: String,
        /// Its file.
        file: PathBuf,
        /// What candle said.
        source: Box<candle_core::Error>,
    },
}

/// The first names of a list that may be long.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text =
        names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", …");
    }
    text
}
