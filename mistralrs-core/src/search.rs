//! What a search of the web found, put in order for a model: cut into chunks, ranked by vectors, or by words where
//! there is no encoder, and held to a budget of tokens. Knows no network, no tokenizer and no encoder by name.

mod words;

use crate::error::RequestError;
use crate::sentence::cosine;

/// Chunks ranked at most: a text that has more is not read to its end.
const MAX_CHUNKS: usize = 512;
/// Room for the special tokens an encoder adds.
const SPECIAL_TOKENS: usize = 4;

/// A text that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its title; may be empty.
    pub title: String,
    /// What it is about; may be empty.
    pub description: String,
    /// Where it is.
    pub url: String,
    /// The text.
    pub content: String,
}

/// Where the tokens of a text begin and end, in bytes.
pub type Offsets<'a> = &'a (dyn Fn(&str) -> Vec<(usize, usize)> + Sync);

/// Somebody who turns texts into vectors.
pub trait Vectors: Send + Sync {
    /// Most tokens of a text.
    fn limit(&self) -> usize;

    /// Where the tokens of a text begin and end, in bytes.
    fn offsets(&self, text: &str) -> Vec<(usize, usize)>;

    /// A vector per text.
    ///
    /// # Errors
    /// [`RequestError`] by kind.
    fn vectors(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, RequestError>;
}

/// The best of what was found, best first, as much as fits in `budget` tokens of the model that will read it
/// (`tokens` counts them). Without an encoder, words decide.
///
/// # Errors
/// What the encoder says.
pub fn rank(
    query: &str,
    mut found: Vec<Found>,
    budget: usize,
    tokens: Offsets<'_>,
    encoder: Option<&dyn Vectors>,
) -> Result<Vec<Found>, RequestError> {
    for one in &mut found {
        one.content = cut(&one.content, budget, tokens).to_owned();
    }
    found.retain(|one| !one.content.trim().is_empty());
    found.sort_by_key(|one| one.content.len());
    let Some(encoder) = encoder else {
        let order = words::order(query, &found);
        let ranked = order.into_iter().filter_map(|i| found.get(i).cloned());
        return Ok(within(ranked, budget, tokens));
    };
    let mut chunks = Vec::new();
    for one in &found {
        for content in chunks_of(one, encoder) {
            chunks.push(Found { content, ..one.clone() });
        }
    }
    chunks.truncate(MAX_CHUNKS);
    if chunks.is_empty() {
        return Ok(within(found.into_iter(), budget, tokens));
    }
    let texts = chunks.iter().map(|chunk| document(&chunk.title, &chunk.content));
    let asked = std::iter::once(format!("task: search result | query: {query}"));
    let vectors = encoder.vectors(asked.chain(texts).collect())?;
    let Some((asked, vectors)) = vectors.split_first() else { return Ok(Vec::new()) };
    let scores = vectors.iter().map(|vector| cosine(asked, vector));
    let mut ranked: Vec<(f32, Found)> = scores.zip(chunks).collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(within(ranked.into_iter().map(|(_, chunk)| chunk), budget, tokens))
}

fn document(title: &str, text: &str) -> String {
    let title = if title.trim().is_empty() { "none" } else { title };
    format!("title: {title} | text: {text}")
}

/// The first so many tokens of a text.
fn cut<'a>(text: &'a str, most: usize, tokens: Offsets<'_>) -> &'a str {
    match tokens(text).get(most) {
        None => text,
        Some(&(end, _)) => text.get(..border(text, end)).unwrap_or_default(),
    }
}

/// The next place at or before `at` where a text may be cut: tokens may be parts of characters.
fn border(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A text in pieces that an encoder can read whole, with the title before them. No token is cut.
fn chunks_of(found: &Found, encoder: &dyn Vectors) -> Vec<String> {
    let limit = encoder.limit();
    let head = encoder.offsets(&document(&found.title, "")).len() + SPECIAL_TOKENS;
    let fits =
        |text: &str| encoder.offsets(&document(&found.title, text)).len() + SPECIAL_TOKENS <= limit;
    let text = found.content.as_str();
    let offsets = encoder.offsets(text);
    let mut chunks = Vec::new();
    let mut from = 0;
    // A title that fills the encoder leaves no room for a text.
    let room = limit.saturating_sub(head);
    while from < offsets.len() && room > 0 && chunks.len() < MAX_CHUNKS {
        let mut count = room.min(offsets.len() - from);
        loop {
            let begin = offsets.get(from).map_or(text.len(), |offset| offset.0);
            let end = offsets.get(from + count).map_or(text.len(), |offset| offset.0);
            let chunk = text.get(border(text, begin)..border(text, end)).unwrap_or_default();
            // Tokens may fall together otherwise beside the title.
            if count <= 1 || fits(chunk) {
                if !chunk.trim().is_empty() && fits(chunk) {
                    chunks.push(chunk.to_owned());
                }
                break;
            }
            count -= count.div_ceil(8);
        }
        from += count.max(1);
    }
    chunks
}

/// Takes until the next one would pass the budget.
fn within(ranked: impl Iterator<Item = Found>, budget: usize, tokens: Offsets<'_>) -> Vec<Found> {
    let mut used = 0;
    let mut taken = Vec::new();
    for one in ranked {
        used += tokens(&one.content).len();
        if used > budget {
            break;
        }
        taken.push(one);
    }
    taken
}

#[cfg(test)]
mod tests;
