//! Every source and its limits, with a small HTTP server in the test.

use super::*;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

/// "hello"
const HELLO: &str = "aGVsbG8=";

/// Reads one part's URL with a configuration.
async fn fetched(config: &MediaConfig, part: Value) -> Result<Vec<Vec<u8>>, ApiError> {
    let text = json!({"type": "text", "text": "x"});
    let messages = json!([{"role": "user", "content": [text, part]}]);
    let mut messages: Messages = serde_json::from_value(messages).unwrap();
    fetch(config, &mut messages).await?;
    let Some(ContentBody::Parts(parts)) = &messages.0[0].content else { panic!() };
    Ok(parts[1].fetched.iter().map(|bytes| bytes.to_vec()).collect())
}

fn image(url: impl Into<String>) -> Value {
    json!({"type": "image_url", "image_url": {"url": url.into()}})
}

async fn refused(config: &MediaConfig, part: Value) -> String {
    let error = fetched(config, part).await.map(|_| ()).unwrap_err();
    assert_eq!(error.status().as_u16(), 400);
    assert!(error.field().unwrap().starts_with("messages[0].content[1]."), "{error:?}");
    error.message().to_owned()
}

/// Answers every request by its path, on a free port.
fn stub() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(40) {
            let mut stream = stream.unwrap();
            let mut head = [0; 2048];
            let read = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let redirect = |to: &str| {
                format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
            };
            let answer = match path {
                "/hello" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
                "/large" => "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n".to_owned(),
                "/endless" => {
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(3000))
                }
                "/once" => redirect("/hello"),
                "/loop" => redirect("/loop"),
                "/away" => redirect("http://localhost:1/hello"),
                "/file" => redirect("file:///etc/passwd"),
                "/slow" => {
                    std::thread::sleep(Duration::from_millis(600));
                    String::new()
                }
                _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[tokio::test]
async fn data_urls_are_read_in_every_spelling() {
    let config = MediaConfig::default();
    for url in [
        format!("data:image/png;base64,{HELLO}"),
        "data:;base64,aGVsbG8".to_owned(),
        format!("DATA:image/png;charset=x;BASE64,{HELLO}"),
    ] {
        assert_eq!(fetched(&config, image(url)).await.unwrap(), [b"hello"]);
    }
    let plain = json!({"type": "image_url", "image_url": format!("data:;base64,{HELLO}")});
    assert_eq!(fetched(&config, plain).await.unwrap(), [b"hello"]);
    let audio = json!({"type": "input_audio", "input_audio": {"data": HELLO, "format": "wav"}});
    assert_eq!(fetched(&config, audio).await.unwrap(), [b"hello"]);
    let frame = format!("data:;base64,{HELLO}");
    let video = json!({"type": "video_url", "video_url": {"frames": [frame, frame], "fps": 2}});
    assert_eq!(fetched(&config, video).await.unwrap(), [b"hello", b"hello"]);
}

#[tokio::test]
async fn what_is_no_base64_or_too_much_is_refused() {
    let config = MediaConfig { max_file_bytes: 4, ..MediaConfig::default() };
    assert!(refused(&config, image(format!("data:;base64,{HELLO}"))).await.contains("4 bytes"));
    let config = MediaConfig { max_request_bytes: 9, ..MediaConfig::default() };
    let frame = format!("data:;base64,{HELLO}");
    let video = json!({"type": "video_url", "video_url": {"frames": [frame, frame]}});
    assert!(refused(&config, video.clone()).await.contains("9 bytes"));
    let config = MediaConfig { max_files: 1, ..MediaConfig::default() };
    assert!(refused(&config, video).await.contains("more than 1"));
    let config = MediaConfig::default();
    for (url, word) in [
        ("data:image/png;base64,%%%", "base64"),
        ("data:image/png,hello", "base64"),
        ("data:image/png;base64", "comma"),
        ("ftp://host/x", "has to be"),
        ("C:/x.png", "has to be"),
        ("hello", "has to be"),
        ("", "has to be"),
        ("file:///etc/passwd", "--allowed-media-path"),
        ("http://example.com/x.png", "--allowed-media-host"),
    ] {
        assert!(refused(&config, image(url)).await.contains(word), "{url}");
    }
}

#[tokio::test]
async fn only_files_below_the_folder_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("in");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("a picture.png"), "hello").unwrap();
    std::fs::write(folder.path().join("secret.png"), "secret").unwrap();
    let config = MediaConfig { folder: Some(inside.clone()), ..MediaConfig::default() };
    let url = |path: &str| image(format!("file://{}/{path}", inside.display()));
    assert_eq!(fetched(&config, url("a%20picture.png")).await.unwrap(), [b"hello"]);
    let mut outside = vec!["../secret.png", "%2e%2e/secret.png", "nothing.png", ""];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("secret.png"), inside.join("link.png"))
            .unwrap();
        outside.push("link.png");
    }
    for path in outside {
        assert!(refused(&config, url(path)).await.contains("no such file"), "{path}");
    }
    assert!(refused(&config, image("file:///etc/passwd")).await.contains("no such file"));
}

#[tokio::test]
async fn urls_are_fetched_from_allowed_hosts_within_limits() {
    let address = stub();
    let url = |path: &str| image(format!("http://{address}/{path}"));
    let config = MediaConfig {
        hosts: vec![address.to_string()],
        max_file_bytes: 2000,
        timeout: Duration::from_millis(300),
        ..MediaConfig::default()
    };
    assert_eq!(fetched(&config, url("hello")).await.unwrap(), [b"hello"]);
    assert_eq!(fetched(&config, url("once")).await.unwrap(), [b"hello"]);
    for (path, word) in [
        ("large", "2000 bytes"),
        ("endless", "2000 bytes"),
        ("loop", "redirects more than 3"),
        ("away", "not allowed"),
        ("file", "leads away"),
        ("missing", "status 404"),
        ("slow", "longer than 0.3 seconds"),
    ] {
        let message = refused(&config, url(path)).await;
        assert!(message.contains(word), "{path}: {message}");
    }
    let named = image(format!("http://name:word@{address}/hello"));
    assert!(refused(&config, named).await.contains("passwords"));
}

#[tokio::test]
async fn a_star_does_not_open_private_addresses() {
    let address = stub();
    let config = MediaConfig { hosts: vec!["*".to_owned()], ..MediaConfig::default() };
    let port = address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let message = refused(&config, image(format!("http://{host}:{port}/hello"))).await;
        assert!(message.contains("private address"), "{host}: {message}");
    }
}
