//! Slices of a MatFormer: smaller models that are parts of a larger one, whose makers publish which parts in a
//! table. This is the table; a family says what a slice does to it (`gemma3n/slice.rs`).
//! Format: `configs.csv` of `google/gemma3n-slicing-configs` on Hugging Face; arXiv 2310.07707.

use crate::error::LoadError;
use csv::StringRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const NAME: &str = "name";
const LAYERS: &str = "# Layers";
const WIDTHS: &str = "FFN Hidden Dims";
const SKIPPED: &str = "Layers Skipped";
/// What a cell may say for "no layer", beside nothing.
const NONE: [&str; 4] = ["[]", "none", "null", "nan"];

/// One row of a table of slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatformerSlice {
    /// The table.
    pub file: PathBuf,
    /// What the slice is called in it.
    pub name: String,
    /// Width of the MLP of each layer that is kept.
    pub widths: Vec<usize>,
    /// Layers that are left out, by their numbers in the whole model, from 0 on.
    pub skipped: BTreeSet<usize>,
}

impl MatformerSlice {
    /// Finds the slice of this name in a table.
    ///
    /// # Errors
    /// [`LoadError::Io`], or [`LoadError::BadFile`] with row and column, and with the names there are.
    pub fn read(file: &Path, name: &str) -> Result<Self, LoadError> {
        let text = std::fs::read(file)
            .map_err(|source| LoadError::Io { file: file.to_owned(), source })?;
        Self::parse(file, &text, name.trim())
            .map_err(|reason| LoadError::BadFile { file: file.to_owned(), reason })
    }

    fn parse(file: &Path, text: &[u8], name: &str) -> Result<Self, String> {
        let mut table = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let head = table.headers().map_err(|error| error.to_string())?;
        let columns: BTreeMap<String, usize> =
            head.iter().enumerate().map(|(at, name)| (name.to_lowercase(), at)).collect();
        let column = |name: &str| columns.get(&name.to_lowercase()).copied();
        if let Some(missing) = [NAME, WIDTHS, SKIPPED].into_iter().find(|n| column(n).is_none()) {
            let found = head.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(format!("there is no column `{missing}` in its first line, only {found}"));
        }
        let cell = |row: &StringRecord, name: &str| -> String {
            column(name).and_then(|at| row.get(at)).unwrap_or_default().to_owned()
        };
        let rows: Vec<StringRecord> =
            table.records().collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let mut named = rows.iter().filter(|row| cell(row, NAME) == name);
        let row = match (named.next(), named.next()) {
            (Some(row), None) => row,
            (Some(_), Some(_)) => return Err(format!("two rows are called `{name}`")),
            (None, _) => {
                let names: Vec<_> =
                    rows.iter().map(|row| format!("`{}`", cell(row, NAME))).collect();
                return Err(format!("no slice is called `{name}`; there are {}", names.join(", ")));
            }
        };
        let at = |column: &str, reason: String| {
            let line = row.position().map_or(0, csv::Position::line);
            format!("row `{name}` (line {line}), column `{column}`: {reason}")
        };
        let widths = list(&cell(row, WIDTHS)).map_err(|reason| at(WIDTHS, reason))?;
        let numbers = match cell(row, SKIPPED) {
            text if text.is_empty() || NONE.contains(&text.to_lowercase().as_str()) => Vec::new(),
            text => list(&text).map_err(|reason| at(SKIPPED, reason))?,
        };
        let skipped: BTreeSet<usize> = numbers.iter().copied().collect();
        if skipped.len() != numbers.len() {
            return Err(at(SKIPPED, "a layer stands there twice".to_owned()));
        }
        let layers = cell(row, LAYERS);
        if !layers.is_empty() && product(&layers) != Some(widths.len()) {
            let reason = format!("it is {layers}, but `{WIDTHS}` has {} numbers", widths.len());
            return Err(at(LAYERS, reason));
        }
        Ok(Self { file: file.to_owned(), name: name.to_owned(), widths, skipped })
    }

    /// An error about this row.
    pub fn bad(&self, reason: &str) -> LoadError {
        let reason = format!("slice `{}`: {reason}", self.name);
        LoadError::BadFile { file: self.file.clone(), reason }
    }
}

/// A list as Python writes it, of whole numbers or products of such.
fn list(text: &str) -> Result<Vec<usize>, String> {
    const ALLOWED: &str = "write a list of whole numbers or products, such as [2_048 * 4, 8192]";
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let inside = inside.ok_or_else(|| format!("`{text}` is no list; {ALLOWED}"))?.trim();
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    if inside.is_empty() {
        return Ok(Vec::new());
    }
    let number = |part: &str| {
        product(part).ok_or_else(|| format!("`{}` is no whole number; {ALLOWED}", part.trim()))
    };
    inside.split(',').map(number).collect()
}

/// `2_048 * 8`
fn product(text: &str) -> Option<usize> {
    text.split('*').try_fold(1, |all: usize, factor| {
        let factor = factor.trim();
        let is_number = factor.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
        let ends_in_digits = !factor.starts_with('_') && !factor.ends_with('_');
        let digits = factor.replace('_', "");
        let number = digits.parse().ok().filter(|_| is_number && ends_in_digits)?;
        all.checked_mul(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mistralrs_testkit::fixture;

    const HEAD: &str =
        "name,# Layers,# Effective Params (B),MMLU PT accuracy,FFN Hidden Dims,Layers Skipped\n";

    fn read(rows: &str, name: &str) -> Result<(Vec<usize>, Vec<usize>), String> {
        let text = format!("{HEAD}{rows}");
        let slice = MatformerSlice::parse(Path::new("configs.csv"), text.as_bytes(), name)?;
        Ok((slice.widths, slice.skipped.into_iter().collect()))
    }

    #[test]
    fn a_table_as_it_is_published() {
        let file = fixture("matformer.csv");
        let slice = |name: &str| MatformerSlice::read(&file, name).unwrap();
        let whole = slice("Main model");
        assert_eq!((whole.widths.as_slice(), whole.skipped.len()), (&[22, 18, 22, 14, 18][..], 0));
        let few = slice(" Config for T0.05 (block-level) ");
        assert_eq!((few.widths, few.skipped), (vec![9, 11, 5], BTreeSet::from([0, 3])));
        let error = MatformerSlice::read(&file, "E2B").unwrap_err().to_string();
        assert!(
            error.contains(
                "matformer.csv: no slice is called `E2B`; there are `Main model`, `Config for T0.08"
            ),
            "{error}"
        );
        let absent = MatformerSlice::read(Path::new("no/such.csv"), "a").unwrap_err();
        assert!(absent.to_string().starts_with("no/such.csv"), "{absent}");
    }

    #[test]
    fn lists_as_python_writes_them() {
        let one =
            |widths: &str, skipped: &str| read(&format!("a,,1,1%,\"{widths}\",{skipped}"), "a");
        assert_eq!(one("[2_048 * 8,2_048*4, 12 ]", ""), Ok((vec![16384, 8192, 12], vec![])));
        assert_eq!(one("[2 * 3 * 4,]", "\"[24, 20]\""), Ok((vec![24], vec![20, 24])));
        for none in ["[]", "None", "null", "NaN", " "] {
            assert_eq!(one("[1]", none), Ok((vec![1], vec![])), "{none}");
        }
        // Another order of columns, a mark at the file's beginning, lines of Windows.
        let text = "\u{feff}layers skipped,FFN HIDDEN DIMS,Name\r\n\"[1]\",[3],a\r\n";
        let slice = MatformerSlice::parse(Path::new("x"), text.as_bytes(), "a").unwrap();
        assert_eq!((slice.widths, slice.skipped), (vec![3], BTreeSet::from([1])));
    }

    #[test]
    fn what_is_wrong_is_said_with_row_and_column() {
        let error = |row: &str| read(&format!("b,1,1,1%,[1],\n{row}"), "a").unwrap_err();
        for (row, told) in [
            (
                "a,2,1,1%,\"[8, x]\",",
                "row `a` (line 3), column `FFN Hidden Dims`: `x` is no whole number; write",
            ),
            ("a,2,1,1%,\"[8, 2.5]\",", "`2.5` is no whole number"),
            ("a,2,1,1%,\"[8, -1]\",", "`-1` is no whole number"),
            ("a,2,1,1%,\"[8, 2 * ]\",", "`2 *` is no whole number"),
            ("a,2,1,1%,\"[8, _2]\",", "`_2` is no whole number"),
            ("a,2,1,1%,\"[8, , 2]\",", "`` is no whole number"),
            ("a,1,1,1%,[99999999999999999999],", "is no whole number"),
            ("a,1,1,1%,[9999999999 * 9999999999 * 9999999999],", "is no whole number"),
            ("a,1,1,1%,8192,", "`8192` is no list; write a list of whole numbers"),
            ("a,1,1,1%,[8],20", "column `Layers Skipped`: `20` is no list"),
            ("a,1,1,1%,[8],\"[2, 2]\"", "column `Layers Skipped`: a layer stands there twice"),
            ("a,3,1,1%,\"[8, 8]\",", "column `# Layers`: it is 3, but `FFN Hidden Dims` has 2"),
            ("a,1,1,1%,[8],\na,1,1,1%,[8],", "two rows are called `a`"),
            ("a,1", "line: 3"),
        ] {
            let error = error(row);
            assert!(error.contains(told), "{row}: {error}");
        }
        let parse = |text: &str| MatformerSlice::parse(Path::new("x"), text.as_bytes(), "a");
        let error = parse("name,Layers Skipped\na,\n").unwrap_err();
        assert!(
            error.contains("no column `FFN Hidden Dims`") && error.contains("only `name`"),
            "{error}"
        );
        assert!(parse("").unwrap_err().contains("no column `name`"));
    }
}
