//! A program with a log of its own. The library says what it does through `tracing` and leaves it to
//! the program where that goes: it never installs a subscriber.
//!
//! `cargo run --example custom_logging -- path/to/model`; `RUST_LOG` changes what is logged.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{ChatRequest, Delta, GenerateOptions, Llm, LoadOptions, Message, Role};
use tracing_subscriber::EnvFilter;

const LOG: &str = "custom_logging.log";

fn main() -> anyhow::Result<()> {
    let Some(model) = std::env::args().nth(1) else {
        anyhow::bail!("usage: custom_logging MODEL (a folder, a .gguf file or a hub id)");
    };
    let log = std::fs::File::create(LOG)?;
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new("info,mistralrs_core=debug"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log)
        .with_ansi(false)
        .with_target(false)
        .init();

    let llm = Llm::load(LoadOptions::new(model))?;
    let mut generation = llm.chat(ChatRequest {
        messages: vec![Message::text(Role::User, "Hello!")],
        options: GenerateOptions { max_tokens: Some(20), ..GenerateOptions::default() },
        ..ChatRequest::default()
    })?;
    while let Some(delta) = generation.blocking_next() {
        match delta? {
            Delta::Text { text, .. } => print!("{text}"),
            Delta::Finished { usage, .. } => tracing::info!(?usage, "Completed"),
            _ => {}
        }
    }
    // The engine's thread has written its last line when this returns.
    llm.shutdown();
    println!("\n--- {LOG}\n{}", std::fs::read_to_string(LOG)?);
    Ok(())
}
