//! Files as an enemy would write them: GGUF, safetensors, `config.json`. Each target takes bytes and
//! must end with a value or an error, never with a panic or with more memory than the bytes justify.
//! The tests run a few hundred inputs; `FUZZ_SECONDS=600 cargo test -p mistralrs-core --test it fuzz`
//! runs each target for ten minutes. With `ulimit -v` an allocation out of proportion ends the process.

mod mutate;
mod targets;

use mutate::Mutator;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Inputs of a run that no time was given for.
const FEW: u64 = 300;
/// The first of a run's seeds; `FUZZ_SEED` picks others.
const SEED: u64 = 7;
/// New outcomes are begun with again; so many at the most.
const MOST_KEPT: usize = 4096;

/// What one input led to, in words; two that fail in the same way have the same.
type Outcome = String;

/// Runs a target from these files on.
#[expect(clippy::print_stdout, reason = "a run of hours says how far it came")]
fn run(
    name: &str,
    seeds: Vec<Vec<u8>>,
    mutate: fn(&mut Mutator, &[Vec<u8>]) -> Vec<u8>,
    target: fn(&[u8]) -> Outcome,
) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let limit = number("FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("FUZZ_SEED").unwrap_or(SEED);
    let mut mutator = Mutator::new(seed);
    let mut inputs = seeds;
    let hasher = RandomState::new();
    let mut outcomes: HashSet<u64> = inputs.iter().map(|i| hasher.hash_one(target(i))).collect();
    let (start, mut count) = (Instant::now(), 0u64);
    while limit.map_or(count < FEW, |limit| start.elapsed() < limit) {
        let input = mutate(&mut mutator, &inputs);
        count += 1;
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| target(&input))) else {
            let file = std::env::temp_dir().join(format!("fuzz-{name}-{seed}-{count}"));
            std::fs::write(&file, &input).unwrap();
            panic!("{name}: input {count} of seed {seed} panics; it is in {}", file.display());
        };
        // The outcome stands in for coverage: what fails in a new way is worth going on from.
        if outcomes.insert(hasher.hash_one(outcome)) && inputs.len() < MOST_KEPT {
            inputs.push(input);
        }
    }
    let (seconds, different) = (start.elapsed().as_secs(), outcomes.len());
    println!("{name}: {count} inputs in {seconds} s, {different} different outcomes");
}

/// An error without what differs from input to input: numbers, and what stands in quotes.
fn kind_of(error: impl ToString) -> Outcome {
    let text = error.to_string();
    let mut quoted = false;
    let plain = text.chars().filter(|c| {
        quoted ^= *c == '`' || *c == '"';
        !quoted && !c.is_ascii_digit() && c.is_ascii()
    });
    plain.take(160).collect()
}

#[test]
fn no_gguf_file_is_fatal() {
    run("gguf", targets::gguf_seeds(), Mutator::header, targets::gguf);
}

#[test]
fn no_safetensors_file_is_fatal() {
    run("safetensors", targets::safetensors_seeds(), Mutator::header, targets::safetensors);
}

#[test]
fn no_config_is_fatal() {
    run("config", targets::config_seeds(), Mutator::json, targets::config);
}

#[test]
fn kinds_of_errors_do_not_tell_inputs_apart() {
    assert_eq!(kind_of("tensor `a.b` has 7 rows"), kind_of("tensor `c` has 81 rows"));
    assert_ne!(kind_of("tensor `a` has 7 rows"), kind_of("tensor `a` has 7 columns"));
}
