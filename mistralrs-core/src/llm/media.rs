//! Pictures, videos and sound in a conversation: where they may stand, and whether the model takes
//! them. Knows messages, no pixels.

use crate::error::RequestError;
use crate::request::{Content, Message, Role};

/// Refuses media where no template has a place for them, and for a model that takes none.
///
/// # Errors
/// [`RequestError::Invalid`] with the path `messages[i].content[j]`.
pub(super) fn check(messages: &[Message]) -> Result<(), RequestError> {
    for (i, message) in messages.iter().enumerate() {
        let Content::Parts(parts) = &message.content else { continue };
        let medium = parts.iter().enumerate().find(|(_, part)| part.as_text().is_none());
        if let Some((j, part)) = medium {
            let (path, kind) = (format!("messages[{i}].content[{j}]"), part.kind());
            let reason = match message.role {
                Role::User => "this model reads text only",
                _ => "only a user's message may hold it",
            };
            return Err(RequestError::invalid(&path, format!("`{path}` is {kind}, but {reason}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Audio, Image, Part, Video};

    fn said(role: Role, parts: Vec<Part>) -> Vec<Message> {
        let first = Message::text(Role::System, "s");
        let mut second = Message::text(role, "");
        second.content = Content::Parts(parts);
        vec![first, second]
    }

    #[test]
    fn a_text_model_refuses_media_by_their_path() {
        let bytes = || vec![1, 2, 3].into();
        let media = [
            (Part::Image(Image::new(vec![1, 2, 3])), "image"),
            (Part::Video(Video { frames: vec![bytes()], fps: None }), "video"),
            (Part::Audio(Audio { bytes: bytes() }), "audio"),
        ];
        for (medium, kind) in media {
            for role in [Role::User, Role::Tool] {
                let messages = said(role, vec![Part::Text("a".into()), medium.clone()]);
                match check(&messages).unwrap_err() {
                    RequestError::Invalid { param, message } => {
                        assert_eq!(param, "messages[1].content[1]");
                        let reason = if role == Role::User { "text only" } else { "a user's" };
                        assert!(message.contains(kind) && message.contains(reason), "{message}");
                    }
                    other => panic!("{other}"),
                }
            }
        }
        assert!(check(&said(Role::User, vec![Part::Text("a".into())])).is_ok());
    }

    #[test]
    fn bytes_print_as_their_length() {
        let image = Image::new(vec![0; 70_000]);
        assert!(format!("{image:?}").contains("70000 bytes"));
    }
}
