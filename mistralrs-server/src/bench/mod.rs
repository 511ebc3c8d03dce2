//! The `bench` subcommand: prompt and generation speed through the engine, as a table and as JSON.

use mistralrs_core::{Llm, LoadOptions};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// What to measure. The model options (`-m` and the rest) are the caller's to flatten beside it.
/// `-p` and `-c` mean something else on the top level, so those must not be global there.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Prompt lengths in tokens, comma-separated; 0 = no prompt test
    #[arg(
        short = 'p',
        long = "n-prompt",
        value_delimiter = ',',
        default_value = "512",
        value_name = "TOKENS"
    )]
    pub prompt_tokens: Vec<usize>,
    /// Tokens to generate, comma-separated; 0 = no generation test
    #[arg(
        short = 'g',
        long = "n-gen",
        value_delimiter = ',',
        default_value = "128",
        value_name = "TOKENS"
    )]
    pub generate_tokens: Vec<usize>,
    /// Context already computed before the measurement starts, in tokens, comma-separated
    #[arg(
        short = 'd',
        long = "depth",
        value_delimiter = ',',
        default_value = "0",
        value_name = "TOKENS"
    )]
    pub depths: Vec<usize>,
    /// Requests at the same time, comma-separated
    #[arg(
        short = 'c',
        long = "concurrency",
        value_delimiter = ',',
        default_value = "1",
        value_name = "N"
    )]
    pub concurrency: Vec<usize>,
    /// Measurements of each; the median is reported
    #[arg(
        short = 'r',
        long = "repetitions",
        default_value_t = 5,
        value_name = "N"
    )]
    pub repetitions: usize,
    /// Also write the results as JSON to this file; `-` = to standard output instead of the table
    #[arg(long = "json", value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Measures. `options` is what the model arguments say (the benchmark raises the limits it needs),
/// `started` the instant the process began, `load` is `Llm::load` or a wrapper of it.
/// Exit code 0 = measured, 1 = loading or a request failed, 2 = the arguments make no sense.
///
/// # Errors
/// None at the moment but what [`ExitCode`] cannot say: results that could not be written.
pub fn run(
    args: &BenchArgs,
    options: LoadOptions,
    started: Instant,
    load: impl FnOnce(LoadOptions) -> anyhow::Result<Llm>,
) -> anyhow::Result<ExitCode> {
    let _ = (args, options, started, load);
    anyhow::bail!("the benchmark is not built yet")
}
