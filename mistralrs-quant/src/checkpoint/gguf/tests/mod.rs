//! GGUF files written here, hostile ones, and (where the data folder is beside the project) a real
//! model against its safetensors twin.

mod towers;
mod writer;

use super::*;
use crate::open_safetensors;
use mistralrs_kernels::QuantType;
use proptest::prelude::*;
use writer::GgufWriter;

fn parse(bytes: &[u8]) -> Result<header::Header> {
    header::parse(bytes, Path::new("test.gguf"))
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect()
}

fn counting(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32).collect()
}

/// A value of every type, two small tensors.
fn sample() -> GgufWriter {
    let strings: Strings = ["<s>", "", "▁hi"].into_iter().collect();
    GgufWriter::new("qwen2")
        .value("u8", Value::U8(200))
        .value("i8", Value::I8(-100))
        .value("u16", Value::U16(60_000))
        .value("i16", Value::I16(-30_000))
        .value("u32", Value::U32(4_000_000_000))
        .value("i32", Value::I32(-2_000_000_000))
        .value("u64", Value::U64(u64::MAX))
        .value("i64", Value::I64(i64::MIN))
        .value("f32", Value::F32(1.5))
        .value("f64", Value::F64(-2.5))
        .value("bool", Value::Bool(true))
        .value("strings", Value::Array(Array::String(strings)))
        .value("floats", Value::Array(Array::F32(vec![0.5, -1.])))
        .value("bools", Value::Array(Array::Bool(vec![true, false])))
        .value("nested", Value::Array(Array::Array(vec![Array::I32(vec![1]), Array::U8(vec![])])))
        .f32s("token_embd.weight", &[3, 4], &counting(12))
        .f32s("blk.1.attn_q.bias", &[4], &counting(4))
}

#[test]
fn every_metadata_type_survives() {
    for version in [2, 3] {
        let mut writer = sample();
        writer.version = version;
        let metadata = parse(&writer.build()).unwrap().metadata;
        assert_eq!(metadata.get("u8"), Some(&Value::U8(200)));
        assert_eq!(metadata.get("i8"), Some(&Value::I8(-100)));
        assert_eq!(metadata.get_u64("u16"), Some(60_000));
        assert_eq!(metadata.get("i16"), Some(&Value::I16(-30_000)));
        assert_eq!(metadata.get_u64("u32"), Some(4_000_000_000));
        assert_eq!(metadata.get("i32"), Some(&Value::I32(-2_000_000_000)));
        assert_eq!(metadata.get_u64("u64"), Some(u64::MAX));
        assert_eq!(metadata.get("i64"), Some(&Value::I64(i64::MIN)));
        assert_eq!(metadata.get_f32("f32"), Some(1.5));
        assert_eq!(metadata.get_f32("f64"), Some(-2.5));
        assert_eq!(metadata.get_bool("bool"), Some(true));
        assert_eq!(metadata.get_strs("strings"), Some(vec!["<s>", "", "▁hi"]));
        assert_eq!(metadata.get_f32s("floats"), Some(vec![0.5, -1.]));
        assert_eq!(metadata.get_array("bools"), Some(&Array::Bool(vec![true, false])));
        let nested = Array::Array(vec![Array::I32(vec![1]), Array::U8(vec![])]);
        assert_eq!(metadata.get_array("nested"), Some(&nested));
        assert_eq!(metadata.iter().count(), 16);
    }
}

/// Stacks of today, one tensor per expert of the first files, and what only some families have.
#[test]
fn names_of_mixtures() {
    let folder = tempfile::tempdir().unwrap();
    let names = |architecture: &str, name: &str| {
        let file = format!("{architecture}-{name}.gguf");
        let writer = GgufWriter::new(architecture).f32s(name, &[2], &counting(2));
        let gguf = GgufFile::open(&[writer.write(folder.path(), &file)]).unwrap();
        gguf.names().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (architecture, theirs, ours) in [
        ("llama", "ffn_gate_exps.weight", "mlp.experts.gate_proj.weight"),
        ("llama", "ffn_down.11.weight", "mlp.experts.11.down_proj.weight"),
        ("qwen2moe", "ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight"),
        ("qwen2moe", "ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight"),
        ("qwen3moe", "ffn_gate_up_exps.weight", "mlp.experts.gate_up_proj.weight"),
        ("deepseek2", "ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"),
        ("deepseek2", "exp_probs_b.bias", "mlp.gate.e_score_correction.bias"),
        ("deepseek2", "attn_k_b.weight", "self_attn.k_b_proj.weight"),
    ] {
        let wanted = [format!("model.layers.3.{ours}")];
        assert_eq!(names(architecture, &format!("blk.3.{theirs}")), wanted);
    }
    // No expert has this number, no part of an expert this name.
    for name in ["blk.0.ffn_gate.x.weight", "blk.0.ffn_norm.1.weight"] {
        assert_eq!(names("llama", name), [name]);
    }
}

#[test]
fn names_of_encoders() {
    let folder = tempfile::tempdir().unwrap();
    for (architecture, theirs, ours) in [
        ("bert", "token_types.weight", "embeddings.token_type_embeddings.weight"),
        ("bert", "blk.3.attn_output_norm.bias", "encoder.layer.3.attention.output.LayerNorm.bias"),
        ("bert", "blk.3.ffn_down.weight", "encoder.layer.3.output.dense.weight"),
        ("bert", "cls.output.weight", "classifier.weight"),
        ("modern-bert", "blk.0.attn_qkv.weight", "layers.0.attn.Wqkv.weight"),
        ("modern-bert", "output_norm.weight", "final_norm.weight"),
        ("gemma-embedding", "blk.1.attn_q_norm.weight", "model.layers.1.self_attn.q_norm.weight"),
        ("gemma-embedding", "dense_2.weight", "dense_2.weight"),
    ] {
        let file = format!("{architecture}-{theirs}.gguf");
        let writer = GgufWriter::new(architecture).f32s(theirs, &[2], &counting(2));
        let gguf = GgufFile::open(&[writer.write(folder.path(), &file)]).unwrap();
        assert_eq!(gguf.names(), [ours], "{architecture}");
    }
}

#[test]
fn tensors_have_our_names_shapes_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = sample()
        .f32s("blk.0.ffn_down.weight", &[2, 3], &counting(6))
        .f32s("output_norm.weight", &[1], &[7.])
        .f32s("rope_freqs.weight", &[2], &counting(2))
        .f32s("blk.0.unheard_of.weight", &[1], &[8.]);
    writer.alignment = 64;
    let writer = writer.value("general.alignment", Value::U32(64));
    let gguf = GgufFile::open(&[writer.write(folder.path(), "a.gguf")]).unwrap();
    assert_eq!(
        gguf.names(),
        [
            "model.embed_tokens.weight",
            "model.layers.1.self_attn.q_proj.bias",
            "model.layers.0.mlp.down_proj.weight",
            "model.norm.weight",
            "rope_freqs.weight",
            "blk.0.unheard_of.weight",
        ]
    );
    let info = gguf.info("model.layers.0.mlp.down_proj.weight").unwrap();
    assert_eq!((info.shape.as_slice(), info.ty), ([2, 3].as_slice(), QuantType::F32));
    let embedding = gguf.read("model.embed_tokens.weight").unwrap();
    assert!(embedding.is_mapped());
    assert_eq!(numbers(&embedding), counting(12));
    // Half-split already: Qwen's rows stay where they are.
    assert_eq!(numbers(&gguf.read("model.layers.1.self_attn.q_proj.bias").unwrap()), counting(4));
    assert_eq!(numbers(&gguf.read("blk.0.unheard_of.weight").unwrap()), [8.]);
    let error = gguf.read("lm_head.weight").unwrap_err().to_string();
    assert!(error.contains("`lm_head.weight`") && error.contains("a.gguf"), "{error}");
}

#[test]
fn llama_query_and_key_rows_return_to_half_split_order() {
    let folder = tempfile::tempdir().unwrap();
    let (heads, kv_heads, head_dim, cols) = (4, 2, 6, 64);
    // Row r of the Hugging Face weight holds numbers around r, so that blocks of rows differ.
    let theirs = |rows: usize| -> Vec<Vec<f32>> {
        (0..rows).map(|r| (0..cols).map(|c| r as f32 + c as f32 / 64.).collect()).collect()
    };
    // What the converter does: each head's [2, half] rows become [half, 2].
    let interleaved = |rows: &[Vec<f32>]| -> Vec<Vec<f32>> {
        let half = head_dim / 2;
        (0..rows.len())
            .map(|r| {
                let (head, within) = (r / head_dim, r % head_dim);
                rows[head * head_dim + (within % 2) * half + within / 2].clone()
            })
            .collect()
    };
    let stored = |rows: &[Vec<f32>], ty: QuantType| -> Vec<u8> {
        rows.iter()
            .flat_map(|row| {
                let mut bytes = vec![0; ty.row_bytes(cols).unwrap()];
                ty.quantize_row(row, &mut bytes);
                bytes
            })
            .collect()
    };
    for ty in [QuantType::F32, QuantType::BF16, QuantType::Q8_0, QuantType::Q4_0] {
        let (query, key) = (theirs(heads * head_dim), theirs(kv_heads * head_dim));
        let bias: Vec<f32> = query.iter().map(|row| row[0]).collect();
        let bias_in_file: Vec<f32> = interleaved(&query).iter().map(|row| row[0]).collect();
        assert_ne!(stored(&query, ty), stored(&interleaved(&query), ty));
        let writer = GgufWriter::new("llama")
            .value("llama.attention.head_count", Value::U32(heads as u32))
            .value("llama.attention.head_count_kv", Value::U32(kv_heads as u32))
            .tensor(
                "blk.0.attn_q.weight",
                &[query.len(), cols],
                ty,
                stored(&interleaved(&query), ty),
            )
            .f32s("blk.0.attn_q.bias", &[query.len()], &bias_in_file)
            .tensor("blk.0.attn_k.weight", &[key.len(), cols], ty, stored(&interleaved(&key), ty))
            .tensor("blk.0.attn_v.weight", &[key.len(), cols], ty, stored(&key, ty));
        let gguf = GgufFile::open(&[writer.write(folder.path(), ty.name())]).unwrap();
        let read = |part: &str| gguf.read(&format!("model.layers.0.self_attn.{part}")).unwrap();
        assert_eq!(&*read("q_proj.weight"), stored(&query, ty), "{ty:?}");
        assert_eq!(numbers(&read("q_proj.bias")), bias);
        assert_eq!(&*read("k_proj.weight"), stored(&key, ty), "{ty:?}");
        assert_eq!(&*read("v_proj.weight"), stored(&key, ty), "{ty:?}");
    }
}

/// Gemma's norms are stored with the 1 they multiply by; nothing else is changed.
#[test]
fn the_one_in_norms_is_taken_off() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        ("output_norm", "model.norm"),
        ("blk.0.attn_k_norm", "model.layers.0.self_attn.k_norm"),
        ("blk.0.ffn_norm", "model.layers.0.pre_feedforward_layernorm"),
        ("blk.0.post_ffw_norm", "model.layers.0.post_feedforward_layernorm"),
        ("blk.0.ffn_up", "model.layers.0.mlp.up_proj"),
    ];
    let stored = [1.0, 1.25, -0.5, 100.5];
    for (architecture, taken) in [("gemma2", 1.0), ("gemma3", 1.0), ("olmo2", 0.0)] {
        let add = |writer: GgufWriter, (name, _): &(&str, &str)| {
            writer.f32s(&format!("{name}.weight"), &[4], &stored)
        };
        let writer = names.iter().fold(GgufWriter::new(architecture), add);
        let gguf = GgufFile::open(&[writer.write(folder.path(), architecture)]).unwrap();
        for (_, name) in names {
            let taken = if name.ends_with("norm") { taken } else { 0.0 };
            let found = numbers(&gguf.read(&format!("{name}.weight")).unwrap());
            assert_eq!(found, stored.map(|number| number - taken), "{architecture}: {name}");
        }
    }
    let half = vec![0; QuantType::F16.row_bytes(2).unwrap()];
    let writer = GgufWriter::new("gemma2").tensor("output_norm.weight", &[2], QuantType::F16, half);
    let error = GgufFile::open(&[writer.write(folder.path(), "half")]).unwrap_err().to_string();
    assert!(error.contains("`model.norm.weight` is F16"), "{error}");
}

#[test]
fn head_counts_that_do_not_fit_are_refused() {
    let llama = |heads: Option<Value>| {
        let writer = GgufWriter::new("llama").f32s("blk.0.attn_q.weight", &[6, 1], &counting(6));
        let writer = match heads {
            Some(heads) => writer.value("llama.attention.head_count", heads),
            None => writer,
        };
        let folder = tempfile::tempdir().unwrap();
        GgufFile::open(&[writer.write(folder.path(), "a.gguf")])
    };
    assert!(llama(Some(Value::U32(3))).is_ok());
    for heads in
        [None, Some(Value::U32(0)), Some(Value::U32(4)), Some(Value::U32(6)), Some(Value::F32(3.))]
    {
        let error = llama(heads.clone()).unwrap_err().to_string();
        assert!(error.contains("attention.head_count"), "{heads:?}: {error}");
    }
}

#[test]
fn unknown_architectures_and_types_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let writer = GgufWriter::new("rwkv9").f32s("token_embd.weight", &[1], &[0.]);
    let error = GgufFile::open(&[writer.write(folder.path(), "a.gguf")]).unwrap_err().to_string();
    assert!(error.contains("`rwkv9`") && error.contains("llama, qwen2"), "{error}");

    let writer =
        GgufWriter::new("llama").tensor_of_type("token_embd.weight", &[256], 34, vec![0; 54]);
    let error = parse(&writer.build()).unwrap_err().to_string();
    for part in ["`token_embd.weight`", "TQ1_0", "test.gguf", "Q4_K"] {
        assert!(error.contains(part), "{error}");
    }
    // A vocabulary has no tensors and may be of any architecture.
    let vocabulary = GgufWriter::new("rwkv9").write(folder.path(), "vocab.gguf");
    assert_eq!(Metadata::read(&vocabulary).unwrap().get_str("general.architecture"), Some("rwkv9"));
    assert!(GgufFile::open(&[vocabulary]).unwrap().names().is_empty());
}

#[test]
fn rows_that_are_no_whole_blocks_are_refused() {
    let writer =
        GgufWriter::new("llama").tensor("x.weight", &[2, 48], QuantType::Q8_0, vec![0; 102]);
    let error = parse(&writer.build()).unwrap_err();
    assert!(matches!(error, Error::NotDivisible { cols: 48, ty: QuantType::Q8_0, .. }), "{error}");
}

#[test]
fn pieces_of_a_split_file_are_put_together_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let piece = |number: u16, count: u16, name: &str| {
        GgufWriter::new("qwen2")
            .value("split.no", Value::U16(number))
            .value("split.count", Value::U16(count))
            .value("split.tensors.count", Value::I32(2))
            .value("only.here", Value::U16(number))
            .f32s(name, &[1], &[f32::from(number)])
    };
    let first = piece(0, 2, "token_embd.weight").write(folder.path(), "1.gguf");
    let second = piece(1, 2, "output_norm.weight").write(folder.path(), "2.gguf");
    for files in [[&first, &second], [&second, &first]] {
        let gguf = GgufFile::open(&files.map(Clone::clone)).unwrap();
        assert_eq!(gguf.names(), ["model.embed_tokens.weight", "model.norm.weight"]);
        assert_eq!(gguf.metadata().get_u64("only.here"), Some(0));
        assert_eq!(numbers(&gguf.read("model.norm.weight").unwrap()), [1.]);
        assert_eq!(gguf.info("model.norm.weight").unwrap().file, second);
    }
    let refused = |files: &[&PathBuf]| {
        let files: Vec<PathBuf> = files.iter().map(|&file| file.clone()).collect();
        GgufFile::open(&files).unwrap_err().to_string()
    };
    assert!(refused(&[&first]).contains("a model of 2 files, 1 were given"));
    assert!(refused(&[&first, &first]).contains("number 1 is absent"));
    let twin = piece(1, 2, "token_embd.weight").write(folder.path(), "twin.gguf");
    let error = refused(&[&first, &twin]);
    assert!(error.contains("1.gguf") && error.contains("twin.gguf"), "{error}");
    assert!(matches!(GgufFile::open(&[]), Err(Error::NoFiles)));
}

#[test]
fn foreign_files_are_told_apart() {
    let refused = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    assert!(refused(b"").contains("fewer than 4 bytes is not supported"));
    assert!(
        refused(b"}\xd0^\x14 no model").contains("starts with `}\\xd0^\\x14` is not supported")
    );
    assert!(refused(b"PK\x03\x04rest of a zip").contains("PK"));
    let mut writer = sample();
    writer.version = 1;
    assert!(refused(&writer.build()).contains("version 1"));
    writer.version = 3_u32.swap_bytes();
    assert!(refused(&writer.build()).contains("big-endian"));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample().build();
    assert_eq!(parse(&bytes).unwrap().tensors.len(), 2);
    for len in 0..bytes.len() {
        assert!(parse(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
}

/// The bytes of a file whose only value has the given type and content.
fn with_value(content: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.push(b'k');
    content.iter().for_each(|part| bytes.extend(*part));
    bytes
}

#[test]
fn hostile_lengths_are_refused_before_anything_is_allocated() {
    for len in [u64::MAX, u64::MAX / 8, 1 << 60, 1 << 40] {
        let len = len.to_le_bytes();
        assert!(parse(&with_value(&[&8_u32.to_le_bytes(), &len])).is_err());
        for element in 0..14_u32 {
            let array = [&9_u32.to_le_bytes()[..], &element.to_le_bytes(), &len, &[0; 64]];
            assert!(parse(&with_value(&array)).is_err(), "type {element}");
        }
        let mut counts = b"GGUF\x03\0\0\0".to_vec();
        counts.extend(len);
        counts.extend(0_u64.to_le_bytes());
        counts.extend([0; 64]);
        assert!(parse(&counts).is_err());
        counts[8..16].fill(0);
        counts[16..24].copy_from_slice(&len);
        assert!(parse(&counts).is_err());
    }
    // Arrays in arrays: the stack must not follow.
    let mut content = 9_u32.to_le_bytes().to_vec();
    for _ in 0..100_000 {
        content.extend(9_u32.to_le_bytes());
        content.extend(1_u64.to_le_bytes());
    }
    let error = parse(&with_value(&[&content])).unwrap_err().to_string();
    assert!(error.contains("nested"), "{error}");
}

#[test]
fn hostile_tensor_places_are_refused() {
    let refused = |dimensions: &[u64], offset: u64| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.push(b't');
        bytes.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.resize(256, 0);
        parse(&bytes).is_err()
    };
    assert!(!refused(&[2, 2], 0));
    assert!(refused(&[2, 2], 8), "not aligned");
    assert!(refused(&[2, 2], 256), "outside");
    assert!(refused(&[2, 2], u64::MAX - 31), "wraps");
    assert!(refused(&[1 << 62], 0), "bytes overflow");
    assert!(refused(&[1 << 32, 1 << 32], 0), "numbers overflow");
    assert!(refused(&[u64::MAX, 0], 0), "a row overflows");
    assert!(refused(&[1; 5], 0), "five dimensions");
}

#[test]
fn tensors_that_overlap_are_refused() {
    let table = |offsets: [u64; 2]| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(2_u64.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        for (name, offset) in [b'a', b'b'].into_iter().zip(offsets) {
            bytes.extend(1_u64.to_le_bytes());
            bytes.push(name);
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(12_u64.to_le_bytes()); // 48 bytes
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(512, 0);
        parse(&bytes).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(table([0, 64]), Ok(()));
    assert_eq!(table([64, 0]), Ok(()));
    for offsets in [[0, 0], [0, 32], [96, 64]] {
        let error = table(offsets).unwrap_err();
        for part in ["`a`", "`b`", "overlap"] {
            assert!(error.contains(part), "{offsets:?}: {error}");
        }
    }
}

#[test]
fn a_key_or_a_tensor_that_stands_there_twice_is_refused() {
    let twice = sample().value("u8", Value::U8(1));
    assert!(parse(&twice.build()).unwrap_err().to_string().contains("`u8`"));
    let folder = tempfile::tempdir().unwrap();
    let twice = sample().f32s("token_embd.weight", &[1], &[0.]).write(folder.path(), "a.gguf");
    assert!(matches!(GgufFile::open(&[twice]), Err(Error::Duplicate { .. })));
    let odd = sample().value("general.alignment", Value::U32(24));
    assert!(parse(&odd.build()).unwrap_err().to_string().contains("power of two"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn mutated_headers_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = sample().build();
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(header) = parse(&bytes) {
            for tensor in header.tensors {
                let wanted = tensor.shape.iter().product::<usize>() / tensor.ty.block_len();
                prop_assert_eq!(tensor.range.len(), wanted * tensor.ty.block_bytes());
                prop_assert!(bytes.get(tensor.range).is_some());
            }
        }
    }

    #[test]
    fn rubbish_never_panics(rubbish in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        bytes.extend(rubbish);
        let _ = parse(&bytes);
    }
}

/// A file of the data folder beside the project, if it is there.
fn shared(path: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(path);
    if !file.exists() {
        println!("skipped: {} is absent", file.display());
        return None;
    }
    Some(file)
}

#[test]
fn a_real_llama_equals_its_safetensors_twin() {
    let (Some(gguf), Some(twin)) =
        (shared("models/stories260K-f32.gguf"), shared("models/stories260K/model.safetensors"))
    else {
        return;
    };
    let gguf = GgufFile::open(&[gguf]).unwrap();
    let twin = open_safetensors(&[twin]).unwrap();
    let in_order = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let names = |checkpoint: &dyn Checkpoint| {
        in_order(checkpoint.names().into_iter().map(str::to_owned).collect())
    };
    let shared_names: Vec<String> =
        names(&*twin).into_iter().filter(|name| gguf.info(name).is_some()).collect();
    assert!(shared_names.len() >= 5 * 9 + 2, "{shared_names:?}");
    let only_in_gguf: Vec<String> =
        names(&gguf).into_iter().filter(|name| twin.info(name).is_none()).collect();
    assert!(only_in_gguf.iter().all(|name| name == "lm_head.weight"), "{only_in_gguf:?}");
    for name in shared_names {
        let (ours, theirs) = (gguf.info(&name).unwrap(), twin.info(&name).unwrap());
        assert_eq!((&ours.shape, ours.ty), (&theirs.shape, theirs.ty), "{name}");
        assert_eq!(&*gguf.read(&name).unwrap(), &*twin.read(&name).unwrap(), "{name}");
    }
}

#[test]
fn real_vocabularies_are_read() {
    for (file, tokens) in [
        ("gguf-vocab/ggml-vocab-llama-spm.gguf", 32_000),
        ("gguf-vocab/ggml-vocab-gpt-2.gguf", 50_257),
    ] {
        let Some(file) = shared(file) else { continue };
        let metadata = Metadata::read(&file).unwrap();
        assert_eq!(metadata.get_strs("tokenizer.ggml.tokens").unwrap().len(), tokens);
        assert_eq!(metadata.get_i32s("tokenizer.ggml.token_type").unwrap().len(), tokens);
    }
}
