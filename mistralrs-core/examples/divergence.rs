//! How far rounded arithmetic is from exact arithmetic: each type of weights, on each instruction set, against the same
//! weights in 32-bit floats; and so for each kind of numbers in the cache of keys and values. For small vocabularies: every probability of every position is compared.
//!
//! `cargo run --release -p mistralrs-core --example divergence -- path/to/model [TEXT_FILE [TYPES [INSTRUCTION_SETS [CACHES]]]]`
//! TYPES such as `q8_0,q4_0,stored`: what plain weights become; `stored` = as they are. CACHES such as `f32,f16,q8_0`; `auto` = what
//! goes with the weights.

use mistralrs_core::kv_cache::KvNumbers;
use mistralrs_core::loading::progress::Progress;
use mistralrs_core::{
    CompletionRequest, Delta, GenerateOptions, Llm, LoadOptions, Prompt, QuantType, TokenLogprobs,
};
use std::error::Error;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// As the first argument: this process is one of the two that are compared.
const CHILD: &str = "log-probabilities-of";
/// What is exact: rows turned into numbers, products in 32-bit floats, keys and values as computed.
const EXACT: &str = "scalar";
/// Tokens that are scored at a time: each has as many candidates as the vocabulary.
const CHUNK: usize = 256;
const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. \
                     One day, she saw a big, red ball. She wanted to play with it, but it was too high.";

/// Positions × vocabulary.
struct Logprobs {
    vocab: usize,
    numbers: Vec<f32>,
}

/// How a model computes.
#[derive(Clone, Copy)]
struct Way<'a> {
    /// What plain weights become.
    weights: &'a str,
    instruction_set: &'a str,
    /// How keys and values are kept.
    cache: &'a str,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    if argument(0) == Some(CHILD) {
        let [_, model, text, weights, instruction_set, cache] = &arguments[..] else {
            return Err("five arguments".into());
        };
        return write(&logprobs(model, text, Way { weights, instruction_set, cache })?);
    }
    let model = argument(0).ok_or("usage: divergence MODEL [TEXT_FILE [TYPES [SETS [CACHES]]]]")?;
    let text = argument(1).unwrap_or("");
    let types = argument(2).unwrap_or("stored,q8_0");
    let sets = argument(3).unwrap_or(mistralrs_core::instruction_set());
    let caches = argument(4).unwrap_or("auto");
    say(
        "| weights | arithmetic | cache | positions | divergence, mean | largest | same best token | lead where not, mean | largest |",
    )?;
    say("|---|---|---|---:|---:|---:|---:|---:|---:|")?;
    for weights in types.split(',') {
        let exact = Way { weights, instruction_set: EXACT, cache: "f32" };
        let exact = ask(model, text, exact)?;
        for instruction_set in sets.split(',') {
            for cache in caches.split(',') {
                let rounded = ask(model, text, Way { weights, instruction_set, cache })?;
                let found = compare(&exact, &rounded)?;
                say(&format!("| {weights} | {instruction_set} | {cache} | {found} |"))?;
            }
        }
    }
    Ok(())
}

/// The numbers of a line of the table.
fn compare(exact: &Logprobs, rounded: &Logprobs) -> Outcome<String> {
    if exact.numbers.len() != rounded.numbers.len() {
        return Err("the two have different lengths".into());
    }
    let positions = exact.numbers.len() / exact.vocab;
    let pairs = || exact.numbers.chunks(exact.vocab).zip(rounded.numbers.chunks(exact.vocab));
    let divergences: Vec<f64> = pairs().map(|(p, q)| divergence(p, q)).collect();
    let mean = divergences.iter().sum::<f64>() / positions as f64;
    let largest = divergences.iter().copied().fold(0.0, f64::max);
    let others = pairs().filter(|(p, q)| best(p) != best(q));
    let leads: Vec<f32> = others.map(|(p, _)| lead(p)).collect();
    let share = 100.0 * (positions - leads.len()) as f64 / positions as f64;
    let lead = leads.iter().sum::<f32>() / leads.len().max(1) as f32;
    let widest = leads.iter().copied().fold(0.0, f32::max);
    Ok(format!("{positions} | {mean:.2e} | {largest:.2e} | {share:.2} % | {lead:.3} | {widest:.3}"))
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Kullback-Leibler divergence of `q` from `p`, in nats: the sum of p · (ln p − ln q).
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let term = |(p, q): (&f32, &f32)| f64::from(*p).exp() * (f64::from(*p) - f64::from(*q));
    p.iter().zip(q).filter(|(p, _)| p.is_finite()).map(term).sum()
}

fn best(logprobs: &[f32]) -> Option<usize> {
    (0..logprobs.len()).max_by(|a, b| logprobs[*a].total_cmp(&logprobs[*b]))
}

/// How far the best token is ahead of the next, in nats.
fn lead(logprobs: &[f32]) -> f32 {
    let (first, second) =
        logprobs.iter().fold((f32::NEG_INFINITY, f32::NEG_INFINITY), |two, &x| {
            if x > two.0 { (x, two.0) } else { (two.0, two.1.max(x)) }
        });
    first - second
}

/// The instruction set is chosen once per process, so each is asked in one of its own.
fn ask(model: &str, text: &str, way: Way<'_>) -> Outcome<Logprobs> {
    let Way { weights, instruction_set, cache } = way;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CHILD, model, text, weights, instruction_set, cache]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut bytes = Vec::new();
    child.stdout.take().ok_or("no pipe")?.read_to_end(&mut bytes)?;
    if !child.wait()?.success() {
        return Err(format!("{weights} on {instruction_set} with {cache} failed").into());
    }
    let mut words = bytes.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
    let vocab = words.next().map_or(0, u32::from_le_bytes) as usize;
    let numbers: Vec<f32> = words.map(f32::from_le_bytes).collect();
    if vocab == 0 || numbers.len() < vocab {
        return Err("no positions".into());
    }
    Ok(Logprobs { vocab, numbers })
}

fn write(logprobs: &Logprobs) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(&(logprobs.vocab as u32).to_le_bytes())?;
    for number in &logprobs.numbers {
        out.write_all(&number.to_le_bytes())?;
    }
    Ok(out.flush()?)
}

fn logprobs(model: &str, text_file: &str, way: Way<'_>) -> Outcome<Logprobs> {
    mistralrs_core::force_instruction_set(way.instruction_set)?;
    let kv_numbers = match way.cache {
        "auto" => None,
        name => Some(KvNumbers::from_name(name).ok_or_else(|| format!("no cache of {name}"))?),
    };
    let isq = match way.weights {
        "stored" => None,
        name => Some(QuantType::from_name(name).ok_or_else(|| format!("no type {name}"))?),
    };
    let text = match text_file {
        "" => STORY.to_owned(),
        file => std::fs::read_to_string(file)?,
    };
    let options = LoadOptions { isq, kv_numbers, ..LoadOptions::new(model) };
    let options = LoadOptions { progress: Progress::silent(), ..options };
    let llm = Llm::load(options)?;
    let vocab = llm.info().vocab_size;
    let mut tokens = llm.tokenize(&text, true)?;
    let chunk = CHUNK.min(llm.info().max_sequence_length - 1);
    let mut numbers = Vec::new();
    while !tokens.is_empty() {
        let rest = tokens.split_off(tokens.len().min(chunk));
        for position in scored(&llm, std::mem::replace(&mut tokens, rest))? {
            let mut row = vec![f32::NEG_INFINITY; vocab];
            for candidate in position.top {
                row[candidate.token_id as usize] = candidate.logprob;
            }
            numbers.extend(row);
        }
    }
    Ok(Logprobs { vocab, numbers })
}

/// All log-probabilities at every position of a prompt but the first.
fn scored(llm: &Llm, prompt: Vec<u32>) -> Outcome<Vec<TokenLogprobs>> {
    let options = GenerateOptions {
        max_tokens: Some(1),
        prompt_logprobs: Some(llm.info().vocab_size),
        ..GenerateOptions::default()
    };
    let mut generation =
        llm.complete(CompletionRequest { prompt: Prompt::Tokens(prompt), options })?;
    let mut positions = Vec::new();
    while let Some(delta) = generation.blocking_next() {
        if let Delta::Prompt { logprobs, .. } = delta? {
            positions.extend(logprobs.into_iter().flatten());
        }
    }
    Ok(positions)
}
