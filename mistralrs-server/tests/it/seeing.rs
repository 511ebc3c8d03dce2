//! Conversations about pictures over HTTP, with a tiny Qwen3-VL (row G13): what is counted, what is
//! answered, and that a picture is looked at once.

use crate::support::{CHAT, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use mistralrs_core::agent::{Agent, Approval, ToolHost, ToolOutput, ToolSpec, Unattended};
use mistralrs_core::loading::progress::Progress;
use mistralrs_core::request::ToolChoice;
use mistralrs_core::{ChatRequest, Delta, Image, Llm, LoadOptions, Message, Role};
use mistralrs_server::agent::BlockingChat;
use mistralrs_server::app::ServerConfig;
use mistralrs_testkit::media::media_golden;
use mistralrs_testkit::{copy_of, fixture, read_json};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const MODEL: &str = "qwen3-vl";

fn load_options() -> LoadOptions {
    LoadOptions {
        progress: Progress::silent(),
        warm_up: false,
        block_size: 8,
        ..LoadOptions::new(fixture(MODEL).to_string_lossy())
    }
}

fn server() -> Server {
    Server::start(ServerConfig::default(), load_options())
}

fn picture(number: u64) -> Value {
    let file = fixture(MODEL).join("images").join(format!("{number}.png"));
    let bytes = STANDARD.encode(std::fs::read(file).unwrap());
    json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{bytes}")}})
}

/// An animated file, or a list of stills.
fn clip(number: usize) -> Value {
    let clip = &media_golden(MODEL).videos[number];
    let url = |file: &String| {
        let bytes = std::fs::read(fixture(MODEL).join("videos").join(file)).unwrap();
        format!("data:;base64,{}", STANDARD.encode(bytes))
    };
    let urls: Vec<String> = clip.files.iter().map(url).collect();
    let video = match urls.as_slice() {
        [animated] => json!({"url": animated}),
        stills => json!({"frames": stills, "fps": clip.fps}),
    };
    json!({"type": "video_url", "video_url": video})
}

/// A golden conversation in OpenAI's words.
fn messages(golden: &[Value]) -> Value {
    let part = |part: &Value| match (part["image"].as_u64(), part["video"].as_u64()) {
        (Some(number), _) => picture(number),
        (None, Some(number)) => clip(number as usize),
        (None, None) => part.clone(),
    };
    let message = |message: &Value| {
        let content = match message["content"].as_array() {
            Some(parts) => parts.iter().map(part).collect(),
            None => message["content"].clone(),
        };
        json!({"role": message["role"], "content": content})
    };
    golden.iter().map(message).collect()
}

fn body(messages: Value, max_tokens: usize) -> Value {
    json!({
        "model": "default", "messages": messages, "max_tokens": max_tokens, "temperature": 0,
        "logprobs": true, "top_logprobs": 3,
    })
}

#[test]
fn conversations_about_pictures_are_those_of_the_reference() {
    let server = server();
    for case in media_golden(MODEL).cases {
        let answer =
            server.post(CHAT, &body(messages(&case.messages), case.text.greedy.len())).ok();
        // Text and, for each picture, patches along time, height and width over four.
        assert_eq!(answer["usage"]["prompt_tokens"], case.text.prompt.len());
        let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
        assert_eq!(tokens.len(), case.text.greedy.len());
        for (ours, theirs) in tokens.iter().zip(&case.text.greedy) {
            let distance = (ours["logprob"].as_f64().unwrap() as f32 - theirs.logprob).abs();
            assert!(distance < 2e-3, "{} pictures: {distance}", case.images.len());
        }
    }
    server.wait_until_idle();
}

#[test]
fn the_same_words_about_another_picture_are_answered_anew() {
    let server = server();
    let ask = |number| {
        let content = json!([{"type": "text", "text": "Look: "}, picture(number)]);
        server.post(CHAT, &body(json!([{"role": "user", "content": content}]), 8)).ok()
    };
    let told = |answer: &Value| answer["choices"][0]["logprobs"].clone();
    let cached = |answer: &Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0)
    };
    // The second and the fourth have eight tokens each, but not the same shape.
    let (first, other) = (ask(1), ask(3));
    assert_eq!(first["usage"]["prompt_tokens"], other["usage"]["prompt_tokens"]);
    assert_ne!(told(&first), told(&other));
    assert!(cached(&other) <= 8, "nothing behind the beginning of the picture");
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 2.0);
    let again = ask(1);
    assert_eq!(told(&again), told(&first));
    assert!(cached(&again) > cached(&other));
    assert_eq!(server.metric("mistralrs_media_encoded_total"), 2.0, "looked at once");
}

#[test]
fn what_is_no_picture_is_refused_and_the_server_lives() {
    let server = server();
    let ask =
        |content: Value| server.post(CHAT, &body(json!([{"role": "user", "content": content}]), 4));
    let text = STANDARD.encode("this is text named .png");
    let url = format!("data:image/png;base64,{text}");
    let refused = [
        json!([{"type": "image_url", "image_url": {"url": url}}]),
        json!([picture(0), {"type": "text", "text": "and <|image_pad|>"}]),
    ];
    for content in refused {
        let reply = ask(content);
        assert_eq!(reply.status, 400, "{}", reply.body);
    }
    assert!(ask(json!([picture(0)])).ok()["usage"]["prompt_tokens"].as_u64().unwrap() > 15);
}

/// A tool that gives a picture and nothing else.
struct Camera(Vec<u8>);

impl ToolHost for Camera {
    fn list(&self) -> BoxFuture<'_, Vec<ToolSpec>> {
        let spec = ToolSpec {
            name: "camera".to_owned(),
            description: None,
            parameters: json!({"type": "object", "properties": {}, "additionalProperties": false}),
            origin: String::new(),
            approval: Approval::Never,
        };
        Box::pin(std::future::ready(vec![spec]))
    }

    fn call<'a>(&'a self, _: &'a str, _: Map<String, Value>) -> BoxFuture<'a, ToolOutput> {
        let (text, images) = ("[Image]".to_owned(), vec![Image::new(self.0.clone())]);
        Box::pin(std::future::ready(ToolOutput { text, images, is_error: false }))
    }
}

/// Tokens of the prompts of a chat in which the model has to call the camera.
async fn prompt_tokens(llm: &Llm, picture: Vec<u8>) -> usize {
    let camera = Camera(picture);
    let tools = camera.list().await;
    let agent = Agent {
        chat: Arc::new(BlockingChat(llm.clone())),
        host: Arc::new(camera),
        approver: Arc::new(Unattended),
        max_rounds: 1,
    };
    let mut request = ChatRequest {
        messages: vec![Message::text(Role::User, "Look.")],
        tool_choice: ToolChoice::Named("camera".to_owned()),
        ..ChatRequest::default()
    };
    request.options.max_tokens = Some(120);
    let deltas: Vec<_> = agent.answer(request, tools).await.unwrap().collect().await;
    match deltas.last().unwrap() {
        Ok(Delta::Finished { usage, .. }) => usage.prompt_tokens,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_a_tool_gives_is_seen() {
    // With room for the description of a tool.
    let folder = copy_of(MODEL);
    let file = folder.path().join("config.json");
    let mut config: Value = read_json(&file);
    config["text_config"]["max_position_embeddings"] = json!(2048);
    std::fs::write(&file, config.to_string()).unwrap();
    let load =
        LoadOptions { model: folder.path().to_string_lossy().into_owned(), ..load_options() };
    let llm = tokio::task::spawn_blocking(|| Llm::load(load).unwrap()).await.unwrap();
    let file = std::fs::read(fixture(MODEL).join("images/1.png")).unwrap();
    let look = llm.look(&Image::new(file.clone())).unwrap().unwrap();
    let with_picture = prompt_tokens(&llm, file).await;
    // What is no picture is only told of.
    let without = prompt_tokens(&llm, b"no picture".to_vec()).await;
    assert!(with_picture > without + look.tokens, "{with_picture}, {without}, {look:?}");
}
