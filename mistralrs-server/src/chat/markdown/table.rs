//! A table's cells to rows: column widths, wrapping inside cells, alignment.

use crate::chat::width::{of, wrap};
use pulldown_cmark::Alignment;
use ratatui::style::{Modifier, Style};
use ratatui::text::Span;

/// Cells as they come in; the first row is the head.
pub(super) struct Table {
    alignments: Vec<Alignment>,
    pub(super) rows: Vec<Vec<Vec<Span<'static>>>>,
}

const SEPARATOR: &str = " │ ";
const NARROWEST: usize = 3;

impl Table {
    pub(super) fn new(alignments: Vec<Alignment>) -> Self {
        Self { alignments, rows: Vec::new() }
    }

    /// Rows of at most `room` cells, unless the columns are too many to fit at all.
    pub(super) fn render(&self, room: usize) -> Vec<Vec<Span<'static>>> {
        let widths = self.widths(room);
        let dim = Style::new().add_modifier(Modifier::DIM);
        let mut out = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            let cells: Vec<Vec<Vec<Span<'static>>>> = widths
                .iter()
                .enumerate()
                .map(|(column, width)| wrap(row.get(column).map_or(&[][..], Vec::as_slice), *width))
                .collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for line in 0..height {
                let mut spans = Vec::new();
                for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                    if column > 0 {
                        spans.push(Span::styled(SEPARATOR, dim));
                    }
                    let content = cell.get(line).cloned().unwrap_or_default();
                    self.place(&mut spans, content, column, *width, i == 0);
                }
                out.push(spans);
            }
            if i == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
                out.push(vec![Span::styled(rules.join("─┼─"), dim)]);
            }
        }
        out
    }

    fn place(
        &self,
        spans: &mut Vec<Span<'static>>,
        content: Vec<Span<'static>>,
        column: usize,
        width: usize,
        head: bool,
    ) {
        let used: usize = content.iter().map(|span| of(&span.content)).sum();
        let free = width.saturating_sub(used);
        let left = match self.alignments.get(column) {
            Some(Alignment::Right) => free,
            Some(Alignment::Center) => free / 2,
            _ => 0,
        };
        spans.push(Span::raw(" ".repeat(left)));
        spans.extend(content.into_iter().map(|span| {
            if head { span.patch_style(Style::new().add_modifier(Modifier::BOLD)) } else { span }
        }));
        spans.push(Span::raw(" ".repeat(free - left)));
    }

    /// Natural widths; if they exceed the room, the widest columns give way first.
    fn widths(&self, room: usize) -> Vec<usize> {
        let columns = self.alignments.len().max(1);
        let mut widths = vec![NARROWEST; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                let natural: usize = cell.iter().map(|span| of(&span.content)).sum();
                *width = (*width).max(natural);
            }
        }
        let room = room.saturating_sub(of(SEPARATOR) * (columns - 1));
        while widths.iter().sum::<usize>() > room {
            match widths.iter_mut().max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}
