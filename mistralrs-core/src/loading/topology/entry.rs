//! The entries of a topology file: from YAML to selectors, types and devices, with what is wrong in words.

use super::layer_of;
use crate::loading::isq_name::isq_type;
use mistralrs_quant::QuantType;
use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_yaml_ng::Value;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

const SELECTORS: &str = "write a layer (`4`), layers (`0-8`: 0 to 7), or an expression for names of tensors (`/q_proj/`)";
const KEYS: &str = "write `isq: q4k`, `device: cpu`, or both";
const DEVICES: &str = "write cpu, cuda[0] or metal[0] (in quotes within braces)";

/// What becomes of some weights, and where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopologyEntry {
    /// The type that plain weights become; `None` leaves it as for all.
    pub isq: Option<QuantType>,
    /// Where they lie; `None` leaves it to whoever maps devices.
    pub device: Option<DeviceName>,
}

impl fmt::Display for TopologyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.isq, self.device) {
            (Some(ty), Some(device)) => write!(f, "{}, {device}", ty.name()),
            (Some(ty), None) => f.write_str(ty.name()),
            (None, Some(device)) => device.fmt(f),
            (None, None) => f.write_str("as all others"),
        }
    }
}

/// A device as topology files name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceName {
    /// `cpu`
    #[default]
    Cpu,
    /// `cuda[N]`
    Cuda(usize),
    /// `metal[N]`
    Metal(usize),
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda[{number}]"),
            Self::Metal(number) => write!(f, "metal[{number}]"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no device; {DEVICES}");
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        let (kind, rest) = text.split_once('[').ok_or_else(wrong)?;
        let number = rest.strip_suffix(']').and_then(whole_number).ok_or_else(wrong)?;
        match kind {
            "cuda" => Ok(Self::Cuda(number)),
            "metal" => Ok(Self::Metal(number)),
            _ => Err(wrong()),
        }
    }
}

/// Which weights an entry is for.
#[derive(Debug, Clone)]
pub(super) enum Selector {
    Layers(Range<usize>),
    Names(Regex),
}

impl Selector {
    pub(super) fn matches(&self, tensor: &str) -> bool {
        match self {
            Self::Layers(range) => layer_of(tensor).is_some_and(|layer| range.contains(&layer)),
            Self::Names(pattern) => pattern.is_match(tensor),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(pattern) = text.strip_prefix('/').and_then(|text| text.strip_suffix('/')) {
            let pattern = Regex::new(pattern)
                .map_err(|error| format!("this is no regular expression: {error}"))?;
            return Ok(Self::Names(pattern));
        }
        let wrong = || format!("this is no selector; {SELECTORS}");
        let (first, end) = match text.split_once('-') {
            Some((first, end)) => (first.trim(), Some(end.trim())),
            None => (text, None),
        };
        let first = whole_number(first).ok_or_else(wrong)?;
        let end = match end {
            Some(end) => whole_number(end).ok_or_else(wrong)?,
            None => first.checked_add(1).ok_or_else(wrong)?,
        };
        if end <= first {
            return Err(format!(
                "it has no layers: the second number has to be larger than the first, and is not included \
                 (`{first}-{}` is layer {first})",
                first.saturating_add(1)
            ));
        }
        Ok(Self::Layers(first..end))
    }
}

/// Digits and nothing else.
fn whole_number(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// An entry and its selector.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// The selector as it is written.
    pub(super) text: String,
    pub(super) selector: Selector,
    pub(super) entry: TopologyEntry,
    /// Its place in the file.
    pub(super) place: usize,
}

/// The entries of a text, in its order.
pub(super) fn list(text: &str) -> Result<Vec<Listed>, String> {
    let Pairs(pairs) = match text.lines().all(is_blank) {
        true => Pairs::default(),
        false => serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?,
    };
    let mut entries: Vec<Listed> = Vec::with_capacity(pairs.len());
    for (place, (key, value)) in pairs.into_iter().enumerate() {
        let text = shown(&key);
        let at = |reason: String| format!("selector `{text}`: {reason}");
        let selector = match &key {
            Value::String(text) => Selector::parse(text),
            Value::Number(number) => Selector::parse(&number.to_string()),
            _ => Err(format!("this is no selector; {SELECTORS}")),
        };
        let (selector, entry) = (selector.map_err(at)?, entry(value).map_err(at)?);
        if entries.iter().any(|earlier| earlier.text == text) {
            return Err(at("it stands there twice; put both entries into one".to_owned()));
        }
        entries.push(Listed { text, selector, entry, place });
    }
    Ok(entries)
}

/// Nothing that YAML would read.
fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line.chars().eq(['-'; 3])
}

fn entry(value: Value) -> Result<TopologyEntry, String> {
    let map = match value {
        Value::Null => return Ok(TopologyEntry::default()),
        Value::Mapping(map) => map,
        other => return Err(format!("`{}` is no entry; {KEYS}", shown(&other))),
    };
    let mut entry = TopologyEntry::default();
    for (key, value) in map {
        let key = shown(&key);
        let at = |reason: String| format!("{key}: {reason}");
        match (key.as_str(), value) {
            ("isq", Value::Null) | ("device", Value::Null) => {}
            ("isq", name @ (Value::String(_) | Value::Number(_))) => {
                let ty = isq_type(&shown(&name)).map_err(|error| at(error.to_string()))?;
                entry.isq = Some(ty);
            }
            ("device", Value::String(name)) => entry.device = Some(name.parse().map_err(at)?),
            ("device", other) => {
                return Err(at(format!("`{}` is no device; {DEVICES}", shown(&other))));
            }
            ("isq", other) => return Err(at(format!("`{}` is no type; write q4k", shown(&other)))),
            _ => return Err(format!("unknown key `{key}`; {KEYS}")),
        }
    }
    Ok(entry)
}

/// On one line, as it may have been written.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => {
            let text = serde_yaml_ng::to_string(other).unwrap_or_default();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    }
}

/// Keys and values in the order of the file, also keys that stand there twice.
#[derive(Debug, Default)]
struct Pairs(Vec<(Value, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from selectors to entries, such as `0-8:` with `isq: q4k` below it")
    }

    fn visit_unit<E>(self) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
