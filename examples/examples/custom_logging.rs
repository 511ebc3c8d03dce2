//! A log of your own: the library installs no subscriber, so this program's one gets everything.
//! `cargo run -p mistralrs-examples --example custom_logging -- MODEL`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{ChatRequest, Delta, Llm, LoadOptions, Message, Role};
use std::fs::File;
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;

const LOG: &str = "custom_logging.log";

fn main() -> anyhow::Result<()> {
    let model = std::env::args().nth(1);
    let model = model.unwrap_or_else(|| "mistralrs-testkit/fixtures/stories260K".to_owned());
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info,mistralrs_core=debug"));
    let log = Mutex::new(File::create(LOG)?); // an older log is gone
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    format.with_target(false).with_writer(log).init();

    let llm = Llm::load(LoadOptions::new(model))?;
    let messages = vec![Message::text(Role::User, "Once upon a time")];
    let mut request = ChatRequest { messages, ..Default::default() };
    request.options.max_tokens = Some(24);
    let mut generation = llm.chat(request)?;
    while let Some(delta) = generation.blocking_next() {
        if let Delta::Text { text, .. } = delta? {
            print!("{text}");
        }
    }
    tracing::info!("Completed");
    println!("\n--- {LOG}:\n{}", std::fs::read_to_string(LOG)?);
    Ok(())
}
