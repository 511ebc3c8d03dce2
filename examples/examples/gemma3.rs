//! Gemma 3 looks at a picture.
//!
//! `cargo run --release --example gemma3 -- picture.jpg ["question"] [MODEL]`

fn main() -> anyhow::Result<()> {
    mistralrs_examples::ask_about_a_picture("google/gemma-3-4b-it")
}
