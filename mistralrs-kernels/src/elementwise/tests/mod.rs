//! Each instruction set against the oracle; rows do not depend on their neighbors.

use super::*;
use crate::dispatch::all_kernels;
use crate::scalar;
use proptest::prelude::*;

fn near(found: &[f32], wanted: &[f32], relative: f32) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), wanted.len());
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        // Where exp overflows, the answer becomes 0 a little early.
        let bound = relative * wanted.abs() + 1e-34;
        prop_assert!((found - wanted).abs() <= bound, "[{i}]: {found}, not {wanted}");
    }
    Ok(())
}

fn numbers(len: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(prop_oneof![8 => -4.0f32..4.0, 1 => -95.0f32..95.0], len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn norms_match(rows in 1usize..5, cols in 1usize..66, all in numbers(5 * 66 + 66)) {
        let (weight, x) = all.split_at(cols);
        let x = &x[..rows * cols];
        let mut wanted = vec![0.0; x.len()];
        scalar::rms_norm(x, weight, 1e-5, &mut wanted);
        for kernels in all_kernels() {
            let mut out = vec![f32::NAN; x.len()];
            // SAFETY: these kernels' instruction set is present.
            unsafe { (kernels.rms_norm)(x, weight, 1e-5, &mut out) };
            near(&out, &wanted, 1e-5)?;
            let mut last = vec![f32::NAN; cols];
            // SAFETY: as above.
            unsafe { (kernels.rms_norm)(&x[(rows - 1) * cols..], weight, 1e-5, &mut last) };
            prop_assert_eq!(&last[..], &out[(rows - 1) * cols..]);
        }
    }

    #[test]
    fn layer_norms_match(rows in 1usize..5, cols in 2usize..66, all in numbers(7 * 66)) {
        let (weight, rest) = all.split_at(cols);
        let (bias, x) = rest.split_at(cols);
        let x = &x[..rows * cols];
        for bias in [None, Some(bias)] {
            let mut wanted = vec![0.0; x.len()];
            scalar::layer_norm(x, weight, bias, 1e-5, &mut wanted);
            for kernels in all_kernels() {
                let mut out = vec![f32::NAN; x.len()];
                // SAFETY: these kernels' instruction set is present.
                unsafe { (kernels.layer_norm)(x, (weight, bias), 1e-5, &mut out) };
                for (found, wanted) in out.iter().zip(&wanted) {
                    // Mean and number may nearly cancel.
                    prop_assert!((found - wanted).abs() < 2e-3 + 1e-5 * wanted.abs(), "{found} {wanted}");
                }
                let mut last = vec![f32::NAN; cols];
                // SAFETY: as above.
                unsafe { (kernels.layer_norm)(&x[(rows - 1) * cols..], (weight, bias), 1e-5, &mut last) };
                prop_assert_eq!(&last[..], &out[(rows - 1) * cols..]);
            }
        }
    }

    #[test]
    fn exact_gelu_matches(x in numbers(70)) {
        let mut wanted = x.clone();
        scalar::gelu(&mut wanted);
        for kernels in all_kernels() {
            let mut out = x.clone();
            // SAFETY: these kernels' instruction set is present.
            unsafe { (kernels.gelu)(&mut out) };
            for ((found, wanted), x) in out.iter().zip(&wanted).zip(&x) {
                prop_assert!((found - wanted).abs() < 1e-6 * x.abs().max(1.0), "{x}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn numbers_that_gate_themselves_match(x in numbers(70)) {
        for (factor, cubic) in [(1.0, 0.0), (1.702, 0.0), (1.595_769, 0.044_715)] {
            let mut wanted = x.clone();
            scalar::gate_itself(&mut wanted, factor, cubic);
            for kernels in all_kernels() {
                let mut out = x.clone();
                // SAFETY: these kernels' instruction set is present.
                unsafe { (kernels.gate_itself)(&mut out, factor, cubic) };
                for ((found, wanted), x) in out.iter().zip(&wanted).zip(&x) {
                    prop_assert!((found - wanted).abs() < 2e-6 * x.abs().max(1.0), "{x}: {found} {wanted}");
                }
            }
        }
        let mut three = [x.clone(), x.clone(), x];
        let mut wanted = three.clone();
        silu(&mut three[0]);
        quick_gelu(&mut three[1]);
        gelu_tanh(&mut three[2]);
        for (wanted, (factor, cubic)) in wanted.iter_mut().zip([(1.0, 0.0), (1.702, 0.0), (1.595_769, 0.044_715)]) {
            scalar::gate_itself(wanted, factor, cubic);
        }
        for (found, wanted) in three.iter().flatten().zip(wanted.iter().flatten()) {
            prop_assert!((found - wanted).abs() < 2e-4, "{found} {wanted}");
        }
    }

    #[test]
    fn caps_match(x in numbers(70), cap in 0.5f32..60.0) {
        let mut wanted = x.clone();
        scalar::softcap(&mut wanted, cap);
        for kernels in all_kernels() {
            let mut out = x.clone();
            // SAFETY: these kernels' instruction set is present.
            unsafe { (kernels.softcap)(&mut out, cap) };
            for (found, wanted) in out.iter().zip(&wanted) {
                prop_assert!((found - wanted).abs() <= 1e-6 * wanted.abs() + 1e-30, "{found} {wanted}");
            }
        }
    }

    #[test]
    fn rotations_match(
        tokens in 1usize..4,
        heads in 1usize..4,
        head_dim in 1usize..40,
        half in 1usize..20,
        neighbors in any::<bool>(),
        x in numbers(3 * 3 * 40),
        angles in proptest::collection::vec(-4.0f32..4.0, 3 * 20),
    ) {
        let half = half.min(head_dim / 2);
        let pairs = if neighbors { RopePairs::Neighbors } else { RopePairs::Halves };
        let shape = RopeShape { heads, head_dim, rotary_dim: 2 * half, pairs };
        let x = &x[..tokens * heads * head_dim];
        let cos: Vec<f32> = angles[..tokens * half].iter().map(|a| a.cos()).collect();
        let sin: Vec<f32> = angles[..tokens * half].iter().map(|a| a.sin()).collect();
        let mut wanted = x.to_vec();
        if half > 0 {
            scalar::rope(&mut wanted, shape, &cos, &sin);
        }
        let close = |found: &[f32]| {
            found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 2e-5)
        };
        let mut out = x.to_vec();
        rope(&mut out, shape, &cos, &sin);
        prop_assert!(close(&out));
        if half > 0 {
            for kernels in all_kernels() {
                let mut out = x.to_vec();
                // SAFETY: these kernels' instruction set is present.
                unsafe { (kernels.rope)(&mut out, shape, &cos, &sin) };
                prop_assert!(close(&out), "{}", kernels.isa.name());
            }
        }
    }

    #[test]
    fn activations_match(len in 0usize..66, all in numbers(2 * 66)) {
        let (gate, up) = (&all[..len], &all[66..66 + len]);
        let (mut silu, mut gelu) = (vec![0.0; len], vec![0.0; len]);
        scalar::silu_mul(gate, up, &mut silu);
        scalar::gelu_tanh_mul(gate, up, &mut gelu);
        for kernels in all_kernels() {
            let mut out = vec![f32::NAN; len];
            // SAFETY: these kernels' instruction set is present.
            unsafe { (kernels.silu_mul)(gate, up, &mut out) };
            // An argument near 90 loses bits of its own in exp.
            near(&out, &silu, 1e-5)?;
            // SAFETY: as above.
            unsafe { (kernels.gelu_tanh_mul)(gate, up, &mut out) };
            for (found, wanted) in out.iter().zip(&gelu) {
                prop_assert!((found - wanted).abs() <= 1e-5 * wanted.abs() + 1e-6);
            }
        }
    }

    #[test]
    fn softmax_and_max_match(len in 1usize..66, all in numbers(66)) {
        let x = &all[..len];
        let mut wanted = x.to_vec();
        scalar::softmax(&mut wanted);
        for kernels in all_kernels() {
            let mut out = x.to_vec();
            // SAFETY: these kernels' instruction set is present.
            unsafe { (kernels.softmax)(&mut out) };
            near(&out, &wanted, 1e-5)?;
            // SAFETY: as above.
            let max = unsafe { (kernels.max)(x) };
            prop_assert_eq!(max, x[scalar::argmax(x)]);
        }
    }

    #[test]
    fn argmax_matches(x in proptest::collection::vec(
        prop_oneof![6 => (-3i32..3).prop_map(|x| x as f32), 1 => Just(f32::NAN),
                    1 => Just(f32::NEG_INFINITY), 1 => Just(-0.0f32)],
        0..70,
    )) {
        prop_assert_eq!(argmax(&x), scalar::argmax(&x));
    }
}

#[test]
fn argmax_of_extremes() {
    assert_eq!(argmax(&[]), 0);
    assert_eq!(argmax(&[f32::NAN, f32::NAN]), 0);
    assert_eq!(argmax(&[f32::NAN, f32::NEG_INFINITY]), 1);
    assert_eq!(argmax(&[1.0, 3.0, 3.0, f32::NAN]), 1);
    assert_eq!(argmax(&[1.0, f32::INFINITY, f32::INFINITY]), 1);
}

#[test]
fn large_inputs_are_split_without_a_seam() {
    let (rows, cols) = (300, 333);
    let x: Vec<f32> = (0..rows * cols).map(|i| ((i * 7919) % 1000) as f32 / 300.0 - 1.5).collect();
    let weight = &x[..cols];
    let (mut out, mut wanted) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    rms_norm(&x, weight, 1e-6, &mut out);
    scalar::rms_norm(&x, weight, 1e-6, &mut wanted);
    near(&out, &wanted, 1e-5).unwrap();
    silu_mul(&x, &wanted, &mut out);
    let up = wanted.clone();
    scalar::silu_mul(&x, &up, &mut wanted);
    near(&out, &wanted, 1e-5).unwrap();
    let shape = RopeShape { heads: 3, head_dim: 111, rotary_dim: 60, pairs: RopePairs::Halves };
    let angles: Vec<f32> = (0..rows * 30).map(|i| i as f32 * 0.01).collect();
    let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
    let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
    let (mut out, mut wanted) = (x.clone(), x.clone());
    rope(&mut out, shape, &cos, &sin);
    scalar::rope(&mut wanted, shape, &cos, &sin);
    assert!(out.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn activations_keep_extremes() {
    let gate = [f32::MAX, -f32::MAX, 0.0, -0.0, 100.0, -100.0, f32::NAN];
    let up = [1.0; 7];
    for kernels in all_kernels() {
        for kernel in [kernels.silu_mul, kernels.gelu_tanh_mul] {
            let mut out = [7.0; 7];
            // SAFETY: these kernels' instruction set is present.
            unsafe { kernel(&gate, &up, &mut out) };
            assert_eq!(out[..5], [f32::MAX, 0.0, 0.0, 0.0, 100.0]);
            assert!(out[5].abs() < 1e-36 && out[6].is_nan());
        }
    }
}

#[test]
#[should_panic(expected = "not of out's size")]
fn unequal_sizes_are_refused() {
    silu_mul(&[0.0; 3], &[0.0; 2], &mut [0.0; 3]);
}

#[test]
fn sums_are_those_of_each_number() {
    for len in [0, 1, 17, PARALLEL + 5] {
        let x: Vec<f32> = (0..len).map(|i| i as f32 * 0.37 - 9.0).collect();
        let mut sum: Vec<f32> = x.iter().map(|x| 3.0 - x * x).collect();
        let wanted: Vec<f32> = sum.iter().zip(&x).map(|(a, b)| a + b).collect();
        add(&mut sum, &x);
        assert_eq!(sum, wanted);
    }
    let mut rows: Vec<f32> = (0..3 * PARALLEL).map(|i| i as f32).collect();
    add_to_rows(&mut rows, &[0.5, 1.5, -2.5]);
    for (i, x) in rows.iter().enumerate() {
        assert_eq!(*x, i as f32 + [0.5, 1.5, -2.5][i % 3]);
    }
}
