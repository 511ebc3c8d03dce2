//! Cells and graphemes: how wide text stands in a terminal, and how it is cut into rows.
//! Pure; the widths are those of Unicode's East Asian Width (UAX #11), the borders those of UAX #29.

use ratatui::text::Span;
use unicode_segmentation::{Graphemes, UnicodeSegmentation};
use unicode_width::UnicodeWidthStr;

/// Cells of a text without line ends. A tab counts as one: it is drawn as a space.
pub fn of(text: &str) -> usize {
    graphemes(text).map(|it| if it == "\t" { 1 } else { it.width() }).sum()
}

/// The characters as readers see them.
pub fn graphemes(text: &str) -> Graphemes<'_> {
    text.graphemes(true)
}

/// Whether the character only ever extends another one.
pub fn joins(c: char) -> bool {
    c == '\u{200d}' || (!c.is_ascii() && unicode_width::UnicodeWidthChar::width(c) == Some(0))
}

/// Replaces what could steer a terminal: every control character but line feed and tab.
pub fn harmless(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '\r')
        .map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c })
        .collect()
}

/// Cuts styled text into rows of at most `width` cells: at line feeds, else between words, and
/// inside a word only if it is longer than a row. Spaces at a cut are dropped.
pub fn wrap(spans: &[Span<'static>], width: usize) -> Vec<Vec<Span<'static>>> {
    let mut wrap =
        Wrap { width: width.max(2), rows: Vec::new(), row: Row::default(), word: Row::default() };
    for span in spans {
        for grapheme in graphemes(&span.content) {
            wrap.push(grapheme, span);
        }
    }
    wrap.end_line();
    wrap.rows
}

/// Cuts styled text every `width` cells and at line feeds; keeps every space. For code.
pub fn chop(spans: &[Span<'static>], width: usize) -> Vec<Vec<Span<'static>>> {
    let width = width.max(2);
    let mut rows = Vec::new();
    let mut row = Row::default();
    for span in spans {
        for grapheme in graphemes(&span.content) {
            if grapheme == "\n" {
                rows.push(std::mem::take(&mut row).spans);
                continue;
            }
            let text = if grapheme == "\t" { "    " } else { grapheme };
            if row.cells + of(text) > width {
                rows.push(std::mem::take(&mut row).spans);
            }
            row.push(text, span);
        }
    }
    rows.push(row.spans);
    rows
}

#[derive(Default)]
struct Row {
    spans: Vec<Span<'static>>,
    cells: usize,
}

impl Row {
    fn push(&mut self, text: &str, like: &Span<'static>) {
        self.cells += of(text);
        match self.spans.last_mut() {
            Some(last) if last.style == like.style => last.content.to_mut().push_str(text),
            _ => self.spans.push(Span::styled(text.to_owned(), like.style)),
        }
    }

    fn append(&mut self, other: Self) {
        for span in other.spans {
            self.push(&span.content.clone(), &span);
        }
    }

    fn trim_end(&mut self) {
        while let Some(last) = self.spans.last_mut() {
            let kept = last.content.trim_end_matches(' ').len();
            self.cells -= last.content.len() - kept;
            last.content.to_mut().truncate(kept);
            if kept > 0 {
                break;
            }
            self.spans.pop();
        }
    }
}

struct Wrap {
    width: usize,
    rows: Vec<Vec<Span<'static>>>,
    row: Row,
    word: Row,
}

impl Wrap {
    fn push(&mut self, grapheme: &str, span: &Span<'static>) {
        if grapheme == "\n" {
            return self.end_line();
        }
        if matches!(grapheme, " " | "\t") {
            self.end_word();
            // A space that does not fit is the cut itself.
            if self.row.cells < self.width {
                self.row.push(" ", span);
            }
            return;
        }
        let cells = of(grapheme);
        if self.word.cells + cells > self.width {
            self.end_word();
        }
        // Between ideographs a line may break anywhere.
        let free = cells == 2;
        if free {
            self.end_word();
        }
        self.word.push(grapheme, span);
        if free {
            self.end_word();
        }
    }

    fn end_word(&mut self) {
        if self.word.cells == 0 && self.word.spans.is_empty() {
            return;
        }
        if self.row.cells + self.word.cells > self.width {
            self.end_row();
        }
        let word = std::mem::take(&mut self.word);
        self.row.append(word);
    }

    fn end_row(&mut self) {
        self.row.trim_end();
        self.rows.push(std::mem::take(&mut self.row).spans);
    }

    fn end_line(&mut self) {
        self.end_word();
        self.end_row();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Stylize;

    fn texts(rows: &[Vec<Span<'static>>]) -> Vec<String> {
        rows.iter().map(|row| row.iter().map(|span| &*span.content).collect()).collect()
    }

    fn wrapped(text: &str, width: usize) -> Vec<String> {
        texts(&wrap(&[Span::raw(text.to_owned())], width))
    }

    #[test]
    fn widths() {
        assert_eq!(of("abc"), 3);
        assert_eq!(of("漢字"), 4);
        assert_eq!(of("e\u{301}"), 1);
        assert_eq!(of("👩‍👩‍👧"), 2);
        assert_eq!(of("\t"), 1);
    }

    #[test]
    fn cuts_between_words() {
        assert_eq!(wrapped("the quick brown fox", 9), ["the quick", "brown fox"]);
        assert_eq!(wrapped("the quick brown fox", 10), ["the quick", "brown fox"]);
        assert_eq!(wrapped("a\n\nb", 5), ["a", "", "b"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), [""]);
        assert_eq!(wrapped("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(wrapped("ab    cd", 4), ["ab", "cd"]);
    }

    #[test]
    fn styles_survive_and_do_not_split_words() {
        let rows = wrap(&[Span::raw("aa b"), "bb".bold(), Span::raw("b cc")], 5);
        assert_eq!(texts(&rows), ["aa", "bbbb", "cc"]);
        assert_eq!(rows[1].len(), 3);
    }

    #[test]
    fn chop_keeps_spaces() {
        assert_eq!(texts(&chop(&[Span::raw("  ab  cd\n\tx")], 4)), ["  ab", "  cd", "    ", "x"]);
    }

    #[test]
    fn no_row_is_too_wide_and_no_letter_is_lost() {
        let text = "Lorem 漢字かな ipsum👩‍👩‍👧 dolorsitametconsectetur e\u{301}\n  x";
        for width in 2..40 {
            for rows in [wrapped(text, width), texts(&chop(&[Span::raw(text)], width))] {
                assert!(rows.iter().all(|row| of(row) <= width), "{width} {rows:?}");
                let letters =
                    |it: &str| it.chars().filter(|c| !c.is_whitespace()).collect::<String>();
                assert_eq!(letters(&rows.concat()), letters(text));
            }
        }
    }

    #[test]
    fn escape_sequences_are_defused() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{9b}"), "a\u{fffd}[2Jb\n\tc\u{fffd}");
    }
}
