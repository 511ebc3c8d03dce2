//! One server through its life: reached when somebody needs it, lost, reached again after a pause.
//!
//! A task of its own owns the connection; everybody else reads its state and never waits for another server.

use super::config::{ServerSpec, Source};
use super::content;
use super::link::{self, Link, LinkError, service_error};
use super::transport::Obituary;
use mistralrs_core::agent::ToolOutput;
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, CallToolResponse, Tool};
use rmcp::service::{Peer, ServiceError};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The pause after the second failure in a row; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Switched off in the configuration.
    Disabled,
    /// Nobody has needed it yet.
    Idle,
    /// Being reached.
    Connecting,
    /// Answers.
    Ready,
    /// Could not be reached, or was lost; tried again when needed.
    Failed,
}

impl Phase {
    /// Its name in answers and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// What is known of a server at one moment.
#[derive(Clone)]
pub struct State {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its tools, filtered; those last seen while it is gone.
    pub tools: Arc<[Tool]>,
    /// Why it failed last.
    pub error: Option<Arc<LinkError>>,
    /// What it calls itself, with its version.
    pub implementation: Option<String>,
    /// Attempts that have come to an end, good or bad.
    attempts: u64,
    connection: Option<(Peer<RoleClient>, Obituary)>,
}

/// Why a call has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The server cannot be reached.
    #[error("the server `{server}` is not available: {reason}")]
    NotReady {
        /// Its id.
        server: String,
        /// Why.
        reason: String,
    },
    /// Too many calls are running.
    #[error("the server `{server}` is busy: {limit} calls are running; try again later")]
    Busy {
        /// Its id.
        server: String,
        /// The most it may run.
        limit: usize,
    },
    /// No answer in time; the server was told to stop.
    #[error("the tool `{tool}` did not answer within {} s", limit.as_secs_f32())]
    TimedOut {
        /// The tool.
        tool: String,
        /// The limit.
        limit: Duration,
    },
    /// The server refused, failed, or went away.
    #[error("the tool `{tool}` failed: {reason}")]
    Failed {
        /// The tool.
        tool: String,
        /// Why.
        reason: String,
    },
}

/// One server, for everybody who wants to use it.
pub struct McpServer {
    /// As configured.
    pub spec: ServerSpec,
    state: watch::Receiver<State>,
    wake: mpsc::Sender<()>,
    permits: Semaphore,
}

impl McpServer {
    /// Begins a server's life; nothing is reached before it is needed. Only inside a runtime.
    pub(super) fn start(spec: ServerSpec, stop: CancellationToken) -> Self {
        let phase = if spec.enabled { Phase::Idle } else { Phase::Disabled };
        let state = State {
            phase,
            tools: Arc::new([]),
            error: None,
            implementation: None,
            attempts: 0,
            connection: None,
        };
        let (publish, state) = watch::channel(state);
        let (wake, woken) = mpsc::channel(1);
        let permits = Semaphore::new(spec.limits.max_concurrent.min(Semaphore::MAX_PERMITS));
        if spec.enabled {
            let changed = Arc::new(Notify::new());
            let keeper =
                Keeper { spec: spec.clone(), state: publish, woken, stop, changed, failures: 0 };
            tokio::spawn(keeper.run());
        }
        Self { spec, state, wake, permits }
    }

    /// What is known of it at this moment.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The transport's name.
    pub fn transport(&self) -> &'static str {
        self.spec.source.as_ref().map_or("unknown", Source::kind)
    }

    /// Says that it is needed, without waiting.
    pub fn wake(&self) {
        // Full: somebody was faster.
        let _ = self.wake.try_send(());
    }

    /// Its state once it is ready; reaches it first if need be.
    ///
    /// # Errors
    /// Why it is not ready, told at once while it is pausing after failures.
    pub async fn ready(&self, limit: Duration) -> Result<State, String> {
        let mut changes = self.state.clone();
        let mut before = changes.borrow_and_update().clone();
        if before.phase == Phase::Disabled {
            return Err("it is switched off".to_owned());
        }
        if before.phase == Phase::Ready && !before.usable() {
            // Lost, and its keeper is still clearing up; only then is it reached again.
            let noticed = changes.wait_for(|state| state.phase != Phase::Ready || state.usable());
            if let Ok(Ok(state)) = tokio::time::timeout(limit, noticed).await {
                before = state.clone();
            }
        }
        if before.usable() {
            return Ok(before);
        }
        self.wake();
        let done = |state: &State| state.usable() || state.attempts > before.attempts;
        match tokio::time::timeout(limit, changes.wait_for(done)).await {
            Ok(Ok(state)) if state.usable() => Ok(state.clone()),
            Ok(Ok(state)) => Err(state.reason()),
            Ok(Err(_)) => Err("the program is ending".to_owned()),
            Err(_) => Err(format!("it was not ready within {} s", limit.as_secs())),
        }
    }

    /// Runs a tool; `tool` as the server spells it.
    ///
    /// # Errors
    /// [`CallError`]. What the tool itself reports as its failure is a result.
    pub async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<ToolOutput, CallError> {
        let limits = self.spec.limits;
        let server = || self.spec.id.clone();
        let Ok(Ok(_permit)) = tokio::time::timeout(limits.call, self.permits.acquire()).await
        else {
            return Err(CallError::Busy { server: server(), limit: limits.max_concurrent });
        };
        let not_ready = |reason| CallError::NotReady { server: server(), reason };
        let state = self.ready(limits.connect).await.map_err(not_ready)?;
        let Some((peer, obituary)) = state.connection else {
            return Err(not_ready(state.reason()));
        };
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let failed = |reason| CallError::Failed { tool: tool.to_owned(), reason };
        // Dropping the call at the end of its time tells the server to stop.
        match tokio::time::timeout(limits.call, peer.call_tool_once(params)).await {
            Ok(Ok(CallToolResponse::Complete(result))) => {
                Ok(content::output(result, limits.max_result_bytes))
            }
            Ok(Ok(_)) => Err(failed("it wants more than its arguments".to_owned())),
            Ok(Err(error)) => Err(failed(service_error(&error, &obituary))),
            Err(_) => Err(CallError::TimedOut { tool: tool.to_owned(), limit: limits.call }),
        }
    }

    /// Waits until its connection is closed, once everything was told to stop.
    pub(super) async fn ended(&self) {
        let mut changes = self.state.clone();
        while changes.changed().await.is_ok() {}
    }
}

impl State {
    fn usable(&self) -> bool {
        self.phase == Phase::Ready
            && self.connection.as_ref().is_some_and(|(peer, _)| !peer.is_transport_closed())
    }

    fn reason(&self) -> String {
        self.error.as_ref().map_or_else(|| "it is not ready".to_owned(), |error| error.to_string())
    }
}

/// Owns the connection.
struct Keeper {
    spec: ServerSpec,
    state: watch::Sender<State>,
    woken: mpsc::Receiver<()>,
    stop: CancellationToken,
    changed: Arc<Notify>,
    /// In a row.
    failures: u32,
}

impl Keeper {
    async fn run(mut self) {
        let mut not_before = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                woken = self.woken.recv() => if woken.is_none() { return },
            }
            if Instant::now() < not_before {
                self.state.send_modify(|state| state.attempts += 1);
                continue;
            }
            self.state.send_modify(|state| state.phase = Phase::Connecting);
            let connected = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                connected = link::connect(&self.spec, Arc::clone(&self.changed)) => connected,
            };
            let began = Instant::now();
            let error = match connected {
                Ok(link) => match self.hold(link).await {
                    Some(error) => error,
                    None => return,
                },
                Err(error) => error,
            };
            self.failures = if began.elapsed() > GOOD { 1 } else { self.failures + 1 };
            not_before = Instant::now() + pause(self.failures);
            tracing::warn!("mcp server {}: {error}", self.spec.id);
            self.state.send_modify(|state| {
                state.phase = Phase::Failed;
                state.error = Some(Arc::new(error));
                state.connection = None;
                state.attempts += 1;
            });
        }
    }

    /// Keeps a connection until it is lost; `None` when it was closed because everything stops.
    async fn hold(&mut self, link: Link) -> Option<LinkError> {
        let Link { service, tools, obituary } = link;
        let peer = service.peer().clone();
        self.announce(&peer, tools, &obituary);
        let cancel = service.cancellation_token();
        let waiting = service.waiting();
        tokio::pin!(waiting);
        let changed = Arc::clone(&self.changed);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    cancel.cancel();
                    let _ = waiting.await;
                    return None;
                }
                _ = &mut waiting => return Some(LinkError::Ended(obituary.text())),
                woken = self.woken.recv() => match woken {
                    // Whoever asked has not seen yet that it is ready.
                    Some(()) => self.state.send_modify(|_| ()),
                    None => {
                        cancel.cancel();
                        let _ = waiting.await;
                        return None;
                    }
                },
                () = changed.notified() => {
                    let listed = tokio::time::timeout(self.spec.limits.call, link::list_tools(&peer)).await;
                    match listed {
                        Ok(Ok(tools)) => self.announce(&peer, tools, &obituary),
                        Ok(Err(ServiceError::TransportClosed)) | Err(_) => {}
                        Ok(Err(error)) => tracing::warn!(
                            "mcp server {}: its tools have changed and cannot be read: {error}",
                            self.spec.id
                        ),
                    }
                }
            }
        }
    }

    fn announce(&self, peer: &Peer<RoleClient>, tools: Vec<Tool>, obituary: &Obituary) {
        let tools: Vec<_> =
            tools.into_iter().filter(|tool| self.spec.filter.allows(&tool.name)).collect();
        tracing::info!("mcp server {}: ready, {} tools", self.spec.id, tools.len());
        let implementation = peer.peer_info().and_then(|info| {
            let server = info.server_info.as_ref()?;
            Some(format!("{} {}", server.name, server.version))
        });
        self.state.send_modify(|state| {
            state.phase = Phase::Ready;
            state.tools = tools.into();
            state.error = None;
            state.implementation = implementation;
            state.connection = Some((peer.clone(), obituary.clone()));
            state.attempts += 1;
        });
    }
}

/// How long nobody tries again after this many failures in a row.
fn pause(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => FIRST_PAUSE.saturating_mul(1 << (n - 2).min(10)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let seconds: Vec<_> = (0..10).map(|n| pause(n).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
