//! The input box as a value: text, cursor, motions by grapheme, word, line and visual row.
//! Pure: knows no key, no terminal and no history.

use super::width::{self, graphemes};

/// The text being typed and where the cursor stands.
#[derive(Debug, Clone, Default)]
pub struct Editor {
    text: String,
    /// Byte offset; always at a grapheme border.
    cursor: usize,
    killed: String,
}

/// The text cut into rows of a width, and the cursor's place among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What stands in each row.
    pub rows: Vec<String>,
    /// Byte offset each row begins at.
    starts: Vec<usize>,
    /// Row and column of the cursor, in cells.
    pub cursor: (usize, usize),
}

/// A motion or the far end of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// One character back.
    Left,
    /// One character on.
    Right,
    /// To the start of this or the previous word.
    WordLeft,
    /// To the end of this or the next word.
    WordRight,
    /// To the start of the line.
    LineStart,
    /// To the end of the line.
    LineEnd,
}

impl Editor {
    /// What was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing was typed.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Replaces everything; the cursor goes to the end.
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        self.cursor = 0;
        self.insert(text);
    }

    /// Takes the text out and leaves the box empty.
    pub fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Inserts at the cursor. Line ends become `\n`; control characters but tab are dropped.
    pub fn insert(&mut self, text: &str) {
        let clean: String = text
            .replace("\r\n", "\n")
            .chars()
            .map(|c| if c == '\r' { '\n' } else { c })
            .filter(|c| matches!(c, '\n' | '\t') || !c.is_control())
            .collect();
        self.text.insert_str(self.cursor, &clean);
        // What was inserted may have merged with its neighbors into one grapheme.
        self.cursor = self.border_at_or_after(self.cursor + clean.len());
    }

    /// A trailing backslash before the cursor asks for a new line: replaces it. Says whether it did.
    pub fn continue_line(&mut self) -> bool {
        if self.cursor != self.text.len() || !self.text.ends_with('\\') {
            return false;
        }
        self.text.pop();
        self.text.push('\n');
        self.cursor = self.text.len();
        true
    }

    /// Moves the cursor.
    pub fn go(&mut self, motion: Motion) {
        self.cursor = self.target(motion);
    }

    /// Deletes up to where the motion leads; more than one character can be brought back by [`Editor::yank`].
    pub fn delete(&mut self, motion: Motion) {
        let target = self.target(motion);
        let (from, to) = (self.cursor.min(target), self.cursor.max(target));
        let gone: String = self.text.drain(from..to).collect();
        self.cursor = self.border_at_or_after(from);
        if !matches!(motion, Motion::Left | Motion::Right) && !gone.is_empty() {
            self.killed = gone;
        }
    }

    /// Inserts what was last deleted by word or line.
    pub fn yank(&mut self) {
        let killed = self.killed.clone();
        self.insert(&killed);
    }

    /// One visual row up; `false` if there is none.
    pub fn up(&mut self, width: usize) -> bool {
        let layout = self.layout(width);
        let (row, column) = layout.cursor;
        row.checked_sub(1).is_some_and(|row| self.go_to(&layout, row, column))
    }

    /// One visual row down; `false` if there is none.
    pub fn down(&mut self, width: usize) -> bool {
        let layout = self.layout(width);
        let (row, column) = layout.cursor;
        self.go_to(&layout, row + 1, column)
    }

    /// Cuts the text into rows of at most `width` cells.
    pub fn layout(&self, width: usize) -> Layout {
        let width = width.max(2);
        let mut layout = Layout { rows: vec![String::new()], starts: vec![0], cursor: (0, 0) };
        let mut column = 0;
        let mut offset = 0;
        for grapheme in graphemes(&self.text) {
            let cells = if grapheme == "\n" { 0 } else { width::of(grapheme) };
            if column + cells > width {
                layout.begin_row(offset);
                column = 0;
            }
            if offset == self.cursor {
                layout.cursor = (layout.rows.len() - 1, column);
            }
            offset += grapheme.len();
            if grapheme == "\n" {
                layout.begin_row(offset);
                column = 0;
            } else {
                layout.push(grapheme);
                column += cells;
            }
        }
        if self.cursor >= offset {
            if column >= width {
                layout.begin_row(offset);
                column = 0;
            }
            layout.cursor = (layout.rows.len() - 1, column);
        }
        layout
    }

    fn go_to(&mut self, layout: &Layout, row: usize, column: usize) -> bool {
        let (Some(start), Some(text)) = (layout.starts.get(row), layout.rows.get(row)) else {
            return false;
        };
        let mut offset = *start;
        let mut at = 0;
        for grapheme in graphemes(text) {
            at += width::of(grapheme);
            if at > column {
                break;
            }
            // The row shows a tab as spaces: it is one byte in the text either way.
            offset += grapheme.len();
        }
        self.cursor = self.border_at_or_after(offset.min(self.text.len()));
        true
    }

    fn target(&self, motion: Motion) -> usize {
        let (before, after) = self.text.split_at(self.cursor);
        match motion {
            Motion::Left => self.cursor - graphemes(before).next_back().map_or(0, str::len),
            Motion::Right => self.cursor + graphemes(after).next().map_or(0, str::len),
            Motion::WordLeft => {
                let trimmed = before.trim_end_matches(|c| !is_word(c));
                trimmed.trim_end_matches(is_word).len()
            }
            Motion::WordRight => {
                let trimmed = after.trim_start_matches(|c| !is_word(c));
                self.text.len() - trimmed.trim_start_matches(is_word).len()
            }
            Motion::LineStart => before.rfind('\n').map_or(0, |at| at + 1),
            Motion::LineEnd => self.cursor + after.find('\n').unwrap_or(after.len()),
        }
    }

    fn border_at_or_after(&self, offset: usize) -> usize {
        let mut border = 0;
        for grapheme in graphemes(&self.text) {
            if border >= offset {
                break;
            }
            border += grapheme.len();
        }
        border
    }
}

impl Layout {
    fn begin_row(&mut self, start: usize) {
        self.rows.push(String::new());
        self.starts.push(start);
    }

    fn push(&mut self, grapheme: &str) {
        if let Some(row) = self.rows.last_mut() {
            row.push_str(if grapheme == "\t" { " " } else { grapheme });
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || width::joins(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn typed(text: &str) -> Editor {
        let mut editor = Editor::default();
        editor.insert(text);
        editor
    }

    /// The text with `|` at the cursor.
    fn show(editor: &Editor) -> String {
        let (before, after) = editor.text.split_at(editor.cursor);
        format!("{before}|{after}")
    }

    fn check(editor: &Editor, expected: Expect) {
        expected.assert_eq(&show(editor));
    }

    #[test]
    fn characters_are_graphemes() {
        let mut editor = typed("a漢👩‍👩‍👧e\u{301}");
        editor.go(Motion::Left);
        check(&editor, expect!["a漢👩‍👩‍👧|é"]);
        editor.delete(Motion::Left);
        check(&editor, expect!["a漢|é"]);
        editor.go(Motion::Left);
        editor.delete(Motion::Right);
        check(&editor, expect!["a|é"]);
        editor.go(Motion::Right);
        editor.go(Motion::Right);
        editor.delete(Motion::Left);
        check(&editor, expect!["a|"]);
    }

    #[test]
    fn a_combining_mark_joins_what_stands_before_it() {
        let mut editor = typed("ex");
        editor.go(Motion::Left);
        editor.insert("\u{301}");
        check(&editor, expect!["é|x"]);
    }

    #[test]
    fn words_and_lines() {
        let mut editor = typed("one two-three\nfour");
        editor.go(Motion::WordLeft);
        editor.go(Motion::Left);
        check(&editor, expect!["one two-three|\nfour"]);
        editor.delete(Motion::WordLeft);
        check(&editor, expect!["one two-|\nfour"]);
        editor.go(Motion::LineStart);
        editor.go(Motion::WordRight);
        check(&editor, expect!["one| two-\nfour"]);
        editor.yank();
        editor.delete(Motion::LineEnd);
        check(&editor, expect!["onethree|\nfour"]);
        editor.delete(Motion::LineStart);
        editor.yank();
        check(&editor, expect!["onethree|\nfour"]);
        editor.go(Motion::LineEnd);
        editor.delete(Motion::LineEnd);
        check(&editor, expect!["onethree|\nfour"]);
    }

    #[test]
    fn pasted_text_is_cleaned() {
        check(&typed("a\r\nb\rc\u{1b}[31m\u{7}\td"), expect!["a\nb\nc[31m\td|"]);
    }

    #[test]
    fn backslash_continues() {
        let mut editor = typed("a\\");
        assert!(editor.continue_line());
        check(&editor, expect!["a\n|"]);
        assert!(!editor.continue_line());
        editor.insert("\\");
        editor.go(Motion::Left);
        assert!(!editor.continue_line(), "only at the end");
    }

    #[test]
    fn rows_know_wide_characters() {
        let layout = typed("ab漢字c").layout(4);
        assert_eq!(layout.rows, ["ab漢", "字c"]);
        assert_eq!(layout.cursor, (1, 3));
        assert_eq!(typed("abcd").layout(4).cursor, (1, 0), "the cursor needs a cell");
        assert_eq!(typed("abc漢").layout(4).rows, ["abc", "漢"]);
        assert_eq!(typed("a\n\nb").layout(4).rows, ["a", "", "b"]);
        let mut editor = typed("abcde");
        editor.go(Motion::Left);
        assert_eq!(editor.layout(4).cursor, (1, 0));
    }

    #[test]
    fn up_and_down_keep_the_column() {
        let mut editor = typed("abcdef\n漢字\nxyz");
        assert!(editor.up(10));
        check(&editor, expect!["abcdef\n漢|字\nxyz"]);
        assert!(editor.up(10));
        check(&editor, expect!["ab|cdef\n漢字\nxyz"]);
        assert!(!editor.up(10));
        assert!(editor.down(10) && editor.down(10) && !editor.down(10));
        check(&editor, expect!["abcdef\n漢字\nxy|z"]);
        let mut wrapped = typed("abcdefgh");
        assert!(wrapped.up(3));
        check(&wrapped, expect!["abcde|fgh"]);
    }

    #[test]
    fn every_motion_stays_on_borders() {
        let mut editor = typed("e\u{301}👍🏽 \u{200d}漢\n\u{301}x");
        let motions = [
            Motion::Left,
            Motion::WordLeft,
            Motion::LineStart,
            Motion::Right,
            Motion::WordRight,
            Motion::LineEnd,
        ];
        for step in 0..600_usize {
            editor.go(motions[(step * 7 + step / 5) % motions.len()]);
            assert_eq!(
                editor.border_at_or_after(editor.cursor),
                editor.cursor,
                "{}",
                show(&editor)
            );
            editor.layout(3);
        }
    }
}
