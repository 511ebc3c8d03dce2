//! Tools from MCP servers: the client, its configuration, and the server that offers this model as a tool.
//! Everything of the protocol is the official SDK's (`rmcp`); what it lacks stands in `transport`.

pub mod check;
pub mod client;
pub mod config;
mod content;
mod link;
pub mod serve;
pub mod server;
pub(crate) mod transport;

pub use client::McpClient;
pub use config::{ConfigError, McpConfig};
