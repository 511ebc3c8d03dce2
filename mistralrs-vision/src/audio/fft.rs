//! A Fourier transform of a power of two, in f64. Knows numbers only. Source: Cooley and Tukey (1965).

/// Bit reversal and roots of unity for one length.
#[derive(Debug, Clone)]
pub(super) struct Fft {
    /// (cos, sin) of −2πi/n for i below n/2.
    roots: Vec<(f64, f64)>,
    len: usize,
}

impl Fft {
    /// The next power of two that is at least `len`.
    pub fn new(len: usize) -> Self {
        let len = len.next_power_of_two();
        let root = |i: usize| {
            let (sin, cos) = (-std::f64::consts::TAU * i as f64 / len as f64).sin_cos();
            (cos, sin)
        };
        Self { roots: (0..len / 2).map(root).collect(), len }
    }

    /// |X₀| … |X_{n/2}| of a real signal, which is padded with zeros.
    pub fn magnitudes(&self, signal: &[f64]) -> Vec<f64> {
        let mut values = vec![(0f64, 0f64); self.len];
        let shift = usize::BITS - self.len.trailing_zeros();
        for (i, sample) in signal.iter().take(self.len).enumerate() {
            let at = if self.len == 1 { 0 } else { i.reverse_bits() >> shift };
            if let Some(value) = values.get_mut(at) {
                value.0 = *sample;
            }
        }
        let mut half = 1;
        while half < self.len {
            let stride = self.len / (2 * half);
            for block in values.chunks_exact_mut(2 * half) {
                let (even, odd) = block.split_at_mut(half);
                let roots = self.roots.iter().step_by(stride);
                for ((a, b), root) in even.iter_mut().zip(odd).zip(roots) {
                    let turned = (b.0 * root.0 - b.1 * root.1, b.0 * root.1 + b.1 * root.0);
                    *b = (a.0 - turned.0, a.1 - turned.1);
                    *a = (a.0 + turned.0, a.1 + turned.1);
                }
            }
            half *= 2;
        }
        values.iter().take(self.len / 2 + 1).map(|(re, im)| re.hypot(*im)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_definition_says() {
        for (len, given) in [(1, 1), (2, 2), (8, 5), (64, 64), (512, 300)] {
            let signal: Vec<f64> = (0..given).map(|i| ((i * i * 7) % 23) as f64 - 11.).collect();
            let found = Fft::new(len).magnitudes(&signal);
            assert_eq!(found.len(), len / 2 + 1);
            for (k, found) in found.into_iter().enumerate() {
                let angle = |i: usize| -std::f64::consts::TAU * (i * k) as f64 / len as f64;
                let re: f64 = signal.iter().enumerate().map(|(i, s)| s * angle(i).cos()).sum();
                let im: f64 = signal.iter().enumerate().map(|(i, s)| s * angle(i).sin()).sum();
                assert!((found - re.hypot(im)).abs() < 1e-8, "{len} {k}");
            }
        }
    }
}
