//! Files of vision towers: names, tensors in parts, and what the first converters called otherwise.

use super::*;
use crate::{checkpoints_together, dense};

fn tower(projector: &str) -> GgufWriter {
    GgufWriter::new("clip")
        .value("clip.projector_type", Value::String(projector.to_owned()))
        .value("clip.vision.embedding_length", Value::U32(4))
}

fn open(writer: &GgufWriter) -> Result<GgufFile> {
    let folder = tempfile::tempdir().unwrap();
    GgufFile::open(&[writer.write(folder.path(), "mmproj.gguf")])
}

fn read(file: &dyn Checkpoint, name: &str) -> (Vec<usize>, Vec<f32>) {
    let info = file.info(name).unwrap();
    let tensor = dense(info, file.read(name).unwrap()).unwrap();
    (info.shape.clone(), tensor.flatten_all().unwrap().to_vec1().unwrap())
}

fn halves(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; 2 * numbers.len()];
    QuantType::F16.quantize_row(numbers, &mut bytes);
    bytes
}

#[test]
fn queries_keys_and_values_become_one_matrix() {
    let rows = |first: usize| counting(32)[first..first + 16].to_vec();
    let writer = tower("qwen2vl_merger")
        .f32s("v.blk.0.attn_k.weight", &[4, 4], &rows(8))
        .f32s("v.blk.0.attn_q.weight", &[4, 4], &rows(0))
        .f32s("v.blk.0.attn_v.weight", &[4, 4], &rows(16))
        .f32s("v.blk.0.attn_q.bias", &[2], &[1., 2.])
        .f32s("v.blk.0.attn_k.bias", &[2], &[3., 4.])
        .f32s("v.blk.0.attn_v.bias", &[2], &[5., 6.])
        .f32s("v.blk.1.attn_k.bias", &[2], &[3., 4.]);
    let file = open(&writer).unwrap();
    assert_eq!(file.projector(), Some("qwen2vl_merger"));
    let whole = [rows(0), rows(8), rows(16)].concat();
    assert_eq!(read(&file, "visual.blocks.0.attn.qkv.weight"), (vec![12, 4], whole));
    let bias = counting(7)[1..].to_vec();
    assert_eq!(read(&file, "visual.blocks.0.attn.qkv.bias"), (vec![6], bias));
    // Of the parts nothing is seen; but where one is missing, it is there for whoever looks for surplus.
    let mut names = file.names();
    names.sort_unstable();
    let wanted = [
        "visual.blocks.0.attn.qkv.bias",
        "visual.blocks.0.attn.qkv.weight",
        "visual.blocks.1.attn.qkv#1.bias",
    ];
    assert_eq!(names, wanted);
    assert!(file.info("visual.blocks.0.attn.qkv#0.weight").is_none());
    assert!(file.info("visual.blocks.1.attn.qkv.bias").is_none());
}

#[test]
fn parts_of_any_types_are_joined() {
    let numbers: Vec<f32> = (0..96).map(|i| (i % 7) as f32 - 3.0).collect();
    let of = |rows: std::ops::Range<usize>| &numbers[rows.start * 32..rows.end * 32];
    let blocks = |numbers: &[f32]| {
        let scale = halves(&[1.]);
        let codes = |row: &[f32]| row.iter().map(|&x| x as i8 as u8).collect::<Vec<_>>();
        numbers.chunks(32).flat_map(|row| [scale.clone(), codes(row)].concat()).collect::<Vec<_>>()
    };
    let name = "visual.blocks.0.attn.qkv.weight";
    let part = |letter: &str| format!("v.blk.0.attn_{letter}.weight");
    for (ty, wanted) in [(QuantType::F16, QuantType::F32), (QuantType::Q8_0, QuantType::Q8_0)] {
        let [q, k] = [of(0..1), of(1..2)].map(blocks);
        let v = if ty == QuantType::F16 { halves(of(2..3)) } else { blocks(of(2..3)) };
        let writer = tower("qwen2vl_merger")
            .tensor(&part("q"), &[1, 32], QuantType::Q8_0, q)
            .tensor(&part("k"), &[1, 32], QuantType::Q8_0, k)
            .tensor(&part("v"), &[1, 32], ty, v);
        let file = open(&writer).unwrap();
        assert_eq!(file.info(name).unwrap().ty, wanted);
        assert_eq!(read(&file, name), (vec![3, 32], numbers.clone()));
    }
}

#[test]
fn the_kernels_of_two_frames_become_one() {
    let frame = |frame: usize| -> Vec<f32> {
        let at = |i: usize| (100 * (i / 4) + 10 * frame + i % 4) as f32;
        (0..24).map(at).collect()
    };
    let shape = [2, 3, 2, 2];
    let name = "visual.patch_embed.proj.weight";
    let plain = tower("qwen2.5vl_merger").f32s("v.patch_embd.weight", &shape, &frame(0)).f32s(
        "v.patch_embd.weight.1",
        &shape,
        &frame(1),
    );
    let half = tower("qwen2.5vl_merger")
        .tensor("v.patch_embd.weight.1", &shape, QuantType::F16, halves(&frame(1)))
        .tensor("v.patch_embd.weight", &shape, QuantType::F16, halves(&frame(0)));
    let wanted: Vec<f32> = (0..6)
        .flat_map(|kernel| [0, 10].map(|frame| (kernel, frame)))
        .flat_map(|(kernel, frame)| (0..4).map(move |at| (100 * kernel + frame + at) as f32))
        .collect();
    for writer in [plain, half] {
        assert_eq!(read(&open(&writer).unwrap(), name), (vec![2, 3, 2, 2, 2], wanted.clone()));
    }
    // Frames of different sizes are no kernel.
    let odd = tower("qwen2.5vl_merger").f32s("v.patch_embd.weight", &shape, &frame(0)).f32s(
        "v.patch_embd.weight.1",
        &[2, 3, 1, 4],
        &frame(1),
    );
    assert!(open(&odd).unwrap().info(name).is_none());
}

#[test]
fn the_two_layers_of_old_files_get_their_own_names_back() {
    // Four wide, eight inside: the first layer has four inputs.
    let old = tower("gemma3")
        .f32s("v.blk.0.ffn_down.weight", &[8, 4], &counting(32))
        .f32s("v.blk.0.ffn_down.bias", &[8], &counting(8))
        .f32s("v.blk.0.ffn_up.weight", &[4, 8], &counting(32));
    let new = tower("gemma3")
        .f32s("v.blk.0.ffn_up.weight", &[8, 4], &counting(32))
        .f32s("v.blk.0.ffn_up.bias", &[8], &counting(8))
        .f32s("v.blk.0.ffn_down.weight", &[4, 8], &counting(32));
    let layer = "vision_tower.vision_model.encoder.layers.0.mlp";
    for writer in [old, new] {
        let file = open(&writer).unwrap();
        assert_eq!(file.info(&format!("{layer}.fc1.weight")).unwrap().shape, [8, 4]);
        assert_eq!(file.info(&format!("{layer}.fc1.bias")).unwrap().shape, [8]);
        assert_eq!(file.info(&format!("{layer}.fc2.weight")).unwrap().shape, [4, 8]);
    }
}

#[test]
fn names_of_towers() {
    let deep = Value::Array(Array::Bool(vec![false, true, false, true]));
    let qwen3 = tower("qwen3vl_merger")
        .value("clip.vision.is_deepstack_layers", deep)
        .f32s("v.deepstack.3.fc1.bias", &[2], &[1., 2.])
        .f32s("v.deepstack.1.norm.weight", &[2], &[1., 2.])
        .f32s("v.deepstack.9.norm.weight", &[2], &[1., 2.])
        .f32s("v.blk.2.attn_qkv.bias", &[2], &[1., 2.])
        .f32s("v.post_ln.bias", &[2], &[1., 2.]);
    let wanted = [
        "visual.deepstack_merger_list.1.linear_fc1.bias",
        "visual.deepstack_merger_list.0.norm.weight",
        "v.deepstack.9.norm.weight",
        "visual.blocks.2.attn.qkv.bias",
        "visual.merger.norm.bias",
    ];
    assert_eq!(open(&qwen3).unwrap().names(), wanted);
    // Of Gemma 3's norms only the projector's holds the 1 that it multiplies by.
    let gemma3 = tower("gemma3").f32s("mm.soft_emb_norm.weight", &[2], &[1.5, 2.]).f32s(
        "v.post_ln.weight",
        &[2],
        &[1.5, 2.],
    );
    let file = open(&gemma3).unwrap();
    let norm = |name: &str| read(&file, name).1;
    assert_eq!(norm("multi_modal_projector.mm_soft_emb_norm.weight"), [0.5, 1.]);
    assert_eq!(norm("vision_tower.vision_model.post_layernorm.weight"), [1.5, 2.]);
    let other = tower("resampler").f32s("v.post_ln.weight", &[2], &[1., 2.]);
    let error = open(&other).unwrap_err().to_string();
    assert!(error.contains("`resampler`") && error.contains("qwen2vl_merger"), "{error}");
}

#[test]
fn a_tower_and_its_text_model_are_one_checkpoint() {
    let text = GgufWriter::new("qwen2vl").f32s("output_norm.weight", &[2], &[1., 2.]);
    let eyes = tower("qwen2vl_merger").f32s("v.post_ln.weight", &[2], &[3., 4.]);
    let [text, eyes] =
        [text, eyes].map(|writer| Arc::new(open(&writer).unwrap()) as Arc<dyn Checkpoint>);
    let both = checkpoints_together(vec![Arc::clone(&text), eyes]).unwrap();
    assert_eq!(both.names(), ["model.norm.weight", "visual.merger.ln_q.weight"]);
    assert_eq!(read(&*both, "model.norm.weight").1, [1., 2.]);
    assert_eq!(read(&*both, "visual.merger.ln_q.weight").1, [3., 4.]);
    assert!(both.read("no").is_err() && both.info("no").is_none());
    let error = checkpoints_together(vec![Arc::clone(&text), text]).unwrap_err().to_string();
    assert!(error.contains("`model.norm.weight`"), "{error}");
}
