//! Files of the reference writer, and hostile ones.

use super::*;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;

fn file_with(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn refused(bytes: &[u8]) -> String {
    parse(bytes, Path::new("test.safetensors")).unwrap_err().to_string()
}

/// What the reference implementation writes of these tensors (name, type, shape, bytes).
fn reference(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let views = tensors.iter().map(|&(name, dtype, shape, bytes)| {
        (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap())
    });
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(about)).unwrap()
}

fn sample() -> Vec<u8> {
    reference(&[
        ("a.weight", Dtype::F32, &[2, 1], &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("b.bias", Dtype::BF16, &[3], &[9, 10, 11, 12, 13, 14]),
        ("c", Dtype::F16, &[], &[15, 16]),
        ("d", Dtype::F32, &[0, 4], &[]),
    ])
}

fn open(folder: &Path, files: &[(&str, &[u8])]) -> Result<Arc<dyn Checkpoint>> {
    let paths: Vec<PathBuf> = files
        .iter()
        .map(|(name, bytes)| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .collect();
    open_safetensors(&paths)
}

#[test]
fn reads_what_the_reference_implementation_writes() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = open(folder.path(), &[("m.safetensors", &sample())]).unwrap();
    let mut names = checkpoint.names();
    names.sort_unstable();
    assert_eq!(names, ["a.weight", "b.bias", "c", "d"]);
    let found = |name: &str| {
        let info = checkpoint.info(name).unwrap();
        (info.ty, info.shape.clone(), checkpoint.read(name).unwrap().to_vec())
    };
    let weight = (QuantType::F32, vec![2, 1], vec![1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(found("a.weight"), weight);
    let bias = (QuantType::BF16, vec![3], vec![9, 10, 11, 12, 13, 14]);
    assert_eq!(found("b.bias"), bias);
    assert_eq!(found("c"), (QuantType::F16, vec![], vec![15, 16]));
    assert_eq!(found("d"), (QuantType::F32, vec![0, 4], vec![]));
    assert!(checkpoint.read("a.weight").unwrap().is_mapped());
    let error = checkpoint.read("e").unwrap_err().to_string();
    assert!(error.contains("`e`") && error.contains("m.safetensors"), "{error}");
}

/// Older BERT checkpoints carry a table of positions in 64-bit integers.
#[test]
fn index_tables_are_passed_over_but_have_their_place() {
    let file = reference(&[
        ("a", Dtype::F32, &[1], &[1, 2, 3, 4]),
        ("position_ids", Dtype::I64, &[1, 2], &[0; 16]),
        ("z", Dtype::F32, &[1], &[5, 6, 7, 8]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = open(folder.path(), &[("m.safetensors", &file)]).unwrap();
    let mut names = checkpoint.names();
    names.sort_unstable();
    assert_eq!(names, ["a", "z"]);
    assert_eq!(checkpoint.read("z").unwrap().to_vec(), [5, 6, 7, 8]);
    let line = r#"{"p": {"dtype": "I64", "shape": [2], "data_offsets": [0, 8]}}"#;
    assert!(refused(&file_with(line, &[0; 8])).contains("`p`, I64"));
    let ints = r#"{"w": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}"#;
    assert!(refused(&file_with(ints, &[0; 8])).contains("I32"));
}

#[test]
fn shards_are_one_checkpoint_and_no_name_is_in_two() {
    let folder = tempfile::tempdir().unwrap();
    let other = reference(&[("e", Dtype::F32, &[1], &[1, 2, 3, 4])]);
    let files: [(&str, &[u8]); 2] = [("1.safetensors", &sample()), ("2.safetensors", &other)];
    let checkpoint = open(folder.path(), &files).unwrap();
    assert_eq!(checkpoint.names().len(), 5);
    assert_eq!(checkpoint.info("e").unwrap().file, folder.path().join("2.safetensors"));
    assert_eq!(&*checkpoint.read("e").unwrap(), [1, 2, 3, 4]);

    let twin = reference(&[("b.bias", Dtype::F32, &[1], &[1, 2, 3, 4])]);
    let files: [(&str, &[u8]); 2] = [("1.safetensors", &sample()), ("3.safetensors", &twin)];
    let error = open(folder.path(), &files).unwrap_err().to_string();
    for part in ["`b.bias`", "1.safetensors", "3.safetensors"] {
        assert!(error.contains(part), "{error}");
    }
    let line = r#"{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    let twice = file_with(&format!(r#"{{"x":{line},"x":{line}}}"#), &[]);
    assert!(matches!(
        open(folder.path(), &[("4.safetensors", &twice)]),
        Err(Error::Duplicate { .. })
    ));
    assert!(matches!(open_safetensors(&[]), Err(Error::NoFiles)));
    let absent = open_safetensors(&[folder.path().join("absent")]).unwrap_err().to_string();
    assert!(absent.contains("absent"), "{absent}");
}

#[test]
fn data_that_is_not_aligned_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    for padding in 0..8 {
        let header = format!(
            r#"{{"x":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}{}"#,
            " ".repeat(padding)
        );
        let bytes = file_with(&header, &1.5_f32.to_le_bytes());
        let checkpoint = open(folder.path(), &[("m.safetensors", &bytes)]).unwrap();
        let read = checkpoint.read("x").unwrap();
        assert_eq!(&*read, 1.5_f32.to_le_bytes());
        assert_eq!(read.as_ptr().addr() % align_of::<f32>(), 0);
        let aligned = (LENGTH_BYTES + header.len()).is_multiple_of(4);
        assert_eq!(read.is_mapped(), aligned, "{padding}");
    }
}

#[test]
fn other_numbers_are_refused_by_name() {
    let bytes = reference(&[("qweight", Dtype::I32, &[1], &[1, 2, 3, 4])]);
    let error = refused(&bytes);
    for part in ["`qweight`", "I32", "test.safetensors", "F32, F16, BF16"] {
        assert!(error.contains(part), "{error}");
    }
    let line = r#"{"x":{"dtype":"NEW4","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(refused(&file_with(line, &[0; 4])).contains("NEW4"));
}

#[test]
fn hostile_headers_are_refused() {
    assert!(refused(b"").contains("too few"));
    assert!(refused(&u64::MAX.to_le_bytes()).contains("does not fit"));
    assert!(refused(&file_with("[]", &[])).contains("no table"));
    assert!(refused(&file_with(&"[".repeat(100_000), &[])).contains("no table"));
    assert!(refused(&file_with("{}", &[1])).contains("belong to no tensor"));
    let line = |shape: &str, offsets: &str| {
        let header =
            format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
        parse(&file_with(&header, &[0; 16]), Path::new("test"))
    };
    assert!(line("[2,2]", "[0,16]").is_ok());
    for (shape, offsets) in [
        ("[2,2]", "[0,15]"),
        ("[2,2]", "[16,0]"),
        ("[2,1]", "[8,16]"),
        ("[4,2]", "[0,32]"),
        ("[3,1]", "[0,16]"),
        ("[4611686018427387904]", "[0,0]"),
        ("[4294967296,4294967296]", "[0,16]"),
        ("[-1]", "[0,16]"),
        ("[1.5]", "[0,16]"),
        ("[18446744073709551616]", "[0,16]"),
        ("[2,2]", "[0,16,16]"),
    ] {
        assert!(line(shape, offsets).is_err(), "{shape} {offsets}");
    }
    // Sizes whose sum leaves a usize.
    let lines: Vec<String> = (0..8_u64)
        .map(|i| {
            let (start, end) = (i << 61, if i == 7 { u64::MAX - 3 } else { (i + 1) << 61 });
            let numbers = (end - start) / 4;
            format!(r#""{i}":{{"dtype":"F32","shape":[{numbers}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    refused(&file_with(&format!("{{{}}}", lines.join(",")), &[0; 16]));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    assert_eq!(parse(&bytes, Path::new("test")).unwrap().len(), 4);
    for len in 0..bytes.len() {
        assert!(parse(&bytes[..len], Path::new("test")).is_err(), "{len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn mutated_headers_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = sample();
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(tensors) = parse(&bytes, Path::new("test")) {
            for (info, range) in tensors {
                let numbers = info.shape.iter().product::<usize>();
                prop_assert_eq!(range.len(), numbers * info.ty.block_bytes());
                prop_assert!(bytes.get(range).is_some());
            }
        }
    }

    /// Digits and brackets in place of others: mutations that stay JSON.
    #[test]
    fn mutated_numbers_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = sample();
        let digits: Vec<usize> =
            (8..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).collect();
        for (index, byte) in edits {
            bytes[digits[index.index(digits.len())]] = b'0' + byte % 10;
        }
        if let Ok(tensors) = parse(&bytes, Path::new("test")) {
            prop_assert!(tensors.into_iter().all(|(_, range)| bytes.get(range).is_some()));
        }
    }
}
