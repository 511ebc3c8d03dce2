//! `mcp check`: reaches every server of a configuration at once, asks for its tools, and tells how it went.

use super::config::{McpConfig, ServerSpec, Source};
use super::link::{self, Link, LinkError};
use futures::future::join_all;
use rmcp::model::Tool;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// What to look at, and how to tell it.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The servers.
    pub config: McpConfig,
    /// JSON instead of a table.
    pub json: bool,
    /// Every tool with its description.
    pub verbose: bool,
}

/// How one server did.
#[derive(Debug)]
pub struct Finding {
    spec: ServerSpec,
    outcome: Outcome,
    milliseconds: u128,
}

#[derive(Debug)]
enum Outcome {
    Disabled,
    Running { implementation: String, tools: Vec<Tool> },
    Failed(LinkError),
}

impl Finding {
    /// `running`, `disabled`, or the kind of its failure.
    pub fn status(&self) -> &'static str {
        match &self.outcome {
            Outcome::Disabled => "disabled",
            Outcome::Running { .. } => "running",
            Outcome::Failed(LinkError::CommandNotFound(_)) => "command_not_found",
            Outcome::Failed(LinkError::CannotStart { .. }) => "failed_to_start",
            Outcome::Failed(LinkError::Ended(_)) => "crashed",
            Outcome::Failed(LinkError::TimedOut { .. }) => "timed_out",
            Outcome::Failed(_) => "error",
        }
    }

    fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }

    fn tools(&self) -> &[Tool] {
        match &self.outcome {
            Outcome::Running { tools, .. } => tools,
            _ => &[],
        }
    }

    fn note(&self) -> String {
        match &self.outcome {
            Outcome::Disabled => String::new(),
            Outcome::Running { implementation, .. } => implementation.clone(),
            Outcome::Failed(error) => error.to_string(),
        }
    }

    fn to_json(&self) -> Value {
        let tools: Vec<_> = self.tools().iter().map(|tool| tool.name.as_ref()).collect();
        json!({
            "id": self.spec.id,
            "name": self.spec.name,
            "transport": self.spec.source.as_ref().map_or("unknown", Source::kind),
            "status": self.status(),
            "milliseconds": self.milliseconds as u64,
            "tools": tools,
            "error": self.failed().then(|| self.note()),
        })
    }
}

/// Looks at all servers and prints what was found. Exit code 1 if any of them failed.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(options: CheckOptions) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let warnings = options.config.warnings.clone();
    let findings = runtime.block_on(check(options.config));
    runtime.shutdown_background();
    let mut out = std::io::stdout().lock();
    if options.json {
        let list: Vec<_> = findings.iter().map(Finding::to_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "servers": list }))?)?;
    } else {
        for warning in warnings {
            writeln!(out, "note: {warning}")?;
        }
        write!(out, "{}", table(&findings, options.verbose))?;
    }
    out.flush()?;
    let failed = findings.iter().any(Finding::failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Reaches all servers at once and lets them go again.
pub async fn check(config: McpConfig) -> Vec<Finding> {
    join_all(config.servers.into_iter().map(look)).await
}

async fn look(spec: ServerSpec) -> Finding {
    let began = Instant::now();
    if !spec.enabled {
        return Finding { spec, outcome: Outcome::Disabled, milliseconds: 0 };
    }
    let outcome = match link::connect(&spec, Arc::new(Notify::new())).await {
        Err(error) => Outcome::Failed(error),
        Ok(Link { mut service, tools, .. }) => {
            let info = service.peer().peer_info();
            let server = info.as_ref().and_then(|info| info.server_info.as_ref());
            let implementation =
                server.map(|it| format!("{} {}", it.name, it.version)).unwrap_or_default();
            let _ = service.close().await;
            let tools = tools.into_iter().filter(|tool| spec.filter.allows(&tool.name)).collect();
            Outcome::Running { implementation, tools }
        }
    };
    let milliseconds = began.elapsed().as_millis();
    Finding { spec, outcome, milliseconds }
}

/// The findings for people: a line per server, the tools below it, the sum at the end.
fn table(findings: &[Finding], verbose: bool) -> String {
    let widest = findings.iter().map(|it| it.spec.id.chars().count()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "{:widest$}  {:17}  {:9}  {:>5}  {:>8}  note\n",
        "server", "status", "transport", "tools", "time"
    );
    for finding in findings {
        let transport = finding.spec.source.as_ref().map_or("unknown", Source::kind);
        let seconds = finding.milliseconds as f64 / 1000.0;
        text += &format!(
            "{:widest$}  {:17}  {transport:9}  {:>5}  {seconds:>6.1} s  {}\n",
            finding.spec.id,
            finding.status(),
            finding.tools().len(),
            finding.note(),
        );
        if verbose {
            for tool in finding.tools() {
                let description = tool.description.as_deref().unwrap_or_default();
                let line: String =
                    description.lines().next().unwrap_or_default().chars().take(100).collect();
                text += &format!("{:widest$}    {}  {line}\n", "", tool.name);
            }
        }
    }
    let running = findings.iter().filter(|it| it.status() == "running").count();
    let wanted = findings.iter().filter(|it| it.spec.enabled).count();
    let tools: usize = findings.iter().map(|it| it.tools().len()).sum();
    text + &format!("{running} of {wanted} servers are running, with {tools} tools\n")
}
