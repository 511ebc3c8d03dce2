//! Models that see, against transformers: features, positions, and log-probabilities of conversations
//! with none to three pictures, however the work is cut and whoever shares it. The engine is given the
//! reference's own pixel values.

use crate::{answers, distance};
use candle_core::Tensor;
use mistralrs_core::attention::CpuAttention;
use mistralrs_core::engine::{
    EngineHandle, EngineLimits, GenerationRequest, PositionLogprobs, TokenEvent,
};
use mistralrs_core::forward::{Media, MediaItem, Modality};
use mistralrs_core::kv_cache::block_groups::BlockGroups;
use mistralrs_core::kv_cache::{KvCache, KvNumbers};
use mistralrs_core::models::{self, MediaEncoder, Model, ModelShape};
use mistralrs_core::places::LayerPlaces;
use mistralrs_core::request::{Audio, Image, Video};
use mistralrs_core::sampling::Sampler;
use mistralrs_core::weights::Weights;
use mistralrs_core::{
    ChatRequest, Content, GenerateOptions, Llm, Message, Part, RequestError, Role, SamplingParams,
};
use mistralrs_quant::{WeightOptions, open_safetensors};
use mistralrs_testkit::media::{
    GoldenImage, GoldenSound, GoldenTensor, GoldenVideo, MediaCase, MediaGolden, media_golden,
};
use mistralrs_testkit::{GoldenStep, VOCAB_SIZE, fixture, read_json};
use serde_json::Value;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

const QWEN_VL: [&str; 4] = ["qwen2-vl", "qwen2.5-vl", "qwen3-vl", "qwen3-vl-moe"];
/// All that see; the last hears, too.
pub const ALL: [&str; 8] = [
    "qwen2-vl",
    "qwen2.5-vl",
    "qwen3-vl",
    "qwen3-vl-moe",
    "gemma3-vision",
    "idefics3",
    "smolvlm",
    "gemma3n-media",
];
/// What f32 arithmetic in another order may differ by: log-probabilities, and features around 3.
const TOLERANCE: f32 = 2e-3;
const FEATURE_TOLERANCE: f32 = 4e-4;

pub fn load_from(folder: &Path) -> (Box<dyn Model>, ModelShape) {
    load_treated(folder, WeightOptions::default())
}

pub fn load_treated(folder: &Path, options: WeightOptions) -> (Box<dyn Model>, ModelShape) {
    answers::instruction_set();
    let file = folder.join("config.json");
    let json: Value = read_json(&file);
    let row = models::find(json["architectures"][0].as_str().unwrap()).unwrap();
    let checkpoint = open_safetensors(&[folder.join("model.safetensors")]).unwrap();
    let weights = Weights::new(checkpoint, options, Arc::new(CpuAttention), |_, _| ());
    let model = (row.load)(&file, &json, &weights).unwrap();
    weights.check_surplus(|_| false).unwrap();
    (model, (row.shape)(&file, &json).unwrap())
}

fn engine(name: &str, prefill_chunk: usize, sharing: bool) -> EngineHandle {
    let (model, shape) = load_from(&fixture(name));
    let windows = shape.kv.windows();
    let blocks = vec![512; windows.len()];
    let kv =
        KvCache::allocate(&shape.kv, &blocks, 8, KvNumbers::F32, &LayerPlaces::default()).unwrap();
    let groups = BlockGroups::new(blocks.into_iter().zip(windows), 8, sharing);
    let limits = EngineLimits {
        max_seqs: 16,
        max_queue: 64,
        prefill_chunk,
        short_context: None,
        media_cache_bytes: 1 << 20,
    };
    EngineHandle::spawn(model, kv, groups, limits).unwrap()
}

fn media(image: &GoldenImage) -> Arc<Media> {
    let grid = image.grid.clone().try_into().unwrap();
    let GoldenTensor { shape, data } = &image.pixels;
    Arc::new(Media::new(Modality::Image, data.clone(), shape, grid).unwrap())
}

/// A picture's tiles, or the one that it is.
pub fn tiles(image: &GoldenImage) -> Vec<Arc<Media>> {
    let GoldenTensor { shape, data } = &image.pixels;
    let &[tiles, _, _, _] = shape.as_slice() else { return vec![media(image)] };
    let tile = |data: &[f32]| Media::new(Modality::Image, data.to_vec(), &shape[1..], [1; 3]);
    data.chunks(data.len() / tiles).map(|data| Arc::new(tile(data).unwrap())).collect()
}

pub fn sound(sound: &GoldenSound) -> Arc<Media> {
    let GoldenTensor { shape, data } = &sound.mel;
    Arc::new(Media::new(Modality::Audio, data.clone(), shape, [sound.valid, 1, 1]).unwrap())
}

/// A clip, whole, or each of its pairs of frames by itself.
pub fn clip(video: &GoldenVideo, apart: bool) -> Vec<Arc<Media>> {
    let GoldenTensor { shape, data } = &video.pixels;
    let [frames, height, width] = video.grid;
    let pieces = if apart { frames } else { 1 };
    let grid = [frames / pieces, height, width];
    let piece = |data: &[f32]| {
        let dims = [shape[0] / pieces, shape[1]];
        let media = Media::new(Modality::Video, data.to_vec(), &dims, grid).unwrap();
        Arc::new(media.with_seconds_per_grid((2. / video.fps) as f32))
    };
    data.chunks(data.len() / pieces).map(piece).collect()
}

/// The runs of a placeholder.
fn runs(prompt: &[u32], placeholder: Option<u32>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in prompt.iter().enumerate().filter(|(_, token)| Some(**token) == placeholder) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

fn items(golden: &MediaGolden, case: &MediaCase) -> Vec<MediaItem> {
    let images = case.images.iter().flat_map(|number| tiles(&golden.images[*number]));
    let videos = case.videos.iter().flat_map(|number| {
        let places = runs(&case.text.prompt, golden.video_token).len();
        clip(&golden.videos[*number], places > case.videos.len())
    });
    let sounds = case.sounds.iter().map(|number| sound(&golden.sounds[*number]));
    let mut items = Vec::new();
    for (placeholder, media) in [
        (golden.image_token, images.collect::<Vec<_>>()),
        (golden.video_token, videos.collect::<Vec<_>>()),
        (golden.audio_token, sounds.collect::<Vec<_>>()),
    ] {
        let runs = runs(&case.text.prompt, placeholder);
        assert_eq!(runs.len(), media.len());
        let pairs = runs.into_iter().zip(media);
        items.extend(pairs.map(|(tokens, media)| MediaItem { tokens, media }));
    }
    items.sort_by_key(|item| item.tokens.start);
    items
}

fn request(
    prompt: &[u32],
    media: Vec<MediaItem>,
    max_tokens: usize,
    scored: bool,
) -> GenerationRequest {
    let params = SamplingParams { temperature: Some(0.), ..SamplingParams::default() };
    GenerationRequest {
        prompt: prompt.to_vec(),
        media,
        max_tokens,
        min_tokens: 0,
        stop_token_ids: Vec::new(),
        sampler: Sampler::new(&params, HashSet::new(), 0),
        logprobs: Some(VOCAB_SIZE),
        prompt_logprobs: scored.then_some(VOCAB_SIZE),
        timeout: None,
    }
}

/// What came back: log-probabilities of the prompt and of what was drawn, and the cached tokens.
#[derive(Default)]
struct Answer {
    prompt: Vec<PositionLogprobs>,
    drawn: Vec<PositionLogprobs>,
    cached: usize,
}

impl Answer {
    fn bits(&self) -> Vec<(u32, u32)> {
        self.drawn.iter().map(|p| (p.chosen.0, p.chosen.1.to_bits())).collect()
    }
}

fn collect(mut events: UnboundedReceiver<TokenEvent>) -> Answer {
    let mut answer = Answer::default();
    loop {
        match events.blocking_recv().unwrap() {
            TokenEvent::Prompt { cached_tokens, logprobs } => {
                answer.cached = cached_tokens;
                answer.prompt = logprobs.into_iter().flatten().collect();
            }
            TokenEvent::Token { logprobs, .. } => answer.drawn.extend(logprobs),
            TokenEvent::Finished { .. } => return answer,
            TokenEvent::Failed(kind) => panic!("{kind:?}"),
        }
    }
}

fn ask(engine: &EngineHandle, golden: &MediaGolden, case: &MediaCase, scored: bool) -> Answer {
    let steps = case.text.greedy.len();
    let request = request(&case.text.prompt, items(golden, case), steps, scored);
    collect(engine.submit(request).unwrap())
}

fn distance(answer: &Answer, case: &MediaCase) -> f32 {
    let one = |(ours, theirs): (&PositionLogprobs, &GoldenStep)| {
        assert_eq!(ours.chosen.0, theirs.token);
        let find = |token| ours.top.iter().find(|(id, _)| *id == token).map_or(f32::NAN, |c| c.1);
        theirs.distance(find)
    };
    if !answer.prompt.is_empty() {
        assert_eq!(answer.prompt.len(), case.text.prompt_logprobs.len());
    }
    assert_eq!(answer.drawn.len(), case.text.greedy.len());
    let prompt = answer.prompt.iter().zip(&case.text.prompt_logprobs);
    let drawn = answer.drawn.iter().zip(&case.text.greedy);
    prompt.chain(drawn).map(one).fold(0., f32::max)
}

/// What a tower makes of the pieces of one medium, one after the other: what goes in, then what is added
/// behind each of the first layers.
pub fn encoded(encoder: &dyn MediaEncoder, pieces: &[Arc<Media>]) -> Vec<Tensor> {
    let encoded: Vec<_> = pieces.iter().map(|piece| encoder.encode(piece).unwrap()).collect();
    let layers = 1 + encoded[0].deepstack.len();
    let layer = |number: usize| {
        let of_pieces = encoded.iter().map(|encoded| {
            assert_eq!(encoded.deepstack.len() + 1, layers);
            number.checked_sub(1).map_or(&encoded.embeddings, |at| &encoded.deepstack[at])
        });
        Tensor::cat(&of_pieces.collect::<Vec<_>>(), 0).unwrap()
    };
    (0..layers).map(layer).collect()
}

fn assert_features(
    name: &str,
    encoder: &dyn MediaEncoder,
    pieces: &[Arc<Media>],
    wanted: &[&GoldenTensor],
) {
    let found = encoded(encoder, pieces);
    assert_eq!(found.len(), wanted.len());
    for (ours, theirs) in found.iter().zip(wanted) {
        assert_eq!(ours.dims(), theirs.shape);
        let numbers = ours.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let worst = numbers.iter().zip(&theirs.data).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0., f32::max);
        assert!(worst < FEATURE_TOLERANCE, "{name}: {worst}");
    }
}

#[test]
fn towers_see_what_transformers_sees() {
    for name in QWEN_VL {
        let golden = media_golden(name);
        let (model, _) = load_from(&fixture(name));
        let encoder = model.media_encoder().unwrap();
        for image in &golden.images {
            let wanted: Vec<_> = std::iter::once(&image.features).chain(&image.deepstack).collect();
            assert_features(&image.file, encoder, &[media(image)], &wanted);
        }
        for (video, apart) in golden.videos.iter().flat_map(|v| [(v, false), (v, true)]) {
            // Frames of Qwen2.5-VL's clips are told apart by nothing but the text around them, too.
            let wanted: Vec<_> = std::iter::once(&video.features).chain(&video.deepstack).collect();
            assert_features(&video.files[0], encoder, &clip(video, apart), &wanted);
        }
        for case in &golden.cases {
            let media = items(&golden, case);
            let positions = encoder.positions(case.text.prompt.len(), &media).unwrap();
            for (at, ours) in positions.prompt.iter().enumerate() {
                let theirs = [0, 1, 2].map(|axis| case.positions[axis][at]);
                assert_eq!(*ours, theirs, "{name}: position {at}");
            }
            let largest = case.positions.iter().flatten().max().unwrap();
            assert_eq!(positions.next, largest + 1, "{name}");
        }
    }
}

#[test]
fn conversations_about_pictures_agree_with_transformers() {
    for name in ALL {
        let golden = media_golden(name);
        let images: Vec<_> = golden.cases.iter().map(|c| c.images.len()).take(4).collect();
        assert_eq!(images, [0, 1, 2, 3]);
        let mut worst = 0f32;
        for prefill_chunk in [512, 5] {
            let engine = engine(name, prefill_chunk, true);
            for case in &golden.cases {
                worst = worst.max(distance(&ask(&engine, &golden, case, true), case));
                let first = ask(&engine, &golden, case, false);
                let again = ask(&engine, &golden, case, false);
                assert_eq!(again.cached, (case.text.prompt.len() - 1) / 8 * 8, "{name}");
                assert_eq!(first.bits(), again.bits(), "{name}: after a prefix hit");
                worst = worst.max(distance(&first, case)).max(distance(&again, case));
            }
        }
        println!("{name}: {worst:.1e}");
        assert!(worst < TOLERANCE, "{name}: {worst}");
    }
}

#[test]
fn a_ragged_batch_of_pictures_and_text_agrees_too() {
    for name in ALL {
        let golden = media_golden(name);
        for prefill_chunk in [512, 5] {
            let engine = engine(name, prefill_chunk, false);
            let text = |length: usize| {
                let prompt = &golden.cases[0].text.prompt;
                let prompt = &prompt[..length.min(prompt.len())];
                engine.submit(request(prompt, Vec::new(), 9, false)).unwrap()
            };
            let others: Vec<_> = [1, 7, 20].map(text).into();
            let asked: Vec<_> = golden
                .cases
                .iter()
                .chain(&golden.cases)
                .map(|case| {
                    let steps = case.text.greedy.len();
                    let request =
                        request(&case.text.prompt, items(&golden, case), steps, prefill_chunk == 5);
                    engine.submit(request).unwrap()
                })
                .collect();
            others.into_iter().for_each(|other| drop(collect(other)));
            for (events, case) in asked.into_iter().zip(golden.cases.iter().cycle()) {
                let answer = collect(events);
                let alone = ask(&engine, &golden, case, prefill_chunk == 5);
                assert_eq!(answer.bits(), alone.bits(), "{name}: row G4, alone and in company");
                let worst = distance(&answer, case);
                assert!(worst < TOLERANCE, "{name}: {worst}");
            }
            let stats = engine.stats();
            let all = golden.cases.iter().flat_map(|case| items(&golden, case));
            let different: HashSet<_> = all.map(|item| item.media.hash()).collect();
            assert_eq!(stats.media_encoded_total, different.len() as u64, "{name}: each once");
            assert_eq!((stats.failed_steps_total, stats.kv_blocks_used), (0, 0));
        }
    }
}

/// The prompt of `case` with another picture of the same size in the place of its first.
fn with_another_picture(golden: &MediaGolden, case: &MediaCase) -> Vec<MediaItem> {
    let mut items = items(golden, case);
    let old = &items[0].media;
    let values = old.values().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let values = values.iter().map(|x| 0.5 - x).collect();
    let other = Media::new(old.modality(), values, old.values().dims(), old.grid()).unwrap();
    items[0].media = Arc::new(match old.seconds_per_grid() {
        0. => other,
        seconds => other.with_seconds_per_grid(seconds),
    });
    items
}

#[test]
fn the_same_text_about_another_picture_is_another_answer() {
    for name in ALL {
        let golden = media_golden(name);
        let (sharing, fresh) = (engine(name, 512, true), engine(name, 512, false));
        for case in &golden.cases[1..] {
            let before = sharing.stats().media_encoded_total;
            let first = ask(&sharing, &golden, case, false);
            let media = || with_another_picture(&golden, case);
            let about = |engine: &EngineHandle| {
                let request = request(&case.text.prompt, media(), 16, false);
                collect(engine.submit(request).unwrap())
            };
            let (other, alone) = (about(&sharing), about(&fresh));
            assert_ne!(first.bits(), other.bits(), "{name}: the pictures differ");
            assert_eq!(other.bits(), alone.bits(), "{name}: nothing of the first picture is left");
            let blocks = media()[0].tokens.start / 8;
            assert_eq!(other.cached, blocks * 8, "{name}: found up to the picture");
            let encoded = sharing.stats().media_encoded_total;
            let again = about(&sharing);
            assert_eq!(again.bits(), other.bits(), "{name}");
            assert_eq!(sharing.stats().media_encoded_total, encoded, "{name}: not encoded again");
            assert!(encoded > before);
        }
    }
}

#[test]
fn a_checkpoint_without_its_tower_reads_text() {
    let copy = mistralrs_testkit::copy_of("qwen3-vl");
    let file = copy.path().join("config.json");
    let mut config: Value = read_json(&file);
    // The text half's weights are all there is, as some files are cut.
    let bytes = std::fs::read(copy.path().join("model.safetensors")).unwrap();
    std::fs::write(copy.path().join("model.safetensors"), without_tower(&bytes)).unwrap();
    let (model, _) = load_from(copy.path());
    assert!(model.media_encoder().is_none());
    config.as_object_mut().unwrap().remove("vision_config");
    std::fs::write(&file, config.to_string()).unwrap();
    let (model, _) = load_from(copy.path());
    assert!(model.media_encoder().is_none());
    // And a tower that nobody describes is no error.
    std::fs::write(copy.path().join("model.safetensors"), bytes).unwrap();
    let (model, _) = load_from(copy.path());
    assert!(model.media_encoder().is_none());
}

/// A safetensors file without the tensors of the tower.
fn without_tower(bytes: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = (&bytes[8..8 + length], &bytes[8 + length..]);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let (mut kept, mut rest) = (serde_json::Map::new(), Vec::new());
    for (name, mut info) in header {
        if name.contains("visual") || name == "__metadata__" {
            continue;
        }
        let at = |i: usize| info["data_offsets"][i].as_u64().unwrap() as usize;
        let (start, end) = (at(0), at(1));
        info["data_offsets"] = serde_json::json!([rest.len(), rest.len() + end - start]);
        rest.extend(&data[start..end]);
        kept.insert(name, info);
    }
    let header = Value::Object(kept).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &rest].concat()
}

/// A golden conversation as a client sends it, its media as files.
pub fn conversation(name: &str, case: &MediaCase) -> ChatRequest {
    let golden = media_golden(name);
    let read = |file: &str| std::fs::read(fixture(name).join(file)).unwrap();
    let part = |part: &Value| {
        let kind = part["type"].as_str().unwrap();
        let number = || part[kind].as_u64().unwrap() as usize;
        match kind {
            "image" => {
                Part::Image(Image::new(read(&format!("images/{}", golden.images[number()].file))))
            }
            "video" => {
                let GoldenVideo { files, fps, .. } = &golden.videos[number()];
                let frames = files.iter().map(|file| read(&format!("videos/{file}")).into());
                Part::Video(Video {
                    frames: frames.collect(),
                    fps: (files.len() > 1).then_some(*fps),
                })
            }
            "audio" => {
                let file = golden.sounds[number()].file.as_ref().unwrap();
                Part::Audio(Audio { bytes: read(&format!("sounds/{file}")).into() })
            }
            _ => Part::Text(part["text"].as_str().unwrap().to_owned()),
        }
    };
    let message = |message: &Value| {
        let role = match message["role"].as_str().unwrap() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => Role::System,
        };
        let content = match &message["content"] {
            Value::String(text) => Content::Text(text.clone()),
            parts => Content::Parts(parts.as_array().unwrap().iter().map(part).collect()),
        };
        Message { content, ..Message::text(role, "") }
    };
    let options = GenerateOptions {
        logprobs: Some(VOCAB_SIZE),
        ignore_eos: true,
        ..answers::greedy(case.text.greedy.len())
    };
    let messages = case.messages.iter().map(message).collect();
    ChatRequest { messages, options, ..ChatRequest::default() }
}

#[test]
fn files_in_a_chat_are_what_the_reference_reads() {
    for name in ALL {
        let golden = media_golden(name);
        let load = |folder: &Path| answers::load(folder, |o| o.block_size = 8);
        let llm = load(&fixture(name));
        assert!(llm.takes(Modality::Image));
        let spectrum = |number: &usize| golden.sounds[*number].file.is_none();
        let (mut worst, mut seen) = (0f32, 0);
        for case in golden.cases.iter().filter(|case| !case.sounds.iter().any(spectrum)) {
            let other = (!case.processor.is_empty()).then(|| with_keys(name, &case.processor));
            let other = other.as_ref().map(|folder| load(folder.path()));
            let llm = other.as_ref().unwrap_or(&llm);
            seen += 1;
            let answer = answers::chat(llm, &conversation(name, case));
            assert_eq!(answer.usage.prompt_tokens, case.text.prompt.len(), "{name}");
            assert_eq!(answer.token_ids, case.text.greedy_ids(), "{name}");
            let pairs = answer.logprobs.iter().zip(&case.text.greedy);
            worst = pairs.map(|(ours, theirs)| distance::one(ours, theirs)).fold(worst, f32::max);
        }
        println!("{name}: {worst:.1e}");
        assert!(worst < TOLERANCE, "{name}: {worst}");
        assert!(seen >= 4, "{name}: {seen}");
        let file = std::fs::read(fixture(name).join("images/0.png")).unwrap();
        let look = llm.look(&Image::new(file)).unwrap().unwrap();
        let size = if QWEN_VL.contains(&name) { (40, 24) } else { (24, 17) };
        let shape = &golden.images[0].features.shape;
        let tokens = shape[..shape.len() - 1].iter().product::<usize>();
        assert_eq!((look.width, look.height, look.tokens), (size.0, size.1, tokens));
    }
}

/// A fixture whose `preprocessor_config.json` has these keys, too.
fn with_keys(name: &str, keys: &serde_json::Map<String, Value>) -> tempfile::TempDir {
    let copy = mistralrs_testkit::copy_of(name);
    let file = copy.path().join("preprocessor_config.json");
    let mut config: serde_json::Map<String, Value> = read_json(&file);
    config.extend(keys.clone());
    std::fs::write(&file, Value::Object(config).to_string()).unwrap();
    copy
}

fn refused(llm: &Llm, change: impl FnOnce(&mut ChatRequest)) -> (String, String) {
    let golden = media_golden("qwen3-vl");
    let mut request = conversation("qwen3-vl", &golden.cases[1]);
    change(&mut request);
    match llm.chat(request).map(|_| ()).unwrap_err() {
        RequestError::Invalid { param, message } => (param, message),
        other => panic!("{other}"),
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_its_path() {
    let llm = answers::load(&fixture("qwen3-vl"), |_| ());
    let parts = |request: &mut ChatRequest, parts: Vec<Part>| {
        request.messages[0].content = Content::Parts(parts);
    };
    let (param, message) = refused(&llm, |r| {
        parts(r, vec![Part::Text("a".into()), Part::Image(Image::new(b"no picture".to_vec()))]);
    });
    assert_eq!(param, "messages[0].content[1]");
    assert!(message.contains("known format"), "{message}");
    // Who writes the mark gets no picture's rows.
    let (param, message) = refused(&llm, |r| {
        let Content::Parts(all) = &mut r.messages[0].content else { panic!() };
        all.push(Part::Text("<|image_pad|>".into()));
    });
    assert_eq!(param, "messages");
    assert!(message.contains("1 of image") && message.contains("2 times"), "{message}");
    let (_, message) =
        refused(&llm, |r| parts(r, vec![Part::Text("see <|image_pad|> here".into())]));
    assert!(message.contains("0 of image"), "{message}");
    let sound = || Part::Audio(Audio { bytes: vec![1].into() });
    let (param, message) = refused(&llm, |r| parts(r, vec![sound()]));
    assert_eq!(param, "messages[0].content[0]");
    assert!(message.contains("images and text only"), "{message}");
    // A model of text.
    let text = answers::load(&fixture("llama-plain"), |_| ());
    let (param, message) = refused(&text, |_| ());
    assert_eq!(param, "messages[0].content[0]");
    assert!(message.contains("text only"), "{message}");
}

#[test]
fn a_picture_counts_into_the_length_and_is_not_cut_in_two() {
    // The conversation has 43 tokens; those from 6 on are the picture's fifteen.
    let golden = media_golden("qwen3-vl");
    let case = &golden.cases[1];
    let picture = runs(&case.text.prompt, golden.image_token)[0].clone();
    let limit = |limit: usize| {
        answers::load(&fixture("qwen3-vl"), |o| {
            o.max_seq_len = Some(limit);
            o.block_size = 8;
        })
    };
    let request = |truncate: bool| {
        let mut request = conversation("qwen3-vl", case);
        request.options.truncate_sequence = truncate;
        request.options.max_tokens = Some(1);
        request
    };
    let llm = limit(32);
    match llm.chat(request(false)).map(|_| ()).unwrap_err() {
        RequestError::TooLong { prompt_tokens, .. } => assert_eq!(prompt_tokens, 43),
        other => panic!("{other}"),
    }
    // 31 tokens stay: the cut goes through the picture.
    let cut = case.text.prompt.len() - 31;
    assert!(picture.contains(&cut) && picture.start < cut, "{picture:?} {cut}");
    match llm.chat(request(true)).map(|_| ()).unwrap_err() {
        RequestError::Invalid { param, message } => {
            assert_eq!(param, "truncate_sequence");
            assert!(message.contains("15 tokens in two"), "{message}");
        }
        other => panic!("{other}"),
    }
    // Eight blocks of less are enough for the words behind it.
    let answer = answers::chat(&limit(16), &request(true));
    assert_eq!(answer.usage.prompt_tokens, 15);
}
