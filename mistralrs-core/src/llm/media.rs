//! Pictures, videos and sound in a conversation: where they may stand, and whether the model takes
//! them. Knows messages, no pixels.

use crate::error::RequestError;
use crate::forward::Modality;
use crate::request::{Content, Message, Part, Role};

/// Refuses media where no template has a place for them, and kinds that the model does not take.
///
/// # Errors
/// [`RequestError::Invalid`] with the path `messages[i].content[j]`.
pub(super) fn check(
    messages: &[Message],
    takes: impl Fn(Modality) -> bool,
) -> Result<(), RequestError> {
    for (i, message) in messages.iter().enumerate() {
        let Content::Parts(parts) = &message.content else { continue };
        for (j, part) in parts.iter().enumerate() {
            let Some(modality) = modality(part) else { continue };
            let (path, kind) = (format!("messages[{i}].content[{j}]"), part.kind());
            let reason = match message.role {
                Role::User | Role::Tool if takes(modality) => continue,
                Role::User | Role::Tool if takes(Modality::Image) => {
                    "this model takes images and text only"
                }
                Role::User | Role::Tool => "this model reads text only",
                _ => "only a message of the user or of a tool may hold it",
            };
            return Err(RequestError::invalid(&path, format!("`{path}` is {kind}, but {reason}")));
        }
    }
    Ok(())
}

/// The kind of a part that is no text.
pub(super) fn modality(part: &Part) -> Option<Modality> {
    match part {
        Part::Text(_) => None,
        Part::Image(_) => Some(Modality::Image),
        Part::Video(_) => Some(Modality::Video),
        Part::Audio(_) => Some(Modality::Audio),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Audio, Image, Video};

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
            for role in [Role::User, Role::Tool, Role::System] {
                let messages = said(role, vec![Part::Text("a".into()), medium.clone()]);
                match check(&messages, |_| false).unwrap_err() {
                    RequestError::Invalid { param, message } => {
                        assert_eq!(param, "messages[1].content[1]");
                        let reason = if role == Role::System { "of a tool" } else { "text only" };
                        assert!(message.contains(kind) && message.contains(reason), "{message}");
                    }
                    other => panic!("{other}"),
                }
            }
        }
        let text = said(Role::User, vec![Part::Text("a".into())]);
        assert!(check(&text, |_| false).is_ok());
        for role in [Role::User, Role::Tool] {
            let picture = said(role, vec![Part::Image(Image::new(vec![1]))]);
            assert!(check(&picture, |kind| kind == Modality::Image).is_ok());
        }
        let sound = said(Role::User, vec![Part::Audio(Audio { bytes: bytes() })]);
        let error = check(&sound, |kind| kind == Modality::Image).unwrap_err().to_string();
        assert!(error.contains("images and text only"), "{error}");
    }

    #[test]
    fn bytes_print_as_their_length() {
        let image = Image::new(vec![0; 70_000]);
        assert!(format!("{image:?}").contains("70000 bytes"));
    }
}
