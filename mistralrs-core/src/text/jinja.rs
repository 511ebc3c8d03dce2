//! A Jinja environment that behaves like the one Hugging Face transformers renders chat
//! templates in: block trimming, loop controls, Python's methods and spellings, `tojson` as
//! `json.dumps` writes it, `raise_exception`, `strftime_now`. Knows no messages.
//! Source: transformers' documentation of chat templates; Python's json and time modules.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use std::fmt::Write as _;

/// Instructions a template may execute: a conversation of ten thousand messages takes a few
/// million, an endless macro ends here.
const FUEL: u64 = 50_000_000;
/// Deeper values are refused instead of overflowing the stack.
const MAX_JSON_DEPTH: usize = 200;

/// What time it is, for `strftime_now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The machine's local time.
    #[default]
    Local,
    /// Always this: rendering becomes repeatable.
    Fixed(jiff::civil::DateTime),
}

/// What `raise_exception` was called with; it is the source of the error it raises.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// An environment without templates.
pub(super) fn environment(clock: Clock) -> Environment<'static> {
    let mut environment = Environment::new();
    // Building fails for contradicting delimiters only; these are the usual ones.
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| strftime(clock, format));
    environment
}

/// Adapts a template's source: line ends as Jinja reads them, and the `generation` tag, which
/// only marks the assistant's part for training, as a plain scope.
pub(super) fn adapt(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    if !source.contains("generation") {
        return source;
    }
    let mut adapted = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find("{%") {
        let Some(len) = rest.get(start..).and_then(|tag| tag.find("%}")) else {
            break;
        };
        let (before, tag) = (rest.get(..start), rest.get(start..start + len + 2));
        adapted.push_str(before.unwrap_or_default());
        let tag = tag.unwrap_or_default();
        match tag.trim_matches(|c: char| "{}%-+".contains(c) || c.is_whitespace()) {
            "generation" => adapted.push_str(&tag.replace("generation", "with")),
            "endgeneration" => adapted.push_str(&tag.replace("endgeneration", "endwith")),
            _ => adapted.push_str(tag),
        }
        rest = rest.get(start + len + 2..).unwrap_or_default();
    }
    adapted.push_str(rest);
    adapted
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

fn strftime(clock: Clock, format: &str) -> Result<String, Error> {
    let text = match clock {
        Clock::Local => jiff::fmt::strtime::format(format, &jiff::Zoned::now()),
        Clock::Fixed(time) => jiff::fmt::strtime::format(format, time),
    };
    text.map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}")))
}

/// Python's methods: those of the pycompat module and a few of strings that it lacks.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str().filter(|_| value.kind() == ValueKind::String) else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args);
    };
    match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = match name {
                "partition" => text.split_once(separator),
                _ => text.rsplit_once(separator),
            };
            let parts = match (parts, name) {
                (Some((left, right)), _) => [left, separator, right],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            Ok(Value::from(Tuple::from(parts.map(Value::from))))
        }
        "rsplit" => {
            let (separator, limit): (&str, Option<i64>) = from_args(args)?;
            let pieces = limit.and_then(|limit| usize::try_from(limit).ok());
            let mut parts: Vec<&str> = match pieces {
                Some(pieces) => text.rsplitn(pieces.saturating_add(1), separator).collect(),
                None => text.rsplit(separator).collect(),
            };
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// `json.dumps(value, ensure_ascii=…, indent=…, separators=…, sort_keys=…)`.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(64)),
        }),
    };
    let separators: Option<Value> = options.get("separators")?;
    let (item, key) = match separators.filter(|separators| !separators.is_none()) {
        Some(pair) => {
            (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string())
        }
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut writer = PythonJson { out: String::new(), indent, item, key, ensure_ascii, sort_keys };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

/// Writes JSON as Python's `json.dumps` does.
struct PythonJson {
    out: String,
    indent: Option<String>,
    item: String,
    key: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl PythonJson {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_JSON_DEPTH {
            return Err(unserializable("it is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
                self.container(('[', ']'), &items, depth, |json, item| {
                    json.value(item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
                if self.sort_keys {
                    keys.sort();
                }
                self.container(('{', '}'), &keys, depth, |json, key| {
                    json.map_key(key)?;
                    json.out.push_str(&json.key.clone());
                    json.value(&value.get_item(key)?, depth + 1)
                })?;
            }
            kind => return Err(unserializable(&format!("it is {kind}"))),
        }
        Ok(())
    }

    fn container(
        &mut self,
        (open, close): (char, char),
        items: &[Value],
        depth: usize,
        mut write: impl FnMut(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push_str(&self.item.clone());
            }
            self.new_line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn map_key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None => self.out.push_str("\"null\""),
            ValueKind::Bool | ValueKind::Number => {
                self.out.push('"');
                self.value(key, 0)?;
                self.out.push('"');
            }
            kind => return Err(unserializable(&format!("a key is {kind}"))),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn unserializable(reason: &str) -> Error {
    Error::new(ErrorKind::BadSerialization, format!("cannot be written as JSON: {reason}"))
}

/// A number as Python's `repr` writes it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(x) if x.is_nan() => "NaN".to_owned(),
        Ok(x) if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        // Rust's debug form is the shortest that reads back, with Python's limits for an
        // exponent; only the exponent itself is spelled differently.
        Ok(x) => match format!("{x:?}").split_once('e') {
            None => format!("{x:?}"),
            Some((mantissa, exponent)) => {
                let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
                let (sign, digits) = match exponent.strip_prefix('-') {
                    Some(digits) => ('-', digits),
                    None => ('+', exponent),
                };
                format!("{mantissa}e{sign}{digits:0>2}")
            }
        },
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str, context: serde_json::Value) -> Result<String, Error> {
        let clock = Clock::Fixed(jiff::civil::datetime(2024, 7, 26, 13, 5, 9, 0));
        let mut environment = environment(clock);
        environment.add_template_owned("test", adapt(template))?;
        environment.get_template("test")?.render(Value::from_serialize_json(&context))
    }

    trait FromJson {
        fn from_serialize_json(value: &serde_json::Value) -> Value;
    }
    impl FromJson for Value {
        fn from_serialize_json(value: &serde_json::Value) -> Value {
            Value::from(minijinja::value::Serde(value.clone()))
        }
    }

    #[test]
    fn tojson_is_json_dumps() {
        // Expected: python3 -c 'import json; print(json.dumps(x, ensure_ascii=False))'
        let x = json!({"b": [1, 2.5, 1e16, 1e-7, 1.0], "a": {"é": "\"\\/<&'\n\u{1}\u{7f}🦙"}, "n": null, "t": true, "e": [], "o": {}});
        let expected = "{\"b\": [1, 2.5, 1e+16, 1e-07, 1.0], \"a\": {\"é\": \"\\\"\\\\/<&'\\n\\u0001\u{7f}🦙\"}, \"n\": null, \"t\": true, \"e\": [], \"o\": {}}";
        assert_eq!(render("{{ x | tojson }}", json!({ "x": x })).unwrap(), expected);
        assert_eq!(
            render("{{ x | tojson(indent=2) }}", json!({"x": {"a": [1, {}], "b": []}})).unwrap(),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}"
        );
        assert_eq!(
            render(
                "{{ x | tojson(separators=(',', ':'), sort_keys=true, ensure_ascii=True) }}",
                json!({"x": {"b": "é🦙", "a": 1}})
            )
            .unwrap(),
            "{\"a\":1,\"b\":\"\\u00e9\\ud83e\\udd99\"}"
        );
        assert!(render("{{ x | tojson(nonsense=1) }}", json!({"x": 1})).is_err());
        assert!(render("{{ missing | tojson }}", json!({})).is_err());
    }

    #[test]
    fn values_print_as_in_python() {
        let template = "{{ a }} {{ b }} {{ c }} {{ d }} {{ e }}";
        let context =
            json!({"a": null, "b": true, "c": false, "d": ["x", 1, null], "e": {"k": "v"}});
        assert_eq!(render(template, context).unwrap(), "None True False ['x', 1, None] {'k': 'v'}");
    }

    #[test]
    fn python_methods_beat_keys() {
        let schema = json!({"items": {"type": "string"}, "get": 1, "values": [1]});
        let template = "{% for k, v in p.items() %}{{ k }};{% endfor %}{{ p.get('get') }}{{ p['items'].type }}";
        assert_eq!(render(template, json!({ "p": schema })).unwrap(), "items;get;values;1string");
        let template = "{{ 'a<b<c'.rsplit('<', 1) }} {{ 'x.y'.partition('.') }} {{ 'abc'.removeprefix('a').removesuffix('c') }}";
        assert_eq!(render(template, json!({})).unwrap(), "['a<b', 'c'] ('x', '.', 'y') b");
    }

    #[test]
    fn strftime_now_reads_the_clock() {
        assert_eq!(
            render("{{ strftime_now('%d %b %Y, %-d %B %H:%M') }}", json!({})).unwrap(),
            "26 Jul 2024, 26 July 13:05"
        );
        assert!(render("{{ strftime_now('%!') }}", json!({})).is_err());
    }

    #[test]
    fn generation_tags_are_scopes() {
        let template = "{% set x = 1 %}a{%- generation -%} {% set x = 2 %}b{{ x }}{% endgeneration %}\nc{{ x }} generation";
        assert_eq!(render(template, json!({})).unwrap(), "ab2c1 generation");
    }

    #[test]
    fn bombs_end_in_errors() {
        for bomb in [
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% for a in range(90000) %}{% for b in range(90000) %}{{ 1 }}{% endfor %}{% endfor %}",
        ] {
            assert!(render(bomb, json!({})).is_err(), "{bomb}");
        }
    }
}
