//! The inline screen against a small terminal that knows exactly the sequences it writes.

use super::*;

/// A terminal that knows exactly the sequences [`Surface`] writes.
#[derive(Default)]
struct Screen {
    width: usize,
    height: usize,
    scrollback: Vec<String>,
    rows: Vec<Vec<char>>,
    at: (usize, usize),
    visible: bool,
    /// Cells written, to see that nothing is drawn twice.
    written: usize,
}

impl Screen {
    fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            rows: vec![vec![' '; width]; height],
            visible: true,
            ..Self::default()
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.at.0 = 0,
                '\n' => self.line_feed(),
                '\u{1b}' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut number = String::new();
                    let code = loop {
                        match chars.next().unwrap() {
                            c if c.is_ascii_alphabetic() => break c,
                            c => number.push(c),
                        }
                    };
                    self.sequence(&number, code);
                }
                c => self.put(c),
            }
        }
    }

    fn put(&mut self, c: char) {
        assert!(self.at.0 < self.width, "a row ran over");
        self.rows[self.at.1][self.at.0] = c;
        self.at.0 += 1;
        self.written += 1;
    }

    fn line_feed(&mut self) {
        if self.at.1 + 1 < self.height {
            self.at.1 += 1;
            return;
        }
        let row: String = self.rows.remove(0).into_iter().collect();
        self.scrollback.push(row.trim_end().to_owned());
        self.rows.push(vec![' '; self.width]);
    }

    fn sequence(&mut self, number: &str, code: char) {
        let n = number.parse().unwrap_or(1);
        match (code, number) {
            ('A', _) => self.at.1 = self.at.1.saturating_sub(n),
            ('B', _) => self.at.1 = (self.at.1 + n).min(self.height - 1),
            ('C', _) => self.at.0 = (self.at.0 + n).min(self.width - 1),
            ('H', _) => self.at = (0, 0),
            ('J', "2") => self.rows = vec![vec![' '; self.width]; self.height],
            ('J', _) => {
                self.rows[self.at.1][self.at.0..].fill(' ');
                self.rows[self.at.1 + 1..].iter_mut().for_each(|row| row.fill(' '));
            }
            ('M', _) => {
                self.rows.drain(self.at.1..(self.at.1 + n).min(self.height));
                self.rows.resize(self.height, vec![' '; self.width]);
            }
            ('K', _) => self.rows[self.at.1][self.at.0..].fill(' '),
            ('h', "?25") => self.visible = true,
            ('l', "?25") => self.visible = false,
            ('h' | 'l', "?2026") | ('m', _) => {}
            other => panic!("{other:?}"),
        }
    }

    fn all(&self) -> Vec<String> {
        let rows = self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        let mut all: Vec<String> = self.scrollback.iter().cloned().chain(rows).collect();
        while all.last().is_some_and(String::is_empty) {
            all.pop();
        }
        all
    }
}

struct Both {
    surface: Surface<Vec<u8>>,
    screen: Screen,
}

impl Both {
    fn new(width: u16, height: u16) -> Self {
        let screen = Screen::new(width.into(), height.into());
        Self { surface: Surface::new(Vec::new(), width, height), screen }
    }

    fn draw(&mut self, finished: &[&str], live: &[&str], cursor: Option<(usize, usize)>) {
        let lines = |rows: &[&str]| {
            rows.iter().map(|row| Line::from((*row).to_owned())).collect::<Vec<_>>()
        };
        self.surface.draw(&lines(finished), lines(live), cursor).unwrap();
        self.screen.feed(&std::mem::take(&mut self.surface.out));
    }
}

#[test]
fn finished_rows_stand_above_live_ones() {
    let mut both = Both::new(10, 6);
    both.draw(&["hello"], &["a", "b"], Some((1, 1)));
    assert_eq!(both.screen.all(), ["hello", "a", "b"]);
    assert_eq!(both.screen.at, (1, 2));
    both.draw(&["more", "text"], &["a"], None);
    assert_eq!(both.screen.all(), ["hello", "more", "text", "a"]);
    assert!(!both.screen.visible);
    both.draw(&[], &["a", "b", "c"], Some((0, 0)));
    assert_eq!(both.screen.all(), ["hello", "more", "text", "a", "b", "c"]);
    assert_eq!(both.screen.at, (0, 3));
    both.draw(&[], &["x"], Some((0, 0)));
    assert_eq!(both.screen.all(), ["hello", "more", "text", "x"]);
    both.surface.close().unwrap();
    both.screen.feed(&std::mem::take(&mut both.surface.out));
    assert_eq!(both.screen.all(), ["hello", "more", "text"]);
}

#[test]
fn unchanged_rows_are_not_written_again() {
    let mut both = Both::new(10, 6);
    both.draw(&[], &["aaaa", "b", "cccc"], Some((0, 2)));
    let before = both.screen.written;
    both.draw(&[], &["aaaa", "x", "cccc"], Some((0, 2)));
    assert_eq!(both.screen.written - before, 1);
}

#[test]
fn full_rows_keep_their_last_cell() {
    let mut both = Both::new(4, 4);
    both.draw(&["full", "abcd"], &["wxyz", "1"], Some((0, 1)));
    assert_eq!(both.screen.all(), ["full", "abcd", "wxyz", "1"]);
}

#[test]
fn nothing_is_lost_or_left_behind_however_the_heights_change() {
    let (mut both, mut wanted) = (Both::new(12, 5), Vec::new());
    let mut state = 7_u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for step in 0..500 {
        let finished: Vec<String> = (0..random(8)).map(|i| format!("f{step}.{i}")).collect();
        let live: Vec<String> = (0..1 + random(5)).map(|i| format!("l{}.{i}", random(3))).collect();
        let row = random(live.len() as u32) as usize;
        let refs = |rows: &'_ [String]| {
            rows.iter().map(|row| row.clone().leak() as &str).collect::<Vec<_>>()
        };
        both.draw(&refs(&finished), &refs(&live), Some((1, row)));
        wanted.extend(finished);
        let all: Vec<String> = wanted.iter().chain(&live).cloned().collect();
        assert_eq!(both.screen.all(), all, "step {step}");
        assert!(both.screen.visible);
        let from_end = all.len() - 1 - (wanted.len() + row);
        let bottom =
            both.screen.rows.iter().rposition(|row| row.iter().any(|c| *c != ' ')).unwrap();
        assert_eq!(both.screen.at, (1, bottom - from_end));
    }
}

#[test]
fn a_narrower_screen_is_cleaned_of_wrapped_rows() {
    let mut both = Both::new(10, 8);
    both.draw(&["old"], &["0123456789", "x", "0123456789"], Some((7, 2)));
    // What a terminal makes of it at a width of 4: rows wrap, the cursor goes with its cell.
    let mut screen = Screen::new(4, 12);
    for row in ["old", "\r\n0123", "\r\n4567", "\r\n89", "\r\nx", "\r\n0123", "\r\n456"] {
        screen.feed(row.as_bytes());
    }
    both.screen = screen;
    both.surface.resize(4, 12).unwrap();
    both.draw(&[], &["ab"], Some((0, 0)));
    assert_eq!(both.screen.all(), ["old", "ab"]);
}

#[test]
fn clear_keeps_the_scrollback() {
    let mut both = Both::new(10, 2);
    both.draw(&["a", "b"], &["c"], None);
    both.surface.clear().unwrap();
    both.draw(&[], &["c"], None);
    assert_eq!(both.screen.all(), ["a", "c"]);
}
