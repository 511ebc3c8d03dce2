//! What the files of the golden test do not show: faults. The pixels are compared in `tests/it/files.rs`.

use super::*;
use candle_core::{Device, safetensors};
use mistralrs_testkit::fixture;

const MANY: u64 = 1 << 20;

/// A file that nothing stands around.
fn decode(bytes: &[u8], max_pixels: u64) -> Result<Option<Picture>> {
    super::decode(bytes, max_pixels, None)
}

fn files() -> Vec<(String, Vec<u8>)> {
    let files = safetensors::load(fixture("vision/files.safetensors"), &Device::Cpu).unwrap();
    let name = |key: &str| key.strip_suffix(".jpg/file").map(str::to_owned);
    let found = files.iter().filter_map(|(key, file)| Some((name(key)?, file.to_vec1().unwrap())));
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

/// Another way to undo the transform: by its definition, in floating point.
#[test]
fn the_transform_is_the_cosines() {
    let mut state = 1u64;
    let mut next = |most: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    for _ in 0..50 {
        let mut block = [0i16; 64];
        (0..6).for_each(|_| block[next(64) as usize] = next(41) as i16 - 20);
        let table: [u16; 64] = std::array::from_fn(|_| 1 + next(9) as u16);
        let found = idct::samples(&block, &table);
        let cosine = |x: usize, u: usize| {
            let scale = if u == 0 { 0.5f64.sqrt() } else { 1. };
            scale * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.).cos() / 2.
        };
        for (i, found) in found.into_iter().enumerate() {
            let terms = (0..64).map(|k| {
                let value = f64::from(block[k]) * f64::from(table[k]);
                value * cosine(i / 8, k / 8) * cosine(i % 8, k % 8)
            });
            let wanted = (terms.sum::<f64>() + 128.).clamp(0., 255.);
            assert!((f64::from(found) - wanted).abs() < 1., "{found} {wanted}");
        }
    }
}

#[test]
fn rare_kinds_are_left_to_others() {
    let (_, mut file) = files().pop().unwrap();
    let frame =
        file.windows(2).position(|pair| pair[0] == 0xFF && (0xC0..=0xC2).contains(&pair[1]));
    let frame = frame.unwrap();
    for rare in [0xC3, 0xC9, 0xCA] {
        file[frame + 1] = rare;
        assert!(matches!(decode(&file, MANY), Ok(None)), "{rare:x}");
    }
}

#[test]
fn sizes_are_checked_before_anything_is_allocated() {
    let (_, mut file) = files().pop().unwrap();
    let frame =
        file.windows(2).position(|pair| pair[0] == 0xFF && (0xC0..=0xC2).contains(&pair[1]));
    let size = frame.unwrap() + 5;
    file[size..size + 4].fill(0xFF);
    match decode(&file, MANY).map(|_| ()).unwrap_err() {
        Error::TooManyPixels { width, height, .. } => assert_eq!((width, height), (65_535, 65_535)),
        other => panic!("{other}"),
    }
}

#[test]
fn scans_without_end_are_refused() {
    let file = files().into_iter().find(|(name, _)| name == "gray").unwrap().1;
    let scan = file.windows(2).position(|pair| pair == [0xFF, SCAN]).unwrap();
    let one = &file[scan..file.len() - 2];
    let many = [&file[..scan], &one.repeat(MAX_SCANS + 1), &[0xFF, END]].concat();
    let error = decode(&many, MANY).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("more than 200 scans"), "{error}");
}

/// Every damage is an error or a picture of the size that the header says.
#[test]
fn damage_is_survived() {
    let mut state = 1u64;
    let mut next = |most: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % most
    };
    let (mut whole, mut refused) = (0, 0);
    for (name, file) in files() {
        assert!(matches!(decode(&file, MANY), Ok(Some(_))), "{name}");
        for round in 0..200 {
            let mut file = file.clone();
            match round % 2 {
                0 => file.truncate(2 + next(file.len() - 2)),
                _ => (0..1 + next(4)).for_each(|_| {
                    let at = 2 + next(file.len() - 2);
                    file[at] = next(256) as u8;
                }),
            }
            match decode(&file, MANY) {
                Ok(picture) => {
                    whole += 1;
                    assert!(
                        picture
                            .is_none_or(|p| u64::from(p.width()) * u64::from(p.height()) <= MANY)
                    );
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    assert!(whole > 100 && refused > 1000, "{whole} {refused}");
}
