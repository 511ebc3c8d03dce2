//! table
//! The table of stored number formats: one row per type. Names and ids are ggml's.
//! A new format is a file in `block/` and a row here; one that is multiplied packed has rows in `packed`, too.
//! Source: the GGUF specification in the ggml repository.

use crate::block::{
    BF16, F16, F32, Format, Iq1M, Iq1S, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs, Iq4Nl, Iq4Xs, Q2K, Q3K,
    Q4K, Q5K, Q6K, Q40, Q41, Q50, Q51, Q80, Writable,
};
use crate::dispatch::{self, Clones, Dequantize, Isa, Quantize};

/// How the numbers of a weight are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(non_camel_case_types, reason = "the field's names: Q4_K, not Q4K")]
#[expect(missing_docs, reason = "each name is its own description; the table below has the facts")]
pub enum QuantType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    IQ3_S,
    IQ3_XXS,
    IQ2_S,
    IQ2_XS,
    IQ2_XXS,
    IQ1_M,
    IQ1_S,
}

/// What the engine knows about one type.
struct Row {
    ty: QuantType,
    name: &'static str,
    gguf_id: u32,
    block_len: usize,
    block_bytes: usize,
    dequantize: Clones<Dequantize>,
    /// `None` where files of a type are read and none are written.
    quantize: Option<Clones<Quantize>>,
}

const fn row<F: Writable<BYTES, LEN>, const BYTES: usize, const LEN: usize>(
    ty: QuantType,
    name: &'static str,
    gguf_id: u32,
) -> Row {
    let quantize = Some(dispatch::quantize_clones::<F, BYTES, LEN>());
    Row { quantize, ..read_only::<F, BYTES, LEN>(ty, name, gguf_id) }
}

const fn read_only<F: Format<BYTES, LEN>, const BYTES: usize, const LEN: usize>(
    ty: QuantType,
    name: &'static str,
    gguf_id: u32,
) -> Row {
    Row {
        ty,
        name,
        gguf_id,
        block_len: LEN,
        block_bytes: BYTES,
        dequantize: dispatch::dequantize_clones::<F, BYTES, LEN>(),
        quantize: None,
    }
}

/// In the order of the enum: a type is its own index (checked by a test).
#[rustfmt::skip]
static TABLE: [Row; 22] = [
    //     block, bytes, weights per block        name    GGUF id
    row::<F32,   4,   1>(QuantType::F32,  "F32",  0),
    row::<F16,   2,   1>(QuantType::F16,  "F16",  1),
    row::<BF16,  2,   1>(QuantType::BF16, "BF16", 30),
    row::<Q40,  18,  32>(QuantType::Q4_0, "Q4_0", 2),
    row::<Q41,  20,  32>(QuantType::Q4_1, "Q4_1", 3),
    row::<Q50,  22,  32>(QuantType::Q5_0, "Q5_0", 6),
    row::<Q51,  24,  32>(QuantType::Q5_1, "Q5_1", 7),
    row::<Q80,  34,  32>(QuantType::Q8_0, "Q8_0", 8),
    row::<Q2K,  84, 256>(QuantType::Q2_K, "Q2_K", 10),
    row::<Q3K, 110, 256>(QuantType::Q3_K, "Q3_K", 11),
    row::<Q4K, 144, 256>(QuantType::Q4_K, "Q4_K", 12),
    row::<Q5K, 176, 256>(QuantType::Q5_K, "Q5_K", 13),
    row::<Q6K, 210, 256>(QuantType::Q6_K, "Q6_K", 14),
    row::<Iq4Nl, 18,  32>(QuantType::IQ4_NL, "IQ4_NL", 20),
    row::<Iq4Xs, 136, 256>(QuantType::IQ4_XS, "IQ4_XS", 23),
    read_only::<Iq3S,  110, 256>(QuantType::IQ3_S,   "IQ3_S",   21),
    read_only::<Iq3Xxs, 98, 256>(QuantType::IQ3_XXS, "IQ3_XXS", 18),
    read_only::<Iq2S,   82, 256>(QuantType::IQ2_S,   "IQ2_S",   22),
    read_only::<Iq2Xs,  74, 256>(QuantType::IQ2_XS,  "IQ2_XS",  17),
    read_only::<Iq2Xxs, 66, 256>(QuantType::IQ2_XXS, "IQ2_XXS", 16),
    read_only::<Iq1M,   56, 256>(QuantType::IQ1_M,   "IQ1_M",   29),
    read_only::<Iq1S,   50, 256>(QuantType::IQ1_S,   "IQ1_S",   19),
];

impl QuantType {
    /// Every type, in the order of the table.
    pub const ALL: &'static [Self] = &[
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::IQ3_S,
        Self::IQ3_XXS,
        Self::IQ2_S,
        Self::IQ2_XS,
        Self::IQ2_XXS,
        Self::IQ1_M,
        Self::IQ1_S,
    ];

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The type's name as ggml spells it, e.g. `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Finds a type by name, in any case and with or without the underscore (`Q4_K`, `q4k`).
    pub fn from_name(name: &str) -> Option<Self> {
        let letters = |name: &str| -> String {
            name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_uppercase()).collect()
        };
        let wanted = letters(name);
        TABLE.iter().find(|row| letters(row.name) == wanted).map(|row| row.ty)
    }

    /// The number that stands for this type in a GGUF file.
    pub fn gguf_id(self) -> u32 {
        self.row().gguf_id
    }

    /// Finds a type by its number in a GGUF file.
    pub fn from_gguf_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.gguf_id == id).map(|row| row.ty)
    }

    /// Weights per block.
    pub fn block_len(self) -> usize {
        self.row().block_len
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.row().block_bytes
    }

    /// Bytes of a row of `cols` weights; `None` if `cols` is no multiple of the block length or
    /// the size does not fit a `usize`.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let row = self.row();
        if !cols.is_multiple_of(row.block_len) {
            return None;
        }
        (cols / row.block_len).checked_mul(row.block_bytes)
    }

    /// Turns whole blocks into numbers; the values do not depend on the instruction set.
    ///
    /// # Panics
    /// If `bytes` is not exactly the stored form of `out.len()` weights.
    pub fn dequantize_row(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(
            self.row_bytes(out.len()),
            Some(bytes.len()),
            "{} bytes are not {} weights of {}",
            bytes.len(),
            out.len(),
            self.name()
        );
        let dequantize = self.dequantizer(dispatch::chosen());
        // SAFETY: the clone was chosen for the instruction set found on this machine.
        unsafe { dequantize(bytes, out) }
    }

    /// The dequantizer compiled for `isa`, which must be present when it is called.
    pub(crate) fn dequantizer(self, isa: Isa) -> Dequantize {
        self.row().dequantize.get(isa)
    }

    /// Whether numbers can be stored in this type here. Those with less than four bits that look values up can only
    /// be read: to choose well among their combinations takes knowledge of the model's activations.
    pub fn is_writable(self) -> bool {
        self.row().quantize.is_some()
    }

    /// Stores whole blocks of numbers in this type, each block as close to `x` as the format
    /// allows within a small search.
    ///
    /// # Panics
    /// If `out` is not exactly as long as the stored form of `x`, or the type is not [writable](Self::is_writable).
    pub fn quantize_row(self, x: &[f32], out: &mut [u8]) {
        assert_eq!(
            self.row_bytes(x.len()),
            Some(out.len()),
            "{} bytes cannot hold {} weights of {}",
            out.len(),
            x.len(),
            self.name()
        );
        let quantize = self.row().quantize.as_ref().map(|clones| clones.get(dispatch::chosen()));
        assert!(quantize.is_some(), "no numbers are stored as {}", self.name());
        if let Some(quantize) = quantize {
            // SAFETY: the clone was chosen for the instruction set found on this machine.
            unsafe { quantize(x, out) }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
