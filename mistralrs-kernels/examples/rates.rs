//! How fast one thread computes, kernel by kernel, beside what the processor gives: reading memory,
//! fused multiply-adds. Runs are short and the best one counts, so neighbors on a shared machine disturb little.
//!
//! `cargo run --release -p mistralrs-kernels --example rates [INSTRUCTION_SET [COLS ROWS [ONLY]]]`
//! ONLY is how the lines begin that are wanted: `F32`, `attention, 14 heads`.

use mistralrs_kernels::{
    AttentionShape, AttentionSpan, CacheSlice, PackedWeight, QuantType, Slabs, WeightRows, add,
    bidirectional_attention, force_instruction_set, instruction_set, matmul_packed, measure_peaks,
    paged_attention, q8_head_bytes, round_to_q8, with_threads,
};
use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = arguments.first() {
        force_instruction_set(name)?;
    }
    let size = |at: usize, usual: usize| arguments.get(at).map_or(Ok(usual), |text| text.parse());
    let (cols, rows) = (size(1, 896)?, size(2, 4864)?);
    say(&format!(
        "{}, one thread, the best of half a second each; weights [{rows}, {cols}]",
        instruction_set()
    ));
    let only = arguments.get(3).map_or("", String::as_str);
    with_threads(NonZeroUsize::MIN, || {
        memory();
        for ty in [
            QuantType::Q4_0,
            QuantType::Q4_K,
            QuantType::Q5_0,
            QuantType::Q6_K,
            QuantType::Q8_0,
            QuantType::IQ4_NL,
            QuantType::BF16,
            QuantType::F32,
        ] {
            if ty.name().starts_with(only) {
                products(ty, cols, rows);
            }
        }
        attention(only);
    });
    Ok(())
}

fn say(line: &str) {
    // Who closes the pipe wants no more of it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Seconds that `work` takes: the least of the runs within half a second, which are short, so that some run is not
/// interrupted.
fn seconds(mut work: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut least = f64::INFINITY;
    while begin.elapsed().as_secs_f64() < 0.5 {
        let start = Instant::now();
        work();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}

/// Reading what no cache holds.
fn memory() {
    let (from, mut to) = (vec![1.0f32; 16 << 20], vec![0.0f32; 16 << 20]);
    let bytes = size_of_val(&from[..]) as f64;
    let time = seconds(|| add(black_box(&mut to), black_box(&from)));
    say(&format!(
        "memory: {:.1} GB/s read, {:.1} written",
        2e-9 * bytes / time,
        1e-9 * bytes / time
    ));
}

/// Products of weights that take turns, enough that none stays in the cache of its core.
fn products(ty: QuantType, cols: usize, rows: usize) {
    let row_bytes = ty.row_bytes(cols).unwrap_or(0);
    if row_bytes == 0 {
        return say(&format!("{}: {cols} columns are no whole blocks", ty.name()));
    }
    let count = (256usize << 20).div_ceil(row_bytes * rows);
    let mut stored = vec![0; row_bytes * rows];
    for (i, row) in stored.chunks_exact_mut(row_bytes).enumerate() {
        let numbers: Vec<f32> = (0..cols).map(|c| ((i * 31 + c * 17) % 97) as f32 - 48.0).collect();
        ty.quantize_row(&numbers, row);
    }
    let slabs = Slabs::default();
    let weights: Vec<PackedWeight> = (0..count)
        .filter_map(|_| PackedWeight::new(&WeightRows { ty, bytes: &stored, rows, cols }, &slabs))
        .collect();
    let bytes: usize = weights.iter().map(PackedWeight::size).sum();
    let mut line = format!("{:<5}", ty.name());
    for m in [1, 2, 4, 8, 16, 32, 64, 512] {
        let x: Vec<f32> = (0..m * cols).map(|i| (i % 83) as f32 * 0.01 - 0.4).collect();
        let mut y = vec![0.0; m * rows];
        let mut turns = weights.iter().cycle();
        let time = seconds(|| {
            if let Some(w) = turns.next() {
                matmul_packed(w, black_box(&x), black_box(&mut y));
            }
        });
        let operations = 2.0 * (rows * cols * m) as f64;
        line += &match m {
            1 => format!(" 1: {:.1} GB/s", bytes as f64 / count as f64 / time * 1e-9),
            _ => format!(" | {m}: {:.0} Gop/s", operations / time * 1e-9),
        };
    }
    say(&format!("{line}, {}", peak()));
}

/// What the processor gives at the moment: neighbors on a shared machine may take a third of it.
fn peak() -> String {
    format!("peak {:.0} GFLOP/s", measure_peaks(0).f32_operations * 1e-9)
}

/// Numbers that look random, between -1 and 1.
fn numbers(count: usize) -> impl Iterator<Item = f32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
}

/// Attention of Qwen2.5-0.5B's shape, for a prompt and for single tokens; that of two towers.
fn attention(only: &str) {
    let shape = AttentionShape {
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        block_size: 32,
        scale: 1.0,
        window: None,
        softcap: None,
    };
    for (rows, context) in [(512, 512), (512, 2048), (1, 1024), (1, 4096)] {
        let cache: Vec<f32> = numbers(context * 128).collect();
        let halves: Vec<_> = cache.iter().copied().map(half::f16::from_f32).collect();
        let mut bytes = vec![0; 2 * context * q8_head_bytes(64)];
        round_to_q8(&cache, 64, &mut bytes);
        let seen: usize = (context - rows + 1..=context).sum();
        for (kept, cache) in
            [("halves", CacheSlice::F16(&halves)), ("bytes", CacheSlice::Q8(&bytes))]
        {
            attend((only, kept), &shape, (rows, context, seen), |q, span| {
                let cache = black_box(cache);
                black_box(paged_attention(&shape, q, cache, Some(cache), &[span]));
            });
        }
    }
    for head_dim in [72, 80] {
        let shape = AttentionShape { heads: 16, kv_heads: 16, head_dim, block_size: 1, ..shape };
        for rows in [64, 1024] {
            let cache: Vec<_> = numbers(rows * 16 * head_dim).collect();
            attend((only, "floats"), &shape, (rows, rows, rows * rows), |q, span| {
                let cache = CacheSlice::F32(black_box(&cache));
                black_box(bidirectional_attention(&shape, q, cache, Some(cache), &[span]));
            });
        }
    }
}

/// The time of some rows behind a context, in which queries see so many positions.
fn attend(
    (only, kept): (&str, &str),
    shape: &AttentionShape,
    (rows, context, seen): (usize, usize, usize),
    work: impl Fn(&[f32], AttentionSpan<'_>),
) {
    let name = format!(
        "attention, {} heads of {} in {kept}, {rows} rows over {context} positions",
        shape.heads, shape.head_dim
    );
    if !name.starts_with(only) {
        return;
    }
    let q: Vec<f32> = numbers(rows * shape.heads * shape.head_dim).collect();
    let table: Vec<u32> = (0..context.div_ceil(shape.block_size) as u32).collect();
    let span = AttentionSpan {
        query_start: 0,
        query_len: rows,
        context_len: context,
        block_table: &table,
        together: &[],
    };
    let time = seconds(|| work(black_box(&q), span));
    let operations = (seen * shape.heads * shape.head_dim * 4) as f64;
    let rate = operations / time * 1e-9;
    say(&format!("{name}: {:.2} ms, {rate:.0} GFLOP/s, {}", time * 1e3, peak()));
}
