//! The content of a tool's result → text for a model, cut to a size, with pictures beside it. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mistralrs_core::Image;
use mistralrs_core::agent::ToolOutput;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};

/// Puts a result's parts together, a line break between them; at most `max_bytes` of text.
pub(super) fn output(result: CallToolResult, max_bytes: usize) -> ToolOutput {
    let mut images = Vec::new();
    let mut texts: Vec<String> =
        result.content.into_iter().map(|block| text_of(block, &mut images)).collect();
    if texts.is_empty() {
        texts.extend(result.structured_content.map(|value| value.to_string()));
    }
    let is_error = result.is_error == Some(true);
    let mut text = texts.join("\n");
    if text.trim().is_empty() && is_error {
        text = "the tool failed and did not say why".to_owned();
    }
    ToolOutput { text: cut(text, max_bytes), images, is_error }
}

fn text_of(block: ContentBlock, images: &mut Vec<Image>) -> String {
    match block {
        ContentBlock::Text(text) => text.text,
        ContentBlock::Image(image) => {
            let text = format!("[Image: {}]", image.mime_type);
            images.extend(STANDARD.decode(image.data).ok().map(Image::new));
            text
        }
        ContentBlock::Audio(audio) => format!("[Audio: {}]", audio.mime_type),
        ContentBlock::Resource(resource) => match resource.resource {
            ResourceContents::TextResourceContents { text, .. } => text,
            ResourceContents::BlobResourceContents { uri, .. } => format!("[Resource: {uri}]"),
            _ => "[Resource of an unknown kind]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => match link.description {
            Some(description) => format!("[Resource: {}] {description}", link.uri),
            None => format!("[Resource: {}]", link.uri),
        },
        _ => "[content of an unknown kind]".to_owned(),
    }
}

/// Keeps the beginning and says what is missing.
fn cut(mut text: String, max_bytes: usize) -> String {
    let total = text.len();
    if total > max_bytes {
        let end = (0..=max_bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str(&format!("\n[cut off: {end} of {total} bytes]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(result: serde_json::Value, text: &str, is_error: bool) -> ToolOutput {
        let output = output(serde_json::from_value(result).unwrap(), 40);
        assert_eq!((output.text.as_str(), output.is_error), (text, is_error));
        output
    }

    #[test]
    fn every_kind_of_content_says_what_it_is() {
        let part =
            |kind: &str, key: &str, value: serde_json::Value| json!({"type": kind, key: value});
        let text = part("text", "text", json!("one"));
        check(json!({"content": [text.clone(), text.clone()]}), "one\none", false);
        check(json!({"content": [], "structuredContent": {"a": 1}}), "{\"a\":1}", false);
        check(json!({"content": [text.clone()], "structuredContent": {"a": 1}}), "one", false);
        let image = json!({"type": "image", "data": "AAAA", "mimeType": "image/png"});
        let output = check(json!({"content": [image, text]}), "[Image: image/png]\none", false);
        assert_eq!(output.images, [Image::new(vec![0; 3])]);
        let broken = json!({"type": "image", "data": "?", "mimeType": "image/png"});
        assert!(check(json!({"content": [broken]}), "[Image: image/png]", false).images.is_empty());
        let audio = json!({"type": "audio", "data": "AAAA", "mimeType": "audio/wav"});
        check(json!({"content": [audio]}), "[Audio: audio/wav]", false);
        let inside = json!({"uri": "file:///a", "mimeType": "text/plain", "text": "inside"});
        check(json!({"content": [part("resource", "resource", inside)]}), "inside", false);
        let blob = json!({"uri": "file:///b", "blob": "AAAA"});
        check(
            json!({"content": [part("resource", "resource", blob)]}),
            "[Resource: file:///b]",
            false,
        );
        let link = json!({"type": "resource_link", "uri": "x:y", "name": "n"});
        check(json!({"content": [link]}), "[Resource: x:y]", false);
    }

    #[test]
    fn errors_are_errors_in_the_protocols_spelling() {
        let text = json!({"type": "text", "text": "no such file"});
        check(json!({"content": [text.clone()], "isError": true}), "no such file", true);
        check(json!({"content": [text], "isError": false}), "no such file", false);
        check(json!({"content": [], "isError": true}), "the tool failed and did not say why", true);
    }

    #[test]
    fn long_results_are_cut_between_characters() {
        let long = json!({"type": "text", "text": "é".repeat(30)});
        let kept = "é".repeat(20);
        check(json!({"content": [long]}), &format!("{kept}\n[cut off: 40 of 60 bytes]"), false);
        let odd = json!({"type": "text", "text": format!("x{}", "é".repeat(30))});
        let kept = format!("x{}", "é".repeat(19));
        check(json!({"content": [odd]}), &format!("{kept}\n[cut off: 39 of 61 bytes]"), false);
    }
}
