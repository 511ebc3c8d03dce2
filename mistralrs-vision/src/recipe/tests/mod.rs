//! Sizes, grids, counts and refusals that follow from the recipes' definitions; whole pictures are
//! compared with transformers in `tests/it`.

use super::*;
use serde_json::json;

fn picture(width: u32, height: u32) -> Picture {
    let n = width * height * 3;
    Picture::new(width, height, (0..n).map(|i| (i * 31 % 251) as u8).collect()).unwrap()
}

fn processor(config: &Value, family: Family) -> ImageProcessor {
    ImageProcessor::from_config(config, family).unwrap()
}

fn grid(pixels: &Pixels) -> [usize; 3] {
    match pixels.layout {
        Layout::Grid { grid, .. } => grid,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn areas_have_bounds_in_every_spelling() {
    let spellings = [
        json!({"min_pixels": 3136, "max_pixels": 7840}),
        json!({"size": {"shortest_edge": 3136, "longest_edge": 7840}}),
        json!({"size": {"min_pixels": 3136, "max_pixels": 7840}}),
        json!({"image_processor": {"size": {"shortest_edge": 3136, "longest_edge": 7840}}}),
    ];
    for config in spellings {
        let processor = processor(&config, Family::Qwen2Vl);
        for (size, wanted) in
            [((1, 1), [1, 4, 4]), ((56, 84), [1, 6, 4].map(|n| n)), ((400, 400), [1, 6, 6])]
        {
            let pixels = processor.image(&picture(size.0, size.1), Detail::Auto).unwrap();
            let [t, h, w] = grid(&pixels);
            assert_eq!(grid(&pixels), wanted, "{size:?} {config}");
            assert_eq!(pixels.pixels.dims(), [t * h * w, 3 * 2 * 14 * 14]);
            assert_eq!(pixels.num_tokens, t * h * w / 4);
        }
    }
}

#[test]
fn stripes_are_refused() {
    let processor = processor(&json!({}), Family::Qwen2Vl);
    assert!(processor.image(&picture(200, 1), Detail::Auto).is_ok());
    let error = processor.image(&picture(201, 1), Detail::Auto).unwrap_err();
    assert!(matches!(error, Error::AspectRatio { width: 201, height: 1, limit: 200 }), "{error}");
}

#[test]
fn low_detail_costs_less() {
    let large = picture(1200, 900);
    let qwen = processor(&json!({}), Family::Qwen2Vl);
    let tokens =
        |processor: &ImageProcessor, detail| processor.image(&large, detail).unwrap().num_tokens;
    assert!(tokens(&qwen, Detail::Low) <= 512 * 512 / (28 * 28));
    assert!(tokens(&qwen, Detail::High) > 1000);
    let scan = json!({"do_pan_and_scan": true, "size": {"height": 28, "width": 28}});
    let gemma = processor(&scan, Family::Gemma3);
    assert_eq!(tokens(&gemma, Detail::Low), 256);
    assert_eq!(tokens(&gemma, Detail::Auto), 3 * 256);
    let tiles = json!({"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}});
    let idefics = processor(&tiles, Family::Idefics3);
    assert_eq!(tokens(&idefics, Detail::Low), 169);
    assert_eq!(tokens(&idefics, Detail::High), 5 * 169);
}

#[test]
fn a_video_fills_its_last_group_and_knows_its_times() {
    let frames = (0..5).map(|_| picture(60, 60)).collect();
    let video = Animation { frames, fps: Some(2.) };
    let qwen2 = processor(&json!({"min_pixels": 3136, "max_pixels": 7840}), Family::Qwen2Vl);
    let pixels = qwen2.video(&video).unwrap();
    assert_eq!(grid(&pixels), [3, 4, 4]);
    assert_eq!(pixels.num_tokens, 12);
    let Layout::Grid { timestamps, seconds_per_grid, .. } = pixels.layout else { panic!() };
    assert_eq!(timestamps, [0.25, 1.25, 2.]);
    assert_eq!(seconds_per_grid, 1.);
    let gemma = processor(&json!({}), Family::Gemma3);
    assert!(!gemma.takes_videos() && qwen2.takes_videos());
    assert!(matches!(gemma.video(&video), Err(Error::NotTaken("videos"))));
    let uneven = Animation { frames: vec![picture(60, 60), picture(60, 61)], fps: None };
    assert!(matches!(qwen2.video(&uneven), Err(Error::FrameSize { frame: 1, .. })));
}

#[test]
fn files_that_make_no_sense_are_refused_by_key() {
    let refused = [
        (json!({"patch_size": 0}), "patch_size"),
        (json!({"merge_size": 99}), "merge_size"),
        (json!({"temporal_patch_size": 0}), "temporal_patch_size"),
        (json!({"min_pixels": 10, "max_pixels": 5}), "size"),
        (json!({"image_mean": [0.5]}), "image_mean"),
        (json!({"image_std": [0.5, 0.0, 0.5]}), "image_std"),
        (json!({"resample": 0}), "resample"),
        (json!({"size": 5.5}), ""),
    ];
    for (config, key) in refused {
        let error = ImageProcessor::from_config(&config, Family::Qwen2Vl).unwrap_err();
        assert!(matches!(&error, Error::Config(text) if text.contains(key)), "{config}: {error}");
    }
    let large = json!({"size": {"height": 100_000, "width": 896}});
    assert!(ImageProcessor::from_config(&large, Family::Gemma3).is_err());
    let large = json!({"max_image_size": {"longest_edge": 0}});
    assert!(ImageProcessor::from_config(&large, Family::Idefics3).is_err());
}

#[test]
fn files_of_a_video_are_one_animation() {
    let limits = Limits { max_frames: 2, ..Limits::default() };
    assert!(matches!(Animation::from_files(&[], None, &limits), Err(Error::Empty(_))));
    let error = Animation::from_files(&[&[], &[], &[]], None, &limits).unwrap_err();
    assert!(matches!(error, Error::TooManyFrames { limit: 2 }), "{error}");
    for fps in [0., -1., f64::NAN, f64::INFINITY] {
        assert!(Animation::from_files(&[&[1]], Some(fps), &limits).is_err());
    }
}
