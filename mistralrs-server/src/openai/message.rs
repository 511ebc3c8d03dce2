//! Messages of a conversation as clients send them: every role, content as a string or a list of parts.
//! Knows no model and no route.

use super::part::PartBody;
use super::values::TextOr;
use crate::error::ApiError;
use mistralrs_core::{Content, Message, Part, Role};
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The conversation: a list of messages, or one string for a single user message.
#[derive(Debug, Clone, PartialEq, ToSchema)]
#[schema(value_type = Vec<MessageBody>)]
pub struct Messages(pub Vec<MessageBody>);

/// One message.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct MessageBody {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said; may be `null` in an assistant's message that calls tools.
    #[serde(default)]
    pub content: Option<ContentBody>,
    /// Who speaks, if several share a role.
    pub name: Option<String>,
    /// The calls an assistant made.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tool_calls: Option<Vec<Map<String, Value>>>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
    /// What an assistant thought before it spoke.
    pub reasoning_content: Option<String>,
    /// An assistant's refusal; read as its content if there is none.
    pub refusal: Option<String>,
}

/// A string or a list of parts.
#[derive(Debug, Clone, PartialEq, ToSchema)]
#[serde(untagged)]
pub enum ContentBody {
    /// A string.
    Text(String),
    /// A list of parts.
    Parts(Vec<PartBody>),
}

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match TextOr::read(deserializer, "a list of messages, or a string")? {
            TextOr::List(messages) => Self(messages),
            TextOr::Text(text) => {
                Self(vec![MessageBody::new("user", Some(ContentBody::Text(text)))])
            }
        })
    }
}

impl<'de> Deserialize<'de> for ContentBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match TextOr::read(deserializer, "a string or a list of parts")? {
            TextOr::Text(text) => Self::Text(text),
            TextOr::List(parts) => Self::Parts(parts),
        })
    }
}

impl Messages {
    /// Checks the form and translates.
    ///
    /// # Errors
    /// [`ApiError::invalid`] with the path of the field.
    pub fn into_core(self) -> Result<Vec<Message>, ApiError> {
        if self.0.is_empty() {
            return Err(ApiError::invalid(
                "messages",
                "`messages` is empty: there has to be at least one message",
            ));
        }
        self.0
            .into_iter()
            .enumerate()
            .map(|(i, message)| message.into_core(&format!("messages[{i}]")))
            .collect()
    }
}

impl MessageBody {
    /// A message with nothing but a role and content.
    pub fn new(role: &str, content: Option<ContentBody>) -> Self {
        Self {
            role: role.to_owned(),
            content,
            name: None,
            tool_calls: None,
            tool_call_id: None,
            reasoning_content: None,
            refusal: None,
        }
    }

    /// Checks the form and translates; `path` is where it stands.
    ///
    /// # Errors
    /// [`ApiError::invalid`] with the path of the field.
    pub fn into_core(self, path: &str) -> Result<Message, ApiError> {
        let role = role(&self.role).ok_or_else(|| {
            let role: String = self.role.chars().take(40).collect();
            let message = format!(
                "`{path}.role` is `{role}`; it has to be system, developer, user, assistant or tool"
            );
            ApiError::invalid(format!("{path}.role"), message)
        })?;
        let calls_tools = self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
        if calls_tools && role != Role::Assistant {
            let message = format!("`{path}.tool_calls` may only stand in an assistant's message");
            return Err(ApiError::invalid(format!("{path}.tool_calls"), message));
        }
        let content = match (self.content, self.refusal) {
            (Some(ContentBody::Text(text)), _) => Content::Text(text),
            (Some(ContentBody::Parts(parts)), _) => Content::Parts(self::parts(parts, path)?),
            (None, Some(refusal)) => Content::Text(refusal),
            (None, None) if role == Role::Assistant => Content::None,
            (None, None) => {
                let message = format!("`{path}.content` is missing: a string or a list of parts");
                return Err(ApiError::invalid(format!("{path}.content"), message));
            }
        };
        let mut extra = Map::new();
        if let Some(name) = self.name {
            extra.insert("name".to_owned(), Value::String(name));
        }
        if let Some(calls) = self.tool_calls.filter(|calls| !calls.is_empty()) {
            extra.insert("tool_calls".to_owned(), calls.into_iter().map(Value::Object).collect());
        }
        if let Some(id) = self.tool_call_id {
            extra.insert("tool_call_id".to_owned(), Value::String(id));
        }
        if let Some(reasoning) = self.reasoning_content {
            extra.insert("reasoning_content".to_owned(), Value::String(reasoning));
        }
        Ok(Message { role, content, extra })
    }
}

fn role(name: &str) -> Option<Role> {
    [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool]
        .into_iter()
        .find(|role| role.as_str() == name)
}

fn parts(parts: Vec<PartBody>, path: &str) -> Result<Vec<Part>, ApiError> {
    let part = |(j, part): (usize, PartBody)| part.into_core(&format!("{path}.content[{j}]"));
    parts.into_iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(messages: Value) -> Result<Vec<Message>, ApiError> {
        serde_json::from_value::<Messages>(messages)
            .map_err(|error| ApiError::malformed("messages", error.to_string()))?
            .into_core()
    }

    #[test]
    fn every_role_and_form_of_content() {
        let messages = read(json!([
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "user", "content": "u", "name": "Ann"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
                "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "content": "t", "tool_call_id": "1"},
            {"role": "assistant", "refusal": "no"}
        ]))
        .unwrap();
        let roles: Vec<_> = messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "developer", "user", "assistant", "tool", "assistant"]);
        assert_eq!(messages[1].content, Content::Parts(vec![Part::Text("d".into())]));
        assert_eq!(messages[2].extra["name"], "Ann");
        assert_eq!(messages[3].content, Content::None);
        assert_eq!(messages[3].extra["tool_calls"][0]["function"]["name"], "f");
        assert_eq!(messages[4].extra["tool_call_id"], "1");
        assert_eq!(messages[5].content, Content::Text("no".into()));
    }

    #[test]
    fn a_bare_string_is_a_user_message() {
        assert_eq!(read(json!("hi")).unwrap(), [Message::text(Role::User, "hi")]);
    }

    #[test]
    fn faults_name_their_path() {
        let table = [
            (json!([]), "messages"),
            (json!([{"role": "robot", "content": "x"}]), "messages[0].role"),
            (json!([{"role": "user", "content": "x"}, {"role": "user"}]), "messages[1].content"),
            (json!([{"role": "user", "content": null}]), "messages[0].content"),
            (
                json!([{"role": "user", "content": "", "tool_calls": [{}]}]),
                "messages[0].tool_calls",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
                "messages[0].content[0].image_url.url",
            ),
            (
                json!([{"role": "user", "content": [{"type": "text"}]}]),
                "messages[0].content[0].text",
            ),
        ];
        for (messages, param) in table {
            let error = read(messages.clone()).map(|_| ()).expect_err(&messages.to_string());
            assert_eq!(error.field(), Some(param), "{messages}");
        }
    }
}
