//! Every kind of image file against Pillow and transformers' `convert_to_rgb`.

use candle_core::{Device, safetensors};
use mistralrs_testkit::fixture;
use mistralrs_vision::{Limits, decode};

#[test]
fn every_kind_of_file_is_read_as_pillow_reads_it() {
    let files = safetensors::load(fixture("vision/files.safetensors"), &Device::Cpu).unwrap();
    let mut seen = 0;
    let mut found = Vec::new();
    for (key, file) in &files {
        let Some(name) = key.strip_suffix("/file") else { continue };
        seen += 1;
        let wanted = &files[&format!("{name}/rgb")];
        let (height, width, _) = wanted.dims3().unwrap();
        let wanted = wanted.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        let picture = match decode(&file.to_vec1::<u8>().unwrap(), &Limits::default()) {
            Ok(picture) => picture,
            Err(error) => {
                found.push(format!("{name}: {error}"));
                continue;
            }
        };
        if (picture.width() as usize, picture.height() as usize) != (width, height) {
            found.push(format!("{name}: {picture:?}, not {width} × {height}"));
            continue;
        }
        let differences = picture.rgb().iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b));
        let worst = differences.max().unwrap();
        if worst > 0 {
            found.push(format!("{name}: off by up to {worst}"));
        }
    }
    assert!(seen >= 50, "{seen} files");
    assert!(found.is_empty(), "{found:#?}");
}
