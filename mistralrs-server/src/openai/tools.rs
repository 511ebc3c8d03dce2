//! Tools on the wire: what a request offers and demands, and how calls are written in answers.
//! Knows OpenAI's form; knows no model.

use crate::error::ApiError;
use mistralrs_core::{ToolCall, ToolChoice};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Most functions of one request; OpenAI's bound.
const MAX_TOOLS: usize = 128;
/// Longest name of a function.
const MAX_NAME_BYTES: usize = 128;

/// What a request says about tools.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolRequest {
    /// The functions offered.
    pub tools: Vec<Value>,
    /// Whether they may or must be called.
    pub choice: ToolChoice,
}

impl ToolRequest {
    /// Reads `tools` and `tool_choice`.
    ///
    /// # Errors
    /// [`ApiError`] with the path of what is wrong.
    pub fn read(tools: Option<Value>, choice: Option<Value>) -> Result<Self, ApiError> {
        let mut tools = match tools {
            None => Vec::new(),
            Some(Value::Array(tools)) => tools,
            Some(_) => return Err(ApiError::invalid("tools", "`tools` has to be a list")),
        };
        if tools.len() > MAX_TOOLS {
            let message = format!("`tools` has {} entries; at most {MAX_TOOLS}", tools.len());
            return Err(ApiError::invalid("tools", message));
        }
        let mut names: Vec<String> = Vec::with_capacity(tools.len());
        for (i, tool) in tools.iter_mut().enumerate() {
            let path = format!("tools[{i}]");
            let name = read_tool(tool, &path)?;
            if names.contains(&name) {
                let message = format!("there are two functions of the name `{name}`");
                return Err(ApiError::invalid(format!("{path}.function.name"), message));
            }
            names.push(name);
        }
        let mut request = Self { tools, choice: ToolChoice::Auto };
        if let Some(choice) = choice {
            request.choose(&choice, &names)?;
        }
        Ok(request)
    }

    fn choose(&mut self, choice: &Value, names: &[String]) -> Result<(), ApiError> {
        let kind = choice.as_str().or_else(|| choice.get("type").and_then(Value::as_str));
        self.choice = match kind {
            Some("auto") => ToolChoice::Auto,
            Some("none") => ToolChoice::None,
            Some("required" | "any") => ToolChoice::Required,
            Some("function") => {
                let name = choice.pointer("/function/name").or_else(|| choice.get("name"));
                ToolChoice::Named(known(name, names, "tool_choice.function.name")?)
            }
            Some("allowed_tools") => return self.allow(choice, names),
            _ => {
                let message = "`tool_choice` has to be `none`, `auto`, `required`, or an object of \
                               type `function` or `allowed_tools`";
                return Err(ApiError::invalid("tool_choice", message));
            }
        };
        if self.tools.is_empty() && matches!(self.choice, ToolChoice::Required) {
            let message = "`tool_choice` demands a call, but there are no `tools`";
            return Err(ApiError::invalid("tool_choice", message));
        }
        Ok(())
    }

    /// Only some of the tools may be called.
    fn allow(&mut self, choice: &Value, names: &[String]) -> Result<(), ApiError> {
        const PATH: &str = "tool_choice.allowed_tools";
        let allowed = choice.get("allowed_tools").unwrap_or(choice);
        let Some(list) = allowed.get("tools").and_then(Value::as_array).filter(|l| !l.is_empty())
        else {
            let message = format!("`{PATH}.tools` has to be a list of tools");
            return Err(ApiError::invalid(format!("{PATH}.tools"), message));
        };
        let mut wanted = Vec::with_capacity(list.len());
        for (i, tool) in list.iter().enumerate() {
            let name = tool.pointer("/function/name").or_else(|| tool.get("name"));
            wanted.push(known(name, names, &format!("{PATH}.tools[{i}]"))?);
        }
        self.choice = match allowed.get("mode").and_then(Value::as_str) {
            None | Some("auto") => ToolChoice::Auto,
            Some("required") => ToolChoice::Required,
            Some(_) => {
                let message = format!("`{PATH}.mode` has to be `auto` or `required`");
                return Err(ApiError::invalid(format!("{PATH}.mode"), message));
            }
        };
        self.tools.retain(|tool| {
            let name = tool.pointer("/function/name").and_then(Value::as_str);
            wanted.iter().any(|wanted| name == Some(wanted))
        });
        Ok(())
    }
}

/// Checks one tool; returns its name.
fn read_tool(tool: &mut Value, path: &str) -> Result<String, ApiError> {
    let invalid = |field: &str, what: &str| {
        let field = format!("{path}.{field}");
        ApiError::invalid(field.clone(), format!("`{field}` {what}"))
    };
    match tool.get("type").and_then(Value::as_str) {
        Some("function") => {}
        Some(kind) => {
            let kind: String = kind.chars().take(40).collect();
            let message = format!("a tool of type `{kind}` is not supported, only `function`");
            return Err(ApiError::unsupported(&format!("{path}.type"), message));
        }
        None => return Err(invalid("type", "is missing: it has to be `function`")),
    }
    let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) else {
        return Err(invalid("function", "has to be an object"));
    };
    let name = function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let sane = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(sane) {
        let what = "has to be 1 to 128 letters, digits, `_`, `-` or `.`";
        return Err(invalid("function.name", what));
    }
    match function.get("parameters") {
        None | Some(Value::Null) => {
            // Templates read the key.
            let none = serde_json::json!({"type": "object", "properties": {}});
            function.insert("parameters".to_owned(), none);
        }
        Some(Value::Object(_)) => {}
        Some(_) => return Err(invalid("function.parameters", "has to be a JSON schema")),
    }
    match function.get("strict") {
        None | Some(Value::Null | Value::Bool(_)) => Ok(name),
        Some(_) => Err(invalid("function.strict", "has to be true or false")),
    }
}

fn known(name: Option<&Value>, names: &[String], path: &str) -> Result<String, ApiError> {
    let Some(name) = name.and_then(Value::as_str) else {
        return Err(ApiError::invalid(path, format!("`{path}` has to name a function")));
    };
    if names.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let name: String = name.chars().take(60).collect();
    Err(ApiError::invalid(path, format!("there is no function `{name}` in `tools`")))
}

/// A call the model made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ToolCallBody {
    /// Names the call in the message that answers it.
    pub id: String,
    /// `function`
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is called.
    pub function: FunctionCallBody,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FunctionCallBody {
    /// The function.
    pub name: String,
    /// The text of a JSON object.
    pub arguments: String,
}

impl From<ToolCall> for ToolCallBody {
    fn from(call: ToolCall) -> Self {
        let function = FunctionCallBody { name: call.name, arguments: call.arguments };
        Self { id: call.id, kind: "function", function }
    }
}

/// A piece of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ToolCallChunk {
    /// Its place among the calls of the answer.
    pub index: usize,
    /// In the first piece of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, in the first piece of a call.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// What is new.
    pub function: FunctionChunk,
}

/// What is new of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct FunctionChunk {
    /// In the first piece of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// To be appended.
    pub arguments: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name}})
    }

    fn read(tools: Value, choice: Value) -> Result<ToolRequest, ApiError> {
        ToolRequest::read(Some(tools), Some(choice).filter(|choice| !choice.is_null()))
    }

    #[test]
    fn choices() {
        let tools = || json!([tool("a"), tool("b")]);
        let named = |name: &str| ToolChoice::Named(name.to_owned());
        let table = [
            (json!(null), ToolChoice::Auto, 2),
            (json!("none"), ToolChoice::None, 2),
            (json!("required"), ToolChoice::Required, 2),
            (json!({"type": "function", "function": {"name": "b"}}), named("b"), 2),
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("b")]}}),
                ToolChoice::Auto,
                1,
            ),
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("a")]}}),
                ToolChoice::Required,
                1,
            ),
        ];
        for (choice, expected, offered) in table {
            let request = read(tools(), choice.clone()).unwrap();
            assert_eq!((request.choice, request.tools.len()), (expected, offered), "{choice}");
        }
    }

    #[test]
    fn faults_name_their_path() {
        let table = [
            (json!({}), json!(null), "tools"),
            (json!(vec![tool("a"); 129]), json!(null), "tools"),
            (json!([{"type": "web_search"}]), json!(null), "tools[0].type"),
            (json!([{}]), json!(null), "tools[0].type"),
            (json!([{"type": "function"}]), json!(null), "tools[0].function"),
            (json!([tool("")]), json!(null), "tools[0].function.name"),
            (json!([tool("a b")]), json!(null), "tools[0].function.name"),
            (json!([tool("a"), tool("a")]), json!(null), "tools[1].function.name"),
            (
                json!([{"type": "function", "function": {"name": "a", "parameters": 3}}]),
                json!(null),
                "tools[0].function.parameters",
            ),
            (
                json!([{"type": "function", "function": {"name": "a", "strict": 3}}]),
                json!(null),
                "tools[0].function.strict",
            ),
            (json!([]), json!("required"), "tool_choice"),
            (json!([tool("a")]), json!("sometimes"), "tool_choice"),
            (
                json!([tool("a")]),
                json!({"type": "function", "function": {"name": "z"}}),
                "tool_choice.function.name",
            ),
            (
                json!([tool("a")]),
                json!({"type": "allowed_tools", "allowed_tools": {"tools": []}}),
                "tool_choice.allowed_tools.tools",
            ),
            (
                json!([tool("a")]),
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": [tool("a")]}}),
                "tool_choice.allowed_tools.mode",
            ),
        ];
        for (tools, choice, param) in table {
            let error =
                read(tools.clone(), choice.clone()).expect_err(&format!("{tools} {choice}"));
            assert_eq!(error.field(), Some(param), "{tools} {choice}");
        }
    }
}
