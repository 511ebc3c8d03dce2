//! The OpenAI-compatible server, the terminal chat and the benchmark over one [`mistralrs_core::Llm`].
//!
//! The only crate that knows HTTP, JSON wire names, the command line and the environment.
#![forbid(unsafe_code)]

pub mod agent;
pub mod anthropic;
pub mod app;
pub mod args;
pub mod auth;
pub mod bench;
pub mod chat;
pub mod demo;
pub mod error;
pub mod extract;
pub mod fetch;
pub mod mcp;
pub mod media;
pub mod metrics;
pub mod model;
pub mod openai;
pub mod openapi;
pub mod request_log;
pub mod responses;
pub mod routes;
pub mod search;
pub mod serve;
pub mod stream;

use anyhow::Context;
use args::{Mode, Plan};
use mistralrs_core::{Llm, LoadError, LoadOptions};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Human-readable lines on standard error.
pub fn start_logging(plan: &Plan) {
    let filter = tracing_subscriber::EnvFilter::try_new(&plan.log_filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Fails only if somebody was faster; then there is a log already.
    let _ = lines.try_init();
    for note in &plan.notes {
        tracing::warn!("{note}");
    }
}

/// The threads that answer requests.
///
/// # Errors
/// When the system gives none.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    // Templates and tokenizers run on blocking threads. More of them than cores would only wait
    // for each other, and every thread keeps a heap of its own.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(2 * cores + 2)
        .enable_all()
        .build()
}

/// Loads a model for as long as the process lives, by `Llm::load` or `load_any`. What loading freed went back to the
/// system; what steps free stays for the next one.
pub(crate) fn load_to_stay<T>(
    load: LoadOptions,
    by: fn(LoadOptions) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let model = by(load)?;
    mistralrs_core::keep_freed_memory();
    Ok(model)
}

/// Does what the command line says.
///
/// # Errors
/// Whatever ended the program.
pub fn run(plan: Plan, started: Instant) -> anyhow::Result<ExitCode> {
    if let Some(name) = &plan.instruction_set {
        mistralrs_core::force_instruction_set(name)?;
    }
    let threads = plan.threads.and_then(std::num::NonZeroUsize::new);
    if threads.is_some() || plan.pin_threads {
        mistralrs_core::set_compute_threads(threads, plan.pin_threads)?;
    }
    if let Some(threads) = plan.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")?;
    }
    let load = plan.load;
    if load.embedded.is_some() {
        tracing::info!("{}", demo::NOTICE);
    }
    match plan.mode {
        Mode::Bench(args) => {
            bench::run(&args, load, started, |load| Ok(load_to_stay(load, Llm::load)?))
        }
        Mode::Chat(options) => {
            let model = load.model.clone();
            let llm =
                load_to_stay(load, Llm::load).with_context(|| format!("cannot load `{model}`"))?;
            chat::run(llm, options)?;
            Ok(ExitCode::SUCCESS)
        }
        Mode::Serve(server) => {
            let open = |path: &Path| {
                request_log::RequestLog::open(path)
                    .with_context(|| format!("--log {}", path.display()))
            };
            let log = server.log.as_deref().map(open).transpose()?;
            let app = Arc::new(app::AppState::new(server.config, log));
            let runtime = runtime()?;
            let served = runtime.block_on(async {
                let http = serve::bind(server.serve.address).await?;
                let mcp = match server.serve.mcp_address {
                    Some(address) => Some(serve::bind(address).await?),
                    None => None,
                };
                let doors = serve::Doors { http, mcp };
                serve::run(app, load, doors, server.serve.drain, serve::stop_signal()).await
            });
            // A load that was interrupted still blocks its thread: do not wait for it.
            runtime.shutdown_background();
            served.map(|()| ExitCode::SUCCESS)
        }
    }
}
