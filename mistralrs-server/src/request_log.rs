//! `--log FILE`: every request and its answer, one JSON object per line, appended. Off unless asked for,
//! because it holds what users wrote. Keys are never in it: headers are not logged.

use crate::app::{AppState, RequestId};
use crate::extract::read_body;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest answer kept; the rest is counted only.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Lines waiting for the disk. Beyond it lines are lost and counted, not waited for.
const QUEUE_LINES: usize = 1024;

/// Between two tries to put a mark behind the lines of a full queue.
const FULL_QUEUE: Duration = Duration::from_millis(5);

/// What the thread that writes is sent.
enum Entry {
    Line(String),
    /// Answered when all lines before it are written.
    Mark(mpsc::Sender<()>),
}

/// The way to the file.
pub struct RequestLog {
    lines: Option<mpsc::SyncSender<Entry>>,
    writer: Option<JoinHandle<()>>,
}

impl RequestLog {
    /// Opens the file for appending; a thread of its own writes.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (lines, queue) = mpsc::sync_channel(QUEUE_LINES);
        let thread = std::thread::Builder::new().name("request-log".to_owned());
        let writer = thread.spawn(move || write_lines(file, &queue))?;
        Ok(Self { lines: Some(lines), writer: Some(writer) })
    }

    fn write(&self, line: &Value) {
        let sent = self.lines.as_ref().map(|lines| lines.try_send(Entry::Line(line.to_string())));
        if !matches!(sent, Some(Ok(()))) {
            tracing::warn!("--log: the disk is too slow, a line was lost");
        }
    }

    /// Waits until every line so far is written, or for `limit`. Whoever ends the process has to: it would
    /// end the thread that writes, too. Blocks.
    pub fn settle(&self, limit: Duration) {
        let Some(lines) = &self.lines else { return };
        let end = Instant::now() + limit;
        let (written, settled) = mpsc::channel();
        let mut mark = Entry::Mark(written);
        while let Err(mpsc::TrySendError::Full(back)) = lines.try_send(mark) {
            if Instant::now() >= end {
                break;
            }
            mark = back;
            std::thread::sleep(FULL_QUEUE);
        }
        if settled.recv_timeout(end.saturating_duration_since(Instant::now())).is_err() {
            tracing::warn!("--log: the disk is too slow, the last lines were lost");
        }
    }
}

impl Drop for RequestLog {
    /// Waits for what is still to be written.
    fn drop(&mut self) {
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write_lines(mut file: File, queue: &mpsc::Receiver<Entry>) {
    while let Ok(entry) = queue.recv() {
        match entry {
            Entry::Line(line) => {
                if let Err(error) = writeln!(file, "{line}") {
                    tracing::warn!("--log: {error}");
                }
            }
            // Whoever no longer waits has no need of the answer.
            Entry::Mark(written) => {
                let _ = written.send(());
            }
        }
    }
}

/// An answer on its way out. Written when it ends, whole or not.
struct Tee {
    app: Arc<AppState>,
    line: Value,
    answer: Vec<u8>,
    bytes: usize,
    complete: bool,
}

impl Tee {
    fn end(&mut self) {
        self.complete = true;
    }

    fn see(&mut self, bytes: &Bytes) {
        self.bytes += bytes.len();
        let room = MAX_ANSWER_BYTES.saturating_sub(self.answer.len());
        self.answer.extend(bytes.iter().take(room));
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        let Some(log) = &self.app.log else { return };
        let mut line = std::mem::take(&mut self.line);
        line["response"] = as_json(&self.answer);
        line["response_bytes"] = self.bytes.into();
        line["complete"] = self.complete.into();
        log.write(&line);
    }
}

/// JSON stays JSON; anything else becomes a string.
fn as_json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

/// The layer. Does nothing without `--log`, and nothing for requests without a body.
pub async fn record(State(app): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    if app.log.is_none() || request.method() != axum::http::Method::POST {
        return next.run(request).await;
    }
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let bytes = match read_body(Request::from_parts(parts.clone(), body), &app).await {
        Ok(bytes) => bytes,
        Err(error) => return error.into_response(),
    };
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let time = u64::try_from(millis).unwrap_or(u64::MAX);
    let mut line = json!({"time_ms": time, "id": id, "path": path, "request": as_json(&bytes)});
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    line["status"] = response.status().as_u16().into();
    let tee = Tee { app, line, answer: Vec::new(), bytes: 0, complete: false };
    let (parts, body) = response.into_parts();
    let frames =
        stream::unfold((body.into_data_stream(), tee), |(mut frames, mut tee)| async move {
            match frames.next().await {
                Some(frame) => {
                    if let Ok(bytes) = &frame {
                        tee.see(bytes);
                    }
                    Some((frame, (frames, tee)))
                }
                None => {
                    tee.end();
                    None
                }
            }
        });
    Response::from_parts(parts, Body::from_stream(frames))
}
