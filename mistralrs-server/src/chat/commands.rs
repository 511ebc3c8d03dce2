//! What the user typed: something to say, a command, or a mistake explained. `/name` and the older
//! `\name` mean the same. Pure: knows no conversation and no terminal.

use super::attach;
use std::path::PathBuf;

/// A command, its arguments checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// List the commands.
    Help,
    /// Leave.
    Exit,
    /// Set the system text; `None` = show it.
    System(Option<String>),
    /// Back to the beginning.
    Clear,
    /// Answer the last question again.
    Retry,
    /// Forget the last question and its answer.
    Undo,
    /// Write the conversation to a file.
    Save(PathBuf),
    /// Read a conversation from a file.
    Load(PathBuf),
    /// Set the temperature.
    Temperature(f32),
    /// Set top-k.
    TopK(usize),
    /// Set top-p.
    TopP(f32),
    /// Show what the last answer took.
    Stats,
    /// List the MCP servers and their tools.
    Mcp,
    /// Put a picture (or a sound) beside the next question.
    Image(PathBuf),
}

/// One input, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Nothing but white space.
    Empty,
    /// Something for the model.
    Say(String),
    /// Something for the program.
    Command(Command),
    /// Meant for the program but wrong; the text says how it should look.
    Mistake(String),
}

struct Row {
    name: &'static str,
    argument: &'static str,
    help: &'static str,
}

/// Every spelling, in the order of the help text.
const COMMANDS: &[Row] = &[
    Row { name: "help", argument: "", help: "this list" },
    Row { name: "exit", argument: "", help: "leave (also /quit, Ctrl-D)" },
    Row { name: "system", argument: "TEXT", help: "set the system text; alone: show it" },
    Row { name: "clear", argument: "", help: "forget the conversation, back to the start" },
    Row { name: "retry", argument: "", help: "answer the last question again" },
    Row { name: "undo", argument: "", help: "forget the last question and its answer" },
    Row { name: "save", argument: "FILE", help: "write the conversation as JSON messages" },
    Row { name: "load", argument: "FILE", help: "read a conversation from JSON messages" },
    Row { name: "temperature", argument: "F", help: "0 < F <= 2" },
    Row { name: "topk", argument: "N", help: "N > 0" },
    Row { name: "topp", argument: "F", help: "0 < F <= 1" },
    Row { name: "stats", argument: "", help: "what the last answer took" },
    Row { name: "mcp", argument: "", help: "the MCP servers and their tools" },
    Row { name: "image", argument: "FILE", help: "put a picture beside the next question" },
];

/// The names for completion, `/quit` included.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|row| row.name).chain(std::iter::once("quit"))
}

/// The list of commands with one line each.
pub fn help() -> String {
    let mut text = String::from("Commands (a backslash works as well as the slash):");
    for row in COMMANDS {
        let left = format!("/{} {}", row.name, row.argument);
        text.push_str(&format!("\n  {left:<17} {}", row.help));
    }
    text.push_str(
        "\nText that begins with a slash: write // for the first one.\
         \nA line that ends in a backslash goes on in the next one.\
         \nCtrl-C stops an answer, Ctrl-D leaves.",
    );
    text
}

/// Understands one input; it may span lines.
pub fn parse(line: &str) -> Input {
    let text = line.trim();
    let Some(first) = text.chars().next() else { return Input::Empty };
    let say = || Input::Say(text.to_owned());
    let rest = &text[first.len_utf8()..];
    match first {
        '/' if rest.starts_with('/') => return Input::Say(rest.to_owned()),
        '/' | '\\' => {}
        _ => return say(),
    }
    let (word, argument) = match rest.split_once(char::is_whitespace) {
        Some((word, argument)) => (word, argument.trim()),
        None => (rest, ""),
    };
    // A path such as /usr/bin is something to talk about, and so is LaTeX such as \frac{1}{2}.
    let name = word.to_ascii_lowercase();
    let known = names().any(|it| it == name);
    let near = nearest(&name);
    if !known && (word.contains('/') || (first == '\\' && near.is_none())) {
        return say();
    }
    if !known {
        let hint = near.map(|it| format!("did you mean /{it}? ")).unwrap_or_default();
        return Input::Mistake(format!(
            "Unknown command {first}{word}: {hint}/help lists them all."
        ));
    }
    match command(&name, argument) {
        Ok(command) => Input::Command(command),
        Err(message) => Input::Mistake(message),
    }
}

fn command(name: &str, argument: &str) -> Result<Command, String> {
    let plain = |command: Command| {
        if argument.is_empty() {
            Ok(command)
        } else {
            Err(format!("Format: /{name} (nothing after it)."))
        }
    };
    match name {
        "help" => plain(Command::Help),
        "exit" | "quit" => plain(Command::Exit),
        "clear" => plain(Command::Clear),
        "retry" => plain(Command::Retry),
        "undo" => plain(Command::Undo),
        "stats" => plain(Command::Stats),
        "mcp" => plain(Command::Mcp),
        "system" => Ok(Command::System((!argument.is_empty()).then(|| argument.to_owned()))),
        "save" => file(name, argument).map(Command::Save),
        "load" => file(name, argument).map(Command::Load),
        "image" => file(name, argument).map(|_| Command::Image(attach::path(argument))),
        "temperature" => number(name, argument, 2.0).map(Command::Temperature),
        "topp" => number(name, argument, 1.0).map(Command::TopP),
        "topk" => match argument.parse::<usize>() {
            Ok(k) if k > 0 => Ok(Command::TopK(k)),
            _ => Err("Format: /topk N, a whole number, N > 0.".to_owned()),
        },
        _ => Err(format!("Unknown command /{name}.")),
    }
}

fn file(name: &str, argument: &str) -> Result<PathBuf, String> {
    if argument.is_empty() {
        return Err(format!("Format: /{name} FILE."));
    }
    Ok(PathBuf::from(argument))
}

fn number(name: &str, argument: &str, most: f32) -> Result<f32, String> {
    match argument.parse::<f32>() {
        Ok(value) if value > 0.0 && value <= most => Ok(value),
        _ => Err(format!("Format: /{name} F, a number, 0 < F <= {most}.")),
    }
}

/// The command the user most likely meant: one it is the beginning of, else the least edits away.
fn nearest(word: &str) -> Option<&'static str> {
    if word.is_empty() {
        return None;
    }
    if let Some(name) = names().find(|name| name.starts_with(word)) {
        return Some(name);
    }
    let most = if word.chars().count() <= 4 { 2 } else { 3 };
    names()
        .map(|name| (edits(word, name), name))
        .min()
        .filter(|(n, _)| *n <= most)
        .map(|(_, it)| it)
}

/// Insertions, deletions, replacements and swaps of neighbors between two words.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 32 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best =
                (rows[i][j] + usize::from(x != y)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(line: &str, expected: Expect) {
        expected.assert_eq(&format!("{:?}", parse(line)));
    }

    #[test]
    fn both_spellings_and_arguments() {
        check("/help", expect![[r#"Command(Help)"#]]);
        check(" \\exit ", expect![[r#"Command(Exit)"#]]);
        check("/QUIT", expect![[r#"Command(Exit)"#]]);
        check("/system You are\na cat.", expect![[r#"Command(System(Some("You are\na cat.")))"#]]);
        check("\\system", expect![[r#"Command(System(None))"#]]);
        check("/save my file.json", expect![[r#"Command(Save("my file.json"))"#]]);
        check("\\temperature 0.5", expect![[r#"Command(Temperature(0.5))"#]]);
        check("/topk 40", expect![[r#"Command(TopK(40))"#]]);
        check("/topp 1", expect![[r#"Command(TopP(1.0))"#]]);
    }

    #[test]
    fn wrong_arguments_print_format_and_range() {
        check("\\topp 2", expect![[r#"Mistake("Format: /topp F, a number, 0 < F <= 1.")"#]]);
        check(
            "/temperature 0",
            expect![[r#"Mistake("Format: /temperature F, a number, 0 < F <= 2.")"#]],
        );
        check(
            "/temperature NaN",
            expect![[r#"Mistake("Format: /temperature F, a number, 0 < F <= 2.")"#]],
        );
        check("/topk 0", expect![[r#"Mistake("Format: /topk N, a whole number, N > 0.")"#]]);
        check("/topk -3", expect![[r#"Mistake("Format: /topk N, a whole number, N > 0.")"#]]);
        check("/save", expect![[r#"Mistake("Format: /save FILE.")"#]]);
        check("/clear all", expect![[r#"Mistake("Format: /clear (nothing after it).")"#]]);
    }

    #[test]
    fn unknown_commands_suggest_the_nearest() {
        check(
            "/hlep",
            expect![[
                r#"Mistake("Unknown command /hlep: did you mean /help? /help lists them all.")"#
            ]],
        );
        check(
            "/temp 1",
            expect![[
                r#"Mistake("Unknown command /temp: did you mean /temperature? /help lists them all.")"#
            ]],
        );
        check(
            "\\undoo",
            expect![[
                r#"Mistake("Unknown command \\undoo: did you mean /undo? /help lists them all.")"#
            ]],
        );
        check(
            "/zzzzzzzz",
            expect![[r#"Mistake("Unknown command /zzzzzzzz: /help lists them all.")"#]],
        );
        check("/", expect![[r#"Mistake("Unknown command /: /help lists them all.")"#]]);
    }

    #[test]
    fn text_is_text() {
        check("  \n ", expect![[r#"Empty"#]]);
        check("hello", expect![[r#"Say("hello")"#]]);
        check("/usr/bin is what?", expect![[r#"Say("/usr/bin is what?")"#]]);
        check("\\frac{1}{2}", expect![[r#"Say("\\frac{1}{2}")"#]]);
        check("//help", expect![[r#"Say("/help")"#]]);
        check("é", expect![[r#"Say("é")"#]]);
    }

    #[test]
    fn every_command_in_the_help_is_known() {
        for row in COMMANDS {
            assert!(help().contains(&format!("/{}", row.name)));
            assert!(
                !matches!(parse(&format!("/{}", row.name)), Input::Mistake(it) if it.contains("Unknown"))
            );
        }
    }
}
