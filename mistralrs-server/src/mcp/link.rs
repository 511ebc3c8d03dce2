//! One attempt to reach a server: transport, handshake, list of tools.

use super::config::{ServerSpec, Source, UnsetVariable};
use super::transport::{
    HttpClient, MAX_MESSAGE_BYTES, Obituary, Sse, Stdio, WebSocket, http_client,
};
#[expect(deprecated, reason = "servers of today still log this way")]
use rmcp::model::LoggingMessageNotificationParam;
use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams, ProtocolVersion, Tool,
};
use rmcp::service::{
    ClientInitializeError, NotificationContext, Peer, RunningService, ServiceError, serve_client,
};
use rmcp::transport::IntoTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A list of tools that goes on longer than this has no end.
const MAX_PAGES: usize = 200;
const MAX_TOOLS: usize = 5000;

/// A connection with everything known about it.
pub(super) struct Link {
    pub service: RunningService<RoleClient, Listener>,
    pub tools: Vec<Tool>,
    pub obituary: Obituary,
}

/// Why a server cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// Its entry needs a variable.
    #[error(transparent)]
    Unset(#[from] UnsetVariable),
    /// There is no such program.
    #[error("there is no program `{0}`; is it installed and on the PATH?")]
    CommandNotFound(String),
    /// The program is there and cannot be started.
    #[error("`{command}` cannot be started: {reason}")]
    CannotStart {
        /// The program.
        command: String,
        /// What the system said.
        reason: String,
    },
    /// Nobody answers at the address, or not in this protocol.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// It went away before the handshake was complete.
    #[error("the server ended before it was ready{}", detail(.0.as_deref()))]
    Ended(Option<String>),
    /// Its answers make no sense.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// It did not give a list of its tools.
    #[error("the list of tools could not be read: {0}")]
    Tools(String),
    /// It took too long.
    #[error("the server was not ready within {} s{}", limit.as_secs(), detail(said.as_deref()))]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// What it said on standard error.
        said: Option<String>,
    },
}

fn detail(text: Option<&str>) -> String {
    text.map(|text| format!(": {text}")).unwrap_or_default()
}

/// Hears what a server says unasked.
pub(super) struct Listener {
    id: String,
    /// Rung when its tools have changed.
    pub changed: Arc<Notify>,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("mistralrs", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }

    #[expect(deprecated, reason = "servers of today still log this way")]
    async fn on_logging_message(
        &self,
        message: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let text: String = message.data.to_string().chars().take(500).collect();
        tracing::debug!("mcp server {} says {:?}: {text}", self.id, message.level);
    }
}

/// Reaches a server within its time.
///
/// # Errors
/// [`LinkError`]. Whatever was started is ended.
pub(super) async fn connect(spec: &ServerSpec, changed: Arc<Notify>) -> Result<Link, LinkError> {
    let obituary = Obituary::default();
    let limit = spec.limits.connect;
    let listener = Listener { id: spec.id.clone(), changed };
    let ready = async {
        let service = shake_hands(spec, listener, &obituary).await?;
        let tools = list_tools(service.peer())
            .await
            .map_err(|error| LinkError::Tools(service_error(&error, &obituary)))?;
        Ok((service, tools))
    };
    match tokio::time::timeout(limit, ready).await {
        Ok(Ok((service, tools))) => Ok(Link { service, tools, obituary }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(LinkError::TimedOut { limit, said: obituary.text() }),
    }
}

async fn shake_hands(
    spec: &ServerSpec,
    listener: Listener,
    obituary: &Obituary,
) -> Result<RunningService<RoleClient, Listener>, LinkError> {
    match spec.source.as_ref().map_err(Clone::clone)? {
        Source::Process(process) => {
            let started = Stdio::start(&spec.id, process, obituary.clone());
            let transport = started.map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound if folder_exists(process) => {
                    LinkError::CommandNotFound(process.command.clone())
                }
                _ => LinkError::CannotStart {
                    command: process.command.clone(),
                    reason: error.to_string(),
                },
            })?;
            let begun = begin(listener, transport, obituary).await;
            begun.map_err(|error| match error {
                // A pipe that breaks is a child that has gone.
                LinkError::Unreachable(_) => LinkError::Ended(obituary.text()),
                other => other,
            })
        }
        Source::Http(endpoint) => {
            let client = http_client(endpoint).map_err(LinkError::Unreachable)?;
            let mut config = StreamableHttpClientTransportConfig::with_uri(endpoint.url.as_str())
                .max_sse_event_size(MAX_MESSAGE_BYTES);
            config.max_concurrent_requests = spec.limits.max_concurrent.saturating_add(4);
            begin(listener, HttpClient::with_client(client, config), obituary).await
        }
        Source::Sse(endpoint) => {
            let transport = Sse::connect(endpoint).await.map_err(LinkError::Unreachable)?;
            begin(listener, transport, obituary).await
        }
        Source::WebSocket(endpoint) => {
            let transport = WebSocket::connect(endpoint).await.map_err(LinkError::Unreachable)?;
            begin(listener, transport, obituary).await
        }
    }
}

/// A missing work folder gives the same error as a missing program.
fn folder_exists(process: &super::config::ProcessSource) -> bool {
    process.work_dir.as_ref().is_none_or(|folder| folder.is_dir())
}

async fn begin<T, E, A>(
    listener: Listener,
    transport: T,
    obituary: &Obituary,
) -> Result<RunningService<RoleClient, Listener>, LinkError>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    serve_client(listener, transport).await.map_err(|error| match error {
        ClientInitializeError::ConnectionClosed(_) => LinkError::Ended(obituary.text()),
        ClientInitializeError::TransportError { error, .. } => match obituary.text() {
            Some(text) => LinkError::Ended(Some(text)),
            None => LinkError::Unreachable(chain(&error)),
        },
        other => LinkError::Handshake(chain(&other)),
    })
}

/// An error with its causes: the SDK's texts name the transport, the cause says what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.chars().take(500).collect()
}

/// All pages of a server's list of tools.
pub(super) async fn list_tools(peer: &Peer<RoleClient>) -> Result<Vec<Tool>, ServiceError> {
    let offers = peer.peer_info().is_none_or(|info| info.capabilities.tools.is_some());
    let mut tools = Vec::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        if !offers || tools.len() >= MAX_TOOLS {
            break;
        }
        let params = PaginatedRequestParams::default().with_cursor(cursor.clone());
        let page = peer.list_tools(Some(params)).await?;
        tools.extend(page.tools);
        if page.next_cursor.is_none() || page.next_cursor == cursor {
            break;
        }
        cursor = page.next_cursor;
    }
    tools.truncate(MAX_TOOLS);
    Ok(tools)
}

/// What the SDK reports, in words for the operator and the model.
pub(super) fn service_error(error: &ServiceError, obituary: &Obituary) -> String {
    match error {
        ServiceError::McpError(error) => format!("{} (code {})", error.message, error.code.0),
        ServiceError::TransportClosed => {
            format!("the server went away{}", detail(obituary.text().as_deref()))
        }
        ServiceError::TransportSend(error) => {
            format!("the server cannot be reached: {}", chain(error))
        }
        other => other.to_string(),
    }
}
