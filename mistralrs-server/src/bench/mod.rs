//! The `bench` subcommand: prompt and generation speed through the engine, as a table and as JSON.
//! Knows no kernel: it asks for answers as any program would.

mod measure;
mod plan;
mod report;

use mistralrs_core::{Llm, LoadOptions};
use plan::Plan;
use report::{Report, Row};
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// What to measure. The model options (`-m` and the rest) are the caller's to flatten beside it.
/// `-p` and `-c` mean something else on the top level, so those must not be global there.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Prompt lengths in tokens, comma-separated; 0 = no prompt test [default: 512, at most half the context]
    #[arg(short = 'p', long = "n-prompt", value_delimiter = ',', value_name = "TOKENS")]
    pub prompt_tokens: Vec<usize>,
    /// Tokens to generate, comma-separated; 0 = no generation test [default: 128, at most half the context]
    #[arg(short = 'g', long = "n-gen", value_delimiter = ',', value_name = "TOKENS")]
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
    #[arg(short = 'r', long = "repetitions", default_value_t = 5, value_name = "N")]
    pub repetitions: usize,
    /// Also write the results as JSON to this file; `-` = to standard output instead of the table
    #[arg(long = "json", value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Measures. `options` is what the model arguments say (the benchmark raises the limits it needs),
/// `started` the instant the process began, `load` is `Llm::load` or a wrapper of it. Blocks: call it
/// outside of an async runtime.
///
/// Exit code 0 = measured, 2 = the arguments make no sense for this model.
///
/// # Errors
/// When loading or a request fails, or the results cannot be written.
pub fn run(
    args: &BenchArgs,
    mut options: LoadOptions,
    started: Instant,
    load: impl FnOnce(LoadOptions) -> anyhow::Result<Llm>,
) -> anyhow::Result<ExitCode> {
    match Plan::new(args, None) {
        Ok(plan) => plan.raise_limits(&mut options),
        Err(reason) => return refuse(&reason),
    }
    let llm = load(options)?;
    let loaded = started.elapsed();
    let plan = match Plan::new(args, Some(llm.info().max_sequence_length)) {
        Ok(plan) => plan,
        Err(reason) => return refuse(&reason),
    };
    measure::first_token(&llm)?;
    let first_token = started.elapsed();
    let mut report = Report::new(&llm, loaded, first_token);
    for case in &plan.cases {
        progress(&format!("{} …", case.name()));
        // Not measured: the first run of a shape pays for memory and caches.
        measure::sample(&llm, case, 0)?;
        let samples = (1..=args.repetitions)
            .map(|i| measure::sample(&llm, case, i))
            .collect::<Result<Vec<_>, _>>()?;
        report.rows.push(Row::new(case, &samples));
    }
    progress("");
    write(&report, args.json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

fn write(report: &Report, json: Option<&Path>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = serde_json::to_string_pretty(report)? + "\n";
    match json {
        Some(file) if file == Path::new("-") => out.write_all(text.as_bytes())?,
        Some(file) => {
            std::fs::write(file, text)
                .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", file.display()))?;
            write!(out, "{}", report.table())?;
        }
        None => write!(out, "{}", report.table())?,
    }
    Ok(out.flush()?)
}

fn refuse(reason: &str) -> anyhow::Result<ExitCode> {
    writeln!(std::io::stderr(), "error: {reason}")?;
    Ok(ExitCode::from(2))
}

/// One changing line on standard error, if someone looks at it.
fn progress(text: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
    }
}
