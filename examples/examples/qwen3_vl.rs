//! Qwen3-VL looks at a picture.
//!
//! `cargo run --release --example qwen3_vl -- picture.jpg ["question"] [MODEL]`

fn main() -> anyhow::Result<()> {
    mistralrs_examples::ask_about_a_picture("Qwen/Qwen3-VL-4B-Instruct")
}
