//! A question about a picture, and how long looking took.
//!
//! `cargo run --release --example picture -- path/to/model picture.png ["question"]`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::request::Image;
use mistralrs_core::{
    ChatRequest, Content, Delta, GenerateOptions, Llm, LoadOptions, Message, Part, Role,
};
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(file)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: picture MODEL FILE [QUESTION] (a model that sees, a PNG or JPEG)");
    };
    let question = arguments.next().unwrap_or_else(|| "What is in this picture?".to_owned());
    let llm = Llm::load(LoadOptions::new(model))?;
    let image = Image::new(std::fs::read(file)?);
    let start = Instant::now();
    let Some(look) = llm.look(&image)? else { anyhow::bail!("this model takes no pictures") };
    let prepared = start.elapsed();
    println!("{} × {} pixels, {} tokens", look.width, look.height, look.tokens);
    let content = Content::Parts(vec![Part::Image(image), Part::Text(question)]);
    let mut generation = llm.chat(ChatRequest {
        messages: vec![Message { content, ..Message::text(Role::User, "") }],
        options: GenerateOptions { max_tokens: Some(60), ..GenerateOptions::default() },
        ..ChatRequest::default()
    })?;
    let mut answer = String::new();
    while let Some(delta) = generation.blocking_next() {
        match delta? {
            Delta::Text { text, .. } => answer.push_str(&text),
            Delta::Finished { usage, .. } => {
                println!("{answer}\n");
                println!("prepared in {:.3} s", prepared.as_secs_f64());
                println!("first token after {:.3} s", usage.time_to_first_token.as_secs_f64());
            }
            _ => {}
        }
    }
    Ok(())
}
