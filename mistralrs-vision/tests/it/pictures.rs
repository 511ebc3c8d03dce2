//! The image processors of transformers 5, recipe by recipe.

use crate::Sampled;
use mistralrs_testkit::{fixture, read_json, shared};
use mistralrs_vision::{
    Animation, Detail, Error, Family, ImageProcessor, Layout, Limits, Picture, decode,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

#[derive(Deserialize)]
struct Goldens {
    configs: HashMap<String, Value>,
    video_configs: HashMap<String, Value>,
    cases: Vec<Case>,
    videos: Vec<Video>,
}

#[derive(Debug, Deserialize)]
struct Case {
    recipe: String,
    /// Width and height of a drawn picture, or the name of a file.
    size: Option<(u32, u32)>,
    file: Option<String>,
    grid: Option<[usize; 3]>,
    crops: Option<usize>,
    rows: Option<usize>,
    columns: Option<usize>,
    #[serde(default)]
    refused: bool,
    #[serde(flatten)]
    values: Option<Sampled>,
}

impl Case {
    /// What the reference's processors write of placeholders for what its image processor gave: one for each
    /// square of two by two patches, as many for each tile, or for each picture and crop.
    fn tokens(&self) -> usize {
        match (self.grid, self.rows.zip(self.columns)) {
            (Some(grid), _) => grid.iter().product::<usize>() / 4,
            (None, Some((rows, columns))) => (rows * columns + 1) * TILE_TOKENS,
            (None, None) => (self.crops.unwrap_or(0) + 1) * 256,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Video {
    recipe: String,
    size: (u32, u32),
    frames: u32,
    grid: Option<[usize; 3]>,
    #[serde(flatten)]
    values: Sampled,
}

/// Of Idefics3's processor.
const TILE_TOKENS: usize = 169;

fn goldens() -> Goldens {
    read_json(&fixture("vision/pictures.json"))
}

/// As the script draws it.
pub(crate) fn drawn((width, height): (u32, u32), frame: u32) -> Picture {
    let pixel = |i: u64| {
        let (x, y) = (i % u64::from(width) + 5 * u64::from(frame), i / u64::from(width));
        let mixed = x * 2_654_435_761 + y * 40_503 + (x * y) % 8191;
        let noise = mixed >> 5;
        [(x * 7 + y * 3) % 256, (x * x + y * 5) / 7 % 256, noise % 256].map(|v| v as u8)
    };
    let rgb = (0..u64::from(width) * u64::from(height)).flat_map(pixel).collect();
    Picture::new(width, height, rgb).unwrap()
}

fn family(recipe: &str) -> Family {
    match recipe {
        "qwen2" | "qwen2-capped" => Family::Qwen2Vl,
        "qwen3" | "qwen3-capped" => Family::Qwen3Vl,
        "gemma3" | "gemma3-scan" => Family::Gemma3,
        "gemma3n" => Family::Gemma3n,
        "smolvlm" | "smolvlm-whole" => Family::Idefics3,
        other => panic!("{other}"),
    }
}

fn video_processor(configs: &HashMap<String, Value>, recipe: &str) -> ImageProcessor {
    let config = serde_json::json!({"video_processor": configs[recipe]});
    ImageProcessor::from_config(&config, family(recipe)).unwrap()
}

fn processor(configs: &HashMap<String, Value>, recipe: &str) -> ImageProcessor {
    ImageProcessor::from_config(&configs[recipe], family(recipe)).unwrap()
}

/// What differs, if anything does: values by more than `most`, means by more than `mean_most`.
fn compare(
    case: &Case,
    processor: &ImageProcessor,
    picture: &Picture,
    (most, mean_most): (f64, f64),
) -> Option<String> {
    let wanted = case.values.as_ref().unwrap();
    let pixels = processor.image(picture, Detail::Auto).unwrap();
    let layout = match pixels.layout {
        Layout::Grid { grid, .. } => Some(grid) == case.grid,
        Layout::Crops { crops } => crops == case.crops.unwrap_or(0),
        Layout::Tiles { rows, columns } => (Some(rows), Some(columns)) == (case.rows, case.columns),
        Layout::Frames { .. } => false,
    };
    let dims = pixels.pixels.dims();
    let tokens = pixels.num_tokens;
    if !layout || dims != wanted.shape || tokens != case.tokens() {
        return Some(format!("{case:?}: {:?}, shape {dims:?}, {tokens} tokens", pixels.layout));
    }
    let values = pixels.pixels.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (worst, means) = wanted.distances(&values);
    let exact = wanted.are(&values);
    (worst > most || means > mean_most || !exact).then(|| {
        let name = case.file.clone().unwrap_or_else(|| format!("{:?}", case.size));
        let exact = if exact { "" } else { ", not to the bit" };
        format!("{name} {}: samples {worst:.6}, means {means:.8}{exact}", case.recipe)
    })
}

#[test]
fn drawn_pictures_have_the_reference_s_pixels_grids_and_counts() {
    let goldens = goldens();
    let (mut seen, mut refused, mut found) = (0, 0, Vec::new());
    let mut picture = drawn((1, 1), 0);
    for case in &goldens.cases {
        let Some(size) = case.size else { continue };
        if (picture.width(), picture.height()) != size {
            picture = drawn(size, 0);
        }
        seen += 1;
        let processor = processor(&goldens.configs, &case.recipe);
        if case.refused {
            refused += 1;
            let error = processor.image(&picture, Detail::Auto);
            assert!(matches!(error, Err(Error::AspectRatio { .. })), "{case:?}");
            continue;
        }
        assert!(case.values.as_ref().is_some_and(|values| values.sha256.is_some()));
        found.extend(compare(case, &processor, &picture, (1e-6, 1e-7)));
    }
    assert!(seen >= 230 && refused >= 4, "{seen} cases, {refused} refused");
    assert!(found.is_empty(), "{found:#?}");
}

/// Pictures from the wild.
#[test]
fn pictures_from_the_wild_have_the_reference_s_pixels() {
    let Some(folder) = shared("images") else { return };
    let goldens = goldens();
    let (mut seen, mut found) = (0, Vec::new());
    for case in &goldens.cases {
        let Some(file) = &case.file else { continue };
        seen += 1;
        let picture =
            decode(&std::fs::read(folder.join(file)).unwrap(), &Limits::default()).unwrap();
        let processor = processor(&goldens.configs, &case.recipe);
        found.extend(compare(case, &processor, &picture, (1e-6, 1e-7)));
    }
    assert!(seen >= 70, "{seen} cases");
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn videos_have_the_reference_s_pixels_and_grids() {
    let goldens = goldens();
    for case in &goldens.videos {
        let processor = video_processor(&goldens.video_configs, &case.recipe);
        let frames = (0..case.frames).map(|frame| drawn(case.size, frame)).collect();
        let pixels = processor.video(&Animation { frames, fps: None }).unwrap();
        match pixels.layout {
            Layout::Grid { grid, timestamps, .. } => {
                assert_eq!(Some(grid), case.grid, "{case:?}");
                assert_eq!(timestamps.len(), grid[0]);
                assert_eq!(pixels.num_tokens, grid.iter().product::<usize>() / 4, "{case:?}");
            }
            Layout::Frames { timestamps } => {
                assert_eq!((case.grid, timestamps.len()), (None, case.frames as usize));
                assert_eq!(pixels.num_tokens, timestamps.len() * TILE_TOKENS, "{case:?}");
            }
            other => panic!("{case:?}: {other:?}"),
        }
        assert_eq!(pixels.pixels.dims(), case.values.shape, "{case:?}");
        let values = pixels.pixels.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (worst, means) = case.values.distances(&values);
        assert!(worst < 1e-6 && means < 1e-7, "{case:?}: {worst} {means}");
        assert!(case.values.are(&values), "{case:?}");
    }
    assert!(goldens.videos.len() >= 20);
}
