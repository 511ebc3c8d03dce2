//! Lines of bounded length from a stream of bytes. Of a line that is too long only the `id` is kept, so that
//! the call it answers can fail at once. Knows JSON's outer shape, no protocol.

use rmcp::model::RequestId;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Longer keys and ids than this are not the ones looked for.
const MAX_WORD_BYTES: usize = 128;

/// One line, without its end.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Its bytes.
    Whole(Vec<u8>),
    /// It was too long; the value of the key `id` of the object in it, if there was one.
    TooLong(Option<RequestId>),
}

/// Reads lines. Waiting for the next one may be broken off at any time without losing bytes.
pub(super) struct Lines<R> {
    read: BufReader<R>,
    line: Vec<u8>,
    max_bytes: usize,
    /// In the middle of a line that is too long.
    skipped: Option<IdFinder>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(read: R, max_bytes: usize) -> Self {
        Self { read: BufReader::new(read), line: Vec::new(), max_bytes, skipped: None }
    }

    /// The next line; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            // Nothing is consumed until this has returned, and there is no other await.
            let bytes = self.read.fill_buf().await?;
            let ended = bytes.is_empty();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            let taken = part.len() + usize::from(end.is_some());
            match &mut self.skipped {
                Some(finder) => finder.push(part),
                None if self.line.len() + part.len() > self.max_bytes => {
                    let mut finder = IdFinder::default();
                    finder.push(&self.line);
                    finder.push(part);
                    self.line = Vec::new();
                    self.skipped = Some(finder);
                }
                None => self.line.extend_from_slice(part),
            }
            self.read.consume(taken);
            if ended && self.line.is_empty() && self.skipped.is_none() {
                return Ok(None);
            }
            if ended || end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Line {
        match self.skipped.take() {
            Some(finder) => Line::TooLong(finder.id),
            None => Line::Whole(std::mem::take(&mut self.line)),
        }
    }
}

/// Finds the key `id` of the outermost object in JSON that is never held as a whole.
#[derive(Default)]
struct IdFinder {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Behind a colon of the outermost object.
    in_value: bool,
    /// The last key, or the value behind `id`; outermost object only.
    word: Vec<u8>,
    key_is_id: bool,
    id: Option<RequestId>,
}

impl IdFinder {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match (self.escaped, byte) {
                (true, _) => self.escaped = false,
                (false, b'\\') => self.escaped = true,
                (false, b'"') => self.in_string = false,
                _ => {}
            }
            return self.note(byte);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.note(byte);
            }
            b'{' | b'[' => {
                self.note(byte);
                self.depth += 1;
            }
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_of_value();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 => {
                self.key_is_id = self.word.trim_ascii() == b"\"id\"";
                self.word.clear();
                self.in_value = true;
            }
            b',' if self.depth == 1 => self.end_of_value(),
            _ => self.note(byte),
        }
    }

    fn note(&mut self, byte: u8) {
        let wanted = self.depth == 1 && (!self.in_value || self.key_is_id);
        if wanted && self.word.len() < MAX_WORD_BYTES {
            self.word.push(byte);
        }
    }

    fn end_of_value(&mut self) {
        if self.in_value && self.key_is_id && self.id.is_none() {
            self.id = serde_json::from_slice(&self.word).ok();
        }
        self.word.clear();
        self.in_value = false;
        self.key_is_id = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use tokio::io::AsyncWriteExt as _;

    fn id(text: &str) -> Option<RequestId> {
        let mut whole = IdFinder::default();
        whole.push(text.as_bytes());
        let mut bytewise = IdFinder::default();
        text.as_bytes().chunks(1).for_each(|chunk| bytewise.push(chunk));
        assert_eq!(whole.id, bytewise.id);
        whole.id
    }

    #[test]
    fn the_outermost_id_is_found_wherever_it_stands() {
        let number = |n| Some(RequestId::Number(n));
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}}"#), number(7));
        assert_eq!(
            id(r#"{"result":{"id":8,"x":["id",{"id":3}]},"jsonrpc":"2.0", "id" : 9 }"#),
            number(9)
        );
        assert_eq!(id(r#"{"a":"\"id\":1,","id":2}"#), number(2));
        assert_eq!(id(r#"{"a":"\\","id":"x,}"}"#), Some(RequestId::String("x,}".into())));
        assert_eq!(id(r#"{"jsonrpc":"2.0","method":"id","params":{"id":1}}"#), None);
        assert_eq!(id(r#"{"id":null}"#), None);
        assert_eq!(id(r#"{"id":{"id":1}}"#), None);
        assert_eq!(id(r#"[{"id":1}]"#), None);
        assert_eq!(id("]]}}\"id\":1,"), None);
        assert_eq!(id(&format!("{{\"id\":\"{}\"}}", "x".repeat(1000))), None);
    }

    #[tokio::test]
    async fn lines_are_bounded_and_the_stream_goes_on() {
        let long = format!(r#"{{"result":"{}","id":5}}"#, "x".repeat(300_000));
        let text = format!("one\n\n{long}\ntwo\r\n{{\"id\":1}}");
        let mut lines = Lines::new(text.as_bytes(), 1000);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        let cut = Line::TooLong(Some(RequestId::Number(5)));
        assert_eq!(found, [whole("one"), whole(""), cut, whole("two\r"), whole("{\"id\":1}")]);
    }

    #[tokio::test]
    async fn a_broken_off_wait_loses_nothing() {
        let (mut write, read) = tokio::io::duplex(4);
        let mut lines = Lines::new(read, 1000);
        let text = "a line in small pieces\n";
        for piece in text.as_bytes().chunks(3) {
            assert!(lines.next().now_or_never().is_none());
            write.write_all(piece).await.unwrap();
        }
        let line = lines.next().await.unwrap().unwrap();
        assert_eq!(line, Line::Whole(text.trim_end().as_bytes().to_vec()));
    }
}
