//! Unit tests of [`super`], with an encoder that counts letters.

use super::*;

/// Every word, with the space before it, is a token.
fn offsets(text: &str) -> Vec<(usize, usize)> {
    let mut starts: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).collect();
    if !text.is_empty() && !text.starts_with(' ') {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().copied().zip(ends).collect()
}

/// A text's vector says how often each of three words is in it.
struct Letters {
    limit: usize,
}

impl Vectors for Letters {
    fn limit(&self) -> usize {
        self.limit
    }

    fn offsets(&self, text: &str) -> Vec<(usize, usize)> {
        offsets(text)
    }

    fn vectors(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, RequestError> {
        let vector = |text: &String| {
            assert!(offsets(text).len() <= self.limit, "{} tokens", offsets(text).len());
            ["cat", "dog", "fish"].map(|word| text.matches(word).count() as f32).to_vec()
        };
        Ok(texts.iter().map(vector).collect())
    }
}

fn found(title: &str, content: &str) -> Found {
    let (title, content) = (title.to_owned(), content.to_owned());
    Found { url: format!("http://example.com/{title}"), title, content, ..Found::default() }
}

fn animals() -> Vec<Found> {
    vec![found("a", "a dog and a dog"), found("b", "fish swim here"), found("c", "the cat sleeps")]
}

fn urls(ranked: &[Found]) -> Vec<&str> {
    ranked.iter().map(|one| one.title.as_str()).collect()
}

#[test]
fn what_is_meant_comes_first() {
    let encoder = Letters { limit: 64 };
    for (query, first) in [("dog", "a"), ("fish", "b"), ("cat", "c")] {
        for encoder in [Some(&encoder as &dyn Vectors), None] {
            let ranked = rank(query, animals(), 1000, &offsets, encoder).unwrap();
            assert_eq!((urls(&ranked)[0], ranked.len()), (first, 3), "{query}");
        }
    }
}

#[test]
fn long_texts_are_read_in_chunks_that_fit() {
    let encoder = Letters { limit: 32 };
    let long = format!("{} cat {}", "word ".repeat(40_000), "word ".repeat(60_000));
    let ranked = rank("cat", vec![found("a title", &long)], 200_000, &offsets, Some(&encoder));
    let ranked = ranked.unwrap();
    assert!(ranked.len() <= MAX_CHUNKS);
    // Nothing is lost where there are few.
    let text: String = (0..300).map(|i| format!(" w{i}")).collect();
    let ranked = rank("cat", vec![found("t", &text)], 1000, &offsets, Some(&encoder)).unwrap();
    let mut pieces: Vec<&str> = ranked.iter().map(|one| one.content.as_str()).collect();
    pieces.sort_by_key(|piece| text.find(piece));
    assert_eq!(pieces.concat(), text);
    assert!(pieces.len() > 10);
}

#[test]
fn the_budget_holds() {
    let encoder = Letters { limit: 64 };
    for budget in [0, 1, 3, 5, 8, 20] {
        for encoder in [Some(&encoder as &dyn Vectors), None] {
            let ranked = rank("dog", animals(), budget, &offsets, encoder).unwrap();
            let used: usize = ranked.iter().map(|one| offsets(&one.content).len()).sum();
            assert!(used <= budget, "{used} of {budget}");
        }
    }
    let ranked = rank("dog", animals(), 3, &offsets, Some(&encoder)).unwrap();
    assert_eq!(ranked[0].content, "a dog and", "cut to the budget, and still the best");
}

#[test]
fn nothing_is_ranked_as_nothing() {
    let encoder = Letters { limit: 64 };
    for found in [Vec::new(), vec![found("a", ""), found("b", "  ")]] {
        for encoder in [Some(&encoder as &dyn Vectors), None] {
            assert_eq!(rank("dog", found.clone(), 100, &offsets, encoder).unwrap(), []);
        }
    }
    // An encoder without room, and tokens within characters, are no reason to panic.
    let tiny = Letters { limit: 1 };
    assert_eq!(rank("dog", animals(), 100, &offsets, Some(&tiny)).unwrap().len(), 3);
    let bytes = |text: &str| (0..text.len()).map(|at| (at, at + 1)).collect::<Vec<_>>();
    let ranked = rank("é", vec![found("é", "éé")], 3, &bytes, None).unwrap();
    assert_eq!(ranked[0].content, "é");
}
