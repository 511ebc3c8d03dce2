//! Answers that must have a form: a grammar says after every token which ones may follow. A thin layer
//! over the `llguidance` crate, which knows JSON Schema, regular expressions and Lark grammars.
//! Knows tokens by their bytes; knows no tokenizer, no template and no request.

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use std::sync::Arc;

/// Largest grammar text or schema.
const MAX_GRAMMAR_BYTES: usize = 512 * 1024;
/// The mark before the name of a special token in the trie: no text has this byte.
const SPECIAL: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// The form an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum Grammar {
    /// A JSON value that a schema accepts.
    JsonSchema(Value),
    /// A text that a regular expression matches as a whole (the syntax of the `regex` crate).
    Regex(String),
    /// A text of a Lark grammar, in llguidance's dialect.
    Lark(String),
    /// llguidance's own list of grammars, as JSON text.
    Llguidance(String),
}

impl Grammar {
    /// Any JSON object.
    pub fn json_object() -> Self {
        Self::JsonSchema(json!({ "type": "object" }))
    }

    /// A schema as llguidance wants it: one space or none between tokens of JSON, so that an answer
    /// cannot consist of white space, and nothing that would loosen the schema.
    pub fn strict_schema(mut schema: Value) -> Value {
        if let Value::Object(map) = &mut schema {
            let spacing = json!({
                "whitespace_flexible": false,
                "item_separator": ", ?",
                "key_separator": ": ?",
            });
            map.insert("x-guidance".to_owned(), spacing);
        }
        schema
    }

    fn into_llguidance(self) -> Result<TopLevelGrammar, String> {
        let too_long = |length: usize| {
            format!("it has {length} bytes; at most {MAX_GRAMMAR_BYTES} are allowed")
        };
        match self {
            Self::JsonSchema(schema) => {
                let length = schema.to_string().len();
                if length > MAX_GRAMMAR_BYTES {
                    return Err(too_long(length));
                }
                if !schema.is_object() {
                    return Err("a JSON schema has to be an object".to_owned());
                }
                Ok(TopLevelGrammar::from_json_schema(Self::strict_schema(schema)))
            }
            Self::Regex(text) | Self::Lark(text) | Self::Llguidance(text)
                if text.len() > MAX_GRAMMAR_BYTES =>
            {
                Err(too_long(text.len()))
            }
            Self::Regex(text) => Ok(TopLevelGrammar::from_regex(&text)),
            Self::Lark(text) => Ok(TopLevelGrammar::from_lark(text)),
            Self::Llguidance(text) => TopLevelGrammar::from_lark_or_grammar_list(&text)
                .map_err(|error| first_line(&error.to_string())),
        }
    }
}

/// A vocabulary, as grammars see it.
pub struct Vocabulary {
    /// The bytes of every token; empty for ids that stand for nothing.
    pub tokens: Vec<Vec<u8>>,
    /// Which of them are no text: their bytes are their names.
    pub special: Vec<bool>,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// How the tokenizer itself would write a text; none if its tokens of a text depend on what
    /// stands before it.
    pub encode: Option<Encode>,
}

/// Text to tokens, without additions.
pub type Encode = Box<dyn Fn(&str) -> Vec<u32> + Send + Sync>;

struct TokenBytes {
    trie: TokTrie,
    encode: Option<Encode>,
}

impl TokenizerEnv for TokenBytes {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let tokens = match (&self.encode, std::str::from_utf8(bytes)) {
            (Some(encode), Ok(text)) => encode(text),
            _ => Vec::new(),
        };
        // What the tokenizer takes for a special token is text here.
        match tokens.is_empty() || tokens.iter().any(|&id| self.trie.is_special_token(id)) {
            true => self.trie.greedy_tokenize(bytes),
            false => tokens,
        }
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.encode.is_some()
    }
}

/// What all grammars of a model share: its vocabulary as a tree of bytes.
pub struct GrammarCompiler {
    factory: ParserFactory,
    environment: TokEnv,
}

impl GrammarCompiler {
    /// Builds the tree; takes a moment for a large vocabulary.
    ///
    /// # Errors
    /// A sentence, if the vocabulary cannot be used.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, String> {
        let Vocabulary { tokens, special, eos, encode } = vocabulary;
        let size = u32::try_from(tokens.len()).map_err(|_| "the vocabulary is too large")?;
        let eos: Vec<u32> = eos.into_iter().filter(|&id| id < size).collect();
        let Some(&first) = eos.first() else {
            return Err("the model has no end-of-sequence token, so no form can be demanded".into());
        };
        let marked = |(mut bytes, special): (Vec<u8>, bool)| {
            if special && !bytes.is_empty() {
                bytes.insert(0, SPECIAL);
            }
            bytes
        };
        let words: Vec<Vec<u8>> = tokens.into_iter().zip(special).map(marked).collect();
        if words.len() != size as usize {
            return Err("the vocabulary is not complete".to_owned());
        }
        let trie = TokTrie::from(&TokRxInfo::new(size, first), &words).with_eos_tokens(&eos);
        let environment: TokEnv = Arc::new(TokenBytes { trie, encode });
        let slices = SlicedBiasComputer::general_slices();
        let ff_tokens = environment.tokenize_is_canonical();
        let capabilities = InferenceCapabilities { ff_tokens, ..Default::default() };
        let mut factory = ParserFactory::new(&environment, capabilities, &slices)
            .map_err(|error| first_line(&error.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        Ok(Self { factory, environment })
    }

    /// Compiles a grammar.
    ///
    /// # Errors
    /// What is wrong with it or not supported, by the name of the keyword.
    pub fn compile(&self, grammar: Grammar) -> Result<CompiledGrammar, String> {
        let grammar = grammar.into_llguidance()?;
        let attempt = || self.factory.create_parser(grammar);
        let parser = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt))
            .map_err(|_| "it is too complex".to_owned())?;
        let mut matcher = Matcher::new(parser);
        if let Some(error) = matcher.get_error() {
            return Err(first_line(&error));
        }
        // The first mask finds what compiling does not: that no text at all fits.
        let mask = matcher.compute_mask().map_err(|error| first_line(&error.to_string()))?;
        if mask.is_zero() {
            return Err("no text has this form".to_owned());
        }
        Ok(CompiledGrammar { matcher, environment: Arc::clone(&self.environment) })
    }
}

fn first_line(error: &str) -> String {
    error.lines().next().unwrap_or_default().chars().take(300).collect()
}

/// A grammar at its beginning.
pub struct CompiledGrammar {
    matcher: Matcher,
    environment: TokEnv,
}

impl Clone for CompiledGrammar {
    fn clone(&self) -> Self {
        // Deep: answers are computed in parallel.
        let matcher = self.matcher.deep_clone();
        Self { matcher, environment: Arc::clone(&self.environment) }
    }
}

/// From where on a grammar holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onset {
    /// From the first token.
    AtOnce,
    /// From the first token, unless that is this one: then after the text.
    Unless(u32, String),
    /// After this text; the answer cannot end before.
    After(String),
    /// After this text, if it comes, and again whenever it comes.
    Whenever(String),
}

/// Where an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may go on.
    Open,
    /// It has its form and nothing can follow.
    Complete,
    /// The grammar became too complex: it must not go on.
    Broken,
}

/// A grammar at work on one answer.
pub struct Constraint {
    fresh: CompiledGrammar,
    matcher: Matcher,
    onset: Onset,
    /// Whether the grammar holds now.
    active: bool,
    /// The end of what was written outside the grammar, as long as the text that begins it.
    tail: Vec<u8>,
    /// Computed ahead of time.
    mask: Option<SimpleVob>,
    standing: Standing,
}

impl Constraint {
    /// For one answer.
    pub fn new(grammar: CompiledGrammar, onset: Onset) -> Self {
        Self {
            matcher: grammar.matcher.deep_clone(),
            fresh: grammar,
            active: matches!(onset, Onset::AtOnce | Onset::Unless(..)),
            onset,
            tail: Vec::new(),
            mask: None,
            standing: Standing::Open,
        }
    }

    /// Where the answer stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Computes what may follow, if that has not happened: to be called while others compute.
    pub fn prepare(&mut self) {
        if !self.active || self.mask.is_some() || self.standing != Standing::Open {
            return;
        }
        match self.matcher.compute_mask() {
            Ok(mut mask) => {
                if let Onset::Unless(id, _) = &self.onset {
                    mask.allow_token(*id);
                }
                self.mask = Some(mask);
            }
            Err(error) => {
                tracing::warn!("an answer's grammar failed: {}", first_line(&error.to_string()));
                self.standing = Standing::Broken;
            }
        }
    }

    /// Takes away what may not follow. Returns whether an id may.
    pub(super) fn apply(&mut self, logits: &mut [f32]) -> Option<Allowed<'_>> {
        self.prepare();
        if !self.active {
            if matches!(self.onset, Onset::After(_)) {
                for &id in self.environment().eos_tokens() {
                    if let Some(logit) = super::entry(logits, id) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
            return None;
        }
        let mask = self.mask.as_ref()?;
        for (id, logit) in logits.iter_mut().enumerate() {
            if id >= mask.len() || !mask.get(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Some(Allowed(mask))
    }

    fn environment(&self) -> &TokTrie {
        self.fresh.environment.tok_trie()
    }

    /// Notes the token that was chosen.
    pub(super) fn take(&mut self, id: u32) {
        self.mask = None;
        if !self.active {
            return self.watch(id);
        }
        if let Onset::Unless(opener, text) = &self.onset {
            if id == *opener {
                self.onset = Onset::After(text.clone());
                self.active = false;
                return;
            }
            self.onset = Onset::AtOnce;
        }
        if self.environment().eos_tokens().contains(&id)
            && self.matcher.is_accepting().is_ok_and(|a| a)
        {
            self.standing = Standing::Complete;
            return;
        }
        if self.matcher.consume_token(id).is_err() {
            self.standing = Standing::Broken;
        } else if self.matcher.is_stopped() {
            self.stop();
        }
    }

    fn stop(&mut self) {
        if !self.matcher.stop_reason().is_ok() {
            self.standing = Standing::Broken;
        } else if matches!(self.onset, Onset::Whenever(_)) {
            self.matcher = self.fresh.matcher.deep_clone();
            self.active = false;
        } else {
            self.standing = Standing::Complete;
        }
    }

    /// Outside the grammar: does the text end with what begins it?
    fn watch(&mut self, id: u32) {
        let (Onset::After(text) | Onset::Whenever(text)) = &self.onset else { return };
        let text = text.as_bytes().to_vec();
        let bytes = self.environment().token(id);
        let bytes = bytes.strip_prefix(&[SPECIAL]).unwrap_or(bytes).to_vec();
        self.tail.extend(bytes);
        let Some(at) = self.tail.windows(text.len().max(1)).rposition(|end| end == text) else {
            let surplus = self.tail.len().saturating_sub(text.len());
            self.tail.drain(..surplus);
            return;
        };
        let rest = self.tail.split_off(at + text.len());
        self.tail.clear();
        self.active = true;
        if matches!(self.onset, Onset::After(_)) {
            self.onset = Onset::AtOnce;
        }
        self.replay(&rest);
    }

    /// The token that completed the text may have gone beyond it.
    fn replay(&mut self, rest: &[u8]) {
        if rest.iter().all(u8::is_ascii_whitespace) && matches!(self.onset, Onset::AtOnce) {
            return;
        }
        let tokens = self.environment().greedy_tokenize(rest);
        let taken = self.matcher.try_consume_tokens(&tokens);
        if taken.is_ok_and(|taken| taken == tokens.len()) {
            return;
        }
        // It was no such text after all.
        self.matcher = self.fresh.matcher.deep_clone();
        self.active = false;
    }

    /// The tokens that must follow now, whatever the model says: they are noted as chosen.
    pub(super) fn forced(&mut self) -> Vec<u32> {
        if !self.active
            || self.standing != Standing::Open
            || matches!(self.onset, Onset::Unless(..))
        {
            return Vec::new();
        }
        let tokens = self.matcher.consume_ff_tokens();
        if self.matcher.is_stopped() {
            self.stop();
        }
        tokens
    }
}

/// Which ids may follow.
pub(super) struct Allowed<'a>(&'a SimpleVob);

impl Allowed<'_> {
    pub(super) fn contains(&self, id: u32) -> bool {
        (id as usize) < self.0.len() && self.0.get(id as usize)
    }

    /// All of them, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter()
    }
}
