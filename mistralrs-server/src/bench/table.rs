//! A benchmark's figures as text for people.

use super::report::{Facts, Machine, Report, Row};
use super::serve::figures::ServedRow;

/// What people read.
pub fn text(report: &Report) -> String {
    let mut paragraphs = vec![head(report)];
    if !report.rows.is_empty() {
        paragraphs.push(tests(&report.rows));
    }
    if !report.served.is_empty() {
        paragraphs.push(served(&report.served));
    }
    paragraphs.join("\n")
}

fn head(report: &Report) -> String {
    let mut text = report.model.clone();
    if let Some(facts) = &report.facts {
        text += &about(facts);
    }
    if let Some(machine) = &report.machine {
        text += &format!("\nthis machine gives {}", gives(machine));
    }
    text + "\n"
}

fn about(facts: &Facts) -> String {
    let memory =
        facts.peak_memory_bytes.map(|bytes| format!(" · at most {:.0} MB held", mega(bytes)));
    format!(
        " ({}), {:.2} M parameters, {:.1} MB: {}\n{} · {} threads · loaded after {:.2} s, first token after {:.2} s{}",
        facts.architecture,
        mega(facts.num_parameters),
        mega(facts.weight_bytes),
        facts.weight_types,
        facts.instruction_set,
        facts.threads,
        facts.load_s,
        facts.start_to_first_token_s,
        memory.unwrap_or_default(),
    )
}

fn mega(number: u64) -> f64 {
    number as f64 / 1e6
}

fn gives(machine: &Machine) -> String {
    let rates = [
        machine.read_gb.map(|rate| format!("{rate:.1} GB/s read")),
        machine.int8_gop.map(|rate| format!("{rate:.0} Gop/s in bytes")),
        machine.bf16_gflop.map(|rate| format!("{rate:.0} GFLOP/s in bfloat16")),
        Some(format!("{:.0} GFLOP/s in 32 bits", machine.f32_gflop)),
    ];
    rates.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn tests(rows: &[Row]) -> String {
    let held = rows.iter().any(|row| row.roofline.is_some());
    let mut head = vec!["test", "tok/s", "min – max", "ms/token", "TTFT ms"];
    if held {
        head.extend(["limit tok/s", "of it"]);
    }
    let cells = |row: &Row| {
        let speed = &row.tokens_per_second;
        let per_token = 1e3 / speed.median * row.concurrency as f64;
        let mut cells = vec![
            row.name.clone(),
            format!("{:.1}", speed.median),
            format!("{:.1} – {:.1}", speed.min, speed.max),
            format!("{per_token:.2}"),
            format!("{:.1}", row.time_to_first_token_ms.median),
        ];
        match &row.roofline {
            Some(limit) => cells.extend([
                format!("{:.1}", limit.tokens_per_second),
                format!("{:.0} %", limit.share * 100.0),
            ]),
            None if held => cells.extend([String::new(), String::new()]),
            None => {}
        }
        cells
    };
    grid(&head, rows.iter().map(cells).collect())
}

fn served(rows: &[ServedRow]) -> String {
    let head = [
        "streams",
        "in + out",
        "tok/s",
        "min – max",
        "TTFT ms p50 / p95",
        "between tokens ms p50 / p95",
        "finish max/min",
        "failed",
    ];
    let cells = |row: &ServedRow| {
        let (speed, first, gap) =
            (&row.tokens_per_second, &row.time_to_first_token_ms, &row.inter_token_ms);
        vec![
            row.streams.to_string(),
            format!("{} + {}", row.prompt_tokens, row.answer_tokens),
            format!("{:.1}", speed.median),
            format!("{:.1} – {:.1}", speed.min, speed.max),
            format!("{:.0} / {:.0}", first.p50, first.p95),
            format!("{:.1} / {:.1}", gap.p50, gap.p95),
            format!("{:.2}", row.finish_ratio),
            format!("{} of {}", row.failed, row.requests),
        ]
    };
    let errors = rows.iter().filter_map(|row| row.error.as_ref());
    let errors = errors.map(|error| format!("a request failed: {error}\n"));
    grid(&head, rows.iter().map(cells).collect()) + &errors.collect::<String>()
}

/// A table in Markdown; the first column to the left, the others to the right.
fn grid(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |at: usize| {
        lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..).map_while(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (at, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            text += &match at {
                0 => format!("| {cell:<width$} |"),
                _ => format!(" {cell:>width$} |"),
            };
        }
        text.push('\n');
        if number == 0 {
            for (at, &width) in widths.iter().enumerate() {
                text += &match at {
                    0 => format!("|{}|", "-".repeat(width + 2)),
                    _ => format!("{}:|", "-".repeat(width + 1)),
                };
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_table() {
        expect![[r#"
            tiny (LlamaForCausalLM), 0.26 M parameters, 1.0 MB: F32 ×48
            scalar · 2 threads · loaded after 0.50 s, first token after 0.75 s · at most 31 MB held
            this machine gives 26.7 GB/s read · 335 GFLOP/s in 32 bits

            | test             |  tok/s |       min – max | ms/token | TTFT ms | limit tok/s | of it |
            |------------------|-------:|----------------:|---------:|--------:|------------:|------:|
            | pp512            | 1100.0 | 1000.0 – 1200.0 |     0.91 |   469.5 |      4400.0 |  25 % |
            | tg128 @ d1024 ×4 |   80.0 |     80.0 – 80.0 |    50.00 |     9.0 |             |       |

            | streams | in + out | tok/s |    min – max | TTFT ms p50 / p95 | between tokens ms p50 / p95 | finish max/min |  failed |
            |---------|---------:|------:|-------------:|------------------:|----------------------------:|---------------:|--------:|
            | 8       | 128 + 64 |  96.0 | 90.0 – 102.0 |         150 / 250 |                 20.2 / 30.0 |           1.25 | 1 of 16 |
            a request failed: status 429
        "#]].assert_eq(&text(&report()));
    }

    #[test]
    fn without_peaks_there_are_no_limits() {
        let mut report = report();
        report.rows.remove(0);
        report.machine = None;
        report.served.clear();
        let text = text(&report);
        assert!(!text.contains("limit") && !text.contains("gives"), "{text}");
    }
}
