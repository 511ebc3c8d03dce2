//! Which names are functions. Formats without marks of their own take JSON for a call only if it
//! names a function that was offered.

use std::sync::Arc;

/// Which names are taken for functions.
#[derive(Debug, Clone)]
pub(super) enum Names {
    /// All: the text is marked as a call.
    Any,
    /// Those that were offered.
    Only(Arc<[String]>),
}

impl Names {
    pub(super) fn only(names: Vec<String>) -> Self {
        Self::Only(names.into())
    }

    pub(super) fn allow(&self, name: &str) -> bool {
        match self {
            Self::Any => !name.is_empty(),
            Self::Only(names) => names.iter().any(|known| known == name),
        }
    }

    /// Code that calls no function is itself a call, if an interpreter was offered.
    pub(super) fn interpreter(&self, code: &str) -> Option<Vec<(String, String)>> {
        const INTERPRETERS: [&str; 3] = ["code_interpreter", "python", "ipython"];
        let Self::Only(names) = self else { return None };
        let name = names.iter().find(|name| INTERPRETERS.contains(&name.as_str()))?;
        let arguments = serde_json::json!({ "code": code.trim() }).to_string();
        Some(vec![(name.clone(), arguments)])
    }
}
