//! Several texts continued at once: the engine computes them together, each as if it were alone.
//!
//! `cargo run --example batch -- path/to/model`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use futures::future::try_join_all;
use mistralrs_core::{
    CompletionRequest, Delta, GenerateOptions, Llm, LoadOptions, Prompt, SamplingParams,
};

async fn complete(llm: &Llm, text: &str) -> anyhow::Result<String> {
    let sampling = SamplingParams { temperature: Some(0.0), ..SamplingParams::default() };
    let options = GenerateOptions { max_tokens: Some(30), sampling, ..GenerateOptions::default() };
    let mut generation =
        llm.complete(CompletionRequest { prompt: Prompt::Text(text.to_owned()), options })?;
    let mut answer = text.to_owned();
    while let Some(delta) = generation.next().await {
        if let Delta::Text { text, .. } = delta? {
            answer.push_str(&text);
        }
    }
    Ok(answer)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(model) = std::env::args().nth(1) else {
        anyhow::bail!("usage: batch MODEL (a folder, a .gguf file or a hub id)");
    };
    let llm = tokio::task::spawn_blocking(|| Llm::load(LoadOptions::new(model))).await??;
    let texts = ["Once upon a time", "One day, a dog", "The sun", "Lily and Tom went to the"];
    for answer in try_join_all(texts.map(|text| complete(&llm, text))).await? {
        println!("- {answer}");
    }
    let stats = llm.stats();
    println!("{} tokens in {} steps", stats.generated_tokens_total, stats.steps_total);
    Ok(())
}
