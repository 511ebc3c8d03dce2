//! HTML as the text a reader sees. Looks at tags one by one and builds no tree: time grows with the page, however it nests.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

/// Tags between which nothing is read.
const UNSEEN: &[&[u8]] =
    &[b"script", b"style", b"template", b"noscript", b"svg", b"iframe", b"noframes", b"textarea"];

/// Tags that begin or end a line.
const LINES: &[&[u8]] = &[
    b"address",
    b"article",
    b"aside",
    b"blockquote",
    b"body",
    b"br",
    b"caption",
    b"dd",
    b"div",
    b"dl",
    b"dt",
    b"fieldset",
    b"figcaption",
    b"figure",
    b"footer",
    b"form",
    b"h1",
    b"h2",
    b"h3",
    b"h4",
    b"h5",
    b"h6",
    b"head",
    b"header",
    b"hr",
    b"legend",
    b"li",
    b"main",
    b"nav",
    b"ol",
    b"option",
    b"p",
    b"pre",
    b"section",
    b"select",
    b"summary",
    b"table",
    b"tbody",
    b"tfoot",
    b"thead",
    b"title",
    b"tr",
    b"ul",
];

/// A page's title, which may be empty, and its text.
pub fn read(html: &str) -> (String, String) {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut page = Page::default();
    for token in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Ok(Token::StartTag(tag)) => page.begin(&tag.name),
            Ok(Token::EndTag(tag)) => page.end(&tag.name),
            Ok(Token::String(text)) => page.text(&String::from_utf8_lossy(&text)),
            Ok(Token::Comment(_) | Token::Doctype(_) | Token::Error(_)) => {}
            // Reading from memory does not fail.
            Err(never) => match never {},
        }
    }
    (page.title.trim().to_owned(), page.body.trim().to_owned())
}

#[derive(Default)]
struct Page {
    title: String,
    body: String,
    in_title: bool,
    /// The tag whose end ends the unseen.
    unseen: Option<Vec<u8>>,
}

impl Page {
    fn begin(&mut self, tag: &[u8]) {
        if self.unseen.is_some() {
            return;
        }
        if UNSEEN.contains(&tag) {
            self.unseen = Some(tag.to_vec());
        } else if tag == b"title" {
            self.in_title = self.title.is_empty();
        } else {
            self.part(tag);
        }
        if tag == b"li" {
            self.body.push_str("- ");
        }
    }

    fn end(&mut self, tag: &[u8]) {
        if self.unseen.as_deref() == Some(tag) {
            self.unseen = None;
        } else if tag == b"title" {
            self.in_title = false;
        } else if self.unseen.is_none() {
            self.part(tag);
        }
    }

    /// A new line where one begins, a gap between the cells of a table.
    fn part(&mut self, tag: &[u8]) {
        if LINES.contains(&tag) {
            let kept = self.body.trim_end_matches(' ').len();
            self.body.truncate(kept);
            if !self.body.is_empty() && !self.body.ends_with('\n') {
                self.body.push('\n');
            }
        } else if tag == b"td" || tag == b"th" {
            self.gap();
        }
    }

    fn text(&mut self, text: &str) {
        if self.unseen.is_some() {
            return;
        }
        for (i, word) in text.split(|c: char| c.is_ascii_whitespace()).enumerate() {
            if i > 0 {
                self.gap();
            }
            self.place().push_str(word);
        }
    }

    /// One space between words, none at the beginning of a line.
    fn gap(&mut self) {
        let place = self.place();
        if !place.is_empty() && !place.ends_with([' ', '\n']) {
            place.push(' ');
        }
    }

    fn place(&mut self) -> &mut String {
        if self.in_title { &mut self.title } else { &mut self.body }
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_page_becomes_what_a_reader_sees() {
        let html = "<!doctype html><html><head><TITLE>Fish &amp;\n Chips</TITLE><style>p {}</style></head><body>
            <h1>Menu</h1><script>if (1 < 2) alert('<p>x')</script><p>Cod &lt; <b>hak</b>e,\n <a href='/y'>see</a>.</p>
            <ul><li>one<li>two</ul><table><tr><td>a<td>b<tr><td>c</table></body></html>";
        let (title, text) = read(html);
        assert_eq!(title, "Fish & Chips");
        assert_eq!(text, "Menu\nCod < hake, see.\n- one\n- two\na b\nc");
    }

    #[test]
    fn broken_pages_are_read_as_far_as_they_go() {
        for html in [
            "",
            "<title>",
            "<title></title",
            "<<<<>>>>",
            "<p",
            "<!--",
            "&#xFFFFFFFF;",
            "\0",
            "<script>x",
        ] {
            let (title, text) = read(html);
            assert!(title.len() + text.len() <= html.len() + 3, "{html}: {title} {text}");
        }
        assert_eq!(read(&("<div>".repeat(50_000) + "x")).1, "x");
        let many: String = (0..50_000).map(|i| format!(" a{i}")).collect();
        assert_eq!(read(&format!("<p{many}>x")).1, "x");
    }
}
