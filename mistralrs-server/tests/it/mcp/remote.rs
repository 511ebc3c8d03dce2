//! Servers behind addresses: streamable HTTP with sessions, the older event stream, WebSocket.

use super::fake::{Fake, TOOLS};
use super::{client, failure, names, text};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::{SinkExt, StreamExt};
use mistralrs_server::mcp::server::Phase;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address.to_string()
}

/// Answers on a thread of its own: the fake may sleep.
async fn answer(fake: &Arc<Fake>, body: &[u8]) -> Option<Value> {
    let (fake, message) = (Arc::clone(fake), serde_json::from_slice::<Value>(body).unwrap());
    tokio::task::spawn_blocking(move || fake.answer(&message)).await.unwrap()
}

/// What the fake behind HTTP remembers.
#[derive(Clone, Default)]
struct Web {
    fake: Arc<Fake>,
    /// The number of the session that counts; older ones have expired.
    session: Arc<AtomicUsize>,
    /// The event stream of the older protocol.
    events: Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>,
}

async fn streamable(State(web): State<Web>, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get("authorization").is_none_or(|key| key != "Bearer key") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let message: Value = serde_json::from_slice(&body).unwrap();
    let begins = message["method"] == "initialize";
    if begins {
        web.session.fetch_add(1, Ordering::SeqCst);
    }
    let session = format!("session-{}", web.session.load(Ordering::SeqCst));
    let given = headers.get("mcp-session-id").and_then(|id| id.to_str().ok());
    if !begins && given != Some(&session) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Some(answer) = answer(&web.fake, &body).await else {
        return StatusCode::ACCEPTED.into_response();
    };
    let header = [("mcp-session-id", session)];
    // Both forms of an answer, by turns.
    if message["id"].as_u64().is_some_and(|id| id % 2 == 0) {
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
        let events =
            [log, answer].map(|data| Ok::<_, Infallible>(Event::default().data(data.to_string())));
        return (header, Sse::new(futures::stream::iter(events))).into_response();
    }
    (header, axum::Json(answer)).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streamable_http_keeps_its_session_and_finds_a_new_one() {
    let web = Web::default();
    let address =
        serve(Router::new().route("/mcp", post(streamable)).with_state(web.clone())).await;
    let url = format!("http://{address}/mcp");
    let client = client(json!({
        "web": {"url": url, "bearer_token": "key", "tool_timeout_secs": 20},
        "locked": {"url": url, "bearer_token": "wrong", "tool_prefix": "locked"},
    }));
    assert_eq!(names(&client).await, TOOLS);
    for text_given in ["one", "two", "three"] {
        assert_eq!(text(&client, "echo", text_given).await, text_given);
    }
    assert_eq!(failure(&client, "fail", "").await, "it did not work");
    let error = client.servers()[1].state().error.unwrap().to_string();
    assert!(error.contains("401") && !error.contains("wrong"), "{error}");
    // The server forgets everybody, as after a restart.
    web.session.fetch_add(1, Ordering::SeqCst);
    assert_eq!(text(&client, "echo", "again").await, "again");
    failure(&client, "huge", "50000000").await;
    assert_eq!(text(&client, "echo", "and on").await, "and on");
    client.shutdown().await;
}

async fn open_events(State(web): State<Web>) -> Response {
    let (send, receive) = mpsc::unbounded_channel();
    *web.events.lock().unwrap() = Some(send);
    let first = futures::stream::iter([Ok::<_, Infallible>(
        Event::default().event("endpoint").data("/post?id=1"),
    )]);
    let receive = futures::stream::unfold(receive, |mut receive| async {
        let text = receive.recv().await?;
        Some((Ok(Event::default().event("message").data(text)), receive))
    });
    Sse::new(first.chain(receive)).into_response()
}

async fn post_event(State(web): State<Web>, request: Request) -> StatusCode {
    assert_eq!(request.uri().query(), Some("id=1"));
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    tokio::spawn(async move {
        if let Some(answer) = answer(&web.fake, &body).await
            && let Some(events) = web.events.lock().unwrap().as_ref()
        {
            let _ = events.send(answer.to_string());
        }
    });
    StatusCode::ACCEPTED
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_event_stream_works_and_comes_back() {
    let web = Web::default();
    let routes = Router::new().route("/sse", get(open_events)).route("/post", post(post_event));
    let address = serve(routes.with_state(web.clone())).await;
    let client = client(json!({ "web": {"url": format!("http://{address}/sse")} }));
    assert_eq!(names(&client).await, TOOLS);
    let both = tokio::join!(text(&client, "pair", "first"), text(&client, "pair", "second"));
    assert_eq!(both, ("first".to_owned(), "second".to_owned()));
    let refused = failure(&client, "huge", "50000000").await;
    assert!(refused.contains("larger than 16 MiB"), "{refused}");
    assert_eq!(text(&client, "echo", "here").await, "here");
    *web.events.lock().unwrap() = None;
    while client.servers()[0].state().phase == Phase::Ready {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(text(&client, "echo", "here again").await, "here again");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_may_not_send_us_elsewhere() {
    async fn elsewhere() -> Response {
        let first = Event::default().event("endpoint").data("http://localhost:1/post");
        Sse::new(futures::stream::iter([Ok::<_, Infallible>(first)])).into_response()
    }
    let address = serve(Router::new().route("/sse", get(elsewhere))).await;
    let client = client(json!({ "web": {"url": format!("http://{address}/sse")} }));
    assert!(names(&client).await.is_empty());
    let error = client.servers()[0].state().error.unwrap().to_string();
    assert!(error.contains("another host"), "{error}");
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_work() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(socket_server(socket));
        }
    });
    let client = client(json!({ "ws": {"type": "ws", "url": format!("ws://{address}/mcp")} }));
    assert_eq!(names(&client).await, TOOLS);
    let both = tokio::join!(text(&client, "pair", "first"), text(&client, "pair", "second"));
    assert_eq!(both, ("first".to_owned(), "second".to_owned()));
    assert_eq!(failure(&client, "fail", "").await, "it did not work");
    client.shutdown().await;
}

async fn socket_server(socket: tokio::net::TcpStream) {
    let socket = tokio_tungstenite::accept_async(socket).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let fake = Arc::new(Fake::default());
    let (send, mut receive) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(text) = receive.recv().await {
            let _ = sink.send(Message::text(text)).await;
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        let (fake, send) = (Arc::clone(&fake), send.clone());
        tokio::spawn(async move {
            if let Message::Text(text) = message
                && let Some(answer) = answer(&fake, text.as_bytes()).await
            {
                let _ = send.send(answer.to_string());
            }
        });
    }
}
