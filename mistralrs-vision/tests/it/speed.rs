//! Not checks but measurements: `cargo test --release -p mistralrs-vision --test it speed -- --ignored
//! --nocapture`. `scripts/bench_preprocessing.py` runs the first in turn with transformers. Times are of the
//! processor, summed over threads, so that other programs on the machine do not count.

use crate::pictures::drawn;
use candle_core::{D, DType, Device, Tensor};
use mistralrs_vision::{Detail, Family, ImageProcessor, PixelTable, normalize, planes};
use serde_json::json;
use std::time::Duration;

/// What the threads of this process have computed so far.
fn processor_time() -> Duration {
    // Of the thread that is running, the system knows only at its next tick or when it gives way.
    std::thread::yield_now();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let time = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    Duration::from_nanos(tasks.map(time).sum())
}

/// Milliseconds of nine runs: the median, the least and the most.
fn milliseconds(mut work: impl FnMut()) -> [f64; 3] {
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let start = processor_time();
            work();
            (processor_time() - start).as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    [times[4], times[0], times[8]]
}

#[test]
#[ignore = "a measurement"]
fn preprocessing_speed() {
    // As the server does.
    mistralrs_kernels::keep_freed_memory();
    let recipes = [
        ("qwen2", Family::Qwen2Vl, json!({"min_pixels": 3136, "max_pixels": 12_845_056})),
        ("qwen3", Family::Qwen3Vl, json!({})),
        ("gemma3", Family::Gemma3, json!({})),
        ("gemma3n", Family::Gemma3n, json!({"do_normalize": false})),
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
            let [median, least, most] = milliseconds(|| {
                let pixels = processor.image(&picture, Detail::Auto).unwrap();
                assert!(pixels.num_tokens > 0);
            });
            println!("{name} {}x{} {median:.2} {least:.2} {most:.2}", size.0, size.1);
        }
    }
}

/// Channel by channel, joined at the end: what broadcasting took the place of (row G9).
fn by_channel(images: &Tensor, mean: &[f64], std: &[f64]) -> Tensor {
    let axis = images.rank() - 3;
    let channels = mean.iter().zip(std).enumerate().map(|(channel, (mean, std))| {
        ((images.narrow(axis, channel, 1).unwrap() - *mean).unwrap() / *std).unwrap()
    });
    Tensor::cat(&channels.collect::<Vec<_>>(), axis).unwrap()
}

/// The same pictures, from bytes in pixels to normalized planes, in turn.
#[test]
#[ignore = "a measurement"]
fn normalization_speed() {
    let (mean, std) = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]);
    let table = PixelTable::new(Some(1. / 255.), Some((mean, std)));
    for (count, side) in [(1, 224), (1, 896), (8, 512)] {
        let pictures: Vec<_> = (0..count).map(|frame| drawn((side, side), frame)).collect();
        let bytes: Vec<u8> = pictures.iter().flat_map(|it| it.rgb()).copied().collect();
        let side = side as usize;
        let bytes = Tensor::from_vec(bytes, (count as usize, side, side, 3), &Device::Cpu).unwrap();
        let floats = || {
            let planes = bytes.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
            (planes.to_dtype(DType::F32).unwrap() / 255.).unwrap()
        };
        let images = floats();
        let told = |[median, least, most]: [f64; 3]| format!("{median:.2} ({least:.2}–{most:.2})");
        let chunks = told(milliseconds(|| drop(by_channel(&images, &mean, &std))));
        let broadcast = told(milliseconds(|| drop(normalize(&images, &mean, &std).unwrap())));
        let whole = told(milliseconds(|| drop(normalize(&floats(), &mean, &std).unwrap())));
        let looked_up = told(milliseconds(|| drop(planes(&pictures, &table).unwrap())));
        println!(
            "{count} of {side}x{side}: by channel {chunks}, broadcast {broadcast}; from bytes {whole}, by table {looked_up}"
        );
        let (ours, theirs) = (planes(&pictures, &table).unwrap(), by_channel(&images, &mean, &std));
        let apart = (ours - theirs).unwrap().abs().unwrap().flatten_all().unwrap();
        assert!(apart.max(D::Minus1).unwrap().to_scalar::<f32>().unwrap() < 1e-5);
    }
}
