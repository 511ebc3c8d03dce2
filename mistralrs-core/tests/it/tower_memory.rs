//! What towers need while they look, against what the memory plan counts for it. Counts what the whole process has
//! of its allocator, so it measures in a process of its own.

use crate::media::load_from;
use mistralrs_core::forward::{Media, Modality};
use mistralrs_testkit::fixture;
use peak_alloc::PeakAlloc;
use std::path::Path;
use std::process::Command;

/// Counts to the byte. What the system says of a process moves by pages, and by what allocators keep.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Set in the process that measures.
const ALONE: &str = "MISTRALRS_TEST_ALONE";
/// Patches along each side; squares of two by two are a token.
const SIDE: usize = 96;

fn clip(frames: usize, side: usize, width: usize) -> Media {
    let patches = frames * side * side;
    let values = (0..patches * width).map(|i| (i % 101) as f32 / 101.0 - 0.5).collect();
    let modality = if frames == 1 { Modality::Image } else { Modality::Video };
    Media::new(modality, values, &[patches, width], [frames, side, side]).unwrap()
}

fn patch_width(folder: &Path) -> usize {
    let config: serde_json::Value = mistralrs_testkit::read_json(&folder.join("config.json"));
    let vision = &config["vision_config"];
    let number = |key: &str| vision[key].as_u64().unwrap() as usize;
    let channels = vision["in_channels"].as_u64().or(vision["in_chans"].as_u64()).unwrap_or(3);
    channels as usize * number("temporal_patch_size") * number("patch_size").pow(2)
}

#[test]
fn towers_stay_within_what_the_plan_counts() {
    if let Ok(name) = std::env::var(ALONE) {
        return measure(&name);
    }
    // A process each: what one has given back, its allocator would use for the next.
    for name in ["qwen2-vl", "qwen2.5-vl", "qwen3-vl"] {
        let test = "tower_memory::towers_stay_within_what_the_plan_counts";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let child = command.args(["--exact", test, "--nocapture"]).env(ALONE, name).output();
        let child = child.unwrap();
        let told = [child.stdout, child.stderr].concat();
        println!("{}", String::from_utf8_lossy(&told));
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&told));
    }
}

#[expect(clippy::print_stdout, reason = "the test that starts this process shows it")]
fn measure(name: &str) {
    let folder = fixture(name);
    let (model, shape) = load_from(&folder);
    let encoder = model.media_encoder().unwrap();
    let width = patch_width(&folder);
    encoder.encode(&clip(1, 8, width)).unwrap();
    let media = clip(1, SIDE, width);
    let before = HEAP.current_usage();
    drop(encoder.encode(&media).unwrap());
    let kept = HEAP.current_usage().saturating_sub(before);
    // Rows of the widest product as it takes them, the patches', which tiny towers have wider than all else; and what
    // each thread works in.
    let rows = SIDE * SIDE * width.next_multiple_of(32) * size_of::<f32>();
    let threads = std::thread::available_parallelism().unwrap().get();
    println!("{name}: {kept} bytes kept by {threads} threads, {rows} for the widest rows");
    assert!(kept <= rows + ((1 + threads) << 20), "{name}: {kept} bytes kept");
    let tokens = SIDE * SIDE / 4;
    let planned = tokens * shape.tower.unwrap().activations_per_token * size_of::<f32>();
    // A clip needs no more than one of its frames.
    for frames in [1, 4] {
        let media = clip(frames, SIDE, width);
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        let encoded = encoder.encode(&media).unwrap();
        let needed = HEAP.peak_usage() - before;
        assert_eq!(encoded.embeddings.dims()[0], frames * tokens);
        let rows = encoded.embeddings.elem_count() * (1 + encoded.deepstack.len());
        let given = rows * size_of::<f32>();
        println!("{name}, {frames}: {needed} bytes of {planned} planned, {given} given");
        assert!(needed <= planned + given, "{name}, {frames}: {needed} of {planned}");
        assert!(needed >= planned / 8, "{name}: only {needed} of {planned}");
    }
}
