//! Pictures over HTTP: by every way that is allowed, and twenty that are not what they seem.

use crate::support::{CHAT, RESPONSES, Reply, Server, stories};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mistralrs_core::LoadOptions;
use mistralrs_server::app::ServerConfig;
use mistralrs_server::media::MediaConfig;
use mistralrs_testkit::fixture;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::LazyLock;

fn folder() -> PathBuf {
    fixture("qwen2.5-vl").join("images")
}

/// Two different pictures of the fixture.
fn pictures() -> [PathBuf; 2] {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    [files[0].clone(), files[1].clone()]
}

/// Serves one file to everybody who asks.
fn stub(file: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(32) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 2048]);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
            let _ = stream.write_all(&[head.as_bytes(), &file].concat());
        }
    });
    address
}

struct Setup {
    server: Server,
    stub: SocketAddr,
}

/// A model that sees, files below its folder, one host.
fn setup() -> &'static Setup {
    static SETUP: LazyLock<Setup> = LazyLock::new(|| {
        let stub = stub(std::fs::read(&pictures()[0]).unwrap());
        let hosts = vec![stub.to_string()];
        let media = MediaConfig { folder: Some(folder()), hosts, ..MediaConfig::default() };
        let load = LoadOptions {
            model: fixture("qwen2.5-vl").to_string_lossy().into_owned(),
            ..stories()
        };
        let server = Server::start(ServerConfig { media, ..ServerConfig::default() }, load);
        Setup { server, stub }
    });
    &SETUP
}

fn data_url(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

fn ask(server: &Server, part: Value) -> Reply {
    let text = json!({"type": "text", "text": "What is this?"});
    let body = json!({"messages": [{"role": "user", "content": [text, part]}],
        "max_tokens": 6, "temperature": 0, "logprobs": true, "ignore_eos": true});
    server.post(CHAT, &body)
}

fn image(url: impl Into<String>) -> Value {
    json!({"type": "image_url", "image_url": {"url": url.into()}})
}

/// The log-probabilities of the answer, and the tokens of the prompt.
fn answer(reply: &Reply) -> (Vec<f64>, u64) {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let tokens = body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let logprobs = tokens.iter().map(|token| token["logprob"].as_f64().unwrap()).collect();
    (logprobs, body["usage"]["prompt_tokens"].as_u64().unwrap())
}

#[test]
fn a_picture_is_the_same_whichever_way_it_comes() {
    let Setup { server, stub } = setup();
    let [first, second] = pictures();
    let by_data = answer(&ask(server, image(data_url(&std::fs::read(&first).unwrap()))));
    let text = answer(&ask(server, json!({"type": "text", "text": "x"})));
    assert!(by_data.1 > text.1 + 1, "a picture's tokens count: {} and {}", by_data.1, text.1);
    let ways = [format!("file://{}", first.display()), format!("http://{stub}/any.png")];
    for url in ways {
        assert_eq!(answer(&ask(server, image(url.as_str()))), by_data, "{url}");
    }
    let other = answer(&ask(server, image(data_url(&std::fs::read(&second).unwrap()))));
    assert_ne!(other.0, by_data.0, "another picture is another answer");
}

#[test]
fn tokens_are_counted_as_the_chat_counts_them() {
    let Setup { server, .. } = setup();
    let file = std::fs::read(&pictures()[1]).unwrap();
    let (_, chat) = answer(&ask(server, image(data_url(&file))));
    let text = json!({"type": "text", "text": "What is this?"});
    let content = json!([text, image(data_url(&file))]);
    let body = json!({"messages": [{"role": "user", "content": content}]});
    let found = server.post("/tokenize", &body).ok();
    assert_eq!(found["count"], chat);
    assert_eq!(found["tokens"].as_array().unwrap().len() as u64, chat);
    let source =
        json!({"type": "base64", "media_type": "image/png", "data": STANDARD.encode(&file)});
    let content = json!([text, {"type": "image", "source": source}]);
    let body = json!({"messages": [{"role": "user", "content": content}]});
    let found = server.post("/v1/messages/count_tokens", &body).ok();
    assert_eq!(found, json!({"input_tokens": chat}));
    let sent = json!({"messages": [{"role": "user", "content": [image(data_url(b"x"))]}]});
    assert_eq!(server.post("/tokenize", &sent).status, 400);
}

#[test]
fn the_other_routes_read_urls_within_the_same_rules() {
    let Setup { server, stub } = setup();
    let [first, _] = pictures();
    let picture = format!("data:;base64,{}", STANDARD.encode(std::fs::read(&first).unwrap()));
    let good = [picture, format!("file://{}", first.display()), format!("http://{stub}/any.png")];
    let bad = ["file:///etc/passwd", "http://127.0.0.1:9/x.png", "ftp://127.0.0.1/x.png"];
    let response = |url: &str| {
        let content = json!([{"type": "input_image", "image_url": url}]);
        let input = json!([{"role": "user", "content": content}]);
        let reply = server
            .post(RESPONSES, &json!({"input": input, "max_output_tokens": 1, "store": false}));
        (reply, "/usage/input_tokens", "input[0].content[0].image_url")
    };
    let content = |url: &str| json!([{"type": "image", "source": {"type": "url", "url": url}}]);
    let count = |url: &str| {
        let messages = json!([{"role": "user", "content": content(url)}]);
        let path = "/v1/messages/count_tokens";
        let reply = server.post(path, &json!({"messages": messages}));
        (reply, "/input_tokens", "messages[0].content[0].source.url")
    };
    let tokenize = |url: &str| {
        let messages = json!([{"role": "user", "content": [image(url)]}]);
        let reply = server.post("/tokenize", &json!({"messages": messages}));
        (reply, "/count", "messages[0].content[0].image_url.url")
    };
    // What tools answered.
    let call = json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"});
    let output = |url: &str| {
        let output = json!([{"type": "input_image", "image_url": url}]);
        let output = json!({"type": "function_call_output", "call_id": "1", "output": output});
        let input = json!([{"role": "user", "content": "x"}, call, output]);
        let reply = server
            .post(RESPONSES, &json!({"input": input, "max_output_tokens": 1, "store": false}));
        (reply, "/usage/input_tokens", "input[2].output[0].image_url")
    };
    let result = |url: &str| {
        let call = json!({"type": "tool_use", "id": "1", "name": "f", "input": {}});
        let result = json!({"type": "tool_result", "tool_use_id": "1", "content": content(url)});
        let messages = json!([{"role": "user", "content": "x"},
            {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]);
        let path = "/v1/messages/count_tokens";
        let reply = server.post(path, &json!({"messages": messages}));
        (reply, "/input_tokens", "messages[2].content[0].content[0].source.url")
    };
    // An answer, where its number of tokens stands, the field an error names.
    type Route<'a> = &'a dyn Fn(&str) -> (Reply, &'static str, &'static str);
    let routes: [Route<'_>; 5] = [&response, &count, &tokenize, &output, &result];
    for route in routes {
        let counted = good.each_ref().map(|url| {
            let (reply, place, _) = route(url);
            reply.ok().pointer(place).and_then(Value::as_u64).unwrap()
        });
        assert!(counted[0] > 10 && counted == [counted[0]; 3], "{counted:?}");
        for url in bad {
            let (reply, _, path) = route(url);
            assert_eq!(reply.status, 400, "{url}: {}", reply.body);
            assert!(reply.body.contains(path), "{url}: {}", reply.body);
        }
    }
}

#[test]
fn a_kept_response_goes_on_with_what_was_fetched_for_it() {
    let Setup { server, stub } = setup();
    let url = format!("http://{stub}/any.png");
    let content = json!([{"type": "input_image", "image_url": url}]);
    let input = json!([{"role": "user", "content": content}]);
    let first = server.post(RESPONSES, &json!({"input": input, "max_output_tokens": 1})).ok();
    let next = json!({"input": "And?", "previous_response_id": first["id"],
        "max_output_tokens": 1});
    let next = server.post(RESPONSES, &next).ok();
    let tokens = |response: &Value| response["usage"]["input_tokens"].as_u64().unwrap();
    assert!(tokens(&first) > 10 && tokens(&next) > tokens(&first), "{first} {next}");
    let id = first["id"].as_str().unwrap();
    let listed = server.get(&format!("{RESPONSES}/{id}/input_items")).ok();
    assert_eq!(listed["data"][0]["content"][0]["image_url"], url, "as it was sent");
}

fn refused(server: &Server, what: &str, part: Value) -> String {
    let reply = ask(server, part);
    assert_eq!(reply.status, 400, "{what}: {}", reply.body);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let param = body["error"]["param"].as_str().unwrap_or_default().to_owned();
    assert!(param.starts_with("messages[0].content[1]"), "{what}: {}", reply.body);
    body["error"]["message"].as_str().unwrap().to_owned()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    };
    !bytes.iter().fold(!0, step)
}

/// A PNG whose header claims a size, with nothing to show for it.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
    };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let nothing = [0x78, 0x01, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01];
    let magic = b"\x89PNG\r\n\x1a\n".to_vec();
    [magic, chunk(b"IHDR", &header), chunk(b"IDAT", &nothing), chunk(b"IEND", &[])].concat()
}

#[test]
fn twenty_hostile_pictures_are_refused_and_the_server_lives() {
    let Setup { server, .. } = setup();
    let good = std::fs::read(&pictures()[0]).unwrap();
    let mut broken = good.clone();
    let middle = broken.len() / 2;
    broken[middle..].iter_mut().for_each(|byte| *byte ^= 0x5A);
    let bmp = [b"BM".as_slice(), &[0xFF; 60]].concat();
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("only its first bytes", good[..12].to_vec()),
        ("damaged", broken),
        ("a bomb", png_of(100_000, 100_000)),
        ("no width", png_of(0, 5)),
        ("no size", png_of(0, 0)),
        ("a stripe", png_of(100_000, 1)),
        ("more than there is", png_of(5000, 5000)),
        ("text", b"hello, I am a picture".to_vec()),
        ("a drawing in XML", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()),
        ("a document", b"%PDF-1.7\n%\xE2\xE3\xCF\xD3".to_vec()),
        ("a GIF without pictures", b"GIF89a\x01\0\x01\0\0\0\0;".to_vec()),
        ("a BMP of nonsense", bmp),
        ("a TIFF of nonsense", b"II*\0\x08\0\0\0\xFF\xFF\0\0".to_vec()),
        ("a WebP of nonsense", b"RIFF\xFF\xFF\xFF\xFFWEBPVP8 \xFF\xFF\xFF\xFF".to_vec()),
        ("a JPEG of nonsense", b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\xFF\xDA\xFF\xD9".to_vec()),
        ("a sound", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0".to_vec()),
        ("noise", (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("nothing", Vec::new()),
        ("too much", vec![0; (20 << 20) + 1]),
    ];
    assert!(files.len() >= 20);
    for (what, file) in files {
        refused(server, what, image(data_url(&file)));
    }
    let message = refused(server, "a bomb", image(data_url(&png_of(100_000, 100_000))));
    assert!(message.contains("the limit is 50000000 pixels"), "{message}");
    let urls = [
        ("no base64", "data:image/png;base64,%%%".to_owned()),
        ("no data", "data:image/png".to_owned()),
        ("another folder", "file:///etc/passwd".to_owned()),
        ("climbing out", format!("file://{}/../config.json", folder().display())),
        ("another host", "http://127.0.0.1:9/x.png".to_owned()),
        ("the cloud's own", "http://169.254.169.254/latest/meta-data".to_owned()),
        ("another scheme", "ftp://127.0.0.1/x.png".to_owned()),
    ];
    for (what, url) in urls {
        refused(server, what, image(url));
    }
    let sound =
        json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}});
    refused(server, "a kind that it does not take", sound);
    answer(&ask(server, image(data_url(&good))));
}

#[test]
fn a_model_that_reads_text_refuses_pictures() {
    let server = crate::support::shared();
    let message = refused(server, "a picture", image(data_url(b"x")));
    assert!(message.contains("text only"), "{message}");
}
