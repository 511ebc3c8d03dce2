//! From what streams were to what is told of a server: pure.

use super::client::Answered;
use crate::bench::report::Summary;
use serde::Serialize;
use std::time::Duration;

/// A server with so many streams at once.
#[derive(Debug, Serialize)]
pub struct ServedRow {
    /// Requests at the same time.
    pub streams: usize,
    /// Tokens of a prompt, as the server counts them: the mean, prompts differ a little.
    pub prompt_tokens: usize,
    /// Tokens of an answer: the most that one had.
    pub answer_tokens: usize,
    /// Requests of all rounds.
    pub requests: usize,
    /// Those that failed.
    pub failed: usize,
    /// Why the first of them did.
    pub error: Option<String>,
    /// Tokens of all answers of a round per second, from the first request to the last stream's end.
    pub tokens_per_second: Summary,
    /// From a request to its first piece of text.
    pub time_to_first_token_ms: Spread,
    /// Between two pieces of a stream.
    pub inter_token_ms: Spread,
    /// The longest stream's time by the shortest's: the worst round.
    pub finish_ratio: f64,
}

/// What is left of many times.
#[derive(Debug, Serialize, PartialEq)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// All but a twentieth are shorter.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    fn new(times: impl Iterator<Item = Duration>) -> Self {
        let mut ms: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let at = |i: usize| ms.get(i).copied().unwrap_or(0.0);
        let last = ms.len().saturating_sub(1);
        // Between two neighbors in proportion.
        let part = |share: f64| {
            let place = share * last as f64;
            let low = place.floor();
            at(low as usize) + (at(place.ceil() as usize) - at(low as usize)) * (place - low)
        };
        Self { p50: part(0.5), p95: part(0.95), max: at(last) }
    }
}

impl ServedRow {
    /// From the rounds of so many streams.
    pub fn new(streams: usize, rounds: &[Vec<anyhow::Result<Answered>>]) -> Self {
        let all = || rounds.iter().flatten();
        let answered = || all().filter_map(|answer| answer.as_ref().ok());
        let first = |it: &Answered| Some(it.pieces.first()?.duration_since(it.sent));
        let gaps = |it: &Answered| {
            let pairs = it.pieces.windows(2).filter_map(|pair| match pair {
                [a, b] => Some(b.duration_since(*a)),
                _ => None,
            });
            pairs.collect::<Vec<_>>()
        };
        let error = all().find_map(|answer| answer.as_ref().err());
        Self {
            streams,
            prompt_tokens: answered().map(|it| it.prompt_tokens).sum::<usize>()
                / answered().count().max(1),
            answer_tokens: answered().map(|it| it.completion_tokens).max().unwrap_or(0),
            requests: all().count(),
            failed: all().filter(|answer| answer.is_err()).count(),
            error: error.map(|error| format!("{error:#}")),
            tokens_per_second: Summary::new(rounds.iter().filter_map(|it| rate(it)).collect()),
            time_to_first_token_ms: Spread::new(answered().filter_map(first)),
            inter_token_ms: Spread::new(answered().flat_map(gaps)),
            finish_ratio: rounds.iter().map(|it| finish_ratio(it)).fold(1.0, f64::max),
        }
    }
}

fn answered(round: &[anyhow::Result<Answered>]) -> impl Iterator<Item = &Answered> {
    round.iter().filter_map(|answer| answer.as_ref().ok())
}

/// Tokens per second of a round; `None` if nothing was answered.
fn rate(round: &[anyhow::Result<Answered>]) -> Option<f64> {
    let tokens: usize = answered(round).map(|it| it.completion_tokens).sum();
    let start = answered(round).map(|it| it.sent).min()?;
    let end = answered(round).map(|it| it.ended).max()?;
    Some(tokens as f64 / end.duration_since(start).as_secs_f64().max(1e-9))
}

/// The longest time from the round's start to the end of a stream, by the shortest.
fn finish_ratio(round: &[anyhow::Result<Answered>]) -> f64 {
    let Some(start) = answered(round).map(|it| it.sent).min() else { return 1.0 };
    let times = || answered(round).map(|it| it.ended.duration_since(start).as_secs_f64());
    let shortest = times().fold(f64::INFINITY, f64::min);
    times().fold(0.0, f64::max) / shortest.max(1e-9)
}
