//! Options and selectors of the 0.6 line that this version knows and does not have yet.
//! They are refused before anything is loaded. When one is built, its row moves away from here.

use clap::Args;
use std::ffi::OsString;

/// Selectors and what they would load.
const SELECTORS: [(&str, &str); 11] = [
    ("vision-plain", "models that see"),
    ("ggml", "the old GGML format (convert the file to GGUF)"),
    ("lora", "LoRA adapters"),
    ("x-lora", "X-LoRA adapters"),
    ("lora-gguf", "LoRA adapters on GGUF"),
    ("x-lora-gguf", "X-LoRA adapters on GGUF"),
    ("lora-ggml", "LoRA adapters on GGML"),
    ("x-lora-ggml", "X-LoRA adapters on GGML"),
    ("diffusion", "models that paint"),
    ("speech", "models that speak"),
    ("multi-model", "several models in one server"),
];

/// If one of these selectors is among the words: what to tell.
pub(super) fn selector(words: &[OsString]) -> Option<String> {
    let found = SELECTORS.iter().find(|(name, _)| words.iter().skip(1).any(|word| word == name));
    found.map(|(name, what)| format!("the selector `{name}` ({what}) is not built yet"))
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Not built yet (exit code 2)")]
pub(super) struct NotBuiltArgs {
    /// Size of the KV cache in MB; --pa-ctxt-len gives it in tokens
    #[arg(long, value_name = "MB", global = true)]
    pa_gpu_mem: Option<String>,
    /// Quantize experts only
    #[arg(short = 'o', long, value_name = "KIND", global = true)]
    organization: Option<String>,
    /// Write quantized weights
    #[arg(short = 'w', long, value_name = "FILE", global = true)]
    write_uqff: Option<String>,
    /// Read quantized weights
    #[arg(long, value_name = "FILES", global = true)]
    from_uqff: Option<String>,
    /// Importance of weights
    #[arg(long, value_name = "FILE", global = true)]
    imatrix: Option<String>,
    /// Text to find the importance of weights with
    #[arg(long, value_name = "FILE", global = true)]
    calibration_file: Option<String>,
}

impl NotBuiltArgs {
    /// The first of them that was asked for.
    pub(super) fn first(&self) -> Option<&'static str> {
        let organization =
            self.organization.as_ref().filter(|kind| !kind.eq_ignore_ascii_case("default"));
        let asked = [
            ("--pa-gpu-mem", self.pa_gpu_mem.is_some()),
            ("--organization", organization.is_some()),
            ("--write-uqff", self.write_uqff.is_some()),
            ("--from-uqff", self.from_uqff.is_some()),
            ("--imatrix", self.imatrix.is_some()),
            ("--calibration-file", self.calibration_file.is_some()),
        ];
        asked.iter().find(|(_, asked)| *asked).map(|(name, _)| *name)
    }
}
