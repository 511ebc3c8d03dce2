//! The figures of a benchmark: medians, the table, and what goes into the JSON file.
//! `scripts/bench_compare.py` reads that file: what it reads may not be renamed.

use super::measure::Sample;
use super::plan::{Case, Kind};
use mistralrs_core::Llm;
use serde::Serialize;
use std::time::Duration;

/// Everything measured, and on what.
#[derive(Debug, Serialize)]
pub struct Report {
    version: u32,
    model: String,
    architecture: String,
    num_parameters: u64,
    weight_bytes: u64,
    weight_types: String,
    instruction_set: &'static str,
    threads: usize,
    /// Seconds from the start of the process until the model was loaded.
    load_s: f64,
    /// Seconds from the start of the process until the first token was drawn.
    start_to_first_token_s: f64,
    /// One per case.
    pub rows: Vec<Row>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    test: &'static str,
    tokens: usize,
    depth: usize,
    concurrency: usize,
    tokens_per_second: Summary,
    time_to_first_token_ms: Summary,
    #[serde(skip)]
    name: String,
}

/// What is left of some numbers.
#[derive(Debug, Serialize, PartialEq)]
pub struct Summary {
    median: f64,
    min: f64,
    max: f64,
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
    /// From the repetitions of a case.
    pub fn new(case: &Case, samples: &[Sample]) -> Self {
        let summary = |of: fn(&Sample) -> f64| Summary::new(samples.iter().map(of).collect());
        Self {
            test: match case.kind {
                Kind::Prompt => "pp",
                Kind::Generate => "tg",
            },
            tokens: case.tokens,
            depth: case.depth,
            concurrency: case.concurrency,
            tokens_per_second: summary(|sample| sample.tokens_per_second),
            time_to_first_token_ms: summary(|sample| {
                sample.time_to_first_token.as_secs_f64() * 1e3
            }),
            name: case.name(),
        }
    }
}

impl Report {
    /// The report before any row.
    pub fn new(llm: &Llm, loaded: Duration, first_token: Duration) -> Self {
        let info = llm.info();
        Self {
            version: 1,
            model: info.id.clone(),
            architecture: info.architecture.clone(),
            num_parameters: info.num_parameters,
            weight_bytes: info.weight_bytes,
            weight_types: info.weight_types.clone(),
            instruction_set: mistralrs_core::instruction_set(),
            threads: mistralrs_core::compute_threads(),
            load_s: loaded.as_secs_f64(),
            start_to_first_token_s: first_token.as_secs_f64(),
            rows: Vec::new(),
        }
    }

    /// What people read.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} ({}), {:.2} M parameters, {:.1} MB: {}\n{} · {} threads · loaded after {:.2} s, first token after {:.2} s\n\n",
            self.model,
            self.architecture,
            self.num_parameters as f64 / 1e6,
            self.weight_bytes as f64 / 1e6,
            self.weight_types,
            self.instruction_set,
            self.threads,
            self.load_s,
            self.start_to_first_token_s,
        );
        let cells = |row: &Row| {
            let speed = &row.tokens_per_second;
            let per_token = 1e3 / speed.median * row.concurrency as f64;
            [
                row.name.clone(),
                format!("{:.1}", speed.median),
                format!("{:.1} – {:.1}", speed.min, speed.max),
                format!("{per_token:.2}"),
                format!("{:.1}", row.time_to_first_token_ms.median),
            ]
        };
        let head = ["test", "tok/s", "min – max", "ms/token", "TTFT ms"].map(str::to_owned);
        let rows: Vec<[String; 5]> =
            std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let widths: [usize; 5] = std::array::from_fn(|i| {
            rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)
        });
        for (i, row) in rows.iter().enumerate() {
            let [name, rest @ ..] = row;
            text.push_str(&format!("| {name:<0$} |", widths[0]));
            for (cell, width) in rest.iter().zip(&widths[1..]) {
                text.push_str(&format!(" {cell:>width$} |"));
            }
            text.push('\n');
            if i == 0 {
                text.push_str(&format!("|{}|", "-".repeat(widths[0] + 2)));
                for width in &widths[1..] {
                    text.push_str(&format!("{}:|", "-".repeat(width + 1)));
                }
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn medians() {
        assert_eq!(Summary::new(vec![3.0, 1.0, 2.0]), Summary { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Summary::new(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Summary::new(vec![5.0]), Summary { median: 5.0, min: 5.0, max: 5.0 });
    }

    fn report() -> Report {
        let sample = |tokens_per_second: f64, ms: u64| Sample {
            tokens_per_second,
            time_to_first_token: Duration::from_millis(ms),
        };
        let case = |kind, tokens, depth, concurrency| Case { kind, tokens, depth, concurrency };
        Report {
            version: 1,
            model: "tiny".into(),
            architecture: "LlamaForCausalLM".into(),
            num_parameters: 260_000,
            weight_bytes: 1_040_000,
            weight_types: "F32 ×48".into(),
            instruction_set: "scalar",
            threads: 2,
            load_s: 0.5,
            start_to_first_token_s: 0.75,
            rows: vec![
                Row::new(
                    &case(Kind::Prompt, 512, 0, 1),
                    &[sample(1000.0, 512), sample(1200.0, 427)],
                ),
                Row::new(&case(Kind::Generate, 128, 1024, 4), &[sample(80.0, 9)]),
            ],
        }
    }

    #[test]
    fn the_table() {
        expect![[r#"
            tiny (LlamaForCausalLM), 0.26 M parameters, 1.0 MB: F32 ×48
            scalar · 2 threads · loaded after 0.50 s, first token after 0.75 s

            | test             |  tok/s |       min – max | ms/token | TTFT ms |
            |------------------|-------:|----------------:|---------:|--------:|
            | pp512            | 1100.0 | 1000.0 – 1200.0 |     0.91 |   469.5 |
            | tg128 @ d1024 ×4 |   80.0 |     80.0 – 80.0 |    50.00 |     9.0 |
        "#]]
        .assert_eq(&report().table());
    }

    #[test]
    fn the_json() {
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
                  }
                },
                {
                  "test": "tg",
                  "tokens": 128,
                  "depth": 1024,
                  "concurrency": 4,
                  "tokens_per_second": {
                    "median": 80.0,
                    "min": 80.0,
                    "max": 80.0
                  },
                  "time_to_first_token_ms": {
                    "median": 9.0,
                    "min": 9.0,
                    "max": 9.0
                  }
                }
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&report()).unwrap());
    }
}
