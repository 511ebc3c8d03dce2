//! What a request says about thinking, whatever its dialect: on or off, how hard, how long.
//! Knows the variables that chat templates read; knows no template.

use crate::error::ApiError;
use mistralrs_core::Capabilities;
use serde_json::{Map, Value};

const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
/// Most tokens of thought where the chat template does not read the effort; more effort has no bound.
const BUDGETS: [(&str, usize); 3] = [("minimal", 256), ("low", 1024), ("medium", 8192)];

/// What a request says about thinking.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thinking {
    /// On or off.
    pub enabled: Option<bool>,
    /// How hard.
    pub effort: Option<String>,
    /// Most tokens.
    pub budget: Option<usize>,
}

impl Thinking {
    /// Checks the effort; `field` is where it stands.
    ///
    /// # Errors
    /// [`ApiError`] naming the field.
    pub fn check(&self, field: &str) -> Result<(), ApiError> {
        match &self.effort {
            Some(effort) if !EFFORTS.contains(&effort.as_str()) => {
                let message = format!("`{field}` has to be one of {}", EFFORTS.join(", "));
                Err(ApiError::invalid(field, message))
            }
            _ => Ok(()),
        }
    }

    /// What it means to chat templates; variables that the request sets itself win.
    pub fn template_kwargs(&self, own: Option<Map<String, Value>>) -> Map<String, Value> {
        let mut kwargs = Map::new();
        match self.effort.as_deref() {
            Some("none") => {
                kwargs.insert("enable_thinking".to_owned(), Value::Bool(false));
            }
            Some(effort) => {
                kwargs.insert("reasoning_effort".to_owned(), effort.into());
            }
            None => {}
        }
        if let Some(enabled) = self.enabled {
            kwargs.insert("enable_thinking".to_owned(), Value::Bool(enabled));
        }
        kwargs.extend(own.unwrap_or_default());
        kwargs
    }

    /// Most tokens of thought with a model that can this much. What cannot be honored is told.
    pub fn budget(&self, capabilities: Capabilities, warnings: &mut Vec<String>) -> Option<usize> {
        let bound = |effort: &String| BUDGETS.iter().find(|(name, _)| name == effort);
        let by_effort = self.effort.as_ref().filter(|_| !capabilities.reasoning_effort);
        let by_effort = by_effort.and_then(bound).map(|(_, budget)| *budget);
        if self.budget.is_some() && !capabilities.reasoning {
            let told =
                "the bound on thinking has no effect: this model's reasoning is not told apart";
            warnings.push(told.to_owned());
        }
        self.budget.or(by_effort).filter(|_| capabilities.reasoning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn effort(effort: &str) -> Thinking {
        Thinking { effort: Some(effort.to_owned()), ..Thinking::default() }
    }

    fn capabilities(reasoning: bool, reasoning_effort: bool) -> Capabilities {
        Capabilities {
            tool_format: "json",
            tools_in_template: false,
            tool_round_trip: false,
            reasoning,
            reasoning_effort,
        }
    }

    #[test]
    fn variables_of_templates() {
        let kwargs = |thinking: Thinking| Value::Object(thinking.template_kwargs(None));
        assert_eq!(kwargs(effort("low")), json!({"reasoning_effort": "low"}));
        assert_eq!(kwargs(effort("none")), json!({"enable_thinking": false}));
        let own = json!({"enable_thinking": true}).as_object().cloned();
        let off = Thinking { enabled: Some(false), ..Thinking::default() };
        assert_eq!(Value::Object(off.template_kwargs(own)), json!({"enable_thinking": true}));
        assert_eq!(effort("huge").check("x").unwrap_err().field(), Some("x"));
    }

    #[test]
    fn effort_is_a_bound_where_no_template_reads_it() {
        let budget = |thinking: &Thinking, reasoning, reads| {
            let mut warnings = Vec::new();
            let budget = thinking.budget(capabilities(reasoning, reads), &mut warnings);
            (budget, warnings.len())
        };
        assert_eq!(budget(&effort("low"), true, false), (Some(1024), 0));
        assert_eq!(budget(&effort("low"), true, true), (None, 0));
        assert_eq!(budget(&effort("high"), true, false), (None, 0));
        let asked = Thinking { budget: Some(7), ..effort("low") };
        assert_eq!(budget(&asked, true, false), (Some(7), 0));
        assert_eq!(budget(&asked, false, false), (None, 1));
    }
}
