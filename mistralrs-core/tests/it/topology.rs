//! Weights that become what a topology says, each by its layer or its name.

use crate::answers::{Answer, ask, greedy, load, options};
use crate::media::{ALL, encoded, load_treated, tiles};
use candle_core::safetensors::{load as tensors_of, save};
use candle_core::{DType, Device};
use mistralrs_core::attention::CpuAttention;
use mistralrs_core::kv_cache::KvNumbers;
use mistralrs_core::weights::Weights;
use mistralrs_core::{GenerateOptions, Llm, QuantType, Topology};
use mistralrs_quant::{Isq, WeightOptions, open_safetensors};
use mistralrs_testkit::media::media_golden;
use mistralrs_testkit::{HF_MODELS, copy_of, fixture, golden, read_json};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// What reaches all that `--isq` reaches: the layers of the text, and what lies outside of them.
const ALL_OF_TEXT: &str =
    "0-99: {isq: TYPE}\n/lm_head|per_layer_model_projection|altup_/: {isq: TYPE}\n";

/// A copy in 32-bit floats that bfloat16 does not hold: rows of any width can be turned into that.
fn beyond_bfloat16(name: &str) -> TempDir {
    let copy = copy_of(name);
    for file in std::fs::read_dir(copy.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|it| it == "safetensors") {
            let mut tensors = tensors_of(&path, &Device::Cpu).unwrap();
            for tensor in tensors.values_mut() {
                *tensor = (tensor.to_dtype(DType::F32).unwrap() * 1.001).unwrap();
            }
            save(&tensors, &path).unwrap();
        }
    }
    copy
}

fn topology(text: &str) -> Topology {
    Topology::parse(Path::new("topology.yml"), text).unwrap()
}

/// With a cache that does not depend on types: rounding it would be another difference.
fn loaded(model: &Path, isq: Option<QuantType>, text: &str) -> Llm {
    load(model, |o| {
        (o.isq, o.topology, o.kv_numbers) = (isq, Some(topology(text)), Some(KvNumbers::F32));
    })
}

/// A text read, with every log-probability.
fn read(llm: &Llm, name: &str) -> Answer {
    let options = GenerateOptions { prompt_logprobs: Some(1), ..greedy(4) };
    ask(llm, &golden(name).cases[0].prompt, options)
}

fn bits(model: &Path, name: &str, isq: Option<QuantType>, text: &str) -> Vec<(u32, u32)> {
    read(&loaded(model, isq, text), name).all_bits()
}

/// Row E3. In every architecture: what layers and names become one by one is what all become together.
#[test]
fn a_topology_of_everything_is_the_type_of_all() {
    for name in HF_MODELS {
        let folder = beyond_bfloat16(name);
        let ty = Some(QuantType::BF16);
        let all = bits(folder.path(), name, ty, "");
        let text = ALL_OF_TEXT.replace("TYPE", "bf16");
        assert_eq!(bits(folder.path(), name, None, &text), all, "{name}");
        // It is a type for some, and another than none.
        let none = bits(folder.path(), name, None, "");
        assert_ne!(none, all, "{name}");
        // What stays as it is stored though all become something else.
        let back = ALL_OF_TEXT.replace("TYPE", "f32");
        assert_eq!(bits(folder.path(), name, ty, &back), none, "{name}");
    }
}

/// Row E3. The same in blocks, and by expressions alone.
#[test]
fn named_layers_are_quantized_and_no_others() {
    for name in ["llama-plain", "qwen2-tied"] {
        let folder = beyond_bfloat16(name);
        let model = folder.path();
        let q8 = Some(QuantType::Q8_0);
        let of = |isq, text: &str| bits(model, name, isq, text);
        let (all, none) = (of(q8, ""), of(None, ""));
        assert_eq!(of(None, "/layers|lm_head/: {isq: q8_0}"), all, "{name}");
        let some = of(None, "/q_proj/: {isq: q8_0}");
        assert_eq!(of(q8, "/[kvo]_proj|mlp|lm_head/: {isq: f32}"), some, "{name}");
        assert!(some != all && some != none, "{name}");
        let second = of(None, "1: {isq: q8_0}");
        assert_eq!(of(q8, "0: {isq: f32}\n/lm_head/: {isq: f32}"), second, "{name}");
        assert!(second != all && second != none && second != some, "{name}");
    }
}

/// Row E3. What each matrix says of itself, and what the plan and the costs counted.
#[test]
fn only_what_is_named_reports_its_type() {
    let model = fixture("llama-plain");
    let (isq, decisions) = topology("/q_proj/: {isq: q8_0}").isq(None);
    let options = WeightOptions { isq, ..WeightOptions::default() };
    let checkpoint = open_safetensors(&[model.join("model.safetensors")]).unwrap();
    let weights = Weights::new(Arc::clone(&checkpoint), options, Arc::new(CpuAttention), |_, _| ());
    let (mut quantized, mut stored, mut saved, mut numbers) = (0, 0, 0, 0);
    for name in checkpoint.names() {
        let info = checkpoint.info(name).unwrap();
        let &[rows, cols] = info.shape.as_slice() else { continue };
        let module = weights.pp(name.strip_suffix(".weight").unwrap());
        let found = module.linear(rows, cols, false).unwrap().info();
        match name.contains("q_proj") {
            true => {
                assert_eq!((found.ty, found.requested), (QuantType::Q8_0, Some(QuantType::Q8_0)));
                quantized += 1;
                numbers += rows * cols;
                let row = |ty: QuantType| ty.row_bytes(cols).unwrap();
                saved += rows * (row(info.ty) - row(QuantType::Q8_0));
            }
            false => {
                assert_eq!((found.ty, found.requested), (info.ty, None), "{name}");
                stored += 1;
            }
        }
    }
    assert!(quantized > 1 && stored > quantized, "{quantized} {stored}");
    let done = format!("topology: `/q_proj/` (Q8_0) holds for {quantized} matrices");
    assert_eq!(decisions.done(), [done]);
    assert_eq!(decisions.warnings(&checkpoint.names()), Vec::<String>::new());

    let whole = loaded(&model, None, "").info().clone();
    let some = loaded(&model, None, "/q_proj/: {isq: q8_0}").info().clone();
    assert_eq!(whole.weight_bytes - some.weight_bytes, saved as u64);
    let q8: Vec<_> = some.cost.matrices.iter().filter(|it| it.ty == QuantType::Q8_0).collect();
    assert_eq!(q8.iter().map(|it| it.numbers).sum::<u64>(), numbers as u64);
}

/// A layer's experts may become something else than it, and one of them something else than the others.
#[test]
fn experts_follow_their_names() {
    let model = fixture("qwen3-moe-plain");
    let config: Value = read_json(&model.join("config.json"));
    let size = |key: &str| usize::try_from(config[key].as_u64().unwrap()).unwrap();
    let (count, hidden) = (size("num_local_experts"), size("hidden_size"));
    let inner = size("moe_intermediate_size");
    let checkpoint = open_safetensors(&[model.join("model.safetensors")]).unwrap();
    let bytes = |text: &str| {
        let isq = topology(text).isq(None).0;
        let options = WeightOptions { isq, stay_mapped: true, ..WeightOptions::default() };
        let backend = Arc::new(CpuAttention);
        let weights = Weights::new(Arc::clone(&checkpoint), options, backend, |_, _| ());
        let experts = weights.pp("model.layers.0.mlp.experts");
        experts.experts(count, hidden, inner).unwrap().info().bytes
    };
    // Stored in bfloat16: a matrix in 32-bit floats is twice as large.
    let (stored, one) = (bytes(""), hidden * inner * 2);
    assert_eq!(stored, 3 * count * one);
    assert_eq!(bytes("/experts.*up_proj/: {isq: f32}"), stored + count * one);
    assert_eq!(bytes("/experts\\.1\\.up_proj/: {isq: f32}"), stored + one);
    assert_eq!(bytes("0: {isq: f32}"), 2 * stored);
    assert_eq!(bytes("1: {isq: f32}"), stored);
    assert_eq!(bytes("0: {isq: f32}\n/down_proj/: {isq: bf16}"), 2 * stored - count * one);
}

/// What sees has layers of its own numbers; only who names it reaches it.
#[test]
fn towers_are_reached_by_name_alone() {
    for name in ALL {
        let folder = beyond_bfloat16(name);
        let bits = |isq: Isq| {
            let options = WeightOptions { isq, ..WeightOptions::default() };
            let (model, _) = load_treated(folder.path(), options);
            let pictures: Vec<_> = media_golden(name).images.iter().map(tiles).collect();
            let encoder = model.media_encoder().unwrap();
            let rows = pictures.iter().flat_map(|pieces| encoded(encoder, pieces));
            let numbers = rows.map(|it| it.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            numbers.flatten().map(f32::to_bits).collect::<Vec<_>>()
        };
        let of = |text: &str| bits(topology(text).isq(None).0);
        let stored = of("");
        assert!(!stored.is_empty(), "{name}");
        assert_eq!(of("0-99: {isq: bf16}\n/lm_head/: {isq: bf16}"), stored, "{name}");
        assert_ne!(of("/vis/: {isq: bf16}"), stored, "{name}");
    }
}

/// Nothing is ignored in silence.
#[test]
fn selectors_that_decide_on_nothing_are_told() {
    let folder = fixture("qwen2.5-vl");
    let (isq, decisions) = topology(
        "/nonsense/: {isq: bf16}\n90-99: {isq: bf16}\n0: {isq: bf16}\n0-2: {isq: f32}\n\
         /layernorm/: {isq: bf16}\n/mlp/: {isq: bf16}\n/lm_head/: {device: cpu}\n",
    )
    .isq(None);
    let options = WeightOptions { isq, ..WeightOptions::default() };
    load_treated(&folder, options);
    let checkpoint = open_safetensors(&[folder.join("model.safetensors")]).unwrap();
    let found = decisions.warnings(&checkpoint.names());
    let wanted = [
        ("`/nonsense/` matches no tensor of the model, which has names such as `", ".weight`"),
        ("`90-99` matches no tensor of the model, whose layers are 0 to 1", ""),
        ("`0` has no effect: what it matches is decided on by other selectors", ""),
        ("`/layernorm/` has no effect", "norms"),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (warning, (start, part)) in found.iter().zip(wanted) {
        let start = format!("topology.yml: selector {start}");
        assert!(warning.starts_with(&start) && warning.contains(part), "{warning}");
    }
    let done = decisions.done();
    assert!(done[0].starts_with("topology: `0-2` (F32) holds for 8 matrices"), "{done:?}");
    assert!(done[2].starts_with("topology: `/lm_head/` (cpu) holds for 1 matrix"), "{done:?}");
}

/// Before a file of the model is looked for.
#[test]
fn other_devices_are_refused_before_anything_is_loaded() {
    let mut options = options(Path::new("no/such/model"));
    options.topology = Some(topology("0-4:\n  device: cuda[0]\n"));
    let error = Llm::load(options).unwrap_err().to_string();
    assert!(error.contains("selector `0-4`: device `cuda[0]`"), "{error}");
}

/// Row N6.
#[test]
fn the_example_files_can_be_loaded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies");
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let topology = Topology::read(&path).unwrap();
        topology.check_devices().unwrap();
        names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        let plain = bits(&fixture("stories260K"), "llama-plain", None, "");
        let llm = load(&fixture("stories260K"), |o| o.topology = Some(topology));
        assert_ne!(read(&llm, "llama-plain").all_bits(), plain, "{}", path.display());
    }
    names.sort();
    assert_eq!(names, ["isq", "isq_and_device", "isq_regex"]);
}
