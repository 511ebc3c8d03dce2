//! Calls written as code: Python (`f(a=1, b="x")`, also in a list or in `print`), Gemma's
//! `call:f{a:1,b:<escape>x<escape>}`, or JSON. Read whole; anything else is no call.

use serde_json::{Map, Value};

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 60;
/// What stands around a string in Gemma's notation.
const GEMMA_QUOTES: [&str; 2] = ["<escape>", "<|\"|>"];

/// Names and arguments (as the JSON text of an object) of all calls; `None` if the text is anything
/// but calls.
pub(super) fn calls(code: &str) -> Option<Vec<(String, String)>> {
    let code = code.trim();
    let calls = if code.starts_with("call:") {
        let mut reader = Reader { rest: code };
        let mut calls = Vec::new();
        while !reader.rest.is_empty() {
            calls.push(reader.gemma_call()?);
            reader.skip(|c| c.is_whitespace() || c == ',' || c == ';');
        }
        calls
    } else {
        json_calls(code).or_else(|| Reader { rest: code }.python_calls())?
    };
    Some(calls.into_iter().map(|(name, arguments)| (name, arguments.to_string())).collect())
}

type Call = (String, Value);

fn json_calls(code: &str) -> Option<Vec<Call>> {
    let mut calls = Vec::new();
    for value in serde_json::Deserializer::from_str(code).into_iter::<Value>() {
        match value.ok()? {
            Value::Array(list) => {
                for item in &list {
                    calls.push(json_call(item)?);
                }
            }
            value => calls.push(json_call(&value)?),
        }
    }
    Some(calls)
}

fn json_call(value: &Value) -> Option<Call> {
    let name = value.get("name").or_else(|| value.get("tool_name"))?.as_str()?;
    let arguments = value.get("arguments").or_else(|| value.get("parameters"));
    let arguments = arguments.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    arguments.is_object().then(|| (name.to_owned(), arguments))
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(what);
    }

    fn space(&mut self) {
        self.skip(char::is_whitespace);
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.space();
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn word(&mut self, more: &str) -> Option<&'a str> {
        self.space();
        let inside = |c: char| c.is_alphanumeric() || c == '_' || more.contains(c);
        let end = self.rest.find(|c| !inside(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let first = word.chars().next()?;
        (first.is_alphabetic() || first == '_').then_some(word)
    }

    fn python_calls(mut self) -> Option<Vec<Call>> {
        let mut calls = Vec::new();
        let list = self.eat("[").is_some();
        loop {
            self.skip(|c| c.is_whitespace() || c == ';' || (list && c == ','));
            if list && self.eat("]").is_some() {
                self.space();
                return self.rest.is_empty().then_some(calls);
            }
            if self.rest.is_empty() {
                return (!list).then_some(calls);
            }
            calls.push(self.python_call()?);
        }
    }

    fn python_call(&mut self) -> Option<Call> {
        let name = self.word(".-")?;
        self.eat("(")?;
        if name == "print" {
            let call = self.python_call()?;
            self.eat(")")?;
            return Some(call);
        }
        let name = name.strip_suffix(".call").unwrap_or(name).to_owned();
        let mut arguments = Map::new();
        loop {
            if self.eat(")").is_some() {
                return Some((name, Value::Object(arguments)));
            }
            let key = self.word("")?.to_owned();
            self.eat("=")?;
            arguments.insert(key, self.value(0, false)?);
            if self.eat(",").is_none() {
                self.eat(")")?;
                return Some((name, Value::Object(arguments)));
            }
        }
    }

    fn gemma_call(&mut self) -> Option<Call> {
        self.eat("call:")?;
        let name = self.word(".-")?.to_owned();
        let arguments = self.value(0, true)?;
        arguments.is_object().then_some((name, arguments))
    }

    /// `bare` = keys may stand without quotes.
    fn value(&mut self, depth: usize, bare: bool) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.space();
        for quote in GEMMA_QUOTES {
            if let Some(inside) = self.rest.strip_prefix(quote) {
                let (text, rest) = inside.split_once(quote)?;
                self.rest = rest;
                return Some(Value::String(text.to_owned()));
            }
        }
        match self.rest.chars().next()? {
            '"' | '\'' => self.string().map(Value::String),
            '[' => self.list("[", "]", depth, bare),
            '(' => self.list("(", ")", depth, bare),
            '{' => self.object(depth, bare),
            c if c == '-' || c == '+' || c == '.' || c.is_ascii_digit() => self.number(),
            _ => match self.word("")? {
                "True" | "true" => Some(Value::Bool(true)),
                "False" | "false" => Some(Value::Bool(false)),
                "None" | "null" => Some(Value::Null),
                _ => None,
            },
        }
    }

    fn list(&mut self, open: &str, close: &str, depth: usize, bare: bool) -> Option<Value> {
        self.eat(open)?;
        let mut items = Vec::new();
        while self.eat(close).is_none() {
            items.push(self.value(depth + 1, bare)?);
            if self.eat(",").is_none() {
                self.eat(close)?;
                break;
            }
        }
        Some(Value::Array(items))
    }

    fn object(&mut self, depth: usize, bare: bool) -> Option<Value> {
        self.eat("{")?;
        let mut object = Map::new();
        while self.eat("}").is_none() {
            self.space();
            let quoted = self.rest.starts_with(['"', '\''])
                || GEMMA_QUOTES.iter().any(|quote| self.rest.starts_with(quote));
            let key = match self.value_or_word(quoted, bare)? {
                Value::String(key) => key,
                _ => return None,
            };
            self.eat(":")?;
            object.insert(key, self.value(depth + 1, bare)?);
            if self.eat(",").is_none() {
                self.eat("}")?;
                break;
            }
        }
        Some(Value::Object(object))
    }

    fn value_or_word(&mut self, quoted: bool, bare: bool) -> Option<Value> {
        if quoted {
            self.value(MAX_DEPTH, bare)
        } else if bare {
            self.word("-").map(|word| Value::String(word.to_owned()))
        } else {
            None
        }
    }

    fn number(&mut self) -> Option<Value> {
        let inside = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let end = self.rest.find(|c| !inside(c)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let text = text.replace('_', "");
        if let Ok(whole) = text.parse::<i64>() {
            return Some(whole.into());
        }
        let digits = text.trim_start_matches(['+', '-']);
        digits.starts_with(|c: char| c.is_ascii_digit() || c == '.').then_some(())?;
        serde_json::Number::from_f64(text.parse().ok()?).map(Value::Number)
    }

    /// Python's strings: either quote, or three of them; backslash escapes.
    fn string(&mut self) -> Option<String> {
        let quote = self.rest.get(..1)?;
        let triple = quote.repeat(3);
        let quote = if self.rest.starts_with(&triple) { triple.as_str() } else { quote };
        self.rest = self.rest.strip_prefix(quote)?;
        let mut text = String::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                self.rest = rest;
                return Some(text);
            }
            let c = self.next()?;
            if c != '\\' {
                text.push(c);
                continue;
            }
            match self.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '0' => text.push('\0'),
                '\n' => {}
                'x' => text.push(char::from_u32(self.hex(2)?)?),
                'u' => text.push(self.unicode()?),
                'U' => text.push(char::from_u32(self.hex(8)?)?),
                c @ ('\\' | '\'' | '"') => text.push(c),
                // As Python has it: an unknown escape stands for itself.
                c => text.extend(['\\', c]),
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..)?;
        Some(c)
    }

    /// Four digits, or as in JSON a pair of surrogates.
    fn unicode(&mut self) -> Option<char> {
        let code = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&code) {
            return char::from_u32(code);
        }
        self.rest = self.rest.strip_prefix("\\u")?;
        let low = self.hex(4)?.checked_sub(0xDC00)?;
        char::from_u32(0x10000 + ((code - 0xD800) << 10) + low)
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let text = self.rest.get(..digits)?;
        self.rest = self.rest.get(digits..)?;
        u32::from_str_radix(text, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(code: &str) -> Option<Vec<(String, Value)>> {
        let parse = |(name, text): (String, String)| (name, serde_json::from_str(&text).unwrap());
        Some(calls(code)?.into_iter().map(parse).collect())
    }

    #[test]
    fn python_gemma_and_json() {
        let both = |name: &str, arguments: Value| Some(vec![(name.to_owned(), arguments)]);
        let table = [
            ("f()", both("f", serde_json::json!({}))),
            (
                "brave_search.call(query=\"a \\\"b\\\"\")",
                both("brave_search", serde_json::json!({"query": "a \"b\""})),
            ),
            (
                "print(a.b(x=-1.5, y=[1, (2,)], z={'k': None}))",
                both("a.b", serde_json::json!({"x": -1.5, "y": [1, [2]], "z": {"k": null}})),
            ),
            (
                "f(s='''a\n'b' ''', t=True,)",
                both("f", serde_json::json!({"s": "a\n'b' ", "t": true})),
            ),
            (
                "call:f{a:<escape>x, y<escape>,n:5,l:[<escape>p<escape>],o:{k:true}}",
                both("f", serde_json::json!({"a": "x, y", "n": 5, "l": ["p"], "o": {"k": true}})),
            ),
            (
                "{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
                both("f", serde_json::json!({"a": 1})),
            ),
        ];
        for (code, expected) in table {
            assert_eq!(read(code), expected, "{code}");
        }
        assert_eq!(read("[f(a=1), g(b='x')]").unwrap().len(), 2);
        assert_eq!(read("f(a=1)\ng()").unwrap().len(), 2);
        assert_eq!(read("{\"name\":\"f\"}\n{\"name\":\"g\"}").unwrap().len(), 2);
    }

    #[test]
    fn anything_else_is_no_call() {
        for code in [
            "import os\nos.getcwd()",
            "f(1)",
            "f(a=b)",
            "f(a=1",
            "f(a='x)",
            "x = f(a=1)",
            "call:f",
            "call:f[1]",
            "[f(a=1)",
            "{\"name\": 3}",
            "f(a=\\)",
            "f(a=nan)",
            "1",
            "f(a=1)]",
        ] {
            assert_eq!(read(code), None, "{code}");
        }
        assert_eq!(read(&format!("f(a={})", "[".repeat(10_000))), None);
    }
}
