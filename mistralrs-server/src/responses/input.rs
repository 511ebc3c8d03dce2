//! Items → messages: what was said, called, answered and thought. Knows the kinds of items; knows no store.

use crate::error::ApiError;
use crate::media::{Referred, is_data};
use crate::openai::message::{ContentBody, MessageBody};
use crate::openai::part::PartBody;
use crate::openai::values::TextOr;
use mistralrs_core::{MediaBytes, Message};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One item, of any kind that a text model can read. Which fields count depends on the kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// `message` (or absent), `function_call`, `function_call_output`, `reasoning` or `mcp_call`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Names the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What is said or thought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<TextOr<ItemPart>>,
    /// Read and kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Names a call in the item that answers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// The function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The text of a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// What a function answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<TextOr<ItemPart>>,
    /// Thoughts in short; read where there is no `content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Vec<ItemPart>>,
    /// Not made here; read as absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_content: Option<String>,
    /// The server of a tool that ran here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_label: Option<String>,
    /// Why such a tool failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// Read and kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_request_id: Option<String>,
}

/// One part of an item.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemPart {
    /// `input_text`, `output_text`, `refusal`, `reasoning_text`, `summary_text` or `input_image`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A refusal's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Where an image is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// What lies there, once it has been read.
    #[serde(skip)]
    pub fetched: Vec<MediaBytes>,
    /// How closely an image is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// Read and kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Vec<Value>>,
    /// Read and kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<Value>>,
}

/// What is to be answered, as a list.
pub fn items(input: TextOr<Item>) -> Vec<Item> {
    match input {
        TextOr::List(items) => items,
        TextOr::Text(text) => vec![Item {
            role: Some("user".to_owned()),
            content: Some(TextOr::Text(text)),
            ..Item::default()
        }],
    }
}

/// The URLs of pictures that items refer to.
pub fn urls(items: &mut [Item]) -> Vec<Referred<'_>> {
    let mut urls = Vec::new();
    for (i, item) in items.iter_mut().enumerate() {
        for (field, parts) in parts_of(item) {
            let found = parts.iter_mut().enumerate().filter_map(|(j, part)| {
                let path = format!("input[{i}].{field}[{j}].image_url");
                Some(Referred { path, url: part.image_url.as_ref()?, fetched: &mut part.fetched })
            });
            urls.extend(found);
        }
    }
    urls
}

fn parts_of(item: &mut Item) -> impl Iterator<Item = (&'static str, &mut Vec<ItemPart>)> {
    let fields = [("content", item.content.as_mut()), ("output", item.output.as_mut())];
    fields.into_iter().filter_map(|(field, parts)| match parts {
        Some(TextOr::List(parts)) => Some((field, parts)),
        _ => None,
    })
}

/// Items as they are kept: a URL that brings its bytes itself needs them no second time.
pub fn to_keep(mut items: Vec<Item>) -> Vec<Item> {
    for (_, parts) in items.iter_mut().flat_map(parts_of) {
        for part in parts {
            if part.image_url.as_deref().is_some_and(is_data) {
                part.fetched.clear();
            }
        }
    }
    items
}

/// Bytes of the files that were read for an item.
pub fn fetched_bytes(item: &Item) -> usize {
    let lists = [&item.content, &item.output].into_iter().filter_map(|parts| match parts {
        Some(TextOr::List(parts)) => Some(parts),
        _ => None,
    });
    lists.flatten().flat_map(|part| &part.fetched).map(|file| file.len()).sum()
}

/// An item as it is kept and listed: with kind, name and parts spelled out.
pub fn spelled_out(mut item: Item) -> Item {
    let kind = item.kind.get_or_insert_with(|| "message".to_owned());
    let prefix = match kind.as_str() {
        "message" => "msg",
        "function_call" => "fc",
        "function_call_output" => "fco",
        "reasoning" => "rs",
        _ => "item",
    };
    if kind == "message" {
        let speaks = item.role.as_deref() == Some("assistant");
        let kind = if speaks { "output_text" } else { "input_text" };
        if let Some(TextOr::Text(text)) = item.content.take_if(|it| matches!(it, TextOr::Text(_))) {
            let part = ItemPart {
                kind: kind.to_owned(),
                text: Some(text),
                annotations: speaks.then(Vec::new),
                logprobs: speaks.then(Vec::new),
                ..ItemPart::default()
            };
            item.content = Some(TextOr::List(vec![part]));
        }
    }
    item.id.get_or_insert_with(|| super::response::fresh_id(prefix));
    item.status.get_or_insert_with(|| "completed".to_owned());
    item
}

/// Translates a conversation. `before` items come from the store, the others from `input`.
///
/// # Errors
/// [`ApiError`] with the path of what is wrong.
pub fn messages(before: &[Item], items: &[Item]) -> Result<Vec<Message>, ApiError> {
    let mut reader = Reader::default();
    for (i, item) in before.iter().enumerate() {
        reader.read(item, &format!("previous_response_id[{i}]"))?;
    }
    for (i, item) in items.iter().enumerate() {
        reader.read(item, &format!("input[{i}]"))?;
    }
    let messages = reader.messages.into_iter().map(|(message, path)| message.into_core(&path));
    messages.collect()
}

#[derive(Default)]
struct Reader {
    /// With their paths.
    messages: Vec<(MessageBody, String)>,
    /// What the assistant thought before its next message.
    thoughts: Option<String>,
    /// Names of called functions: some templates want them beside the results.
    names: BTreeMap<String, String>,
}

impl Reader {
    fn read(&mut self, item: &Item, path: &str) -> Result<(), ApiError> {
        match item.kind.as_deref().unwrap_or("message") {
            "message" => {
                let role = required(item.role.as_deref(), path, "role")?;
                let content = item.content.clone().map(|content| parts(content, path));
                let message = MessageBody::new(role, content.transpose()?);
                self.push(message, path);
            }
            "function_call" => {
                let id = required(item.call_id.as_deref(), path, "call_id")?;
                self.call(id, item, path)?;
            }
            "function_call_output" => {
                let id = required(item.call_id.as_deref(), path, "call_id")?;
                let Some(output) = item.output.clone() else {
                    return Err(missing(path, "output"));
                };
                self.result(id, parts(output, path)?, path);
            }
            "reasoning" => {
                let thoughts = item.content.clone().or(item.summary.clone().map(TextOr::List));
                let text = thoughts.map(plain_text).unwrap_or_default();
                if !text.is_empty() {
                    self.thoughts = Some(text);
                }
            }
            "mcp_call" => {
                let id = required(item.id.as_deref(), path, "id")?;
                self.call(id, item, path)?;
                let output = item.output.clone().map(plain_text).unwrap_or_default();
                let text = match item.error.as_ref().filter(|error| !error.is_null()) {
                    Some(error) => format!("Error: {}", error_text(error)),
                    None => output,
                };
                self.result(id, ContentBody::Text(text), path);
            }
            kind => {
                let kind: String = kind.chars().take(40).collect();
                let message =
                    format!("`{path}` is an item of type `{kind}`, which is not supported");
                return Err(ApiError::unsupported(&format!("{path}.type"), message));
            }
        }
        Ok(())
    }

    fn push(&mut self, mut message: MessageBody, path: &str) {
        let thoughts = self.thoughts.take();
        if message.role == "assistant" {
            message.reasoning_content = thoughts;
        }
        self.messages.push((message, path.to_owned()));
    }

    /// A call belongs to what the assistant said right before it.
    fn call(&mut self, id: &str, item: &Item, path: &str) -> Result<(), ApiError> {
        let name = required(item.name.as_deref(), path, "name")?;
        let arguments = required(item.arguments.as_deref(), path, "arguments")?;
        self.names.insert(id.to_owned(), name.to_owned());
        let mut call = Map::new();
        call.insert("id".to_owned(), id.into());
        call.insert("type".to_owned(), "function".into());
        call.insert("function".to_owned(), json!({"name": name, "arguments": arguments}));
        if self.messages.last().is_none_or(|(last, _)| last.role != "assistant") {
            self.push(MessageBody::new("assistant", None), path);
        }
        if let Some((last, _)) = self.messages.last_mut() {
            last.tool_calls.get_or_insert_default().push(call);
        }
        Ok(())
    }

    fn result(&mut self, id: &str, content: ContentBody, path: &str) {
        let mut result = MessageBody::new("tool", Some(content));
        result.tool_call_id = Some(id.to_owned());
        result.name = self.names.get(id).cloned();
        self.push(result, path);
    }
}

fn required<'a>(value: Option<&'a str>, path: &str, field: &str) -> Result<&'a str, ApiError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| missing(path, field))
}

fn missing(path: &str, field: &str) -> ApiError {
    ApiError::invalid(format!("{path}.{field}"), format!("`{path}.{field}` is missing"))
}

fn error_text(error: &Value) -> String {
    let text = error.get("content").or_else(|| error.get("message")).unwrap_or(error);
    text.as_str().map_or_else(|| text.to_string(), str::to_owned)
}

fn plain_text(content: TextOr<ItemPart>) -> String {
    match content {
        TextOr::Text(text) => text,
        TextOr::List(parts) => {
            let texts: Vec<String> = parts.into_iter().filter_map(|part| part.text).collect();
            texts.join("\n")
        }
    }
}

/// Parts in the spelling of a chat, whose rules hold for them.
fn parts(content: TextOr<ItemPart>, path: &str) -> Result<ContentBody, ApiError> {
    let parts = match content {
        TextOr::Text(text) => return Ok(ContentBody::Text(text)),
        TextOr::List(parts) => parts,
    };
    let read = |(j, part): (usize, ItemPart)| {
        let ItemPart { kind, text, refusal, image_url, fetched, detail, file_id, .. } = part;
        let empty = PartBody::text(String::new());
        match kind.as_str() {
            "input_text" | "output_text" | "text" | "reasoning_text" | "summary_text" => {
                Ok(PartBody { text, ..empty })
            }
            "refusal" => Ok(PartBody { kind, refusal, text: None, ..empty }),
            "input_image" if file_id.is_none() => {
                let mut image = json!({ "url": image_url });
                if let Some(detail) = detail {
                    image["detail"] = detail.into();
                }
                let image_url = Some(image);
                let kind = "image_url".to_owned();
                Ok(PartBody { kind, text: None, image_url, fetched, ..empty })
            }
            _ => {
                let path = format!("{path}.content[{j}]");
                let kind: String = kind.chars().take(40).collect();
                let message = format!("`{path}` of type `{kind}` is not supported");
                Err(ApiError::unsupported(&path, message))
            }
        }
    };
    let parts = parts.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Ok(ContentBody::Parts(parts))
}
