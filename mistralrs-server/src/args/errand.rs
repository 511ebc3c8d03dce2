//! What the command line wants at all: something with a model, or a look at MCP servers without one.

use super::{Cli, Command, McpCommand, Plan, Refusal, variable};
use crate::mcp::McpConfig;
use crate::mcp::check::CheckOptions;
use std::path::Path;

/// What is to be done.
#[derive(Debug)]
pub enum Errand {
    /// Load a model and use it.
    Model(Box<Plan>),
    /// Look at MCP servers.
    CheckMcp(CheckOptions),
}

impl TryFrom<Cli> for Errand {
    type Error = Refusal;

    fn try_from(cli: Cli) -> Result<Self, Refusal> {
        let Some(Command::Mcp { command: McpCommand::Check { config, server, json, verbose } }) =
            &cli.command
        else {
            return Ok(Self::Model(Box::new(Plan::try_from(cli)?)));
        };
        let path = config.as_deref().or(cli.mcp.mcp_config.as_deref()).ok_or_else(|| {
            Refusal::Told("mcp check needs a configuration: mcp check CONFIG".to_owned())
        })?;
        let mut config = mcp_config(path)?;
        if let Some(id) = server {
            config.servers.retain(|it| it.id == *id || it.name == *id);
            if config.servers.is_empty() {
                let text = format!("{}: there is no server `{id}`", path.display());
                return Err(Refusal::Told(text));
            }
        }
        Ok(Self::CheckMcp(CheckOptions { config, json: *json, verbose: *verbose }))
    }
}

/// Reads a configuration of MCP servers; variables in it are those of the environment.
pub(super) fn mcp_config(path: &Path) -> Result<McpConfig, Refusal> {
    let told = |what: String| Refusal::Told(format!("--mcp-config {}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    McpConfig::parse(&text, &variable).map_err(|error| told(error.to_string()))
}
