//! The `bench` subcommand: prompt and generation speed through the engine, and of a server under load, held against
//! what the machine gives, as a table and as JSON. Knows no kernel: it asks for answers as any program would.

mod measure;
mod memory;
mod plan;
mod report;
mod roofline;
mod serve;
mod table;

use mistralrs_core::{Llm, LoadOptions};
use plan::{Load, Plan};
use report::{Report, Row, Start};
use roofline::Roofline;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// What the figures mean, and how to ask for them.
pub const HELP: &str = "\
Tests: pp512 = a prompt of 512 tokens is computed; tg128 = 128 tokens are generated; @ d1024 = behind 1024 tokens that are
computed already; ×8 = eight requests at once, tokens per second of all together. TTFT is the slowest request's.
The last columns say what the machine allows: its memory and its arithmetic are measured first, and a model needs its
weights read once per step and two operations per weight and token. 100 % is a limit, not a promise.

Examples:
  mistralrs-server bench -m MODEL                                 a prompt of 512 tokens, an answer of 128
  mistralrs-server bench -m MODEL -p 0 -g 32 -d 0,1024,4096       does a long context slow it down?
  mistralrs-server bench -m MODEL -p 0 -g 32 -c 1,2,4,8,16,32     does it gain by many at once?
  mistralrs-server bench -m MODEL -p 0 -g 0 --serve 1,4,8,16      the server, over HTTP
  mistralrs-server bench --url http://127.0.0.1:8080 --serve 8    another server
  mistralrs-server bench -m MODEL --json new.json                 for scripts/bench_compare.py";

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
    /// Also load the HTTP server, with so many streams at the same time, comma-separated
    #[arg(long = "serve", value_delimiter = ',', value_name = "N")]
    pub serve: Vec<usize>,
    /// Tokens of each stream's prompt and answer
    #[arg(
        long = "serve-tokens",
        value_delimiter = ',',
        default_value = "128,64",
        value_name = "IN,OUT"
    )]
    pub serve_tokens: Vec<usize>,
    /// Load the server that runs here, any with OpenAI's /v1/completions, and measure nothing else; needs no model
    #[arg(
        long = "url",
        value_name = "URL",
        requires = "serve",
        conflicts_with_all = ["prompt_tokens", "generate_tokens", "depths", "concurrency", "no_peaks"]
    )]
    pub url: Option<String>,
    /// Do not measure what the machine gives (about a second)
    #[arg(long = "no-peaks")]
    pub no_peaks: bool,
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
    if let Some(url) = &args.url {
        // The model inside the program stands for none.
        return match options.embedded {
            Some(_) => run_url(args, url),
            None => refuse("--url measures the model of a server that runs: leave -m out"),
        };
    }
    match Plan::new(args, None) {
        Ok(plan) => plan.raise_limits(&mut options),
        Err(reason) => return refuse(&reason),
    }
    // The first token is measured here.
    options.warm_up = false;
    let llm = load(options)?;
    let loaded = started.elapsed();
    let plan = match Plan::new(args, Some(llm.info().max_sequence_length)) {
        Ok(plan) => plan,
        Err(reason) => return refuse(&reason),
    };
    measure::first_token(&llm)?;
    let mut report = Report::new(&llm, Start { loaded, first_token: started.elapsed() });
    let at_start = memory::peak_bytes();
    progress("what the machine gives …");
    let peaks = (!args.no_peaks).then(mistralrs_core::measure_peaks);
    // What that took was not the model's.
    let counted = peaks.is_none() || memory::forget_peak();
    let roofline = peaks.as_ref().map(|peaks| Roofline { peaks, cost: &llm.info().cost });
    for case in &plan.cases {
        report.rows.push(run_case(&llm, case, args.repetitions, roofline)?);
    }
    if let Some(load) = &plan.load {
        report.served = serve::in_process(llm.clone(), load)?;
    }
    progress("");
    let at_end = memory::peak_bytes().filter(|_| counted);
    report.finish(peaks, at_end.and_then(|end| Some(end.max(at_start?))));
    write(&report, args.json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

fn run_case(
    llm: &Llm,
    case: &plan::Case,
    repetitions: usize,
    roofline: Option<Roofline<'_>>,
) -> anyhow::Result<Row> {
    progress(&format!("{} …", case.name()));
    // Not measured: the first run of a shape pays for memory and caches.
    measure::sample(llm, case, 0)?;
    let samples =
        (1..=repetitions).map(|i| measure::sample(llm, case, i)).collect::<Result<Vec<_>, _>>()?;
    Ok(Row::new(case, &samples, roofline.map(|roofline| roofline.tokens_per_second(case))))
}

/// Loads a server that somebody else has started.
fn run_url(args: &BenchArgs, url: &str) -> anyhow::Result<ExitCode> {
    let load = match Load::new(args) {
        Ok(Some(load)) => load,
        Ok(None) => return refuse("--url needs --serve: how many streams at the same time"),
        Err(reason) => return refuse(&reason),
    };
    let (model, served) = serve::running(url, &load)?;
    progress("");
    write(&Report::of_server(model, served), args.json.as_deref())?;
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
            write!(out, "{}", table::text(report))?;
        }
        None => write!(out, "{}", table::text(report))?,
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
