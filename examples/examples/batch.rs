//! Many prompts at once: submit all, then collect. The engine computes them together, and each
//! gets the answer it would get alone.
//! `cargo run -p mistralrs-examples --example batch -- MODEL`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{CompletionRequest, Delta, GenerateOptions, Llm, LoadOptions, Prompt};

fn main() -> anyhow::Result<()> {
    let model = std::env::args().nth(1);
    let model = model.unwrap_or_else(|| "mistralrs-testkit/fixtures/stories260K".to_owned());
    let llm = Llm::load(LoadOptions::new(model))?;

    let mut running = Vec::new();
    for start in ["The dog", "A big red ball", "Lily and her mom", "In the park, Tim"] {
        let mut options = GenerateOptions { max_tokens: Some(24), ..Default::default() };
        options.sampling.temperature = Some(0.0);
        let prompt = Prompt::Text(start.to_owned());
        running.push((start, llm.complete(CompletionRequest { prompt, options })?));
    }
    for (start, mut generation) in running {
        let mut text = start.to_owned();
        while let Some(delta) = generation.blocking_next() {
            if let Delta::Text { text: piece, .. } = delta? {
                text.push_str(&piece);
            }
        }
        println!("- {text}");
    }
    let stats = llm.stats();
    println!("{} tokens in {} steps", stats.generated_tokens_total, stats.steps_total);
    Ok(())
}
