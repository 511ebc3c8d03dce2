//! Does it fit: weights, KV cache and activations against free memory, before anything is loaded.
//!
//! [`MemoryPlan::compute`] is arithmetic on numbers; only [`free_bytes`] asks the machine. Knows
//! no model and no file.

use crate::error::LoadError;
use std::fmt;

/// A context is not shrunk below this many tokens unless the operator asks for less.
const FLOOR_TOKENS: u64 = 512;

/// Weights are memory-mapped, so their pages can make room: this fraction of free memory can
/// always go to the KV cache, at the price of reading weights from disk again.
const EVICTABLE_SHARE: u64 = 8;

/// Where the system cannot be asked.
const ASSUMED_FREE_BYTES: u64 = 4 << 30;

/// Keys and values of layers that look equally far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvRequest {
    /// K and V of one token in all of these layers.
    pub bytes_per_token: u64,
    /// Tokens that a token sees; `None` = all before it.
    pub window: Option<u64>,
}

/// What the plan is made from. Bytes and tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRequest {
    /// Weights, memory-mapped ones included.
    pub weight_bytes: u64,
    /// Peak of a step's intermediate tensors, and of looking at the largest picture.
    pub activation_bytes: u64,
    /// One per group of layers.
    pub kv: Vec<KvRequest>,
    /// Most tokens computed in one step.
    pub step_tokens: usize,
    /// Memory that can be had now.
    pub free_bytes: u64,
    /// Context the model was made for, in tokens.
    pub model_context: usize,
    /// The operator's `--max-seq-len`.
    pub max_seq_len: Option<usize>,
    /// Most sequences computed together.
    pub max_seqs: usize,
    /// The operator's `--pa-ctxt-len`.
    pub kv_cache_tokens: Option<usize>,
    /// Tokens for which other devices have room.
    pub most_kv_tokens: Option<usize>,
    /// Tokens per KV block: the cache is a whole number of blocks.
    pub block_size: usize,
}

/// Who gets how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Most tokens of one sequence.
    pub context: usize,
    /// Tokens the KV cache holds in all: one number per group of layers, a multiple of the block size.
    pub kv_tokens: Vec<usize>,
    /// Whether the group has a window, beyond which it keeps nothing.
    windowed: Vec<bool>,
    /// Weights in bytes.
    pub weight_bytes: u64,
    /// KV cache in bytes.
    pub kv_bytes: u64,
    /// Activations in bytes.
    pub activation_bytes: u64,
    /// Free memory the plan was made for, in bytes.
    pub free_bytes: u64,
    /// The model's context, if memory allowed only less.
    pub shrunk_from: Option<usize>,
    /// A sentence for the log when weights will be read from disk again and again.
    pub warning: Option<String>,
}

impl MemoryPlan {
    /// Divides the memory.
    ///
    /// What the operator fixed is kept or refused. Otherwise the cache gets at most half of what
    /// weights and activations leave, and no more than `max_seqs` full contexts need; if that half
    /// does not hold one full context, the context shrinks, down to 512 tokens (or the model's
    /// context if smaller), which may then take all that is left. Layers with a window get no more
    /// than `max_seqs` windows and a step need.
    ///
    /// # Errors
    /// [`LoadError::OutOfMemory`] with the need, what is free and the largest number that fits;
    /// [`LoadError::Option`] for numbers that contradict the model or each other.
    pub fn compute(request: &MemoryRequest) -> Result<Self, LoadError> {
        let room = Room::new(request);
        let wanted = wanted_context(request)?;
        let context = match (request.max_seq_len, request.kv_cache_tokens) {
            (Some(_), _) => wanted,
            (None, Some(tokens)) => wanted.min(to_u64(tokens)),
            (None, None) => wanted.min(room.automatic_tokens.max(FLOOR_TOKENS)),
        };
        let kv_tokens = match request.kv_cache_tokens {
            Some(tokens) => room.round_up(to_u64(tokens)),
            None => {
                let all = to_u64(request.max_seqs.max(1)).saturating_mul(room.round_up(context));
                all.min(room.automatic_tokens).max(room.round_up(context))
            }
        };
        let kv_bytes = room.bytes_of(kv_tokens);
        if kv_bytes > room.bytes || kv_tokens > room.elsewhere {
            return Err(room.refusal(request, kv_tokens, kv_bytes));
        }
        Ok(Self {
            context: to_usize(context),
            kv_tokens: room.groups.iter().map(|it| to_usize(it.tokens(kv_tokens))).collect(),
            windowed: request.kv.iter().map(|group| group.window.is_some()).collect(),
            weight_bytes: request.weight_bytes,
            kv_bytes,
            activation_bytes: request.activation_bytes,
            free_bytes: request.free_bytes,
            shrunk_from: (request.max_seq_len.is_none() && context < to_u64(request.model_context))
                .then_some(request.model_context),
            warning: paging_warning(request, kv_bytes),
        })
    }

    /// Whether weights, cache and activations together are more than free memory: then the weights
    /// have to stay where the system can let go of them.
    pub fn exceeds_memory(&self) -> bool {
        let all = self.weight_bytes.saturating_add(self.kv_bytes);
        all.saturating_add(self.activation_bytes) > self.free_bytes
    }
}

/// The context asked for: the operator's, else the model's.
fn wanted_context(request: &MemoryRequest) -> Result<u64, LoadError> {
    let refuse = |option, reason| Err(LoadError::Option { option, reason });
    if request.max_seq_len == Some(0) {
        return refuse("--max-seq-len", "0 tokens are no context".to_owned());
    }
    if request.kv_cache_tokens == Some(0) {
        return refuse("--pa-ctxt-len", "a cache of 0 tokens holds nothing".to_owned());
    }
    let wanted = request.max_seq_len.unwrap_or(request.model_context.max(1));
    if wanted > request.model_context.max(1) {
        return refuse(
            "--max-seq-len",
            format!(
                "{wanted} is more than the {} tokens the model was made for",
                request.model_context
            ),
        );
    }
    match (request.max_seq_len, request.kv_cache_tokens) {
        (Some(context), Some(tokens)) if tokens < context => refuse(
            "--pa-ctxt-len",
            format!(
                "a cache of {tokens} tokens cannot hold one sequence of `--max-seq-len {context}`"
            ),
        ),
        _ => Ok(to_u64(wanted)),
    }
}

/// What is left for the KV cache.
struct Room {
    /// All of it: the limit for numbers the operator fixed, and for the floor.
    bytes: u64,
    /// Tokens in all of it, whole blocks.
    tokens: u64,
    /// Tokens in the half that is taken unasked, whole blocks.
    automatic_tokens: u64,
    /// Tokens for which other devices have room, whole blocks.
    elsewhere: u64,
    block: u64,
    groups: Vec<GroupRoom>,
}

/// What one group of layers can use.
struct GroupRoom {
    bytes_per_token: u64,
    /// Whole blocks.
    most_tokens: u64,
}

impl GroupRoom {
    fn new(group: &KvRequest, request: &MemoryRequest, block: u64) -> Self {
        let seqs = to_u64(request.max_seqs.max(1));
        let most_tokens = group.window.map_or(u64::MAX, |window| {
            // Where a window begins and ends within blocks, one more of each.
            let each = window.saturating_add(2 * block).saturating_mul(seqs);
            let all = each.saturating_add(to_u64(request.step_tokens));
            all.div_ceil(block).saturating_mul(block)
        });
        Self { bytes_per_token: group.bytes_per_token, most_tokens }
    }

    /// Tokens it keeps where a cache is to hold so many.
    fn tokens(&self, kv_tokens: u64) -> u64 {
        kv_tokens.min(self.most_tokens)
    }
}

impl Room {
    fn new(request: &MemoryRequest) -> Self {
        let block = to_u64(request.block_size.max(1));
        let beside_activations = request.free_bytes.saturating_sub(request.activation_bytes);
        let bytes = beside_activations
            .saturating_sub(request.weight_bytes)
            .max(beside_activations / EVICTABLE_SHARE);
        let group = |group| GroupRoom::new(group, request, block);
        let groups = request.kv.iter().map(group).collect();
        let elsewhere =
            request.most_kv_tokens.map_or(u64::MAX, |most| to_u64(most) / block * block);
        let mut room = Self { bytes, tokens: 0, automatic_tokens: 0, elsewhere, block, groups };
        room.tokens = room.tokens_in(bytes).min(elsewhere);
        room.automatic_tokens = room.tokens_in(bytes / 2).min(elsewhere);
        room
    }

    /// Bytes of a cache that is to hold so many tokens.
    fn bytes_of(&self, kv_tokens: u64) -> u64 {
        let bytes = |it: &GroupRoom| it.tokens(kv_tokens).saturating_mul(it.bytes_per_token);
        self.groups.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Most tokens, in whole blocks, of a cache in so many bytes.
    fn tokens_in(&self, bytes: u64) -> u64 {
        let (mut fits, mut fails) = (0, u64::MAX / self.block);
        while fails - fits > 1 {
            let middle = fits + (fails - fits) / 2;
            match self.bytes_of(middle * self.block) <= bytes {
                true => fits = middle,
                false => fails = middle,
            }
        }
        fits * self.block
    }

    fn round_up(&self, tokens: u64) -> u64 {
        tokens.div_ceil(self.block).saturating_mul(self.block)
    }

    fn refusal(&self, request: &MemoryRequest, kv_tokens: u64, kv_bytes: u64) -> LoadError {
        let option =
            if request.kv_cache_tokens.is_some() { "--pa-ctxt-len" } else { "--max-seq-len" };
        let remedy = if self.tokens == 0 {
            "not even one block fits: free memory, or take a smaller or more quantized model"
                .to_owned()
        } else if request.kv_cache_tokens.is_some()
            && request.max_seq_len.is_some_and(|context| to_u64(context) > self.tokens)
        {
            format!("`--max-seq-len {0} --pa-ctxt-len {0}` would fit", self.tokens)
        } else {
            format!("`{option} {}` would fit", self.tokens)
        };
        if kv_tokens > self.elsewhere {
            return LoadError::OutOfMemory(format!(
                "the KV cache for {kv_tokens} tokens is too large for the devices beside the CPU, which have room for \
                 {} beside their layers; {remedy}",
                self.elsewhere
            ));
        }
        LoadError::OutOfMemory(format!(
            "the KV cache for {kv_tokens} tokens needs {}, but of {} free memory the weights ({}) and \
             activations ({}) leave {}; {remedy}",
            Bytes(kv_bytes),
            Bytes(request.free_bytes),
            Bytes(request.weight_bytes),
            Bytes(request.activation_bytes),
            Bytes(self.bytes),
        ))
    }
}

fn paging_warning(request: &MemoryRequest, kv_bytes: u64) -> Option<String> {
    let needed =
        request.weight_bytes.saturating_add(request.activation_bytes).saturating_add(kv_bytes);
    let short = needed.saturating_sub(request.free_bytes);
    (short > 0).then(|| {
        format!(
            "weights, activations and KV cache need {}, {} more than the {} that are free: the weights are \
             memory-mapped and will be read from disk again and again, which is slow",
            Bytes(needed),
            Bytes(short),
            Bytes(request.free_bytes),
        )
    })
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes| Bytes(bytes).to_string();
        writeln!(f, "weights     {:>11}  memory-mapped", size(self.weight_bytes))?;
        write!(f, "KV cache    {:>11}  ", size(self.kv_bytes))?;
        for (tokens, windowed) in self.kv_tokens.iter().zip(&self.windowed) {
            let place = if *windowed { " in layers with a window" } else { "" };
            write!(f, "{tokens} tokens{place}, ")?;
        }
        write!(f, "context {}", self.context)?;
        match self.shrunk_from {
            Some(full) => writeln!(f, " (the model's {full} would not fit)")?,
            None => writeln!(f)?,
        }
        writeln!(f, "activations {:>11}", size(self.activation_bytes))?;
        write!(f, "free        {:>11}", size(self.free_bytes))
    }
}

/// A number of bytes for people: `512 B`, `3.0 KiB`, `1.5 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(
    /// The number.
    pub u64,
);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match steps.into_iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 as f64 / unit as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Bytes of main memory this process can have now: what the system has available, or what its
/// control group still allows, whichever is less. Page cache counts as available: the mapped
/// weights live there.
pub fn free_bytes() -> u64 {
    let Ok(mut system) = sysinfo::System::new() else {
        tracing::warn!("this system does not say how much memory is free; assuming 4 GiB");
        return ASSUMED_FREE_BYTES;
    };
    system.refresh_memory();
    // `free_memory` of a group counts page cache as used, so a model read once would look as if
    // it no longer fitted. Anonymous memory is what cannot be taken back.
    let group = [process_group(&mut system), system.cgroup_limits()]
        .into_iter()
        .flatten()
        .map(|limits| limits.total_memory.saturating_sub(limits.rss))
        .min();
    system.available_memory().min(group.unwrap_or(u64::MAX))
}

/// The limits of the control group this process is in (they may be deep in the tree).
fn process_group(system: &mut sysinfo::System) -> Option<sysinfo::CGroupLimits> {
    let pid = sysinfo::get_current_pid().ok()?;
    system.refresh_processes_specifics(
        sysinfo::ProcessesToUpdate::Some(&[pid]),
        false,
        sysinfo::ProcessRefreshKind::nothing(),
    );
    system.process(pid)?.cgroup_limits()
}

fn to_u64(tokens: usize) -> u64 {
    u64::try_from(tokens).unwrap_or(u64::MAX)
}

fn to_usize(tokens: u64) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// 1000 MiB free beside weights and activations; a token takes 64 KiB, so 16 tokens a MiB.
    fn request() -> MemoryRequest {
        MemoryRequest {
            weight_bytes: 500 * MIB,
            activation_bytes: 100 * MIB,
            kv: vec![KvRequest { bytes_per_token: 64 << 10, window: None }],
            step_tokens: 64,
            free_bytes: 1600 * MIB,
            model_context: 4096,
            max_seq_len: None,
            max_seqs: 1,
            kv_cache_tokens: None,
            most_kv_tokens: None,
            block_size: 32,
        }
    }

    fn plan(change: impl FnOnce(&mut MemoryRequest)) -> Result<MemoryPlan, String> {
        let mut request = request();
        change(&mut request);
        MemoryPlan::compute(&request).map_err(|error| error.to_string())
    }

    #[test]
    fn contexts_and_caches_of_the_table() {
        let plan = |change: fn(&mut MemoryRequest)| {
            let plan = plan(change).unwrap();
            (plan.context, plan.kv_tokens[0], plan.shrunk_from, plan.warning.is_some())
        };
        // One full context, and no more than asked for.
        assert_eq!(plan(|_| {}), (4096, 4096, None, false));
        // Sixteen would be 65536 tokens; half of 1000 MiB holds 8000.
        assert_eq!(plan(|r| r.max_seqs = 16), (4096, 8000, None, false));
        // One full context of 8192 does not fit in the half: it shrinks to it.
        assert_eq!(plan(|r| r.model_context = 8192), (8000, 8000, Some(8192), false));
        // 40 MiB are left: half holds 320 tokens, the floor of 512 takes 32 MiB of all.
        let tight = |r: &mut MemoryRequest| {
            r.free_bytes = 340 * MIB;
            r.weight_bytes = 200 * MIB;
        };
        assert_eq!(
            {
                let mut r = request();
                tight(&mut r);
                MemoryPlan::compute(&r).map(|p| (p.context, p.kv_tokens[0], p.shrunk_from)).unwrap()
            },
            (512, 512, Some(4096))
        );
        // A model smaller than the floor keeps its own context, rounded up to blocks in the cache.
        assert_eq!(plan(|r| r.model_context = 100), (100, 128, None, false));
        // The operator's context may take more than half, and all sequences get what the half holds.
        assert_eq!(
            plan(|r| {
                r.model_context = 32768;
                r.max_seq_len = Some(16000);
            }),
            (16000, 16000, None, false)
        );
        assert_eq!(
            plan(|r| {
                r.max_seq_len = Some(1000);
                r.max_seqs = 4;
            }),
            (1000, 4096, None, false)
        );
        // A cache of fixed size caps the context.
        assert_eq!(plan(|r| r.kv_cache_tokens = Some(1000)), (1000, 1024, Some(4096), false));
        assert_eq!(plan(|r| r.kv_cache_tokens = Some(9000)), (4096, 9024, None, false));
        // A small operator's context is no floor's business.
        assert_eq!(plan(|r| r.max_seq_len = Some(16)), (16, 32, None, false));
        // Weights larger than memory: 1500 MiB are left beside activations, an eighth may be taken,
        // half of that unasked: 93.75 MiB, 1500 tokens, 46 blocks.
        assert_eq!(plan(|r| r.weight_bytes = 9000 * MIB), (1472, 1472, Some(4096), true));
    }

    #[test]
    fn layers_with_a_window_get_windows_and_the_others_what_is_left() {
        let group = |bytes_per_token, window| KvRequest { bytes_per_token, window };
        let plan = |kv: &[KvRequest], max_seqs, kv_cache_tokens| {
            let kv = kv.to_vec();
            let request = MemoryRequest { kv, max_seqs, kv_cache_tokens, ..request() };
            let plan = MemoryPlan::compute(&MemoryRequest { model_context: 1 << 17, ..request });
            plan.map(|plan| (plan.context, plan.kv_tokens, plan.kv_bytes)).unwrap()
        };
        // Of half of 1000 MiB two windows of 1024 tokens, two blocks more each and a step of 64 take
        // 2240 tokens of 56 KiB: 122.5 MiB. What is left holds 48320 tokens of 8 KiB.
        let mixed = [group(8 << 10, None), group(56 << 10, Some(1024))];
        let bytes = (48320 << 13) + (2240 * (56 << 10));
        assert_eq!(plan(&mixed, 2, None), (48320, vec![48320, 2240], bytes));
        // All layers with a window: the whole context, in the windows' memory.
        let windows = [group(64 << 10, Some(1024))];
        assert_eq!(plan(&windows, 2, None), (1 << 17, vec![2240], 2240 << 16));
        // No more than asked for.
        assert_eq!(plan(&mixed, 2, Some(512)).1, [512, 512]);
        assert_eq!(plan(&mixed, 2, Some(5000)).1, [5024, 2240]);
    }

    #[test]
    fn a_cache_that_does_not_fit_is_refused_with_the_number_that_would() {
        expect![[r#"the KV cache for 32768 tokens needs 2.0 GiB, but of 1.6 GiB free memory the weights (500.0 MiB) and activations (100.0 MiB) leave 1000.0 MiB; `--max-seq-len 16000` would fit"#]]
            .assert_eq(&plan(|r| {
                r.model_context = 1 << 17;
                r.max_seq_len = Some(32768);
            }).unwrap_err());
        expect![[r#"the KV cache for 100000 tokens needs 6.1 GiB, but of 1.6 GiB free memory the weights (500.0 MiB) and activations (100.0 MiB) leave 1000.0 MiB; `--pa-ctxt-len 16000` would fit"#]]
            .assert_eq(&plan(|r| r.kv_cache_tokens = Some(100_000)).unwrap_err());
        expect![[r#"the KV cache for 512 tokens needs 32.0 MiB, but of 150.0 MiB free memory the weights (500.0 MiB) and activations (100.0 MiB) leave 6.2 MiB; `--max-seq-len 96` would fit"#]]
            .assert_eq(&plan(|r| r.free_bytes = 150 * MIB).unwrap_err());
        expect![[r#"the KV cache for 512 tokens needs 32.0 MiB, but of 100.0 MiB free memory the weights (500.0 MiB) and activations (100.0 MiB) leave 0 B; not even one block fits: free memory, or take a smaller or more quantized model"#]]
            .assert_eq(&plan(|r| r.free_bytes = 100 * MIB).unwrap_err());
    }

    /// Layers elsewhere: the least room decides.
    #[test]
    fn other_devices_bound_the_cache() {
        let tokens = |most| plan(|r| r.most_kv_tokens = most).map(|plan| plan.kv_tokens[0]);
        assert_eq!(tokens(None).unwrap(), 4096);
        assert_eq!(tokens(Some(1000)).unwrap(), 992);
        // Nothing here: only there.
        let there = plan(|r| (r.kv[0].bytes_per_token, r.most_kv_tokens) = (0, Some(2048)));
        assert_eq!(there.map(|plan| (plan.kv_tokens[0], plan.kv_bytes)).unwrap(), (2048, 0));
        expect![[r#"the KV cache for 512 tokens is too large for the devices beside the CPU, which have room for 96 beside their layers; `--max-seq-len 96` would fit"#]]
            .assert_eq(&tokens(Some(100)).unwrap_err());
    }

    #[test]
    fn contradictions_are_named() {
        expect!["option --max-seq-len: 5000 is more than the 4096 tokens the model was made for"]
            .assert_eq(&plan(|r| r.max_seq_len = Some(5000)).unwrap_err());
        expect!["option --pa-ctxt-len: a cache of 100 tokens cannot hold one sequence of `--max-seq-len 200`"]
            .assert_eq(&plan(|r| {
                r.max_seq_len = Some(200);
                r.kv_cache_tokens = Some(100);
            }).unwrap_err());
        assert!(plan(|r| r.max_seq_len = Some(0)).is_err());
        assert!(plan(|r| r.kv_cache_tokens = Some(0)).is_err());
    }

    #[test]
    fn the_plan_prints_in_aligned_lines() {
        expect![[r#"
            weights       500.0 MiB  memory-mapped
            KV cache      500.0 MiB  8000 tokens, context 8000 (the model's 8192 would not fit)
            activations   100.0 MiB
            free            1.6 GiB"#]]
        .assert_eq(&plan(|r| r.model_context = 8192).unwrap().to_string());
        expect![[r#"
            weights       500.0 MiB  memory-mapped
            KV cache      258.4 MiB  4096 tokens, 608 tokens in layers with a window, context 4096
            activations   100.0 MiB
            free            1.6 GiB"#]]
        .assert_eq(
            &plan(|r| r.kv.push(KvRequest { bytes_per_token: 4 << 10, window: Some(480) }))
                .unwrap()
                .to_string(),
        );
    }

    #[test]
    fn sizes_for_people() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3 << 19, "1.5 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn this_machine_has_free_memory_and_not_more_than_all() {
        let mut system = sysinfo::System::new().unwrap();
        system.refresh_memory();
        let free = free_bytes();
        assert!(free > 0 && free <= system.total_memory(), "{free}");
    }

    fn any_request() -> impl Strategy<Value = MemoryRequest> {
        let bytes = prop_oneof![0..1u64 << 34, any::<u64>()];
        let tokens = prop_oneof![0..1usize << 17, any::<usize>()];
        let sizes = (bytes.clone(), bytes.clone(), prop_oneof![0..1u64 << 20, any::<u64>()], bytes);
        let limits = (
            tokens.clone(),
            proptest::option::of(tokens.clone()),
            0..100usize,
            proptest::option::of(tokens),
            0..64usize,
            proptest::option::of(0..1usize << 17),
        );
        let windows =
            (any::<u32>(), proptest::option::of(prop_oneof![0..1u64 << 17, any::<u64>()]));
        (sizes, limits, windows).prop_map(|(sizes, limits, windows)| MemoryRequest {
            weight_bytes: sizes.0,
            activation_bytes: sizes.1,
            kv: vec![
                KvRequest { bytes_per_token: sizes.2, window: None },
                KvRequest { bytes_per_token: windows.0.into(), window: windows.1 },
            ],
            step_tokens: limits.2,
            free_bytes: sizes.3,
            model_context: limits.0,
            max_seq_len: limits.1,
            max_seqs: limits.2,
            kv_cache_tokens: limits.3,
            most_kv_tokens: limits.5,
            block_size: limits.4,
        })
    }

    proptest! {
        #[test]
        fn any_numbers_give_a_plan_that_holds_or_an_error(request in any_request()) {
            let Ok(plan) = MemoryPlan::compute(&request) else { return Ok(()) };
            prop_assert!(plan.kv_tokens[0] >= plan.context && plan.context > 0);
            prop_assert!(plan.kv_tokens[1] <= plan.kv_tokens[0]);
            prop_assert!(plan.kv_bytes <= request.free_bytes.saturating_sub(request.activation_bytes));
            if let Some(asked) = request.max_seq_len {
                prop_assert_eq!(plan.context, asked);
            }
            if let Some(asked) = request.kv_cache_tokens {
                prop_assert!(plan.kv_tokens[0] >= asked);
            }
        }

        #[test]
        fn the_number_offered_does_fit(mut request in any_request()) {
            let Err(LoadError::OutOfMemory(text)) = MemoryPlan::compute(&request) else { return Ok(()) };
            let number = |option: &str| {
                let (_, rest) = text.split_once(option)?;
                rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
            };
            let offer: (Option<usize>, Option<usize>) = (number("`--max-seq-len"), number("--pa-ctxt-len"));
            prop_assert_eq!(offer == (None, None), text.contains("not even one block"));
            if offer == (None, None) { return Ok(()) }
            if offer.0.is_some() { request.max_seq_len = offer.0 }
            if offer.1.is_some() { request.kv_cache_tokens = offer.1 }
            let plan = MemoryPlan::compute(&request);
            prop_assert!(plan.is_ok(), "{text}\n{plan:?}");
        }
    }
}
