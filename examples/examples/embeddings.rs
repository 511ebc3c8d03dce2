//! Texts to vectors, many at once: lines of standard input until an empty one are one request. Prints
//! of each request how many texts and tokens it had, and which text is nearest to the first.
//!
//! `cargo run --release --example embeddings -- path/to/encoder < texts.txt`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use mistralrs_core::{Embedder, EmbeddingRequest, LoadOptions, Prompt};

/// The first text's nearest among the others, by the cosine; vectors have length 1.
fn nearest(vectors: &[Vec<f32>]) -> Option<usize> {
    let (first, others) = vectors.split_first()?;
    let dot = |other: &Vec<f32>| first.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    (0..others.len()).max_by(|a, b| dot(&others[*a]).total_cmp(&dot(&others[*b]))).map(|at| at + 1)
}

fn main() -> anyhow::Result<()> {
    let Some(model) = std::env::args().nth(1) else {
        anyhow::bail!("usage: embeddings ENCODER (a folder, a .gguf file or a hub id)");
    };
    let encoder = Embedder::load(LoadOptions::new(model))?;
    let mut lines = std::io::stdin().lines().chain([Ok(String::new())]);
    let mut texts: Vec<String> = Vec::new();
    while let Some(line) = lines.next().transpose()? {
        if !line.is_empty() {
            texts.push(line);
            continue;
        }
        if texts.is_empty() {
            continue;
        }
        let inputs = texts.iter().cloned().map(Prompt::Text).collect();
        let request = EmbeddingRequest { inputs, truncate: true, ..EmbeddingRequest::default() };
        let answer = encoder.embed(request)?.blocking_wait()?;
        print!("{} texts, {} tokens", texts.len(), answer.prompt_tokens);
        match nearest(&answer.vectors).and_then(|at| texts.get(at)) {
            Some(text) => println!("; nearest to the first: {text}"),
            None => println!(),
        }
        texts.clear();
    }
    Ok(())
}
