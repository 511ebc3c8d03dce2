//! A conversation of two turns. The answer goes back into the history, as a chat program does it.
//! `cargo run -p mistralrs-examples --example chat -- MODEL`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{ChatRequest, Delta, Llm, LoadOptions, Message, Role};

fn main() -> anyhow::Result<()> {
    let model = std::env::args().nth(1);
    let model = model.unwrap_or_else(|| "mistralrs-testkit/fixtures/stories260K".to_owned());
    let llm = Llm::load(LoadOptions::new(model))?;

    let mut messages = Vec::new();
    for line in ["Once upon a time, there was a little", "The next day,"] {
        println!("> {line}");
        messages.push(Message::text(Role::User, line));
        let mut request = ChatRequest { messages: messages.clone(), ..Default::default() };
        request.options.max_tokens = Some(48);
        request.options.sampling.temperature = Some(0.0);

        let mut answer = String::new();
        let mut generation = llm.chat(request)?;
        while let Some(delta) = generation.blocking_next() {
            if let Delta::Text { text, .. } = delta? {
                answer.push_str(&text);
            }
        }
        println!("{}", answer.trim());
        messages.push(Message::text(Role::Assistant, answer));
    }
    Ok(())
}
