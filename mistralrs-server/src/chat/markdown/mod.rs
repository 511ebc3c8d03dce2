//! Markdown to styled rows. [`render`] does a whole text; [`Stream`] a text that is still growing:
//! its finished blocks come out once and for all, its last block can be drawn again and again.
//! Pure. The grammar is CommonMark with GitHub's tables, task lists and strikethrough.

mod block;
mod table;

use pulldown_cmark::{Options, Parser};
use ratatui::text::Line;

/// The rows of a whole text, none wider than `width` cells.
pub fn render(source: &str, width: usize) -> Vec<Line<'static>> {
    let mut renderer = block::Renderer::new(width.max(8));
    for event in Parser::new_ext(source, options()) {
        renderer.take(event);
    }
    renderer.finish()
}

fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}

/// A growing text.
#[derive(Debug, Default)]
pub struct Stream {
    /// The block that is still growing, and what follows the last line end.
    source: String,
    /// Rows of it that came out early because there was no room to keep them.
    shown_rows: usize,
    /// The width they were made for.
    shown_width: usize,
    /// Whether blocks came out before it, so that a blank row separates them.
    started: bool,
}

impl Stream {
    /// Appends text.
    pub fn push(&mut self, text: &str) {
        self.source.push_str(text);
    }

    /// The rows that can no longer change: all blocks but the last, and of the last one what exceeds
    /// `room` rows (there the guess is that later text will not change earlier rows).
    pub fn take_finished(&mut self, width: usize, room: usize) -> Vec<Line<'static>> {
        let mut finished = Vec::new();
        let border = last_block_start(&self.source);
        if border > 0 {
            let source: String = self.source.drain(..border).collect();
            finished = self.rows(&source, width);
            self.started |= !source.trim().is_empty();
            self.shown_rows = 0;
        }
        let tail = self.tail(width);
        let early = tail.len().saturating_sub(room);
        if early > 0 {
            finished.extend(tail.into_iter().take(early));
            self.shown_rows += early;
            self.shown_width = width;
        }
        finished
    }

    /// The rows of the block that is still growing.
    pub fn tail(&mut self, width: usize) -> Vec<Line<'static>> {
        let source = presentable(&self.source);
        self.rows(&source, width)
    }

    /// Ends the text: everything that has not come out yet.
    pub fn finish(&mut self, width: usize) -> Vec<Line<'static>> {
        let source = std::mem::take(&mut self.source);
        let rows = self.rows(&source, width);
        *self = Self::default();
        rows
    }

    fn rows(&mut self, source: &str, width: usize) -> Vec<Line<'static>> {
        if self.shown_width != width {
            // The cut was made for other rows; showing some twice is better than losing some.
            self.shown_rows = 0;
        }
        let rows = render(source, width);
        let gap = (self.started && !rows.is_empty()).then(Line::default);
        gap.into_iter().chain(rows).skip(self.shown_rows).collect()
    }
}

/// The text as it will most likely turn out: without a last line that is only the beginning of some
/// markup (a lone `|`, a `-` that would make a heading of the line above), and with open code and
/// bold closed. Saves the screen from changing its mind with every token.
fn presentable(source: &str) -> String {
    let line_start = source.rfind('\n').map_or(0, |at| at + 1);
    let (before, line) = source.split_at(line_start);
    if !line.is_empty() && line.chars().all(|c| "|`#*_->~+=: ".contains(c)) {
        return before.to_owned();
    }
    let mut text = source.to_owned();
    if !source.contains("```") && !source.contains("~~~") {
        let ticks = line.matches('`').count();
        if ticks % 2 == 1 {
            text.push('`');
        } else if opens_bold(line) {
            text.truncate(text.trim_end().len());
            text.push_str("**");
        }
    }
    text
}

fn opens_bold(line: &str) -> bool {
    let open = line.matches("**").count() % 2 == 1;
    open && line
        .rsplit("**")
        .next()
        .is_some_and(|rest| rest.starts_with(|c: char| !c.is_whitespace()))
}

/// Byte offset of the line on which the last top-level block begins: what stands before it is final.
/// Only whole lines count, because the rest of a line decides what kind of block it is.
fn last_block_start(source: &str) -> usize {
    let source = source.get(..source.rfind('\n').map_or(0, |at| at + 1)).unwrap_or_default();
    let mut depth = 0_usize;
    let mut start = 0;
    for (event, range) in Parser::new_ext(source, options()).into_offset_iter() {
        use pulldown_cmark::Event::{End, Rule, Start};
        if depth == 0 && matches!(event, Start(_) | Rule) {
            start = range.start;
        }
        match event {
            Start(_) => depth += 1,
            End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    // Indented code is only code with its indentation.
    source.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests;
