//! Each instruction set against the oracle; a query's result never depends on the batch.

use super::*;
use crate::dispatch::all_kernels;
use crate::scalar::{self, widen_q8};
use proptest::prelude::*;

/// Sequences in a paged cache, each with queries for its last positions.
struct Case {
    shape: AttentionShape,
    /// `(query_len, context_len, block table)`
    sequences: Vec<(usize, usize, Vec<u32>)>,
    /// Of each sequence, what sees both ways.
    together: Vec<Vec<Range<usize>>>,
    q: Vec<f32>,
    /// Keys and values of all slots, one after the other.
    rows: [Vec<f32>; 2],
    /// Both as they lie in the cache, and as far as it tells them apart.
    k: Vec<f32>,
    v: Vec<f32>,
    kept: Kept,
}

/// Fills the slots of both caches one after the other.
fn store_all(
    shape: &AttentionShape,
    (k, v): (&[f32], &[f32]),
    k_cache: CacheSliceMut<'_>,
    v_cache: CacheSliceMut<'_>,
) {
    let AttentionShape { kv_heads, head_dim, block_size, .. } = *shape;
    let shape = CacheShape { kv_heads, head_dim, block_size };
    let slots: Vec<_> = (0..k.len() / (kv_heads * head_dim)).collect();
    store_keys(&shape, k, &slots, k_cache);
    store_values(&shape, v, &slots, v_cache);
}

/// Keys and values as the cache holds them, where it does not hold the case's own.
enum Kept {
    F32,
    F16(Vec<f16>, Vec<f16>),
    Q8(Vec<u8>, Vec<u8>),
}

fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 2.0
        })
        .collect()
}

impl Case {
    fn new(shape: AttentionShape, lengths: &[(usize, usize)], seed: u64) -> Self {
        let mut blocks = 0u32;
        let mut sequences = Vec::new();
        for (query_len, context_len) in lengths {
            let count = context_len.div_ceil(shape.block_size) as u32;
            // Backwards, so that neighbors in the sequence are none in the cache.
            sequences.push((*query_len, *context_len, (blocks..blocks + count).rev().collect()));
            blocks += count;
        }
        let tokens: usize = lengths.iter().map(|(query_len, _)| query_len).sum();
        let slots = blocks as usize * shape.block_size;
        let numbers = slots * shape.kv_heads * shape.head_dim;
        let mut case = Self {
            shape,
            together: vec![Vec::new(); sequences.len()],
            sequences,
            q: noise(seed, tokens * shape.heads * shape.head_dim),
            rows: [noise(seed + 1, numbers), noise(seed + 2, numbers)],
            k: vec![0.0; numbers],
            v: vec![0.0; numbers],
            kept: Kept::F32,
        };
        case.poison();
        let Self { rows: [k, v], k: k_cache, v: v_cache, .. } = &mut case;
        store_all(&shape, (k, v), CacheSliceMut::F32(k_cache), CacheSliceMut::F32(v_cache));
        case
    }

    /// Slots that no sequence fills hold NaN: reading one would show.
    fn poison(&mut self) {
        let slot = self.shape.kv_heads * self.shape.head_dim;
        let block = self.shape.block_size * slot;
        for (_, context_len, table) in &self.sequences {
            if let Some(last) = table.last() {
                let used = context_len - (table.len() - 1) * self.shape.block_size;
                let rest = *last as usize * block + used * slot..(*last as usize + 1) * block;
                self.rows.iter_mut().for_each(|rows| rows[rest.clone()].fill(f32::NAN));
            }
        }
    }

    fn spans(&self) -> Vec<AttentionSpan<'_>> {
        let mut query_start = 0;
        let sequences = self.sequences.iter().zip(&self.together);
        sequences
            .map(|((query_len, context_len, block_table), together)| {
                let span = AttentionSpan {
                    query_start,
                    query_len: *query_len,
                    context_len: *context_len,
                    block_table,
                    together,
                };
                query_start += query_len;
                span
            })
            .collect()
    }

    fn cache(&self) -> (CacheSlice<'_>, Option<CacheSlice<'_>>) {
        let (k, v) = match &self.kept {
            Kept::F32 => (CacheSlice::F32(&self.k), CacheSlice::F32(&self.v)),
            Kept::F16(k, v) => (CacheSlice::F16(k), CacheSlice::F16(v)),
            Kept::Q8(k, v) => (CacheSlice::Q8(k), CacheSlice::Q8(v)),
        };
        (k, Some(v))
    }

    /// The same with a cache of halves; the oracle sees the numbers rounded to them.
    fn halved(mut self) -> Self {
        let mut caches = [vec![f16::ZERO; self.k.len()], vec![f16::ZERO; self.v.len()]];
        let [k, v] = &mut caches;
        let rows = (&self.rows[0][..], &self.rows[1][..]);
        store_all(&self.shape, rows, CacheSliceMut::F16(k), CacheSliceMut::F16(v));
        let [k, v] = caches;
        self.k = k.iter().map(|x| x.to_f32()).collect();
        self.v = v.iter().map(|x| x.to_f32()).collect();
        self.kept = Kept::F16(k, v);
        self
    }

    /// The same with a cache of bytes.
    fn quantized(mut self) -> Self {
        let dim = self.shape.head_dim;
        let bytes = self.k.len() / dim * q8_head_bytes(dim);
        let (mut k, mut v) = (vec![0; bytes], vec![0; bytes]);
        let rows = (&self.rows[0][..], &self.rows[1][..]);
        store_all(&self.shape, rows, CacheSliceMut::Q8(&mut k), CacheSliceMut::Q8(&mut v));
        (self.k, self.v) = (widen_q8(&k, dim, self.shape.block_size), widen_q8(&v, dim, 1));
        self.kept = Kept::Q8(k, v);
        self
    }

    fn run(&self, kernels: &Kernels, spans: &[AttentionSpan<'_>]) -> Vec<f32> {
        attend_on(kernels, (&self.shape, Sight::Back), &self.q, self.cache(), spans)
    }

    fn run_both_ways(&self, kernels: &Kernels, spans: &[AttentionSpan<'_>]) -> Vec<f32> {
        attend_on(kernels, (&self.shape, Sight::BothWays), &self.q, self.cache(), spans)
    }
}

/// The same queries in parts of at most `len` rows; earlier parts see a shorter context.
fn cut<'a>(spans: &[AttentionSpan<'a>], len: usize) -> Vec<AttentionSpan<'a>> {
    let mut parts = Vec::new();
    for span in spans {
        for first in (0..span.query_len).step_by(len) {
            let query_len = len.min(span.query_len - first);
            let later = span.query_len - first - query_len;
            parts.push(AttentionSpan {
                query_start: span.query_start + first,
                query_len,
                context_len: span.context_len - later,
                ..*span
            });
        }
    }
    parts
}

fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

fn check_case(case: &Case, chunk: usize) -> Result<(), TestCaseError> {
    let spans = case.spans();
    let mut wanted = vec![0.25; case.q.len()];
    scalar::paged_attention(&case.shape, &case.q, &case.k, &case.v, &spans, &mut wanted);
    for kernels in all_kernels() {
        let name = kernels.isa.name();
        let out = case.run(kernels, &spans);
        for (i, (found, wanted)) in out.iter().zip(&wanted).enumerate() {
            let miss = (found - wanted).abs();
            prop_assert!(miss <= 2e-5, "{name}: [{i}] is {found}, not {wanted}");
        }
        // Every sequence alone.
        let width = case.shape.heads * case.shape.head_dim;
        for span in &spans {
            let alone = case.run(kernels, std::slice::from_ref(span));
            let rows = span.query_start * width..(span.query_start + span.query_len) * width;
            prop_assert_eq!(bits(&alone[rows.clone()]), bits(&out[rows]), "{}: alone", name);
        }
        // In chunks, and token by token.
        for len in [chunk, 1] {
            let pieces = case.run(kernels, &cut(&spans, len));
            prop_assert_eq!(bits(&pieces), bits(&out), "{}: in parts of {}", name, len);
        }
    }
    Ok(())
}

fn check_both_ways(case: &Case) -> Result<(), TestCaseError> {
    let spans = case.spans();
    let mut wanted = vec![0.25; case.q.len()];
    scalar::bidirectional_attention(&case.shape, &case.q, &case.k, &case.v, &spans, &mut wanted);
    for kernels in all_kernels() {
        let name = kernels.isa.name();
        let out = case.run_both_ways(kernels, &spans);
        for (i, (found, wanted)) in out.iter().zip(&wanted).enumerate() {
            let miss = (found - wanted).abs();
            prop_assert!(miss <= 2e-5, "{name}: [{i}] is {found}, not {wanted}");
        }
        let width = case.shape.heads * case.shape.head_dim;
        for span in &spans {
            let alone = case.run_both_ways(kernels, std::slice::from_ref(span));
            let rows = span.query_start * width..(span.query_start + span.query_len) * width;
            prop_assert_eq!(bits(&alone[rows.clone()]), bits(&out[rows]), "{}: alone", name);
        }
    }
    Ok(())
}

fn any_case() -> impl Strategy<Value = (AttentionShape, Vec<(usize, usize)>, u32)> {
    let lengths = proptest::collection::vec((1usize..12, 0usize..150), 1..4);
    let shape = (1usize..4, 1usize..7, 1usize..81, 1usize..20);
    let window = prop_oneof![3 => Just(None), 2 => (0usize..90).prop_map(Some)];
    let softcap = prop_oneof![3 => Just(None), 1 => Just(Some(5.0f32))];
    (shape, lengths, window, softcap, any::<u32>()).prop_map(
        |((kv_heads, group, head_dim, block_size), lengths, window, softcap, seed)| {
            let shape = AttentionShape {
                heads: kv_heads * group,
                kv_heads,
                head_dim,
                block_size,
                scale: 1.0 / (head_dim as f32).sqrt(),
                window,
                softcap,
            };
            let lengths = lengths
                .iter()
                .map(|(query_len, before)| (*query_len, query_len + before))
                .collect();
            (shape, lengths, seed)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn attention_matches_the_oracle_and_never_depends_on_the_batch(
        (shape, lengths, seed) in any_case(),
        chunk in 2usize..12,
    ) {
        check_case(&Case::new(shape, &lengths, u64::from(seed)), chunk)?;
        check_case(&Case::new(shape, &lengths, u64::from(seed)).halved(), chunk)?;
        check_case(&Case::new(shape, &lengths, u64::from(seed)).quantized(), chunk)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_ways_matches_the_oracle_and_never_depends_on_the_batch(
        (shape, lengths, seed) in any_case(),
    ) {
        // An encoder's queries are all of its positions.
        let lengths: Vec<_> = lengths.iter().map(|&(_, len)| (len, len)).collect();
        check_both_ways(&Case::new(shape, &lengths, u64::from(seed)))?;
    }

    #[test]
    fn without_a_window_queries_may_be_more_or_fewer_than_positions(
        (shape, lengths, seed) in any_case(), more in any::<bool>(),
    ) {
        let swap = |&(few, many): &(usize, usize)| if more { (many, few) } else { (few, many) };
        let lengths: Vec<_> = lengths.iter().map(swap).collect();
        let shape = AttentionShape { window: None, ..shape };
        check_both_ways(&Case::new(shape, &lengths, u64::from(seed)))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn groups_see_each_other_both_ways(
        (shape, lengths, seed) in any_case(),
        cuts in proptest::collection::vec((0usize..30, 1usize..90), 1..4),
    ) {
        let mut case = Case::new(shape, &lengths, u64::from(seed));
        for ((_, context_len, _), together) in case.sequences.iter().zip(&mut case.together) {
            let mut next = 0;
            for (gap, len) in &cuts {
                let group = next + gap..(next + gap + len).min(*context_len);
                if group.start < group.end {
                    next = group.end;
                    together.push(group);
                }
            }
        }
        let spans = case.spans();
        let mut wanted = vec![0.25; case.q.len()];
        scalar::paged_attention(&case.shape, &case.q, &case.k, &case.v, &spans, &mut wanted);
        let width = case.shape.heads * case.shape.head_dim;
        for kernels in all_kernels() {
            let out = case.run(kernels, &spans);
            for (found, wanted) in out.iter().zip(&wanted) {
                let name = kernels.isa.name();
                prop_assert!((found - wanted).abs() <= 2e-5, "{name}: {found}, not {wanted}");
            }
            for span in &spans {
                let alone = case.run(kernels, std::slice::from_ref(span));
                let rows = span.query_start * width..(span.query_start + span.query_len) * width;
                prop_assert_eq!(bits(&alone[rows.clone()]), bits(&out[rows]));
            }
        }
    }
}

#[test]
#[should_panic(expected = "of 60 positions")]
fn groups_beyond_the_context_are_refused() {
    let mut case = Case::new(plain(2, 1, 8), &[(2, 60)], 1);
    case.together[0].push(58..61);
    case.run(dispatch::kernels(), &case.spans());
}

#[test]
fn both_ways_over_many_tiles() {
    for window in [None, Some(1), Some(65), Some(129)] {
        let shape = AttentionShape { window, block_size: 1, ..plain(4, 4, 32) };
        check_both_ways(&Case::new(shape, &[(300, 300), (1, 1), (64, 64), (65, 65)], 3)).unwrap();
    }
}

#[test]
#[should_panic(expected = "not all of its positions")]
fn both_ways_with_a_window_wants_whole_texts() {
    let shape = AttentionShape { window: Some(4), ..plain(2, 1, 8) };
    let case = Case::new(shape, &[(2, 3)], 1);
    let (k, v) = case.cache();
    bidirectional_attention(&case.shape, &case.q, k, v, &case.spans());
}

#[test]
#[should_panic(expected = "kinds differ")]
fn caches_of_two_kinds_are_refused() {
    let case = Case::new(plain(2, 1, 8), &[(2, 3)], 1).halved();
    let (k, v) = (case.cache().0, CacheSlice::F32(&case.v));
    paged_attention(&case.shape, &case.q, k, Some(v), &case.spans());
}

/// Where the values are the keys, both are of one layout; the result is that of values of their own.
#[test]
fn keys_may_be_the_values() {
    for (head_dim, block_size) in [(16, 16), (40, 32), (72, 5), (24, 8), (20, 1), (576, 32)] {
        let shape = AttentionShape { block_size, ..plain(6, 2, head_dim) };
        let case = || {
            let mut case = Case::new(shape, &[(3, 100), (1, 7), (40, 70)], 11);
            case.rows[1] = case.rows[0].clone();
            let Case { rows: [k, v], k: k_cache, v: v_cache, .. } = &mut case;
            store_all(&shape, (k, v), CacheSliceMut::F32(k_cache), CacheSliceMut::F32(v_cache));
            case
        };
        for case in [case(), case().halved(), case().quantized()] {
            let spans = case.spans();
            let (k, v) = case.cache();
            for kernels in all_kernels() {
                let attend = |v| attend_on(kernels, (&shape, Sight::Back), &case.q, (k, v), &spans);
                assert_eq!(bits(&attend(None)), bits(&attend(v)), "{head_dim}, {block_size}");
            }
        }
    }
}

fn plain(heads: usize, kv_heads: usize, head_dim: usize) -> AttentionShape {
    AttentionShape {
        heads,
        kv_heads,
        head_dim,
        block_size: 16,
        scale: 1.0 / (head_dim as f32).sqrt(),
        window: None,
        softcap: None,
    }
}

#[test]
fn long_prompts_beside_single_tokens() {
    let case = Case::new(plain(14, 2, 64), &[(70, 200), (1, 300), (1, 1), (40, 40)], 5);
    check_case(&case, 33).unwrap();
    check_case(&case.halved(), 33).unwrap();
    let case = Case::new(plain(14, 2, 64), &[(70, 200), (1, 300), (1, 1), (40, 40)], 6);
    check_case(&case.quantized(), 33).unwrap();
}

/// A copied tile and what is read in place give the same bits, for every number of rows side by side.
#[test]
fn few_rows_read_halves_where_they_lie() {
    for (group, (head_dim, block_size), window) in [
        (1, (64, 32), None),
        (2, (16, 16), Some(70)),
        (3, (128, 32), None),
        (4, (32, 48), Some(3)),
        (5, (48, 64), None),
        (6, (80, 16), Some(150)),
        (7, (64, 32), None),
        (8, (112, 32), Some(64)),
        (9, (32, 32), None),
        (16, (16, 32), None),
    ] {
        let shape = AttentionShape { window, block_size, ..plain(2 * group, 2, head_dim) };
        let lengths = [(1, 200), (2, 77), (30, 130), (1, 64), (1, 1), (3, 600)];
        check_case(&Case::new(shape, &lengths, group as u64).halved(), 2).unwrap();
    }
}

/// Contexts of several stretches are the same numbers whoever adds them up.
#[test]
fn long_contexts_may_be_shared_out() {
    for (heads, window, lengths) in [
        (1, None, &[(1, 5 * SPLIT + 7)][..]),
        (3, Some(SPLIT + 90), &[(2, 3 * SPLIT)]),
        (2, None, &[(1, SPLIT), (3, SPLIT + 1), (1, 20)]),
        (2, Some(9), &[(5, 2 * SPLIT + 3)]),
    ] {
        let shape = AttentionShape { window, ..plain(2 * heads, heads, 40) };
        let case = Case::new(shape, lengths, 3);
        let spans = case.spans();
        let mut wanted = vec![0.0; case.q.len()];
        scalar::paged_attention(&shape, &case.q, &case.k, &case.v, &spans, &mut wanted);
        for kernels in all_kernels() {
            let on = |threads| {
                let threads = std::num::NonZeroUsize::new(threads).unwrap();
                pool::with_threads(threads, || case.run(kernels, &spans))
            };
            let out = on(1);
            assert!(out.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 2e-5), "{lengths:?}");
            for threads in [2, 3, 8] {
                assert_eq!(bits(&on(threads)), bits(&out), "{lengths:?} by {threads}");
            }
            let one_by_one = case.run(kernels, &cut(&spans, 1));
            assert_eq!(bits(&one_by_one), bits(&out), "{lengths:?}");
        }
    }
}

/// Sums of neighboring positions join to those of all, whichever has the largest score, and what is no number
/// stays none.
#[test]
fn a_stretch_without_a_number_is_not_lost() {
    let mut case = Case::new(plain(2, 1, 16), &[(1, 2 * SPLIT)], 3);
    case.k[16] = f32::NAN;
    for kernels in all_kernels() {
        let out = case.run(kernels, &case.spans());
        assert!(out.iter().all(|y| y.is_nan()), "{}", kernels.isa.name());
    }
}

#[test]
fn scores_of_any_size_stay_finite() {
    let mut case = Case::new(plain(4, 2, 16), &[(3, 100), (1, 7)], 9);
    for q in &mut case.q {
        *q *= 1e4;
    }
    let out = case.run(dispatch::kernels(), &case.spans());
    let mut wanted = vec![0.0; out.len()];
    scalar::paged_attention(&case.shape, &case.q, &case.k, &case.v, &case.spans(), &mut wanted);
    assert!(out.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-2), "{out:?}");
}

#[test]
fn rows_that_see_nothing_and_rows_of_no_span_are_zero() {
    let mut case = Case::new(plain(2, 1, 8), &[(3, 3), (2, 2)], 1);
    for kernels in all_kernels() {
        // Two positions, three queries: the first stands before the sequence.
        let mut spans = case.spans();
        spans.truncate(1);
        spans[0].context_len = 2;
        let out = case.run(kernels, &spans);
        assert!(out[..16].iter().all(|x| x.to_bits() == 0));
        assert!(out[16..48].iter().all(|x| *x != 0.0 && x.is_finite()));
        assert!(out.len() == 80 && out[48..].iter().all(|x| x.to_bits() == 0));
    }
    case.shape.window = Some(0);
    let out = case.run(dispatch::kernels(), &case.spans());
    assert!(out.iter().all(|x| x.to_bits() == 0));
}

#[test]
fn blocks_outside_the_window_may_be_gone() {
    let mut case = Case::new(plain(2, 1, 8), &[(2, 60)], 1);
    case.shape.window = Some(10);
    let before = case.run(dispatch::kernels(), &case.spans());
    for block in &mut case.sequences[0].2[..3] {
        *block = u32::MAX;
    }
    assert_eq!(before, case.run(dispatch::kernels(), &case.spans()));
}

#[test]
#[should_panic(expected = "of 4")]
fn blocks_outside_the_cache_are_refused() {
    let mut case = Case::new(plain(2, 1, 8), &[(2, 60)], 1);
    case.sequences[0].2[3] = 4;
    case.run(dispatch::kernels(), &case.spans());
}

#[test]
#[should_panic(expected = "too few")]
fn short_block_tables_are_refused() {
    let mut case = Case::new(plain(2, 1, 8), &[(2, 60)], 1);
    case.sequences[0].1 = 65;
    case.run(dispatch::kernels(), &case.spans());
}

#[test]
#[should_panic(expected = "share rows")]
fn overlapping_spans_are_refused() {
    let case = Case::new(plain(2, 1, 8), &[(2, 60), (1, 4)], 1);
    let mut spans = case.spans();
    spans[1].query_start = 1;
    case.run(dispatch::kernels(), &spans);
}
