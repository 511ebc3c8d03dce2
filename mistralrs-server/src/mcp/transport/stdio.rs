//! A child process that speaks over its standard input and output, one message per line.
//!
//! What it writes to standard error goes to the log; lines on standard output that are no messages are
//! skipped. The child and whatever it started end with the connection: its input is closed, then the process
//! group is asked to end, then killed.

use super::lines::{Line, Lines};
use super::{MAX_MESSAGE_BYTES, SendError, message, too_large};
use crate::mcp::config::ProcessSource;
use process_wrap::tokio::{ChildWrapper, CommandWrap};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio as Pipe};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// How long a child may take to end by itself, once its input is closed.
const GRACE: Duration = Duration::from_millis(1500);
/// How long one that is going is listened to.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Longer lines of standard error are cut.
const MAX_LOG_LINE: usize = 2000;
/// Most lines of standard error that are logged in ten seconds.
const MAX_LOG_LINES: usize = 100;
/// How many of the last lines are kept to explain a failure.
const KEPT_LINES: usize = 5;
/// Ours, and nobody else's business.
const NOT_INHERITED: [&str; 2] = ["MISTRALRS_API_KEY", "HF_TOKEN"];

/// What is known of a child that has ended. Shared with whoever has to explain it.
#[derive(Clone, Default)]
pub(in crate::mcp) struct Obituary(Arc<Mutex<LastWords>>);

#[derive(Default)]
struct LastWords {
    lines: VecDeque<String>,
    status: Option<ExitStatus>,
}

impl Obituary {
    /// Any value in it is valid, also after a panic.
    fn with<T>(&self, act: impl FnOnce(&mut LastWords) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, line: String) {
        self.with(|last| {
            if last.lines.len() == KEPT_LINES {
                last.lines.pop_front();
            }
            last.lines.push_back(line);
        });
    }

    /// How it ended and what it said last; `None` for a child that runs and said nothing.
    pub(in crate::mcp) fn text(&self) -> Option<String> {
        self.with(|last| {
            let status = last.status.map(|status| format!("it ended with {status}"));
            let words: Vec<_> = last.lines.iter().map(String::as_str).collect();
            let words =
                (!words.is_empty()).then(|| format!("its last words: {}", words.join(" | ")));
            let parts: Vec<_> = status.into_iter().chain(words).collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        })
    }
}

/// The connection to a child.
pub(in crate::mcp) struct Stdio {
    child: Box<dyn ChildWrapper>,
    lines: Lines<ChildStdout>,
    input: Arc<tokio::sync::Mutex<Option<ChildStdin>>>,
    obituary: Obituary,
    /// Reads standard error; done when the child and all who share it are.
    drain: Option<JoinHandle<()>>,
}

impl Stdio {
    /// Starts the program. `id` names it in the log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(in crate::mcp) fn start(
        id: &str,
        source: &ProcessSource,
        obituary: Obituary,
    ) -> std::io::Result<Self> {
        let mut command = Command::new(&source.command);
        command.args(&source.args).stdin(Pipe::piped()).stdout(Pipe::piped()).stderr(Pipe::piped());
        command.kill_on_drop(true);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        for (name, value) in &source.env {
            command.env(name, &value.0);
        }
        if let Some(folder) = &source.work_dir {
            command.current_dir(folder);
        }
        let mut group = CommandWrap::from(command);
        #[cfg(unix)]
        group.wrap(process_wrap::tokio::ProcessGroup::leader());
        #[cfg(windows)]
        group.wrap(process_wrap::tokio::JobObject);
        let mut child = group.spawn()?;
        let missing = || std::io::Error::other("the child has no pipes");
        let input = child.stdin().take().ok_or_else(missing)?;
        let output = child.stdout().take().ok_or_else(missing)?;
        let drain = child
            .stderr()
            .take()
            .map(|errors| tokio::spawn(drain(id.to_owned(), errors, obituary.clone())));
        Ok(Self {
            child,
            lines: Lines::new(output, MAX_MESSAGE_BYTES),
            input: Arc::new(tokio::sync::Mutex::new(Some(input))),
            obituary,
            drain,
        })
    }

    /// Gives a child that is going the time for its last words and its exit status.
    async fn hear_out(&mut self) {
        if let Some(drain) = self.drain.take() {
            let _ = tokio::time::timeout(LAST_WORDS, drain).await;
        }
        self.wait(LAST_WORDS).await;
    }

    /// Waits a moment for the child itself, not for what it started.
    async fn wait(&mut self, limit: Duration) -> bool {
        match tokio::time::timeout(limit, self.child.inner_mut().wait()).await {
            Ok(Ok(status)) => {
                self.obituary.with(|last| last.status = Some(status));
                true
            }
            Ok(Err(_)) => true,
            Err(_) => false,
        }
    }
}

impl Transport<RoleClient> for Stdio {
    type Error = SendError;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), SendError>> + Send + 'static {
        let input = Arc::clone(&self.input);
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut input = input.lock().await;
            let input = input.as_mut().ok_or(SendError::Closed)?;
            let sent = input.write_all(&line).await.and(input.flush().await);
            if sent.is_err() {
                // The child is gone; whoever explains it wants its last words, which are still being read.
                tokio::time::sleep(LAST_WORDS).await;
            }
            Ok(sent?)
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            match self.lines.next().await {
                Ok(Some(Line::Whole(line))) => {
                    let line = line.trim_ascii();
                    if let Some(message) = (!line.is_empty()).then(|| message(line)).flatten() {
                        return Some(message);
                    }
                }
                Ok(Some(Line::TooLong(id))) => return Some(too_large(id)),
                Ok(None) | Err(_) => {
                    self.hear_out().await;
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), SendError> {
        // A write that hangs holds the lock; then the signals below have to do.
        if let Ok(mut input) = self.input.try_lock() {
            *input = None;
        }
        if !self.wait(GRACE).await {
            #[cfg(unix)]
            let _ = self.child.signal(TERMINATE);
            self.wait(GRACE).await;
        }
        let _ = self.child.start_kill();
        self.wait(GRACE).await;
        Ok(())
    }
}

/// SIGTERM, the same number on every Unix.
#[cfg(unix)]
const TERMINATE: i32 = 15;

impl Drop for Stdio {
    fn drop(&mut self) {
        // The whole group; an error says that nobody is left in it.
        let _ = self.child.start_kill();
    }
}

/// Reads standard error to its end, so that the child never waits for it.
async fn drain(id: String, errors: ChildStderr, obituary: Obituary) {
    let mut lines = Lines::new(errors, MAX_LOG_LINE);
    let (mut since, mut logged, mut left_out) = (Instant::now(), 0, 0);
    while let Ok(Some(line)) = lines.next().await {
        let text = match line {
            Line::Whole(line) => String::from_utf8_lossy(line.trim_ascii()).into_owned(),
            Line::TooLong(_) => format!("(a line of more than {MAX_LOG_LINE} bytes)"),
        };
        if text.is_empty() {
            continue;
        }
        if since.elapsed() > Duration::from_secs(10) {
            if left_out > 0 {
                tracing::info!("mcp server {id}: ({left_out} lines left out)");
            }
            (since, logged, left_out) = (Instant::now(), 0, 0);
        }
        if logged < MAX_LOG_LINES {
            logged += 1;
            tracing::info!("mcp server {id}: {text}");
        } else {
            left_out += 1;
        }
        obituary.keep(text);
    }
}
