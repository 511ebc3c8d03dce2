//! Tokens as they come, inside an async program, and what they took.
//! `cargo run -p mistralrs-examples --example streaming -- MODEL`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{CompletionRequest, Delta, GenerateOptions, Llm, LoadOptions, Prompt};
use std::io::Write;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let model = std::env::args().nth(1);
    let model = model.unwrap_or_else(|| "mistralrs-testkit/fixtures/stories260K".to_owned());
    // Loading and tokenizing are work for a thread that may block.
    let llm = tokio::task::spawn_blocking(|| Llm::load(LoadOptions::new(model))).await??;
    let options = GenerateOptions { max_tokens: Some(64), ..Default::default() };
    let request = CompletionRequest { prompt: Prompt::Text("One day, a cat".into()), options };
    let engine = llm.clone(); // cheap; the last clone to go ends the engine
    let mut generation = tokio::task::spawn_blocking(move || engine.complete(request)).await??;

    while let Some(delta) = generation.next().await {
        match delta? {
            Delta::Prompt { prompt_tokens, .. } => {
                print!("({prompt_tokens} tokens) One day, a cat")
            }
            Delta::Text { text, .. } => print!("{text}"),
            Delta::Finished { reason, usage, .. } => {
                println!("\n{reason:?} after {} tokens", usage.completion_tokens);
                println!(
                    "first after {:?}, rest in {:?}",
                    usage.time_to_first_token, usage.decode_time
                );
            }
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
