//! What several of the programs in `examples/examples/` share; `examples/server/` talks to the server.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{
    ChatRequest, Content, Delta, Image, Llm, LoadOptions, Message, Modality, Part, Role,
};
use std::io::Write;

/// Loads a model that sees (the one named by the third argument, else `model`) and asks it about a
/// picture: `PICTURE ["question"] [MODEL]`.
///
/// # Errors
/// When the picture cannot be read, or the model not be loaded or asked.
pub fn ask_about_a_picture(model: &str) -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(picture) = arguments.next() else {
        anyhow::bail!(
            "usage: PICTURE [QUESTION] [MODEL]; the model is {model} unless you name one"
        );
    };
    let question = arguments.next().unwrap_or_else(|| "What is in this picture?".to_owned());
    let llm = Llm::load(LoadOptions::new(arguments.next().unwrap_or_else(|| model.to_owned())))?;
    anyhow::ensure!(llm.takes(Modality::Image), "{} reads text only", llm.info().id);
    let image = Image::new(std::fs::read(picture)?);
    if let Some(look) = llm.look(&image)? {
        println!("{} × {} pixels are {} tokens", look.width, look.height, look.tokens);
    }
    let mut message = Message::text(Role::User, "");
    message.content = Content::Parts(vec![Part::Image(image), Part::Text(question)]);
    let mut answer = llm.chat(ChatRequest { messages: vec![message], ..ChatRequest::default() })?;
    while let Some(delta) = answer.blocking_next() {
        if let Delta::Text { text, .. } = delta? {
            print!("{text}");
            std::io::stdout().flush()?;
        }
    }
    println!();
    Ok(())
}

#[cfg(test)]
mod tests {
    /// Row G7: an example loads the model that it is named after, and no other.
    #[test]
    fn each_example_loads_the_model_it_is_named_after() {
        let examples = [
            (include_str!("../examples/gemma3.rs"), "\"google/gemma-3-4b-it\""),
            (include_str!("../examples/qwen3_vl.rs"), "\"Qwen/Qwen3-VL-4B-Instruct\""),
        ];
        for (source, model) in examples {
            assert!(source.contains(model), "{model}");
            let ids = source.split('"').filter(|text| text.contains('/') && !text.contains(' '));
            assert_eq!(ids.count(), 1, "{model} is the only one");
        }
    }
}
