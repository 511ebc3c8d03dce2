//! Parse, load, serve (or chat, or measure).
#![forbid(unsafe_code)]

use mistralrs_server::args::{Cli, Plan};
use mistralrs_server::{run, start_logging};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    let plan = match Cli::read().and_then(Plan::try_from) {
        Ok(plan) => plan,
        Err(refusal) => return refusal.report(),
    };
    start_logging(&plan);
    match run(plan, started) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
