//! Not a check but a measurement: `cargo test --release -p mistralrs-vision --test it speed -- --ignored
//! --nocapture`. `scripts/bench_preprocessing.py` runs it in turn with transformers. Times are of the
//! processor, summed over threads, so that other programs on the machine do not count.

use crate::pictures::drawn;
use mistralrs_vision::{Detail, Family, ImageProcessor};
use serde_json::json;
use std::time::Duration;

/// What the threads of this process have computed so far.
fn processor_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let time = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    Duration::from_nanos(tasks.map(time).sum())
}

#[test]
#[ignore = "a measurement"]
fn preprocessing_speed() {
    let recipes = [
        ("qwen2", Family::Qwen2Vl, json!({"min_pixels": 3136, "max_pixels": 12_845_056})),
        ("gemma3", Family::Gemma3, json!({})),
        (
            "smolvlm",
            Family::Idefics3,
            json!({"size": {"longest_edge": 2048},
            "max_image_size": {"longest_edge": 512}}),
        ),
    ];
    for (name, family, config) in recipes {
        let processor = ImageProcessor::from_config(&config, family).unwrap();
        for size in [(640, 480), (1920, 1080)] {
            let picture = drawn(size, 0);
            let mut times: Vec<f64> = (0..9)
                .map(|_| {
                    let start = processor_time();
                    let pixels = processor.image(&picture, Detail::Auto).unwrap();
                    assert!(pixels.num_tokens > 0);
                    (processor_time() - start).as_secs_f64() * 1e3
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!(
                "{name} {}x{} {:.2} {:.2} {:.2}",
                size.0, size.1, times[4], times[0], times[8]
            );
        }
    }
}
