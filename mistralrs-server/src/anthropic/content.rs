//! Blocks of content → messages: text, images, calls of tools and their results, thoughts.
//! A user's message may hold results; they become messages of their own, before what the user says.

use crate::error::ApiError;
use crate::media::Referred;
use crate::openai::message::{ContentBody, MessageBody};
use crate::openai::part::PartBody;
use crate::openai::values::{Present, TextOr};
use mistralrs_core::{MediaBytes, Message};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct Turn {
    /// `user` or `assistant`.
    pub role: String,
    /// A string, or blocks.
    #[schema(value_type = Object)]
    pub content: TextOr<Block>,
}

/// One block of content, of any kind that a text model can read. Which fields count depends on the kind.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Block {
    /// `text`, `image`, `tool_use`, `tool_result`, `thinking`, `redacted_thinking`, `mcp_tool_use` or `mcp_tool_result`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is said.
    pub text: Option<String>,
    /// What was thought.
    pub thinking: Option<String>,
    /// Read and ignored.
    pub signature: Option<Present>,
    /// Read and ignored: nobody here can read it.
    pub data: Option<Present>,
    /// Names a call.
    pub id: Option<String>,
    /// The function.
    pub name: Option<String>,
    /// Its arguments.
    pub input: Option<Map<String, Value>>,
    /// Whose tool ran.
    pub server_name: Option<Present>,
    /// The call that is answered.
    pub tool_use_id: Option<String>,
    /// What a tool answered.
    pub content: Option<TextOr<Block>>,
    /// Whether the tool failed.
    pub is_error: Option<bool>,
    /// Where an image is.
    pub source: Option<Source>,
    /// Has no effect: prefixes are cached by content.
    pub cache_control: Option<Present>,
    /// Read and ignored.
    pub citations: Option<Present>,
    /// Read and ignored.
    pub caller: Option<Present>,
}

/// Where an image is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Source {
    /// `base64` or `url`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `image/png` and the like.
    pub media_type: Option<String>,
    /// The bytes in base64.
    pub data: Option<String>,
    /// Its address.
    pub url: Option<String>,
    /// What lies there, once it has been read.
    #[serde(skip)]
    pub fetched: Vec<MediaBytes>,
}

/// The URLs of pictures in what is said and in what tools answered.
pub fn urls(turns: &mut [Turn]) -> Vec<Referred<'_>> {
    let mut urls = Vec::new();
    for (i, turn) in turns.iter_mut().enumerate() {
        urls_within(&mut turn.content, &format!("messages[{i}]"), &mut urls);
    }
    urls
}

fn urls_within<'a>(content: &'a mut TextOr<Block>, path: &str, urls: &mut Vec<Referred<'a>>) {
    let TextOr::List(blocks) = content else { return };
    for (j, block) in blocks.iter_mut().enumerate() {
        let path = format!("{path}.content[{j}]");
        if let Some(source) = block.source.as_mut().filter(|source| source.kind == "url")
            && let Some(url) = &source.url
        {
            let path = format!("{path}.source.url");
            urls.push(Referred { path, url, fetched: &mut source.fetched });
        }
        let answers = block.kind.ends_with("tool_result");
        if let Some(content) = block.content.as_mut().filter(|_| answers) {
            urls_within(content, &path, urls);
        }
    }
}

/// Translates a conversation.
///
/// # Errors
/// [`ApiError`] with the path of what is wrong.
pub fn messages(turns: Vec<Turn>, system: Option<TextOr<Block>>) -> Result<Vec<Message>, ApiError> {
    let mut reader = Reader::default();
    if let Some(system) = system {
        let content = parts(system, "system")?;
        reader.messages.push((MessageBody::new("system", Some(content)), "system".to_owned()));
    }
    match turns.last() {
        None => {
            let text = "`messages` is empty: there has to be at least one message";
            return Err(ApiError::invalid("messages", text));
        }
        Some(last) if last.role == "assistant" => {
            let path = format!("messages[{}].role", turns.len() - 1);
            let text =
                "the last message is the assistant's: going on with it (prefill) is not supported";
            return Err(ApiError::unsupported(&path, text));
        }
        Some(_) => {}
    }
    for (i, turn) in turns.into_iter().enumerate() {
        let path = format!("messages[{i}]");
        match turn.role.as_str() {
            "user" => reader.user(turn.content, &path)?,
            "assistant" => reader.assistant(turn.content, &path)?,
            _ => {
                let text = format!("`{path}.role` has to be `user` or `assistant`");
                return Err(ApiError::invalid(format!("{path}.role"), text));
            }
        }
    }
    reader.messages.into_iter().map(|(message, path)| message.into_core(&path)).collect()
}

#[derive(Default)]
struct Reader {
    /// With their paths.
    messages: Vec<(MessageBody, String)>,
    /// Names of called functions: some templates want them beside the results.
    names: BTreeMap<String, String>,
}

impl Reader {
    fn user(&mut self, content: TextOr<Block>, path: &str) -> Result<(), ApiError> {
        let blocks = match content {
            TextOr::Text(text) => {
                let said = MessageBody::new("user", Some(ContentBody::Text(text)));
                self.messages.push((said, path.to_owned()));
                return Ok(());
            }
            TextOr::List(blocks) => blocks,
        };
        // Without this the turn would vanish, and what came before it would be answered again.
        if blocks.is_empty() {
            let path = format!("{path}.content");
            let text = format!("`{path}` is empty: it has to have a block or be a string");
            return Err(ApiError::invalid(path, text));
        }
        let mut said = Vec::new();
        for (j, block) in blocks.into_iter().enumerate() {
            let path = format!("{path}.content[{j}]");
            match block.kind.as_str() {
                "tool_result" => self.result(block, &path)?,
                _ => said.push(part(block, &path)?),
            }
        }
        if !said.is_empty() {
            let said = MessageBody::new("user", Some(ContentBody::Parts(said)));
            self.messages.push((said, path.to_owned()));
        }
        Ok(())
    }

    fn assistant(&mut self, content: TextOr<Block>, path: &str) -> Result<(), ApiError> {
        let blocks = match content {
            TextOr::Text(text) => {
                let said = MessageBody::new("assistant", Some(ContentBody::Text(text)));
                self.messages.push((said, path.to_owned()));
                return Ok(());
            }
            TextOr::List(blocks) => blocks,
        };
        let mut turn = MessageBody::new("assistant", None);
        let mut said = Vec::new();
        for (j, block) in blocks.into_iter().enumerate() {
            let at = format!("{path}.content[{j}]");
            match block.kind.as_str() {
                "thinking" => {
                    let thoughts = turn.reasoning_content.get_or_insert_default();
                    thoughts.push_str(&block.thinking.unwrap_or_default());
                }
                "redacted_thinking" => {}
                "tool_use" | "mcp_tool_use" => {
                    let call = self.call(block, &at)?;
                    turn.tool_calls.get_or_insert_default().push(call);
                }
                // The tool ran within this turn: what follows was said after it.
                "mcp_tool_result" => {
                    let before = std::mem::replace(&mut turn, MessageBody::new("assistant", None));
                    self.end_turn(before, std::mem::take(&mut said), path);
                    self.result(block, &at)?;
                }
                _ => said.push(part(block, &at)?),
            }
        }
        self.end_turn(turn, said, path);
        Ok(())
    }

    fn end_turn(&mut self, mut turn: MessageBody, said: Vec<PartBody>, path: &str) {
        if said.is_empty() && turn.tool_calls.is_none() && turn.reasoning_content.is_none() {
            return;
        }
        turn.content = (!said.is_empty()).then_some(ContentBody::Parts(said));
        self.messages.push((turn, path.to_owned()));
    }

    fn call(&mut self, block: Block, path: &str) -> Result<Map<String, Value>, ApiError> {
        let id = required(block.id, path, "id")?;
        let name = required(block.name, path, "name")?;
        let arguments = Value::Object(block.input.unwrap_or_default()).to_string();
        let mut call = Map::new();
        call.insert("id".to_owned(), id.clone().into());
        call.insert("type".to_owned(), "function".into());
        call.insert("function".to_owned(), json!({"name": name, "arguments": arguments}));
        self.names.insert(id, name);
        Ok(call)
    }

    fn result(&mut self, block: Block, path: &str) -> Result<(), ApiError> {
        let id = required(block.tool_use_id, path, "tool_use_id")?;
        let content = block.content.unwrap_or_else(|| TextOr::Text(String::new()));
        let mut content = parts(content, path)?;
        if block.is_error == Some(true) {
            content = match content {
                ContentBody::Text(text) => ContentBody::Text(format!("Error: {text}")),
                ContentBody::Parts(mut parts) => {
                    parts.insert(0, PartBody::text("Error:".to_owned()));
                    ContentBody::Parts(parts)
                }
            };
        }
        let mut result = MessageBody::new("tool", Some(content));
        result.name = self.names.get(&id).cloned();
        result.tool_call_id = Some(id);
        self.messages.push((result, path.to_owned()));
        Ok(())
    }
}

fn required(value: Option<String>, path: &str, field: &str) -> Result<String, ApiError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        ApiError::invalid(format!("{path}.{field}"), format!("`{path}.{field}` is missing"))
    })
}

fn parts(content: TextOr<Block>, path: &str) -> Result<ContentBody, ApiError> {
    let blocks = match content {
        TextOr::Text(text) => return Ok(ContentBody::Text(text)),
        TextOr::List(blocks) => blocks,
    };
    let read = |(j, block): (usize, Block)| part(block, &format!("{path}.content[{j}]"));
    Ok(ContentBody::Parts(blocks.into_iter().enumerate().map(read).collect::<Result<_, _>>()?))
}

/// A part in the spelling of a chat, whose rules hold for it.
fn part(block: Block, path: &str) -> Result<PartBody, ApiError> {
    match block.kind.as_str() {
        "text" => Ok(PartBody { text: block.text, ..PartBody::text(String::new()) }),
        "image" => {
            let source = block.source.unwrap_or_default();
            let fetched = source.fetched;
            let url = match (source.kind.as_str(), source.url, source.data) {
                ("url", Some(url), _) => url,
                ("base64", _, Some(data)) => {
                    let kind = source.media_type.unwrap_or_default();
                    format!("data:{kind};base64,{data}")
                }
                _ => {
                    let text =
                        format!("`{path}.source` has to be an object of type `base64` or `url`");
                    return Err(ApiError::invalid(format!("{path}.source"), text));
                }
            };
            let empty = PartBody { text: None, fetched, ..PartBody::text(String::new()) };
            let image_url = Some(json!({ "url": url }));
            Ok(PartBody { kind: "image_url".to_owned(), image_url, ..empty })
        }
        kind => {
            let kind: String = kind.chars().take(40).collect();
            let text = format!("`{path}` of type `{kind}` is not supported here");
            Err(ApiError::unsupported(&format!("{path}.type"), text))
        }
    }
}
