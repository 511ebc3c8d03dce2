//! The inline screen: finished rows scroll away into the terminal's own scrollback, a few live rows
//! below them are drawn over and over. Writes escape sequences; knows nothing about the chat.
//!
//! ratatui's own inline viewport has a fixed height, asks the terminal where its cursor is (an answer
//! that competes with the key reader for standard input) and clears the whole screen when it gets
//! narrower. This one moves only relative to itself, so it needs no answer and its height is free.

use crossterm::cursor::{Hide, MoveDown, MoveRight, MoveTo, MoveUp, Show};
use crossterm::style::{ContentStyle, Print, PrintStyledContent, StyledContent};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use crossterm::{QueueableCommand as _, queue};
use ratatui::backend::IntoCrossterm as _;
use ratatui::style::Style;
use ratatui::text::Line;
use std::io::{self, Write};

/// The live rows on the screen and the place of the cursor among them.
pub struct Surface<W> {
    out: W,
    width: usize,
    height: usize,
    live: Vec<Line<'static>>,
    cursor: (usize, usize),
}

impl<W: Write> Surface<W> {
    /// A surface that begins at the start of the cursor's row.
    pub fn new(out: W, width: u16, height: u16) -> Self {
        Self {
            out,
            width: usize::from(width.max(1)),
            height: usize::from(height.max(1)),
            live: Vec::new(),
            cursor: (0, 0),
        }
    }

    /// Cells of the screen: width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Puts `finished` above the live rows for good and replaces those by `live`; the cursor stands at
    /// `cursor` (column, row among `live`) or is hidden. More live rows than the screen has lose their first ones.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn draw(
        &mut self,
        finished: &[Line<'static>],
        mut live: Vec<Line<'static>>,
        cursor: Option<(usize, usize)>,
    ) -> io::Result<()> {
        let surplus = live.len().saturating_sub(self.height);
        live.drain(..surplus);
        queue!(self.out, BeginSynchronizedUpdate, Hide)?;
        self.go_to_top(self.cursor.1)?;
        if !finished.is_empty() && !self.live.is_empty() {
            // Deleted rather than overwritten: tmux remembers how far a row was ever written, and
            // would wrap a blank row that once was a full one when the window gets narrower.
            self.out.queue(Print(format!("\x1b[{}M", self.live.len())))?;
            self.live.clear();
        }
        for line in finished {
            self.line(line)?;
            self.out.queue(Print("\r\n"))?;
        }
        for (i, line) in live.iter().enumerate() {
            if i > 0 {
                self.out.queue(Print("\r\n"))?;
            }
            if self.live.get(i) != Some(line) {
                self.line(line)?;
            }
        }
        let last = live.len().saturating_sub(1);
        if self.live.len() > last + 1 {
            queue!(
                self.out,
                MoveDown(1),
                Print("\r"),
                Clear(ClearType::FromCursorDown),
                MoveUp(1)
            )?;
        }
        let (column, row) = cursor.unwrap_or((0, surplus));
        let row = row.saturating_sub(surplus).min(last);
        self.go_to_top(last - row)?;
        let column = column.min(self.width.saturating_sub(1));
        if column > 0 {
            self.out.queue(MoveRight(u16::try_from(column).unwrap_or(u16::MAX)))?;
        }
        if cursor.is_some() {
            self.out.queue(Show)?;
        }
        self.out.queue(EndSynchronizedUpdate)?;
        self.live = live;
        self.cursor = (column, row);
        self.out.flush()
    }

    /// The screen has another size now. Terminals wrap rows that became too wide; what the live rows
    /// take up by then is cleared, and the next [`Surface::draw`] draws all of them.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn resize(&mut self, width: u16, height: u16) -> io::Result<()> {
        let width = usize::from(width.max(1));
        let wrapped = |cells: usize| cells.saturating_sub(1) / width;
        let (column, row) = self.cursor;
        let above: usize = self.live.iter().take(row).map(|line| 1 + wrapped(line.width())).sum();
        self.go_to_top(above + column / width)?;
        self.out.queue(Clear(ClearType::FromCursorDown))?;
        self.width = width;
        self.height = usize::from(height.max(1));
        self.live.clear();
        self.cursor = (0, 0);
        Ok(())
    }

    /// Clears the whole screen; scrollback stays.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn clear(&mut self) -> io::Result<()> {
        queue!(self.out, Clear(ClearType::All), MoveTo(0, 0))?;
        self.live.clear();
        self.cursor = (0, 0);
        Ok(())
    }

    /// Takes the live rows away and leaves the cursor where they began.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn close(&mut self) -> io::Result<()> {
        self.go_to_top(self.cursor.1)?;
        queue!(self.out, Clear(ClearType::FromCursorDown), Show)?;
        self.live.clear();
        self.cursor = (0, 0);
        self.out.flush()
    }

    fn go_to_top(&mut self, rows: usize) -> io::Result<()> {
        self.out.queue(Print("\r"))?;
        if rows > 0 {
            self.out.queue(MoveUp(u16::try_from(rows).unwrap_or(u16::MAX)))?;
        }
        Ok(())
    }

    /// One row from its first cell; what stood there before is gone.
    fn line(&mut self, line: &Line<'static>) -> io::Result<()> {
        for span in &line.spans {
            let style: ContentStyle = line.style.patch(span.style).into_crossterm();
            if line.style.patch(span.style) == Style::new() {
                self.out.queue(Print(&span.content))?;
            } else {
                self.out.queue(PrintStyledContent(StyledContent::new(style, &span.content)))?;
            }
        }
        // Behind a full row the cursor still stands on its last cell: clearing would take that.
        if line.width() < self.width {
            self.out.queue(Clear(ClearType::UntilNewLine))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
