//! The figures of a benchmark: medians, and what goes into the JSON file. `scripts/bench_compare.py` reads that file:
//! what it reads may not be renamed.

use super::measure::Sample;
use super::plan::{Case, Kind};
use super::serve::figures::ServedRow;
use mistralrs_core::{Llm, Peaks};
use serde::Serialize;
use std::time::Duration;

/// Everything measured, and on what.
#[derive(Debug, Serialize)]
pub struct Report {
    version: u32,
    /// What the model is called.
    pub model: String,
    /// Of a model that was loaded here.
    #[serde(flatten)]
    pub facts: Option<Facts>,
    /// What the machine gives.
    pub machine: Option<Machine>,
    /// One per case.
    pub rows: Vec<Row>,
    /// One per number of streams.
    pub served: Vec<ServedRow>,
}

/// A model that was loaded here, and how that went.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// `Qwen2ForCausalLM` and the like.
    pub architecture: String,
    /// Number of weights.
    pub num_parameters: u64,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Types and how many tensors are of each.
    pub weight_types: String,
    /// What kernels compute with.
    pub instruction_set: &'static str,
    /// So many compute.
    pub threads: usize,
    /// Seconds from the start of the process until the model was loaded.
    pub load_s: f64,
    /// Seconds from the start of the process until the first token was drawn.
    pub start_to_first_token_s: f64,
    /// The most memory that the process held, the measurement of the machine not counted.
    pub peak_memory_bytes: Option<u64>,
}

/// How long the start took, from the start of the process.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Until the model was loaded.
    pub loaded: Duration,
    /// Until the first token was drawn.
    pub first_token: Duration,
}

/// What the machine gives, per second, all threads together.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Bytes read from memory, in GB.
    pub read_gb: Option<f64>,
    /// Multiplications and additions of bytes, in 10⁹.
    pub int8_gop: Option<f64>,
    /// Multiplications and additions of bfloat16, in 10⁹.
    pub bf16_gflop: Option<f64>,
    /// Multiplications and additions of 32-bit floats, in 10⁹.
    pub f32_gflop: f64,
}

impl From<Peaks> for Machine {
    fn from(peaks: Peaks) -> Self {
        let giga = |rate: f64| rate * 1e-9;
        Self {
            read_gb: peaks.read_bytes.map(giga),
            int8_gop: peaks.int8_operations.map(giga),
            bf16_gflop: peaks.bf16_operations.map(giga),
            f32_gflop: giga(peaks.f32_operations),
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    test: &'static str,
    tokens: usize,
    depth: usize,
    /// Requests at the same time.
    pub concurrency: usize,
    /// Of all requests together.
    pub tokens_per_second: Summary,
    /// Of the slowest request.
    pub time_to_first_token_ms: Summary,
    /// What the machine allows.
    pub roofline: Option<Limit>,
    /// As people call it.
    #[serde(skip)]
    pub name: String,
}

/// What the machine allows.
#[derive(Debug, Serialize)]
pub struct Limit {
    /// At most.
    pub tokens_per_second: f64,
    /// The median's share of that.
    pub share: f64,
}

/// What is left of some numbers.
#[derive(Debug, Serialize, PartialEq)]
pub struct Summary {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// The median of an even number of values is the mean of the two in the middle.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
        let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        Self {
            median: f64::midpoint(at(low), at(high)),
            min: at(0),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

impl Row {
    /// From the repetitions of a case, and the tokens per second that the machine allows.
    pub fn new(case: &Case, samples: &[Sample], limit: Option<f64>) -> Self {
        let summary = |of: fn(&Sample) -> f64| Summary::new(samples.iter().map(of).collect());
        let tokens_per_second = summary(|sample| sample.tokens_per_second);
        let share = |most: f64| tokens_per_second.median / most;
        Self {
            test: match case.kind {
                Kind::Prompt => "pp",
                Kind::Generate => "tg",
            },
            tokens: case.tokens,
            depth: case.depth,
            concurrency: case.concurrency,
            roofline: limit.map(|most| Limit { tokens_per_second: most, share: share(most) }),
            tokens_per_second,
            time_to_first_token_ms: summary(|sample| {
                sample.time_to_first_token.as_secs_f64() * 1e3
            }),
            name: case.name(),
        }
    }
}

impl Report {
    /// The report before any row.
    pub fn new(llm: &Llm, start: Start) -> Self {
        let info = llm.info();
        let facts = Facts {
            architecture: info.architecture.clone(),
            num_parameters: info.num_parameters,
            weight_bytes: info.weight_bytes,
            weight_types: info.weight_types.clone(),
            instruction_set: mistralrs_core::instruction_set(),
            threads: mistralrs_core::compute_threads(),
            load_s: start.loaded.as_secs_f64(),
            start_to_first_token_s: start.first_token.as_secs_f64(),
            peak_memory_bytes: None,
        };
        Self { facts: Some(facts), ..Self::of_server(info.id.clone(), Vec::new()) }
    }

    /// The report on a server that was not started here.
    pub fn of_server(model: String, served: Vec<ServedRow>) -> Self {
        Self { version: 1, model, facts: None, machine: None, rows: Vec::new(), served }
    }

    /// What is known when everything is measured.
    pub fn finish(&mut self, peaks: Option<Peaks>, peak_memory_bytes: Option<u64>) {
        self.machine = peaks.map(Machine::from);
        if let Some(facts) = &mut self.facts {
            facts.peak_memory_bytes = peak_memory_bytes;
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::bench::serve::figures::Spread;
    use expect_test::expect;

    #[test]
    fn medians() {
        assert_eq!(Summary::new(vec![3.0, 1.0, 2.0]), Summary { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Summary::new(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Summary::new(vec![5.0]), Summary { median: 5.0, min: 5.0, max: 5.0 });
    }

    /// Everything that can be told.
    pub fn report() -> Report {
        let sample = |tokens_per_second: f64, ms: u64| Sample {
            tokens_per_second,
            time_to_first_token: Duration::from_millis(ms),
        };
        let case = |kind, tokens, depth, concurrency| Case { kind, tokens, depth, concurrency };
        let facts = Facts {
            architecture: "LlamaForCausalLM".into(),
            num_parameters: 260_000,
            weight_bytes: 1_040_000,
            weight_types: "F32 ×48".into(),
            instruction_set: "scalar",
            threads: 2,
            load_s: 0.5,
            start_to_first_token_s: 0.75,
            peak_memory_bytes: Some(31_457_280),
        };
        let served = ServedRow {
            streams: 8,
            prompt_tokens: 128,
            answer_tokens: 64,
            requests: 16,
            failed: 1,
            error: Some("status 429".into()),
            tokens_per_second: Summary { median: 96.0, min: 90.0, max: 102.0 },
            time_to_first_token_ms: Spread { p50: 150.0, p95: 250.5, max: 260.0 },
            inter_token_ms: Spread { p50: 20.25, p95: 30.0, max: 99.0 },
            finish_ratio: 1.25,
        };
        let machine =
            Machine { read_gb: Some(26.7), int8_gop: None, bf16_gflop: None, f32_gflop: 335.0 };
        Report {
            facts: Some(facts),
            machine: Some(machine),
            rows: vec![
                Row::new(
                    &case(Kind::Prompt, 512, 0, 1),
                    &[sample(1000.0, 512), sample(1200.0, 427)],
                    Some(4400.0),
                ),
                Row::new(&case(Kind::Generate, 128, 1024, 4), &[sample(80.0, 9)], None),
            ],
            ..Report::of_server("tiny".into(), vec![served])
        }
    }

    #[test]
    fn the_json() {
        let mut report = report();
        report.rows.truncate(1);
        expect![[r#"
            {
              "version": 1,
              "model": "tiny",
              "architecture": "LlamaForCausalLM",
              "num_parameters": 260000,
              "weight_bytes": 1040000,
              "weight_types": "F32 ×48",
              "instruction_set": "scalar",
              "threads": 2,
              "load_s": 0.5,
              "start_to_first_token_s": 0.75,
              "peak_memory_bytes": 31457280,
              "machine": {
                "read_gb": 26.7,
                "int8_gop": null,
                "bf16_gflop": null,
                "f32_gflop": 335.0
              },
              "rows": [
                {
                  "test": "pp",
                  "tokens": 512,
                  "depth": 0,
                  "concurrency": 1,
                  "tokens_per_second": {
                    "median": 1100.0,
                    "min": 1000.0,
                    "max": 1200.0
                  },
                  "time_to_first_token_ms": {
                    "median": 469.5,
                    "min": 427.0,
                    "max": 512.0
                  },
                  "roofline": {
                    "tokens_per_second": 4400.0,
                    "share": 0.25
                  }
                }
              ],
              "served": [
                {
                  "streams": 8,
                  "prompt_tokens": 128,
                  "answer_tokens": 64,
                  "requests": 16,
                  "failed": 1,
                  "error": "status 429",
                  "tokens_per_second": {
                    "median": 96.0,
                    "min": 90.0,
                    "max": 102.0
                  },
                  "time_to_first_token_ms": {
                    "p50": 150.0,
                    "p95": 250.5,
                    "max": 260.0
                  },
                  "inter_token_ms": {
                    "p50": 20.25,
                    "p95": 30.0,
                    "max": 99.0
                  },
                  "finish_ratio": 1.25
                }
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&report).unwrap());
    }

    #[test]
    fn a_server_has_no_facts() {
        let json = serde_json::to_value(Report::of_server("theirs".into(), Vec::new())).unwrap();
        assert_eq!(json["model"], "theirs");
        assert!(json.get("architecture").is_none() && json["machine"].is_null());
    }
}
