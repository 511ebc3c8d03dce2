//! Parse, load, serve (or chat, or measure).
#![forbid(unsafe_code)]

use mistralrs_server::args::{Cli, Errand};
use mistralrs_server::{mcp, run, start_logging};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    let errand = match Cli::read().and_then(Errand::try_from) {
        Ok(errand) => errand,
        Err(refusal) => return refusal.report(),
    };
    let outcome = match errand {
        Errand::CheckMcp(options) => mcp::check::run(options),
        Errand::Model(plan) => {
            start_logging(&plan);
            run(*plan, started)
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
