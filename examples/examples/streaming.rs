//! An answer printed as it comes, from asynchronous code. Leaving the loop early would end the work.
//!
//! `cargo run --example streaming -- path/to/model ["beginning of a text"]`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{CompletionRequest, Delta, GenerateOptions, Llm, LoadOptions, Prompt};
use std::io::Write as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(model) = arguments.next() else {
        anyhow::bail!("usage: streaming MODEL [TEXT] (a folder, a .gguf file or a hub id)");
    };
    let text = arguments.next().unwrap_or_else(|| "Once upon a time".to_owned());
    // Loading and tokenizing are work for a thread that may block.
    let (llm, mut generation) = tokio::task::spawn_blocking(move || {
        let llm = Llm::load(LoadOptions::new(model))?;
        let options = GenerateOptions { max_tokens: Some(60), ..GenerateOptions::default() };
        let generation = llm.complete(CompletionRequest { prompt: Prompt::Text(text), options })?;
        anyhow::Ok((llm, generation))
    })
    .await??;
    while let Some(delta) = generation.next().await {
        match delta? {
            Delta::Prompt { prompt_tokens, .. } => println!("({prompt_tokens} tokens of prompt)"),
            Delta::Text { text, .. } => {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            Delta::Finished { usage, .. } => {
                println!("\n({:?} to the first token)", usage.time_to_first_token)
            }
            Delta::Reasoning { .. } | Delta::ToolCall { .. } | Delta::ToolProgress(_) => {}
        }
    }
    llm.shutdown();
    Ok(())
}
