//! One question, one answer, printed when it is complete.
//!
//! `cargo run --example chat -- path/to/model ["question"]`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{
    ChatRequest, Delta, GenerateOptions, Llm, LoadOptions, Message, Role, SamplingParams,
};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(model) = arguments.next() else {
        anyhow::bail!("usage: chat MODEL [QUESTION] (a folder, a .gguf file or a hub id)");
    };
    let question = arguments.next().unwrap_or_else(|| "Tell me about a little girl.".to_owned());
    let llm = Llm::load(LoadOptions::new(model))?;
    let mut generation = llm.chat(ChatRequest {
        messages: vec![Message::text(Role::User, question)],
        options: GenerateOptions {
            max_tokens: Some(60),
            sampling: SamplingParams {
                temperature: Some(0.7),
                seed: Some(1),
                ..SamplingParams::default()
            },
            ..GenerateOptions::default()
        },
        ..ChatRequest::default()
    })?;
    let mut answer = String::new();
    while let Some(delta) = generation.blocking_next() {
        match delta? {
            Delta::Text { text, .. } => answer.push_str(&text),
            Delta::Finished { reason, usage, .. } => {
                println!("{answer}\n\n({reason:?} after {} tokens)", usage.completion_tokens);
            }
            _ => {}
        }
    }
    Ok(())
}
