//! What the machine gives: bytes read per second, and operations per second in bytes, 16-bit and 32-bit floats,
//! with the chosen instruction set and all threads of the pool. The ceilings that a benchmark holds its
//! figures against. Knows no kernel: a loop here does one thing and nothing with its result.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::dispatch;
#[cfg(any(test, not(target_arch = "x86_64")))]
use crate::dispatch::Isa;
use crate::pool;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long each of the units is measured.
const ARITHMETIC_TIME: Duration = Duration::from_millis(150);
/// Memory differs more from moment to moment.
const READING_TIME: Duration = Duration::from_millis(400);
/// Loops of a turn: a fraction of a millisecond, so that a thread that is held up holds up little.
const LOOPS: usize = 1 << 16;
/// Turns per thread of a pass.
const TURNS: usize = 8;
/// What one turn reads.
const PART_BYTES: usize = 1 << 20;
/// Independent sums: enough to hide the latency of an instruction, and few enough for 16 registers.
const CHAINS: usize = 12;

/// What the machine gives, per second, all threads together; the best of several passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Bytes read from memory; `None` if there is no memory to read.
    pub read_bytes: Option<f64>,
    /// Multiplications and additions of bytes, added up in 32 bits; `None` without instructions for that.
    pub int8_operations: Option<f64>,
    /// Multiplications and additions of bfloat16, added up in 32 bits; `None` without instructions for that.
    pub bf16_operations: Option<f64>,
    /// Multiplications and additions of 32-bit floats.
    pub f32_operations: f64,
}

/// An arithmetic unit at full speed.
struct Unit {
    /// Goes around so many times; to be called only where the instruction set is present.
    run: unsafe fn(usize) -> f32,
    /// Operations each time.
    operations: usize,
}

/// The units of an instruction set, and how it reads memory best.
struct Units {
    int8: Option<Unit>,
    bf16: Option<Unit>,
    f32: Unit,
    /// Reads all numbers; to be called only where the instruction set is present.
    read: unsafe fn(&[u8]) -> u64,
}

/// Measures for about a second. `memory_bytes` are read: more than the caches hold, and what the machine
/// can spare.
pub fn measure_peaks(memory_bytes: usize) -> Peaks {
    let units = units(dispatch::chosen());
    Peaks {
        read_bytes: read_bytes(&units, memory_bytes),
        int8_operations: units.int8.as_ref().map(operations),
        bf16_operations: units.bf16.as_ref().map(operations),
        f32_operations: operations(&units.f32),
    }
}

#[cfg(target_arch = "x86_64")]
use x86::units;

#[cfg(not(target_arch = "x86_64"))]
fn units(_: Isa) -> Units {
    let f32 = Unit { run: multiply_add, operations: 2 * 4 * CHAINS };
    Units { int8: None, bf16: None, f32, read: |bytes| read(bytes) }
}

/// The most that `pass` does per second of several passes; it says how much it has done.
fn best_rate(time: Duration, pass: impl Fn() -> f64) -> f64 {
    let began = Instant::now();
    let mut best = 0.0f64;
    while began.elapsed() < time {
        let start = Instant::now();
        let done = pass();
        best = best.max(done / start.elapsed().as_secs_f64().max(1e-9));
    }
    best
}

fn operations(unit: &Unit) -> f64 {
    let turns = TURNS * pool::threads();
    best_rate(ARITHMETIC_TIME, || {
        pool::in_parallel(turns, |_| {
            // SAFETY: the instruction set is the chosen one, so it is present.
            black_box(unsafe { (unit.run)(black_box(LOOPS)) });
        });
        (turns * LOOPS * unit.operations) as f64
    })
}

fn read_bytes(units: &Units, memory_bytes: usize) -> Option<f64> {
    let parts = memory_bytes / PART_BYTES;
    let mut memory = MmapMut::map_anon(parts * PART_BYTES).ok()?;
    #[cfg(target_os = "linux")]
    {
        // As weights lie in memory.
        let _ = memory.advise(Advice::HugePage);
    }
    // A page that nobody has written has no memory of its own.
    pool::in_parallel_parts(&mut memory, PART_BYTES, |at, part| part.fill(at as u8 | 1));
    let rate = best_rate(READING_TIME, || {
        pool::in_parallel(parts, |at| {
            let part = &memory[at * PART_BYTES..(at + 1) * PART_BYTES];
            // SAFETY: the instruction set is the chosen one, so it is present.
            black_box(unsafe { (units.read)(part) });
        });
        (parts * PART_BYTES) as f64
    });
    (rate > 0.0).then_some(rate)
}

/// Looks at all bytes but a rest of less than 512.
#[inline(always)]
fn read(bytes: &[u8]) -> u64 {
    let mut seen = [0u64; 64];
    for line in bytes.chunks_exact(512) {
        for (seen, word) in seen.iter_mut().zip(line.chunks_exact(8)) {
            *seen |= word.try_into().map_or(0, u64::from_le_bytes);
        }
    }
    seen.iter().fold(0, |all, seen| all | seen)
}

/// Plain arithmetic on four lanes per chain.
#[cfg(not(target_arch = "x86_64"))]
fn multiply_add(loops: usize) -> f32 {
    let (a, b) = (black_box(0.5f32), black_box(0.25f32));
    let mut sums: [[f32; 4]; CHAINS] = std::array::from_fn(|at| [at as f32; 4]);
    for _ in 0..loops {
        for sum in &mut sums {
            // The sum is a factor, or the product would be computed once and for all.
            *sum = sum.map(|sum| sum * a + b);
        }
    }
    sums.iter().flatten().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    /// No rate is asserted, but that each is one, and that units which the instruction set has are measured.
    #[test]
    fn every_unit_is_measured() {
        let peaks = pool::with_threads(NonZeroUsize::MIN, || measure_peaks(4 * PART_BYTES));
        let name = dispatch::instruction_set();
        let rates = [peaks.read_bytes, peaks.int8_operations, peaks.bf16_operations];
        for rate in rates.into_iter().flatten().chain([peaks.f32_operations]) {
            assert!(rate.is_finite() && rate > 1e6, "{name}: {peaks:?}");
        }
        assert!(peaks.read_bytes.is_some());
        assert_eq!(peaks.int8_operations.is_some(), name != "scalar", "{name}");
        assert_eq!(measure_peaks(0).read_bytes, None);
    }

    #[test]
    fn all_bytes_are_read() {
        let mut bytes = vec![0u8; 4096];
        for at in [0, 7, 511, 512, 4095] {
            bytes[at] = 0x80;
            for isa in Isa::available() {
                // SAFETY: the instruction set is present.
                let seen = unsafe { (units(isa).read)(&bytes) };
                assert_eq!(seen, 0x80 << (8 * (at % 8)), "{} at {at}", isa.name());
            }
            bytes[at] = 0;
        }
    }

    /// A loop does as many operations as it says: the sums are what that many steps give.
    #[test]
    fn loops_do_what_they_say() {
        for isa in Isa::available() {
            let units = units(isa);
            for unit in [units.int8, units.bf16, Some(units.f32)].into_iter().flatten() {
                // SAFETY: the instruction set is present.
                let results = [1, 2, 3].map(|loops| unsafe { (unit.run)(loops) });
                assert!(results.iter().all(|result| result.is_finite()), "{}", isa.name());
                assert!(results[0] != results[1] && results[1] != results[2], "{}", isa.name());
                assert!(unit.operations.is_multiple_of(2 * CHAINS));
            }
        }
    }
}
