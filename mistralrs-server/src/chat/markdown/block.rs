//! The events of one text to rows: nesting of quotes and lists, styles, code, rules.

use super::table::Table;
use crate::chat::width::{chop, harmless, of, wrap};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Tag, TagEnd};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// Turns events into rows.
pub(super) struct Renderer {
    width: usize,
    rows: Vec<Line<'static>>,
    /// What stands before every row of the open containers.
    prefixes: Vec<Prefix>,
    /// The next number of each open list; `None` = bullets.
    lists: Vec<Option<u64>>,
    styles: Vec<Style>,
    /// The text of the open block.
    inline: Vec<Span<'static>>,
    link: Option<(String, String)>,
    code: Option<String>,
    table: Option<Table>,
    /// Whether the next block is separated from what stands before it.
    gap: bool,
}

/// Rows of a container begin with `first` once, then with `rest`.
struct Prefix {
    first: Option<Span<'static>>,
    rest: Span<'static>,
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

impl Renderer {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            rows: Vec::new(),
            prefixes: Vec::new(),
            lists: Vec::new(),
            styles: vec![Style::new()],
            inline: Vec::new(),
            link: None,
            code: None,
            table: None,
            gap: false,
        }
    }

    pub(super) fn finish(mut self) -> Vec<Line<'static>> {
        self.end_block();
        self.rows
    }

    pub(super) fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.text(&text),
            Event::Code(text) => {
                let style = self.style().fg(Color::Yellow);
                self.span(&text, style);
            }
            Event::Html(text) => self.html(&text),
            Event::InlineHtml(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                let style = self.style().patch(dim());
                self.span(&text, style);
            }
            // Models mean the line ends they write.
            Event::SoftBreak | Event::HardBreak => {
                let style = self.style();
                self.span("\n", style);
            }
            Event::Rule => {
                self.begin_block();
                let width = self.room();
                self.row(vec![Span::styled("─".repeat(width), dim())]);
                self.gap = true;
            }
            Event::TaskListMarker(done) => {
                let style = self.style();
                self.span(if done { "☑ " } else { "☐ " }, style);
            }
            Event::FootnoteReference(name) => self.text(&name),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.begin_block(),
            Tag::Heading { level, .. } => {
                self.begin_block();
                self.styles.push(heading(level));
            }
            Tag::BlockQuote(_) => {
                self.begin_block();
                let bar = Span::styled("▌ ", dim());
                self.prefixes.push(Prefix { first: None, rest: bar });
                self.push_style(Style::new().add_modifier(Modifier::ITALIC));
            }
            Tag::CodeBlock(kind) => self.start_code(&kind),
            Tag::List(first) => {
                self.begin_block();
                self.lists.push(first);
            }
            Tag::Item => self.start_item(),
            Tag::Table(alignments) => {
                self.begin_block();
                self.table = Some(Table::new(alignments));
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::Emphasis => self.push_style(Style::new().add_modifier(Modifier::ITALIC)),
            Tag::Strong => self.push_style(Style::new().add_modifier(Modifier::BOLD)),
            Tag::Strikethrough => self.push_style(Style::new().add_modifier(Modifier::CROSSED_OUT)),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.link = Some((dest_url.into_string(), String::new()));
                self.push_style(Style::new().fg(Color::Blue).add_modifier(Modifier::UNDERLINED));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => {
                self.end_block();
                self.gap = true;
            }
            TagEnd::Heading(_) => {
                self.end_block();
                self.styles.pop();
                self.gap = true;
            }
            TagEnd::BlockQuote(_) => {
                self.end_block();
                self.prefixes.pop();
                self.styles.pop();
                self.gap = true;
            }
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::List(_) => {
                self.lists.pop();
                // What follows an inner list decides by itself whether it keeps a distance.
                self.gap |= self.lists.is_empty();
            }
            TagEnd::Item => {
                // An empty item still shows its bullet.
                let untouched = self.prefixes.last().is_some_and(|prefix| prefix.first.is_some());
                if untouched && self.inline.is_empty() {
                    self.row(Vec::new());
                }
                self.end_block();
                self.prefixes.pop();
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.inline);
                if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
                    row.push(cell);
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    for row in table.render(self.room()) {
                        self.row(row);
                    }
                    self.gap = true;
                }
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => {
                self.styles.pop();
            }
            TagEnd::Link | TagEnd::Image => {
                self.styles.pop();
                if let Some((url, text)) =
                    self.link.take().filter(|(url, text)| url != text && !url.is_empty())
                {
                    let style = self.style().patch(dim());
                    let space = if text.is_empty() { "" } else { " " };
                    self.span(&format!("{space}({url})"), style);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(code) = &mut self.code {
            code.push_str(text);
            return;
        }
        if let Some((_, seen)) = &mut self.link {
            seen.push_str(text);
        }
        let style = self.style();
        self.span(text, style);
    }

    fn html(&mut self, text: &str) {
        self.span(text, dim());
    }

    fn start_item(&mut self) {
        self.begin_block();
        let inner = self.lists.len().is_multiple_of(2);
        let bullet = match self.lists.last_mut() {
            Some(Some(number)) => {
                let text = format!("{number}. ");
                *number = number.saturating_add(1);
                text
            }
            _ if inner => "◦ ".to_owned(),
            _ => "• ".to_owned(),
        };
        let indent = " ".repeat(of(&bullet));
        let bullet = Span::styled(bullet, Style::new().fg(Color::Cyan));
        self.prefixes.push(Prefix { first: Some(bullet), rest: Span::raw(indent) });
    }

    fn start_code(&mut self, kind: &CodeBlockKind<'_>) {
        self.begin_block();
        let language = match kind {
            CodeBlockKind::Fenced(info) => info.split_whitespace().next().unwrap_or_default(),
            CodeBlockKind::Indented => "",
        };
        let language = harmless(language);
        let head =
            if language.is_empty() { "╭─".to_owned() } else { format!("╭─ {language}") };
        let room = self.room();
        for row in chop(&[Span::styled(head, dim())], room).into_iter().take(1) {
            self.row(row);
        }
        self.code = Some(String::new());
    }

    fn end_code(&mut self) {
        let Some(code) = self.code.take() else { return };
        let code = harmless(code.strip_suffix('\n').unwrap_or(&code));
        let room = self.room().saturating_sub(2);
        let style = Style::new().fg(Color::Green);
        for line in chop(&[Span::styled(code, style)], room) {
            let mut row = vec![Span::styled("│ ", dim())];
            row.extend(line);
            self.row(row);
        }
        self.row(vec![Span::styled("╰─", dim())]);
        self.gap = true;
    }

    /// A block begins: what was open ends, and a blank row separates the two.
    fn begin_block(&mut self) {
        self.end_block();
        let fresh_item = self.prefixes.last().is_some_and(|prefix| prefix.first.is_some());
        if std::mem::take(&mut self.gap) && !fresh_item {
            self.row(Vec::new());
        }
    }

    /// The open text becomes rows. (The text of a tight item is in no block of its own.)
    fn end_block(&mut self) {
        if self.inline.is_empty() {
            return;
        }
        let mut inline = std::mem::take(&mut self.inline);
        if let Some(last) = inline.last_mut() {
            let kept = last.content.trim_end_matches('\n').len();
            last.content.to_mut().truncate(kept);
        }
        for row in wrap(&inline, self.room()) {
            self.row(row);
        }
    }

    fn room(&self) -> usize {
        let taken: usize = self.prefixes.iter().map(|prefix| of(&prefix.rest.content)).sum();
        self.width.saturating_sub(taken).max(4)
    }

    fn row(&mut self, spans: Vec<Span<'static>>) {
        let mut row = Vec::new();
        for prefix in &mut self.prefixes {
            row.push(prefix.first.take().unwrap_or_else(|| prefix.rest.clone()));
        }
        row.extend(spans);
        if row.iter().all(|span| span.content.trim().is_empty()) {
            row.clear();
        }
        self.rows.push(Line::from(row));
    }

    fn style(&self) -> Style {
        self.styles.last().copied().unwrap_or_default()
    }

    fn push_style(&mut self, more: Style) {
        let style = self.style().patch(more);
        self.styles.push(style);
    }

    fn span(&mut self, text: &str, style: Style) {
        self.inline.push(Span::styled(harmless(text), style));
    }
}

fn heading(level: HeadingLevel) -> Style {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    match level {
        HeadingLevel::H1 => bold.fg(Color::Magenta).add_modifier(Modifier::UNDERLINED),
        HeadingLevel::H2 => bold.fg(Color::Magenta),
        _ => bold,
    }
}
