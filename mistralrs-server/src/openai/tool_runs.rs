//! Tools that ran here, on the wire: extensions that OpenAI's clients pass over.

use mistralrs_core::ToolCall;
use mistralrs_core::agent::{ToolOutput, ToolProgress};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Longest text of a result that is shown; the model has seen all of it.
const MAX_SHOWN_CHARS: usize = 2000;

/// Which tools of MCP servers an answer may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpChoice {
    /// All of them, or none.
    Switch(bool),
    /// Some of them.
    Some(McpSelection),
}

/// Some of the tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct McpSelection {
    /// Only of the servers with these ids.
    pub servers: Option<Vec<String>>,
    /// Only these; `*` stands for anything.
    pub allowed_tools: Option<Vec<String>>,
    /// None of these.
    #[serde(default)]
    pub denied_tools: Vec<String>,
    /// Most times that tools run for the answer.
    pub max_rounds: Option<usize>,
}

struct McpChoiceVisitor;

impl<'de> Visitor<'de> for McpChoiceVisitor {
    type Value = McpChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`true`, `false`, or an object")
    }

    fn visit_bool<E: Error>(self, wanted: bool) -> Result<McpChoice, E> {
        Ok(McpChoice::Switch(wanted))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<McpChoice, A::Error> {
        McpSelection::deserialize(MapAccessDeserializer::new(map)).map(McpChoice::Some)
    }
}

/// Not derived: what serde tries out it keeps first, and there a list is an object again.
impl<'de> Deserialize<'de> for McpChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(McpChoiceVisitor)
    }
}

/// A tool of an MCP server that ran for the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ToolRunBody {
    /// `started` or `finished`.
    pub status: &'static str,
    /// Identifies the call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The text of a JSON object.
    pub arguments: String,
    /// What it answered, its beginning if it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Whether it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
}

impl From<ToolProgress> for ToolRunBody {
    fn from(progress: ToolProgress) -> Self {
        match progress {
            ToolProgress::Started(call) => Self::of(call, None),
            ToolProgress::Finished { call, output } => Self::of(call, Some(output)),
        }
    }
}

impl ToolRunBody {
    fn of(call: ToolCall, output: Option<ToolOutput>) -> Self {
        Self {
            status: if output.is_some() { "finished" } else { "started" },
            id: call.id,
            name: call.name,
            arguments: call.arguments,
            is_error: output.as_ref().map(|output| output.is_error),
            output: output.map(|output| output.text.chars().take(MAX_SHOWN_CHARS).collect()),
        }
    }
}
