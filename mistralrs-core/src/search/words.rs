//! Ranking by words: BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009).

use super::Found;
use std::collections::{BTreeMap, BTreeSet};

/// How fast further occurrences of a word count less, and how much long texts are held back: the usual values.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// The texts by relevance, best first; equal ones in the order given.
pub(super) fn order(query: &str, found: &[Found]) -> Vec<usize> {
    let texts: Vec<BTreeMap<String, usize>> =
        found.iter().map(|one| counts(&format!("{} {}", one.title, one.content))).collect();
    let lengths: Vec<f64> = texts.iter().map(|text| text.values().sum::<usize>() as f64).collect();
    let number = texts.len() as f64;
    let mean = (lengths.iter().sum::<f64>() / number.max(1.0)).max(1.0);
    let asked: BTreeSet<String> = words(query).collect();
    let rarity = |word: &String| {
        let with = texts.iter().filter(|text| text.contains_key(word)).count() as f64;
        ((number - with + 0.5) / (with + 0.5)).ln_1p()
    };
    let rarities: Vec<(&String, f64)> = asked.iter().map(|word| (word, rarity(word))).collect();
    let score = |(text, length): (&BTreeMap<String, usize>, &f64)| -> f64 {
        let of_word = |(word, rarity): &(&String, f64)| {
            let count = text.get(*word).copied().unwrap_or(0) as f64;
            rarity * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / mean))
        };
        rarities.iter().map(of_word).sum()
    };
    let scores: Vec<f64> = texts.iter().zip(&lengths).map(score).collect();
    let mut order: Vec<usize> = (0..found.len()).collect();
    let of = |i: usize| scores.get(i).copied().unwrap_or(0.0);
    order.sort_by(|&a, &b| of(b).total_cmp(&of(a)));
    order
}

fn counts(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for word in words(text) {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|it| !it.is_empty()).map(str::to_lowercase)
}
