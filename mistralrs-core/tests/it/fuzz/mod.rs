//! Files as an enemy would write them: GGUF, safetensors, `config.json`. Each target takes bytes and
//! must end with a value or an error, never with a panic or with more memory than the bytes justify.
//! The tests run a few hundred inputs; docs/fuzzing.md says how to run a target for long, guided by
//! coverage. With `ulimit -v` an allocation out of proportion ends the process.

mod coverage;
mod mutate;
mod targets;

use crate::answers::instruction_set;
use coverage::Coverage;
use mutate::Mutator;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Inputs of a run that no time was given for.
const FEW: u64 = 300;
/// The first of a run's seeds; `FUZZ_SEED` picks others.
const SEED: u64 = 7;
/// Inputs that did something new are begun with again; so many at the most.
const MOST_KEPT: usize = 16 << 10;

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
    instruction_set();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let limit = number("FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("FUZZ_SEED").unwrap_or(SEED);
    let mut mutator = Mutator::new(seed);
    let mut inputs = seeds;
    let hasher = RandomState::new();
    let mut coverage = Coverage::new();
    let mut outcomes: HashSet<u64> = inputs.iter().map(|i| hasher.hash_one(target(i))).collect();
    coverage.take_news();
    let (start, mut count) = (processor_time(), 0u64);
    let spent = || processor_time().saturating_sub(start);
    while limit.map_or(count < FEW, |limit| spent() < limit) {
        let input = mutate(&mut mutator, &inputs);
        count += 1;
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| target(&input))) else {
            let file = std::env::temp_dir().join(format!("fuzz-{name}-{seed}-{count}"));
            std::fs::write(&file, &input).unwrap();
            panic!("{name}: input {count} of seed {seed} panics; it is in {}", file.display());
        };
        // Without coverage the outcome stands in for it: what fails in a new way is worth going on from.
        let news = coverage.take_news() | outcomes.insert(hasher.hash_one(outcome));
        if news && inputs.len() < MOST_KEPT {
            inputs.push(input);
        }
    }
    let (seconds, different, (reached, all)) =
        (spent().as_secs(), outcomes.len(), coverage.reached());
    println!(
        "{name}: {count} inputs in {seconds} s of processor time, {different} different outcomes, \
         {kept} kept, {reached} of {all} branches",
        kept = inputs.len()
    );
}

/// The processor time of this thread, or of the clock where the system does not say.
fn processor_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
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
