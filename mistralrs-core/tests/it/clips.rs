//! Clips to a model for which frames are pictures: written as text and pictures in turn, and nothing else.

use crate::answers;
use mistralrs_core::request::{Image, Video};
use mistralrs_core::{ChatRequest, Content, GenerateOptions, Llm, Message, Modality, Part, Role};
use mistralrs_testkit::{copy_of, fixture, read_json};
use serde_json::{Map, Value, json};

fn frames() -> Vec<Vec<u8>> {
    let folder = fixture("qwen2-vl/videos");
    (0..3).map(|n| std::fs::read(folder.join(format!("still-{n}.png"))).unwrap()).collect()
}

/// SmolVLM that is told of videos, pictures whole.
fn model() -> (tempfile::TempDir, Llm) {
    let copy = copy_of("smolvlm");
    let file = copy.path().join("preprocessor_config.json");
    let mut config: Map<String, Value> = read_json(&file);
    config.insert("do_image_splitting".into(), false.into());
    config.insert("video_sampling".into(), json!({"video_size": config["size"]}));
    std::fs::write(&file, Value::Object(config).to_string()).unwrap();
    let file = copy.path().join("chat_template.jinja");
    let template = std::fs::read_to_string(&file).unwrap();
    let video = "{% elif part['type'] == 'video' %}{{ '<video>' }}{% else %}";
    std::fs::write(&file, template.replacen("{% else %}{{ part", &format!("{video}{{{{ part"), 1))
        .unwrap();
    let llm = answers::load(copy.path(), |_| ());
    (copy, llm)
}

fn ask(llm: &Llm, parts: Vec<Part>) -> answers::Answer {
    let options = GenerateOptions { ignore_eos: true, logprobs: Some(0), ..answers::greedy(6) };
    let content = Content::Parts(parts);
    let messages = vec![Message { content, ..Message::text(Role::User, "") }];
    let request = ChatRequest { messages, options, ..ChatRequest::default() };
    answers::chat(llm, &request)
}

#[test]
fn a_clip_is_its_frames_behind_their_times() {
    let (_folder, llm) = model();
    assert!(llm.takes(Modality::Video));
    let text = |text: &str| Part::Text(text.to_owned());
    let picture = |number: usize| Part::Image(Image::new(frames().swap_remove(number)));
    let files = frames().into_iter().map(Into::into).collect();
    let clip = Part::Video(Video { frames: files, fps: Some(0.5) });
    // A picture before the clip, for the order of what shares a placeholder.
    let found = ask(&llm, vec![picture(2), clip, text("Where to?")]);
    let intro =
        "You are provided the following series of three frames from a 0:00:04 [H:MM:SS] video.\n";
    let wanted = vec![
        picture(2),
        text(&format!("{intro}\nFrame from 00:00:")),
        picture(0),
        text("\nFrame from 00:02:"),
        picture(1),
        text("\nFrame from 00:04:"),
        picture(2),
        text("\n\nWhere to?"),
    ];
    let wanted = ask(&llm, wanted);
    assert_eq!(found.bits().len(), 6);
    assert_eq!(found.bits(), wanted.bits());
    assert_eq!(found.usage.prompt_tokens, wanted.usage.prompt_tokens);
    let other = ask(&llm, vec![picture(2), picture(1), text("Where to?")]);
    assert_ne!(found.bits(), other.bits());
}

#[test]
fn a_model_whose_files_say_nothing_of_videos_takes_none() {
    let llm = answers::load(&fixture("smolvlm"), |_| ());
    assert!(llm.takes(Modality::Image) && !llm.takes(Modality::Video));
}
