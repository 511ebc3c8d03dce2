//! Bfloat16 in twelve bits against the same in sixteen, to the bit.

use super::*;

impl Case {
    /// The same, bfloat16 in twelve bits whatever it holds.
    fn in_twelve_bits(&self, kernels: PackedKernels) -> Self {
        let PackedWeight { ty, layout, rows, cols, .. } = self.packed;
        let layout = Layout { twelve: true, ..layout };
        let w = WeightRows { ty, bytes: &self.stored, rows, cols };
        let packed = PackedWeight::pack_as(layout, kernels, &[w], &Slabs::default()).unwrap();
        Self { stored: self.stored.clone(), packed, x: self.x.clone(), m: self.m }
    }
}

/// Kernels that take bfloat16 in twelve bits, the twin first.
fn kernels_of_twelve() -> impl Iterator<Item = PackedKernels> {
    let fast = fast_kernels().filter(|it| it.twelve.is_some() && it.pairs.is_none());
    std::iter::once(twins()[1]).chain(fast)
}

/// Many numbers with exponents of their own, zeros of both signs and what is no normal number among them.
fn check_twelve(shape: (usize, usize, usize), seed: u64) {
    let mut plain = Case::new(QuantType::BF16, shape, seed);
    for (at, number) in plain.stored.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        match (at as u64 ^ seed) % 97 {
            5 => *number = 0u16.to_le_bytes(),
            6 => *number = 0x8000_u16.to_le_bytes(),
            7 => *number = 0x8013_u16.to_le_bytes(),
            8 => *number = 0x5a21_u16.to_le_bytes(),
            _ => {}
        }
    }
    let (rows, cols, m) = shape;
    let plain = Case::of(QuantType::BF16, (rows, cols, m), plain.stored, seed);
    let wanted = plain.multiply(twins()[1], &plain.x);
    let of_twin = plain.in_twelve_bits(twins()[1]);
    let (apart, all) = (of_twin.packed.beside.iter().map(Beside::size).sum::<usize>(), rows * cols);
    assert!(apart > 0 || all < 200, "{shape:?}: nothing is kept apart");
    for kernels in kernels_of_twelve() {
        let case = plain.in_twelve_bits(kernels);
        assert!(case.packed.memory[..] == of_twin.packed.memory[..], "{shape:?}");
        assert_eq!(case.packed.beside, of_twin.packed.beside, "{shape:?}");
        let mut row = vec![f32::NAN; cols];
        for (at, wanted) in plain.weights().chunks_exact(cols).enumerate() {
            case.packed.dequantize_row(at, &mut row);
            assert_eq!(bits(&row), bits(wanted), "{shape:?}, row {at}");
        }
        assert!(bits(&case.multiply(kernels, &plain.x)) == bits(&wanted), "{shape:?}");
        for i in [0, m / 2, m - 1] {
            let alone = case.multiply(kernels, &plain.x[i * cols..(i + 1) * cols]);
            assert_eq!(bits(&alone), bits(&wanted[i * rows..(i + 1) * rows]), "{shape:?}, {i}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn twelve_bits_change_no_product((rows, cols, m, seed) in (1usize..90, 17usize..400, 1usize..35, any::<u32>())) {
        check_twelve((rows, cols, m), u64::from(seed));
    }
}

#[test]
fn twelve_bits_change_no_long_product() {
    for m in 1..=17 {
        check_twelve((50, 512, m), m as u64);
    }
    check_twelve((34, 1650, 340), 7);
    // A row that ends long before its block does.
    check_twelve((1, 17, 1), 0);
}

/// Numbers that are distributed as weights of a layer are take twelve bits; others are left in sixteen.
#[test]
fn twelve_bits_where_they_suit() {
    for kernels in kernels_of_twelve() {
        let packed = |numbers: &[f32]| {
            let mut stored = vec![0; 2 * numbers.len()];
            QuantType::BF16.quantize_row(numbers, &mut stored);
            let w = WeightRows { ty: QuantType::BF16, bytes: &stored, rows: 64, cols: 512 };
            PackedWeight::pack(kernels, &[w], &Slabs::default()).unwrap()
        };
        // Sums of several are nearly normal; rows of different sizes, and some without anything.
        let parts: Vec<_> = (0..8).map(|seed| noise(seed, 64 * 512)).collect();
        let sum = |at: usize| parts.iter().map(|part| part[at].cbrt()).sum::<f32>();
        let normal: Vec<_> = (0..64 * 512)
            .map(
                |at| if at / 512 % 20 == 3 { 0.0 } else { sum(at) * 1.5f32.powi(at as i32 / 8192) },
            )
            .collect();
        let bits = packed(&normal).size() as f64 * 8.0 / (64.0 * 512.0);
        assert!((12.0..12.2).contains(&bits), "{bits} bits");
        let wild: Vec<_> =
            parts[0].iter().enumerate().map(|(at, x)| x * 2f32.powi(at as i32 % 40)).collect();
        assert_eq!(packed(&wild).size(), 2 * 64 * 512);
    }
}

/// Experts in one stack, and a gated block, of weights in twelve bits.
#[test]
fn stacks_and_gated_blocks_of_twelve_bits() {
    let parts = [1, 2, 3].map(|seed| Case::new(QuantType::BF16, (48, 96, 5), seed));
    let [gate, up] = [4, 5].map(|seed| Case::new(QuantType::BF16, (250, 256, 19), seed));
    let down = Case::new(QuantType::BF16, (40, 250, 1), 6);
    let x = noise(7, 19 * 256);
    for kernels in all_kernels() {
        let Some(packed) = kernels.packed.filter(|it| it.twelve.is_some() && it.pairs.is_none())
        else {
            continue;
        };
        let rows = parts.each_ref().map(|case| WeightRows {
            ty: QuantType::BF16,
            bytes: &case.stored,
            rows: 48,
            cols: 96,
        });
        let layout = Layout { twelve: true, ..parts[0].packed.layout };
        let stack = PackedWeight::pack_as(layout, packed, &rows, &Slabs::default()).unwrap();
        for (at, case) in parts.iter().enumerate() {
            // With all rows, and with few: they are multiplied in two ways.
            for rows in [1, 5, 19] {
                let x = &x[..rows * 96];
                let product = |part: PackedPart<'_>| {
                    let mut y = vec![f32::NAN; rows * 48];
                    multiply_parts_on(Some(packed), &[part.with_bias(&x[..48])], x, &mut [&mut y]);
                    bits(&y)
                };
                assert_eq!(
                    product(stack.part(at)),
                    product(PackedPart::from(&case.packed)),
                    "{at}"
                );
            }
        }
        let block = |weights: [&PackedWeight; 3]| {
            let [gate, up, down] = weights.map(PackedPart::from);
            let weights = GatedWeights { gate, up, down };
            bits(&gated::mlp_on(kernels, weights, &x, Gating::Silu).unwrap())
        };
        let twelve = [&gate, &up, &down].map(|case| case.in_twelve_bits(packed));
        let found = block(twelve.each_ref().map(|case| &case.packed));
        assert_eq!(found, block([&gate, &up, &down].map(|case| &case.packed)));
    }
}
