//! How the chat looks: rows of the screen from the state. Pure.

use super::app::App;
use super::width::{self, harmless, wrap};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

const PROMPT: &str = "❯ ";

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Cells for the text of the input box.
pub(super) fn input_width(width: usize) -> usize {
    width.saturating_sub(width::of(PROMPT)).max(2)
}

/// Rows for the answer above the input box and its frame.
pub(super) fn answer_room(app: &App, width: usize, height: usize) -> usize {
    let input = input_rows(app, width, height);
    let hint = usize::from(app.hint.is_some());
    height.saturating_sub(input + hint + 4)
}

fn input_rows(app: &App, width: usize, height: usize) -> usize {
    app.editor.layout(input_width(width)).rows.len().min((height / 3).clamp(1, 10))
}

/// What the program says.
pub(super) fn notice(text: &str, width: usize) -> Vec<Line<'static>> {
    paragraph(text, width, "", dim())
}

/// What went wrong.
pub(super) fn problem(text: &str, width: usize) -> Vec<Line<'static>> {
    paragraph(text, width, "", Style::new().fg(Color::Red))
}

/// What the user said.
pub(super) fn question(text: &str, width: usize) -> Vec<Line<'static>> {
    paragraph(text, width, PROMPT, Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD))
}

fn paragraph(text: &str, width: usize, prefix: &str, style: Style) -> Vec<Line<'static>> {
    let indent = width::of(prefix);
    let rows = wrap(&[Span::styled(harmless(text), style)], width.saturating_sub(indent));
    rows.into_iter()
        .enumerate()
        .map(|(i, mut row)| {
            let start = if i == 0 { prefix.to_owned() } else { " ".repeat(indent) };
            row.insert(0, Span::styled(start, style));
            Line::from(row)
        })
        .collect()
}

/// The rows that change: the growing answer, the input box, the status line; and where the cursor stands.
pub(super) fn live(
    app: &mut App,
    width: usize,
    height: usize,
) -> (Vec<Line<'static>>, (usize, usize)) {
    let mut rows = Vec::new();
    if app.answering {
        if app.answer_begun {
            rows.extend(app.stream.tail(width));
        } else {
            rows.push(Line::styled("…", dim()));
        }
        rows.push(Line::default());
    }
    rows.push(Line::styled("─".repeat(width), dim()));
    let layout = app.editor.layout(input_width(width));
    let shown = input_rows(app, width, height);
    let (cursor_row, cursor_column) = layout.cursor;
    let first = (cursor_row + 1).saturating_sub(shown).min(layout.rows.len() - shown);
    let cursor = (width::of(PROMPT) + cursor_column, rows.len() + cursor_row - first);
    for (i, text) in layout.rows.into_iter().enumerate().skip(first).take(shown) {
        let start = if i == 0 { PROMPT } else { "  " };
        rows.push(Line::from(vec![
            Span::styled(start, Style::new().fg(Color::Cyan)),
            Span::raw(text),
        ]));
    }
    rows.push(Line::styled("─".repeat(width), dim()));
    rows.push(Line::styled(status(app, width), dim()));
    if let Some(hint) = &app.hint {
        rows.push(Line::styled(fit(hint, width), Style::new().fg(Color::Yellow)));
    }
    (rows, cursor)
}

/// Model, context, time to first token and speed: in words, else in short, else what fits.
fn status(app: &App, width: usize) -> String {
    let model = app.dialog.model();
    let name = harmless(&model.name);
    let context = format!("{}/{}", app.dialog.context_used(), model.context_tokens);
    let mut long = vec![format!("context {context}")];
    let mut short = vec![context];
    if let Some(figures) = app.dialog.figures() {
        let wait = duration(figures.time_to_first_token);
        long.push(format!("TTFT {wait}"));
        short.push(wait);
        if let Some(rate) = figures.decode_rate() {
            long.push(format!("{rate:.1} tok/s"));
            short.push(format!("{rate:.0} tok/s"));
        }
    }
    let room = |figures: &[String]| width.saturating_sub(width::of(&figures.join(" · ")) + 3);
    if room(&long) >= width::of(&name) {
        return format!("{name} · {}", long.join(" · "));
    }
    while room(&short) < width::of(&name).min(6) && short.len() > 1 {
        short.pop();
    }
    fit(&format!("{} · {}", fit(&name, room(&short).max(2)), short.join(" · ")), width)
}

fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// The text in one row, cut with an ellipsis if it is too wide.
fn fit(text: &str, width: usize) -> String {
    if width::of(text) <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for grapheme in width::graphemes(text) {
        if width::of(&cut) + width::of(grapheme) + 1 > width {
            break;
        }
        cut.push_str(grapheme);
    }
    cut + "…"
}
