//! One measurement: requests with seeded random tokens, all at once, and the clock around them.

use super::plan::{Case, Kind};
use mistralrs_core::{
    CompletionRequest, Delta, GenerateOptions, Llm, Prompt, RequestError, SamplingParams, Usage,
};
use std::time::{Duration, Instant};

/// One run of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Tokens per second of all requests together.
    pub tokens_per_second: f64,
    /// From submission to the first token, of the slowest request.
    pub time_to_first_token: Duration,
}

/// What one request took, on the common clock.
#[derive(Debug, Clone)]
struct Answered {
    submitted: Instant,
    usage: Usage,
}

impl Answered {
    fn first_token(&self) -> Instant {
        self.submitted + self.usage.time_to_first_token
    }

    fn last_token(&self) -> Instant {
        self.first_token() + self.usage.decode_time
    }
}

/// Computes a prompt of one token and draws another.
///
/// # Errors
/// [`RequestError`] when the request is refused.
pub fn first_token(llm: &Llm) -> Result<(), RequestError> {
    answer(llm, random_tokens(llm, 1, 1), 1).map(drop)
}

/// Runs a case once. `repetition` chooses the tokens that are measured: no two share a prefix but the one of the
/// case's depth, which is computed once.
///
/// # Errors
/// [`RequestError`] when a request is refused.
pub fn sample(llm: &Llm, case: &Case, repetition: usize) -> Result<Sample, RequestError> {
    let seed = |request: usize, repetition: usize| {
        let parts =
            [repetition, request, case.tokens, case.depth, case.concurrency, case.kind as usize];
        parts.iter().fold(0, |seed, part| mix(seed ^ *part as u64))
    };
    let prefixes: Vec<Vec<u32>> =
        (0..case.concurrency).map(|i| random_tokens(llm, case.depth, seed(i, 0))).collect();
    if case.depth > 0 {
        // Afterwards the prefix cache knows them.
        together(llm, prefixes.clone(), 1)?;
    }
    let (prompts, max_tokens) = match case.kind {
        Kind::Prompt => {
            let extend = |(i, mut tokens): (usize, Vec<u32>)| {
                tokens.extend(random_tokens(llm, case.tokens, !seed(i, repetition)));
                tokens
            };
            (prefixes.into_iter().enumerate().map(extend).collect(), 1)
        }
        Kind::Generate if case.depth > 0 => (prefixes, case.tokens),
        Kind::Generate => {
            let first = |i| random_tokens(llm, 1, seed(i, repetition));
            ((0..case.concurrency).map(first).collect(), case.tokens)
        }
    };
    let answers = together(llm, prompts, max_tokens)?;
    Ok(summarize(case.kind, &answers))
}

/// Prompt speed: computed prompt tokens between the first submission and the last first token.
/// Generation speed: tokens after the first ones, between the earliest first token and the last token.
fn summarize(kind: Kind, answers: &[Answered]) -> Sample {
    let latest = |of: fn(&Answered) -> Instant| answers.iter().map(of).max();
    let earliest = |of: fn(&Answered) -> Instant| answers.iter().map(of).min();
    let (tokens, from, to) = match kind {
        Kind::Prompt => (
            answers
                .iter()
                .map(|it| it.usage.prompt_tokens.saturating_sub(it.usage.cached_tokens))
                .sum(),
            earliest(|it| it.submitted),
            latest(Answered::first_token),
        ),
        Kind::Generate => (
            answers.iter().map(|it| it.usage.completion_tokens.saturating_sub(1)).sum::<usize>(),
            earliest(Answered::first_token),
            latest(Answered::last_token),
        ),
    };
    let time = from.zip(to).map_or(Duration::ZERO, |(from, to)| to.saturating_duration_since(from));
    Sample {
        tokens_per_second: tokens as f64 / time.as_secs_f64().max(1e-9),
        time_to_first_token: answers
            .iter()
            .map(|it| it.usage.time_to_first_token)
            .max()
            .unwrap_or_default(),
    }
}

fn together(
    llm: &Llm,
    prompts: Vec<Vec<u32>>,
    max_tokens: usize,
) -> Result<Vec<Answered>, RequestError> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = prompts
            .into_iter()
            .map(|prompt| scope.spawn(move || answer(llm, prompt, max_tokens)))
            .collect();
        // A panic in there has been printed; the request did not get its answer.
        let lost = |_| Err(RequestError::Internal { id: 0 });
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(lost)).collect()
    })
}

fn answer(llm: &Llm, prompt: Vec<u32>, max_tokens: usize) -> Result<Answered, RequestError> {
    let options = GenerateOptions {
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        sampling: greedy(),
        ..GenerateOptions::default()
    };
    let request = CompletionRequest { prompt: Prompt::Tokens(prompt), options };
    let submitted = Instant::now();
    let mut generation = llm.complete(request)?;
    while let Some(delta) = generation.blocking_next() {
        if let Delta::Finished { usage, .. } = delta? {
            return Ok(Answered { submitted, usage });
        }
    }
    Err(RequestError::Shutdown)
}

/// Nothing but the best token, whatever the model's defaults are.
fn greedy() -> SamplingParams {
    SamplingParams {
        temperature: Some(0.0),
        repetition_penalty: Some(1.0),
        frequency_penalty: Some(0.0),
        presence_penalty: Some(0.0),
        seed: Some(1),
        ..SamplingParams::default()
    }
}

fn random_tokens(llm: &Llm, count: usize, seed: u64) -> Vec<u32> {
    let vocabulary = llm.info().vocab_size.max(1) as u64;
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = mix(state);
            u32::try_from(state % vocabulary).unwrap_or(0)
        })
        .collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014): well-mixed numbers from a counter.
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(
        start: Instant,
        at: u64,
        prompt: usize,
        cached: usize,
        first: u64,
        decode: u64,
    ) -> Answered {
        Answered {
            submitted: start + Duration::from_millis(at),
            usage: Usage {
                prompt_tokens: prompt,
                cached_tokens: cached,
                completion_tokens: 11,
                time_to_first_token: Duration::from_millis(first),
                decode_time: Duration::from_millis(decode),
                ..Usage::default()
            },
        }
    }

    #[test]
    fn speeds_are_of_all_requests_together() {
        let start = Instant::now();
        let answers =
            [answered(start, 0, 120, 20, 100, 400), answered(start, 10, 100, 0, 240, 350)];
        let prompt = summarize(Kind::Prompt, &answers);
        assert_eq!(prompt.tokens_per_second.round(), 800.0, "200 tokens in 250 ms");
        assert_eq!(prompt.time_to_first_token.as_millis(), 240);
        let generate = summarize(Kind::Generate, &answers);
        assert_eq!(generate.tokens_per_second.round(), 40.0, "20 tokens from 100 ms to 600 ms");
    }
}
