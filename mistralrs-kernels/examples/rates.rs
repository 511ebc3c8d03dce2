//! How fast one thread computes, kernel by kernel, beside what the processor gives: reading memory,
//! fused multiply-adds. Rates are per second of CPU time, so neighbors on a shared machine disturb little.
//!
//! `cargo run --release -p mistralrs-kernels --example rates [INSTRUCTION_SET [COLS ROWS]]`

use mistralrs_kernels::{
    AttentionShape, AttentionSpan, CacheSlice, PackedWeight, QuantType, Slabs, WeightRows, add,
    force_instruction_set, instruction_set, matmul_packed, paged_attention, with_threads,
};
use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::num::NonZeroUsize;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = arguments.first() {
        force_instruction_set(name)?;
    }
    let size = |at: usize, usual: usize| arguments.get(at).map_or(Ok(usual), |text| text.parse());
    let (cols, rows) = (size(1, 896)?, size(2, 4864)?);
    say(&format!(
        "{}, one thread, per second of CPU time; weights [{rows}, {cols}]",
        instruction_set()
    ));
    with_threads(NonZeroUsize::MIN, || {
        memory();
        for ty in [
            QuantType::Q4_0,
            QuantType::Q4_K,
            QuantType::Q5_0,
            QuantType::Q6_K,
            QuantType::Q8_0,
            QuantType::BF16,
            QuantType::F32,
        ] {
            products(ty, cols, rows);
        }
        attention();
    });
    Ok(())
}

fn say(line: &str) {
    // Who closes the pipe wants no more of it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Seconds of CPU time of this thread; the least of several runs of `work`, after one that is not measured.
fn seconds(mut work: impl FnMut()) -> f64 {
    let cpu = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0) * 1e-9
    };
    work();
    let one = |_| {
        let start = cpu();
        work();
        cpu() - start
    };
    (0..7).map(one).fold(f64::INFINITY, f64::min)
}

/// Reading what no cache holds.
fn memory() {
    let (from, mut to) = (vec![1.0f32; 64 << 20], vec![0.0f32; 64 << 20]);
    let time = seconds(|| add(black_box(&mut to), black_box(&from)));
    say(&format!(
        "memory: {:.1} GB/s read, {:.1} written",
        2.0 * 0.268_435 / time,
        0.268_435 / time
    ));
}

/// Products of enough weights that none stays in a cache.
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
        let few = if m >= 64 { weights.len().min(8) } else { weights.len() };
        let time = seconds(|| {
            weights[..few].iter().for_each(|w| matmul_packed(w, black_box(&x), black_box(&mut y)));
        });
        let operations = 2.0 * (few * rows * cols * m) as f64;
        line += &match m {
            1 => format!(" 1: {:.1} GB/s", bytes as f64 / time * 1e-9),
            _ => format!(" | {m}: {:.0} Gop/s", operations / time * 1e-9),
        };
    }
    say(&line);
}

/// Attention of Qwen2.5-0.5B's shape, for a prompt and for single tokens.
fn attention() {
    let shape = AttentionShape {
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        block_size: 32,
        scale: 0.125,
        window: None,
        softcap: None,
    };
    for (rows, context) in [(512, 512), (512, 2048), (1, 1024), (1, 4096)] {
        let cache = vec![half::f16::from_f32(0.3); context * 128];
        let q = vec![0.1; rows * 14 * 64];
        let table: Vec<u32> = (0..context as u32 / 32).collect();
        let span = AttentionSpan {
            query_start: 0,
            query_len: rows,
            context_len: context,
            block_table: &table,
            together: &[],
        };
        let layers = 24;
        let time = seconds(|| {
            for _ in 0..layers {
                let cache = CacheSlice::F16(black_box(&cache));
                black_box(paged_attention(&shape, black_box(&q), cache, cache, &[span]));
            }
        });
        let seen: usize = (context - rows + 1..=context).sum();
        let operations = (layers * seen * 14 * 64 * 4) as f64;
        say(&format!(
            "attention of {rows} rows over {context} positions, 24 layers: {:.2} ms, {:.0} GFLOP/s",
            time * 1e3,
            operations / time * 1e-9
        ));
    }
}
