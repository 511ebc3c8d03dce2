//! MCP over a WebSocket, one message per text frame, subprotocol `mcp`.

use super::http::{header_map, tls};
use super::{MAX_MESSAGE_BYTES, SendError, message};
use crate::mcp::config::Endpoint;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The connection to a server.
pub(in crate::mcp) struct WebSocket {
    sink: Arc<Mutex<SplitSink<Socket, Message>>>,
    stream: SplitStream<Socket>,
}

impl WebSocket {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// A sentence.
    pub(in crate::mcp) async fn connect(endpoint: &Endpoint) -> Result<Self, String> {
        let socket = match open(endpoint, true).await {
            // A server that names no subprotocol is taken as it is.
            Err(Refused::Protocol) => open(endpoint, false).await,
            other => other,
        };
        let socket = socket.map_err(|refused| match refused {
            Refused::Protocol => "the server speaks another subprotocol".to_owned(),
            Refused::Other(reason) => reason,
        })?;
        let (sink, stream) = socket.split();
        Ok(Self { sink: Arc::new(Mutex::new(sink)), stream })
    }
}

enum Refused {
    /// The subprotocol `mcp`.
    Protocol,
    /// Anything else.
    Other(String),
}

impl From<tungstenite::Error> for Refused {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
                Self::Protocol
            }
            other => Self::Other(other.to_string()),
        }
    }
}

async fn open(endpoint: &Endpoint, name_protocol: bool) -> Result<Socket, Refused> {
    let mut request = endpoint.url.as_str().into_client_request()?;
    request.headers_mut().extend(header_map(endpoint).map_err(Refused::Other)?);
    if name_protocol {
        let protocol = HeaderValue::from_static("mcp");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
    }
    let connector = match endpoint.url.starts_with("wss:") {
        true => Connector::Rustls(Arc::new(tls(true).map_err(Refused::Other)?)),
        false => Connector::Plain,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let connected = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    Ok(connected.await?.0)
}

impl Transport<RoleClient> for WebSocket {
    type Error = SendError;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), SendError>> + Send + 'static {
        let sink = Arc::clone(&self.sink);
        async move {
            let text = serde_json::to_string(&item)?;
            let sent = sink.lock().await.send(Message::text(text)).await;
            sent.map_err(|error| SendError::WebSocket(error.to_string()))
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let bytes = match self.stream.next().await?.ok()? {
                Message::Text(text) => text.as_bytes().to_vec(),
                Message::Binary(bytes) => bytes.to_vec(),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            if let Some(message) = message(&bytes) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), SendError> {
        let closed = self.sink.lock().await.close().await;
        closed.map_err(|error| SendError::WebSocket(error.to_string()))
    }
}
