//! What the machine allows a model: the time that memory and arithmetic need at least for what a test does.
//! Pure; knows no kernel, so it says nothing of how a kernel goes about it.

use super::plan::{Case, Kind};
use mistralrs_core::{MatrixCost, Peaks, QuantType, TokenCost};

/// A model on a machine.
#[derive(Debug, Clone, Copy)]
pub struct Roofline<'a> {
    /// What the machine gives.
    pub peaks: &'a Peaks,
    /// What a token costs.
    pub cost: &'a TokenCost,
}

impl Roofline<'_> {
    /// The most tokens per second of all requests together.
    ///
    /// Memory: matrices are read once, the keys and values of every request besides. Arithmetic: two operations per
    /// number of a matrix and row, at the peak for its type, and attention's at that of floats. What takes longer
    /// counts, as if both went on at once.
    pub fn tokens_per_second(&self, case: &Case) -> f64 {
        let (requests, tokens) = (case.concurrency as f64, case.tokens as f64);
        let depth = case.depth as f64;
        let work = match case.kind {
            Kind::Prompt => Work {
                requests,
                rows: tokens,
                seen: tokens * depth + tokens * (tokens + 1.0) / 2.0,
                context: depth + tokens,
            },
            // In the midst of the answer.
            Kind::Generate => {
                let context = depth.max(1.0) + tokens / 2.0;
                Work { requests, rows: 1.0, seen: context, context }
            }
        };
        requests * work.rows / self.memory_time(&work).max(self.arithmetic_time(&work))
    }

    fn memory_time(&self, work: &Work) -> f64 {
        let Some(rate) = self.peaks.read_bytes else { return 0.0 };
        // Of experts, those that at least one row has chosen.
        let read = |it: &MatrixCost| 1.0 - (1.0 - it.share).powf(work.requests * work.rows);
        let matrices: f64 = self.cost.matrices.iter().map(|it| it.bytes as f64 * read(it)).sum();
        (matrices + work.requests * work.context * self.cost.kv_bytes as f64) / rate
    }

    fn arithmetic_time(&self, work: &Work) -> f64 {
        let matrix = |it: &MatrixCost| {
            let rows = if it.is_head { 1.0 } else { work.rows };
            2.0 * it.numbers as f64 * it.share * rows / self.rate(it.ty)
        };
        let matrices: f64 = self.cost.matrices.iter().map(matrix).sum();
        let attention = work.seen * self.cost.attention_operations as f64 / self.float_rate();
        work.requests * (matrices + attention)
    }

    /// Operations per second with weights of a type.
    fn rate(&self, ty: QuantType) -> f64 {
        match ty {
            QuantType::F32 | QuantType::F16 => self.peaks.f32_operations,
            QuantType::BF16 => self.float_rate(),
            _ => self.peaks.int8_operations.unwrap_or(self.peaks.f32_operations),
        }
    }

    fn float_rate(&self) -> f64 {
        self.peaks.f32_operations.max(self.peaks.bf16_operations.unwrap_or(0.0))
    }
}

/// What is done between two tokens of a request, or until the first.
struct Work {
    requests: f64,
    /// Rows of each request.
    rows: f64,
    /// Pairs of a row and a token that it sees, of each request.
    seen: f64,
    /// Tokens whose keys and values are read, of each request.
    context: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAKS: Peaks = Peaks {
        read_bytes: Some(1e9),
        int8_operations: Some(1e12),
        bf16_operations: None,
        f32_operations: 1e11,
    };

    fn cost() -> TokenCost {
        let matrix = |is_head, numbers, bytes| MatrixCost {
            ty: QuantType::Q8_0,
            is_head,
            share: 1.0,
            numbers,
            bytes,
        };
        TokenCost {
            matrices: vec![matrix(false, 9_000_000, 9_000_000), matrix(true, 1_000_000, 1_000_000)],
            kv_bytes: 1000,
            attention_operations: 1000,
        }
    }

    fn limit(kind: Kind, tokens: usize, depth: usize, concurrency: usize) -> f64 {
        let case = Case { kind, tokens, depth, concurrency };
        Roofline { peaks: &PEAKS, cost: &cost() }.tokens_per_second(&case)
    }

    fn close(found: f64, wanted: f64) {
        assert!((found / wanted - 1.0).abs() < 1e-9, "{found}, not {wanted}");
    }

    #[test]
    fn decoding_is_held_up_by_memory() {
        // 10 MB of weights and 1 kB for each of 100 tokens, at 1 GB/s.
        close(limit(Kind::Generate, 100, 50, 1), 1e9 / (10e6 + 100e3));
        // The weights are read once for all: until arithmetic counts, more requests are faster.
        close(limit(Kind::Generate, 100, 50, 8), 8.0 * 1e9 / (10e6 + 8.0 * 100e3));
        let step: f64 = 1000.0 * (2.0 * 10e6 / 1e12 + 100.0 * 1000.0 / 1e11);
        close(limit(Kind::Generate, 100, 50, 1000), 1000.0 / step.max((10e6 + 1e8) / 1e9));
    }

    #[test]
    fn prompts_are_held_up_by_arithmetic() {
        // The head computes one row of 2000; every token sees those before it and itself.
        let seen = 2000.0 * 2001.0 / 2.0;
        let time = 2000.0 * 18e6 / 1e12 + 2e6 / 1e12 + seen * 1000.0 / 1e11;
        close(limit(Kind::Prompt, 2000, 0, 1), 2000.0 / time);
        let deep = time + 2000.0 * 500.0 * 1000.0 / 1e11;
        close(limit(Kind::Prompt, 2000, 500, 1), 2000.0 / deep);
    }

    #[test]
    fn what_the_machine_lacks_is_computed_otherwise() {
        let cost = cost();
        let case = Case { kind: Kind::Prompt, tokens: 1000, depth: 0, concurrency: 1 };
        let of = |peaks: Peaks| Roofline { peaks: &peaks, cost: &cost }.tokens_per_second(&case);
        let without = Peaks { int8_operations: None, ..PEAKS };
        assert!(of(without) < of(PEAKS) / 5.0, "in 32-bit floats");
        let unread = Peaks { read_bytes: None, ..without };
        assert_eq!(of(unread), of(without));
        let halves = Peaks { bf16_operations: Some(1e13), ..PEAKS };
        assert!(of(halves) > of(PEAKS), "attention in 16-bit floats");
    }

    #[test]
    fn experts_that_nobody_chose_are_not_read() {
        let mut cost = cost();
        cost.matrices[0].share = 0.25;
        let case = |concurrency| Case { kind: Kind::Generate, tokens: 2, depth: 1, concurrency };
        let time = |concurrency| {
            let roofline = Roofline { peaks: &PEAKS, cost: &cost };
            concurrency as f64 / roofline.tokens_per_second(&case(concurrency))
        };
        close(time(1), (0.25 * 9e6 + 1e6 + 2000.0) / 1e9);
        close(time(2), ((1.0 - 0.75f64.powi(2)) * 9e6 + 1e6 + 2.0 * 2000.0) / 1e9);
    }
}
