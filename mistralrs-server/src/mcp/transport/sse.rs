//! The transport before streamable HTTP (protocol 2024-11-05): one long event stream brings the server's
//! messages, its first event says where ours are to be posted.

use super::lines::{Line, Lines};
use super::{MAX_MESSAGE_BYTES, SendError, http_client, message, too_large};
use crate::mcp::config::Endpoint;
use futures::TryStreamExt as _;
use reqwest::{Client, Url};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

/// A message is taken within this time, or it is not taken; the answer comes by the other way.
const POST: Duration = Duration::from_secs(30);

type Body = Pin<Box<dyn AsyncRead + Send>>;

/// The connection to a server.
pub(in crate::mcp) struct Sse {
    client: Client,
    post_to: Url,
    events: Events,
}

/// What the stream brings.
enum Event {
    /// Name and data of an event.
    Data(String, Vec<u8>),
    /// An event whose data was too long to be read.
    TooLong(Option<rmcp::model::RequestId>),
}

struct Events {
    lines: Lines<Body>,
    name: String,
    data: Vec<u8>,
    too_long: Option<Option<rmcp::model::RequestId>>,
}

impl Events {
    /// The next event that has data. May be broken off at any time.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let line = match self.lines.next().await.ok()?? {
                Line::Whole(line) => line,
                Line::TooLong(id) => {
                    self.too_long = Some(id);
                    continue;
                }
            };
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
                match self.too_long.take() {
                    Some(id) => return Some(Event::TooLong(id)),
                    None if !data.is_empty() => return Some(Event::Data(name, data)),
                    None => continue,
                }
            }
            self.field(line);
        }
    }

    fn field(&mut self, line: &[u8]) {
        let value = |key: &[u8]| {
            let value = line.strip_prefix(key)?;
            Some(value.strip_prefix(b" ").unwrap_or(value))
        };
        if let Some(name) = value(b"event:") {
            self.name = String::from_utf8_lossy(name).into_owned();
        } else if let Some(data) = value(b"data:") {
            if self.data.len() + data.len() > MAX_MESSAGE_BYTES {
                self.too_long = Some(None);
                return;
            }
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data);
        }
    }
}

impl Sse {
    /// Opens the stream and waits for the address to post to.
    ///
    /// # Errors
    /// A sentence.
    pub(in crate::mcp) async fn connect(endpoint: &Endpoint) -> Result<Self, String> {
        let client = http_client(endpoint)?;
        let request = client.get(&endpoint.url).header("accept", "text/event-stream");
        let response = request.send().await.map_err(|error| error.to_string())?;
        let (status, base) = (response.status(), response.url().clone());
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        if !status.is_success() || !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(format!("{base} answered {status} and no event stream"));
        }
        let bytes = response.bytes_stream().map_err(std::io::Error::other);
        let body: Body = Box::pin(StreamReader::new(bytes));
        let mut events = Events {
            lines: Lines::new(body, MAX_MESSAGE_BYTES),
            name: String::new(),
            data: Vec::new(),
            too_long: None,
        };
        let Some(Event::Data(name, address)) = events.next().await else {
            return Err("the event stream ended before it said where to post".to_owned());
        };
        if name != "endpoint" {
            return Err(format!("the first event is `{name}`, not `endpoint`"));
        }
        let post_to = String::from_utf8_lossy(&address);
        let post_to = base.join(post_to.trim()).map_err(|error| error.to_string())?;
        // Our headers may hold a key: they go nowhere else.
        if post_to.origin() != base.origin() {
            return Err(format!("the server wants messages at another host, {post_to}"));
        }
        Ok(Self { client, post_to, events })
    }
}

impl Transport<RoleClient> for Sse {
    type Error = SendError;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), SendError>> + Send + 'static {
        let request = self.client.post(self.post_to.clone()).timeout(POST).json(&item);
        async move {
            let status = request.send().await?.status();
            if status.is_success() { Ok(()) } else { Err(SendError::Status(status.as_u16())) }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            match self.events.next().await? {
                Event::Data(name, data) if name.is_empty() || name == "message" => {
                    if let Some(message) = message(&data) {
                        return Some(message);
                    }
                }
                Event::Data(..) => {}
                Event::TooLong(id) => return Some(too_large(id)),
            }
        }
    }

    async fn close(&mut self) -> Result<(), SendError> {
        let body: Body = Box::pin(tokio::io::empty());
        self.events.lines = Lines::new(body, MAX_MESSAGE_BYTES);
        Ok(())
    }
}
