//! Every kind of image file against Pillow and transformers' `convert_to_rgb`.

use candle_core::{Device, Tensor, safetensors};
use mistralrs_testkit::fixture;
use mistralrs_vision::{Limits, Picture, decode, decode_frames};
use std::collections::HashMap;

/// What a fixture holds of a file: its bytes, the pixels of the first picture, those of all.
struct Case {
    name: String,
    file: Vec<u8>,
    rgb: Option<Tensor>,
    frames: Option<Tensor>,
}

fn cases(name: &str) -> Vec<Case> {
    let path = fixture(&format!("vision/{name}.safetensors"));
    let mut tensors: HashMap<String, Tensor> = safetensors::load(path, &Device::Cpu).unwrap();
    let names: Vec<String> =
        tensors.keys().filter_map(|key| key.strip_suffix("/file")).map(str::to_owned).collect();
    let mut take = |name: &str, kind: &str| tensors.remove(&format!("{name}/{kind}"));
    let mut case = |name: String| Case {
        file: take(&name, "file").unwrap().to_vec1().unwrap(),
        rgb: take(&name, "rgb"),
        frames: take(&name, "frames"),
        name,
    };
    names.into_iter().map(&mut case).collect()
}

/// What is wrong, if anything is.
fn difference(picture: &Picture, wanted: &Tensor) -> Option<String> {
    let (height, width, _) = wanted.dims3().unwrap();
    let wanted = wanted.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    if (picture.width() as usize, picture.height() as usize) != (width, height) {
        return Some(format!("{picture:?}, not {width} × {height}"));
    }
    let differences = picture.rgb().iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b));
    let worst = differences.max().unwrap();
    (worst > 0).then(|| format!("off by up to {worst}"))
}

fn compare(cases: &[Case]) {
    let limits = Limits::default();
    let mut found = Vec::new();
    for Case { name, file, rgb, .. } in cases {
        let Some(wanted) = rgb else { continue };
        let wrong = match decode(file, &limits) {
            Ok(picture) => difference(&picture, wanted),
            Err(error) => Some(error.to_string()),
        };
        found.extend(wrong.map(|wrong| format!("{name}: {wrong}")));
    }
    found.sort();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_kind_of_file_is_read_as_pillow_reads_it() {
    let cases = cases("files");
    assert!(cases.len() >= 50, "{} files", cases.len());
    compare(&cases);
}

/// Pillow reads some of these too.
const REFUSED: [&str; 6] = [
    "fax_runs.tiff",
    "float_rgb.tiff",
    "gray_multiplied.tiff",
    "group3_two_dimensions.tiff",
    "lab.tiff",
    "ycbcr_sparse.tiff",
];

#[test]
fn rare_kinds_are_read_as_pillow_reads_them() {
    let mut cases = cases("unusual");
    cases.retain(|case| !REFUSED.contains(&case.name.as_str()));
    assert!(cases.len() >= 130, "{} files", cases.len());
    assert!(cases.iter().all(|case| case.rgb.is_some()));
    compare(&cases);
}

#[test]
fn what_is_not_read_is_refused_with_its_format() {
    let cases = cases("unusual");
    for name in REFUSED {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let error = decode(&case.file, &Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with("the TIFF file cannot be decoded: "), "{name}: {error}");
    }
}

/// Any outcome but a panic.
#[test]
fn damage_to_rare_kinds_panics_nowhere() {
    let limits = Limits { max_pixels: 100_000, ..Limits::default() };
    let mut seen = 0;
    for Case { file, .. } in cases("unusual") {
        for at in (0..file.len()).step_by(1 + file.len() / 60) {
            for change in [0xFF, 0x80, 0x01] {
                let mut damaged = file.clone();
                damaged[at] ^= change;
                seen += usize::from(decode(&damaged, &limits).is_ok());
                let _ = decode_frames(&damaged, &limits);
            }
            let _ = decode(&file[..at], &limits);
        }
    }
    assert!(seen > 1000, "much of it is read: {seen}");
}

#[test]
fn frames_lie_on_each_other_as_pillow_lays_them() {
    let mut found = Vec::new();
    let mut seen = 0;
    for Case { name, file, frames, .. } in cases("unusual") {
        let Some(frames) = frames else { continue };
        seen += 1;
        let animation = decode_frames(&file, &Limits::default()).unwrap();
        assert_eq!(animation.frames.len(), frames.dim(0).unwrap(), "{name}");
        for (i, frame) in animation.frames.iter().enumerate() {
            let wrong = difference(frame, &frames.get(i).unwrap());
            found.extend(wrong.map(|wrong| format!("{name}, frame {i}: {wrong}")));
        }
    }
    assert!(seen >= 15, "{seen} animations");
    found.sort();
    assert!(found.is_empty(), "{found:#?}");
}
