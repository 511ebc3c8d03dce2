//! The form an answer must have, from what a chat request demands: a schema, a grammar, calls of tools.
//! Puts together what the format of calls, the tokenizer and the end of the prompt have to say.

use super::dialect::{ChatDialect, tool_name};
use crate::error::RequestError;
use crate::output::{CallText, Format, Thinking};
use crate::request::{ChatRequest, Form, ToolChoice};
use crate::sampling::grammar::{Encode, Vocabulary};
use crate::sampling::{Constraint, Grammar, GrammarCompiler, Onset};
use crate::text::Tokenizer;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

/// Most calls of one answer that a form allows.
const MAX_CALLS: usize = 16;

/// A form and from where on it holds.
pub(super) struct FormPlan {
    form: Form,
    onset: Onset,
    /// The functions in the grammar, to name the one whose schema is at fault.
    functions: Vec<Function>,
}

struct Function {
    /// `tools[2].function.parameters`
    field: String,
    name: String,
    schema: Value,
}

impl FormPlan {
    /// For texts that are nothing but themselves.
    pub(super) fn at_once(form: Form) -> Self {
        Self { form, onset: Onset::AtOnce, functions: Vec::new() }
    }

    /// For an answer to `prompt`; `request` as it was asked.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] for demands that contradict each other.
    pub(super) fn for_chat(
        dialect: &ChatDialect,
        tokenizer: &Tokenizer,
        request: &ChatRequest,
        prompt: &str,
    ) -> Result<Option<Self>, RequestError> {
        let writer = CallWriter { format: dialect.format(), tokenizer };
        let body = request.options.form.clone();
        let functions = || functions(&request.tools, &request.tool_choice);
        let single = request.single_tool_call;
        let start = onset(dialect, tokenizer, prompt);
        Ok(match (&request.tool_choice, body) {
            (ToolChoice::Named(_) | ToolChoice::Required, _) => {
                let named = matches!(request.tool_choice, ToolChoice::Named(_));
                let functions = functions();
                let grammar = writer.grammar(&functions, single || named, None)?;
                let onset = if dialect.has_channels() { Onset::AtOnce } else { start };
                Some(Self { form: tools_form(grammar), onset, functions })
            }
            (ToolChoice::None, body) => {
                body.map(|form| Self { form, onset: start, functions: Vec::new() })
            }
            (ToolChoice::Auto, Some(form))
                if request.tools.is_empty() || dialect.has_channels() =>
            {
                Some(Self { form, onset: start, functions: Vec::new() })
            }
            // Either the form or calls.
            (ToolChoice::Auto, Some(form)) => {
                let functions = functions();
                let grammar = writer.grammar(&functions, single, Some(&form))?;
                Some(Self { form: Form { grammar, ..form }, onset: start, functions })
            }
            (ToolChoice::Auto, None) if request.tools.iter().any(is_strict) => {
                let functions = functions();
                let grammar = writer.triggered(&functions)?;
                let onset = Onset::Whenever(writer.format.call.trigger().to_owned());
                Some(Self { form: tools_form(grammar), onset, functions })
            }
            (ToolChoice::Auto, None) => None,
        })
    }

    /// Ready for the sampler.
    ///
    /// # Errors
    /// [`RequestError::Invalid`] with the field and what in it is not supported.
    pub(super) fn compile(self, compiler: &GrammarCompiler) -> Result<Constraint, RequestError> {
        let Self { form, onset, functions } = self;
        match compiler.compile(form.grammar) {
            Ok(grammar) => Ok(Constraint::new(grammar, onset)),
            Err(reason) => {
                for Function { field, schema, .. } in functions {
                    if let Err(reason) = compiler.compile(Grammar::JsonSchema(schema)) {
                        return Err(unusable(&field, &reason));
                    }
                }
                Err(unusable(&form.field, &reason))
            }
        }
    }
}

/// The vocabulary as grammars see it; `eos` are the tokens that end an answer.
pub(super) fn vocabulary(tokenizer: &Arc<Tokenizer>, eos: Vec<u32>) -> Vocabulary {
    let ids = || (0..).take(tokenizer.vocab_size());
    let writer = Arc::clone(tokenizer);
    let encode = move |text: &str| writer.encode(text, false).unwrap_or_default();
    Vocabulary {
        tokens: ids().map(|id| tokenizer.token_bytes(id)).collect(),
        special: ids().map(|id| tokenizer.is_special(id) || eos.contains(&id)).collect(),
        eos,
        encode: tokenizer.is_byte_level().then(|| Box::new(encode) as Encode),
    }
}

fn unusable(field: &str, reason: &str) -> RequestError {
    RequestError::invalid(field, format!("`{field}` cannot be used: {reason}"))
}

fn tools_form(grammar: Grammar) -> Form {
    Form { grammar, field: "tools".to_owned() }
}

/// Reasoning comes before the form, wherever there may be any.
fn onset(dialect: &ChatDialect, tokenizer: &Tokenizer, prompt: &str) -> Onset {
    if dialect.has_channels() {
        return Onset::After("<|channel|>final<|message|>".to_owned());
    }
    match dialect.thinking(prompt) {
        Thinking::Absent => Onset::AtOnce,
        Thinking::Begun(tags) => Onset::After(tags.close.to_owned()),
        Thinking::Possible(tags) => match tokenizer.token_id(tags.open) {
            Some(id) => Onset::Unless(id, tags.close.to_owned()),
            None => Onset::AtOnce,
        },
    }
}

fn is_strict(tool: &Value) -> bool {
    tool.pointer("/function/strict") == Some(&Value::Bool(true))
}

/// The functions that may be called, with the schemas of their arguments.
fn functions(tools: &[Value], choice: &ToolChoice) -> Vec<Function> {
    let loose = *choice == ToolChoice::Auto;
    let function = |(i, tool): (usize, &Value)| {
        let name = tool_name(tool)?;
        if matches!(choice, ToolChoice::Named(wanted) if *wanted != name) {
            return None;
        }
        let parameters = tool.pointer("/function/parameters").cloned().unwrap_or(Value::Null);
        let schema = match loose && !is_strict(tool) {
            true => json!({ "type": "object" }),
            false => argument_schema(parameters),
        };
        Some(Function { field: format!("tools[{i}].function.parameters"), name, schema })
    };
    tools.iter().enumerate().filter_map(function).collect()
}

/// The schema of an object of arguments. Arguments that the schema does not name are not invented.
fn argument_schema(parameters: Value) -> Value {
    let Value::Object(mut schema) = parameters else {
        return json!({ "type": "object", "properties": {}, "additionalProperties": false });
    };
    schema.entry("type").or_insert_with(|| "object".into());
    let combined = ["$ref", "allOf", "anyOf", "oneOf", "patternProperties"];
    if !combined.iter().any(|key| schema.contains_key(*key)) {
        schema.entry("properties").or_insert_with(|| json!({}));
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    Value::Object(schema)
}

/// Writes Lark grammars of calls in one format.
struct CallWriter<'a> {
    format: &'a Format,
    tokenizer: &'a Tokenizer,
}

impl CallWriter<'_> {
    /// Calls, or instead of them `body`.
    fn grammar(
        &self,
        functions: &[Function],
        single: bool,
        body: Option<&Form>,
    ) -> Result<Grammar, RequestError> {
        let start = match body {
            None => "start: calls\n".to_owned(),
            Some(Form { grammar: Grammar::JsonSchema(schema), .. }) => {
                let schema = Grammar::strict_schema(schema.clone());
                format!("start: calls | body\nbody: %json {schema}\n")
            }
            Some(form) => {
                let message = "only a JSON schema can stand beside tools the model may call";
                return Err(RequestError::invalid(&*form.field, message));
            }
        };
        let CallText { open, separator, close, .. } = self.format.call;
        let more = if single { String::new() } else { self.more(separator) };
        let calls = format!("calls: {} call {more} {}\n", self.text(open), self.text(close));
        Ok(Grammar::Lark(start + &calls + &self.rules(functions)))
    }

    fn more(&self, separator: &str) -> String {
        format!("({} call){{0,{}}}", self.text(separator), MAX_CALLS - 1)
    }

    /// The rest of a call after the format's trigger.
    fn triggered(&self, functions: &[Function]) -> Result<Grammar, RequestError> {
        let CallText { open, before_name, separator, close, .. } = self.format.call;
        let begin = format!("{open}{before_name}");
        let rest = begin.strip_prefix(self.format.call.trigger()).unwrap_or_default();
        // In formats that mark every call, each mark is a new beginning.
        let start = if open.is_empty() {
            format!("start: {} named\n", self.text(rest))
        } else {
            let rest = rest.strip_suffix(before_name).unwrap_or_default();
            let more = self.more(separator);
            format!("start: {} call {more} {}\n", self.text(rest), self.text(close))
        };
        Ok(Grammar::Lark(start + &self.rules(functions)))
    }

    fn rules(&self, functions: &[Function]) -> String {
        let CallText { before_name, before_arguments, after_arguments, .. } = self.format.call;
        let mut rules = format!("call: {} named\nnamed:", self.text(before_name));
        for i in 0..functions.len() {
            // Writing to a string does not fail.
            let _ = write!(rules, "{} named_{i}", if i > 0 { " |" } else { "" });
        }
        for (i, Function { name, schema, .. }) in functions.iter().enumerate() {
            let before = self.text(&format!("{name}{before_arguments}"));
            let after = self.text(after_arguments);
            let schema = Grammar::strict_schema(schema.clone());
            let _ =
                write!(rules, "\nnamed_{i}: {before} args_{i} {after}\nargs_{i}: %json {schema}");
        }
        rules.push('\n');
        rules
    }

    /// A text as a sequence of Lark literals: special tokens by their ids, the rest as strings.
    fn text(&self, text: &str) -> String {
        let special = |mark: &&&str| {
            let id = self.tokenizer.token_id(mark);
            id.is_some_and(|id| self.tokenizer.is_special(id))
        };
        let marks: Vec<&str> = self.format.markers.iter().filter(special).copied().collect();
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let next = marks.iter().filter_map(|mark| rest.find(mark).map(|at| (at, *mark))).min();
            let (before, mark) = next.unwrap_or((rest.len(), ""));
            let (plain, tail) = rest.split_at_checked(before).unwrap_or((rest, ""));
            if !plain.is_empty() {
                parts.push(Value::String(plain.to_owned()).to_string());
            }
            if let Some(id) = self.tokenizer.token_id(mark).filter(|_| !mark.is_empty()) {
                parts.push(format!("<[{id}]>"));
            }
            rest = tail.get(mark.len()..).unwrap_or_default();
        }
        parts.join(" ")
    }
}
