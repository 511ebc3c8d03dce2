//! `${NAME}`, `${NAME:-otherwise}` and `${env:NAME}` in a text become the variable's value.

/// A variable that a text needs and nobody set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set; set it, or write ${{{0}:-}} for an empty value")]
pub struct UnsetVariable(pub String);

/// Puts values in place of variables. A dollar sign without a brace stands for itself, and so does a brace
/// that is never closed.
///
/// # Errors
/// The first variable that is not set and has no `:-`.
pub fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, UnsetVariable> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, behind)) = after.split_once('}') else { break };
        let (name, otherwise) = match inside.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inside, None),
        };
        let name = name.strip_prefix("env:").unwrap_or(name);
        expanded.push_str(before);
        match (lookup(name), otherwise) {
            (Some(value), _) => expanded.push_str(&value),
            (None, Some(value)) => expanded.push_str(value),
            (None, None) => return Err(UnsetVariable(name.to_owned())),
        }
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let lookup = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "B" => Some("${A}".to_owned()),
            _ => None,
        };
        let found = expand(text, &lookup).map_err(|error| error.0);
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    #[test]
    fn variables_become_values_once() {
        check("x", Ok("x"));
        check("", Ok(""));
        check("${A}-${A}/${env:A}", Ok("one-one/one"));
        check("${B}", Ok("${A}"));
        check("${C:-two} ${A:-two} ${C:-}", Ok("two one "));
        check("$A costs $5 ${", Ok("$A costs $5 ${"));
        check("${A} ${open", Ok("one ${open"));
        check("é${A}é", Ok("éoneé"));
        check("a ${C} b", Err("C"));
        check("${}", Err(""));
    }
}
