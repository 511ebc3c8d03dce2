//! Rules about single files: size, header, where `unsafe` and the environment may appear.

use crate::manifests::dependencies;
use crate::sources::{CRATES, Source, all_files, expect_none, rust_sources, without_tests};

/// Longest file without its tests, in lines; `//! table` in the header exempts.
const MAX_FILE_LINES: usize = 600;
/// Longest file of a model, tests included.
const MAX_MODEL_LINES: usize = 300;
/// Most methods of a trait.
const MAX_TRAIT_METHODS: usize = 6;
/// The files that may read the environment.
const READS_ENVIRONMENT: [&str; 2] =
    ["mistralrs-server/src/args.rs", "mistralrs-core/src/loading/hub.rs"];

fn lines_with(sources: &[Source], wanted: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        for (number, line) in source.code() {
            if wanted(source, line) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|part| part == word)
}

#[test]
fn every_file_has_a_header_and_a_size() {
    let mut found = Vec::new();
    for source in rust_sources() {
        let lines = without_tests(&source.text).lines().count();
        let header: Vec<_> =
            source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        if header.is_empty() && !source.is_test() {
            found.push(format!("{}: does not open with a `//!` header", source.path));
        }
        if lines > MAX_FILE_LINES && !header.iter().any(|line| line.trim_end() == "//! table") {
            found.push(format!("{}: {lines} lines", source.path));
        }
        if source.path.ends_with("/utils.rs") || source.path.ends_with("/helpers.rs") {
            found.push(format!("{}: a name that says nothing", source.path));
        }
    }
    expect_none("headers and sizes", &found);
}

#[test]
fn models_are_short() {
    let is_model = |source: &Source| {
        let heads = source.code().filter(|(_, line)| line.starts_with("impl"));
        source.path.starts_with("mistralrs-core/src/models/")
            && heads.into_iter().any(|(_, line)| line.contains(" Model for "))
    };
    let models: Vec<_> = rust_sources().into_iter().filter(is_model).collect();
    assert!(models.len() > 20, "{} models", models.len());
    let long = models.iter().filter(|source| source.text.lines().count() > MAX_MODEL_LINES);
    let found: Vec<_> = long.map(|source| source.path.clone()).collect();
    expect_none("models longer than 300 lines", &found);
}

#[test]
fn convolutions_go_through_one_door() {
    const CALLS: [&str; 3] = [".conv1d", ".conv2d", ".conv_transpose"];
    let found = lines_with(&rust_sources(), |source, line| {
        source.path != "mistralrs-core/src/layers/conv.rs"
            && CALLS.iter().any(|call| line.contains(call))
    });
    expect_none("convolutions outside layers/conv.rs", &found);
}

/// Rows C2 and C7: attention is our own on every device. A fused kernel of the tensor library, which knows no
/// F32, is never called: not for text, and not for the towers, which compute in F32.
#[test]
fn attention_calls_no_fused_kernel_of_the_tensor_library() {
    const CALLS: [&str; 2] = ["flash_attn", "ops::sdpa"];
    let found = lines_with(&rust_sources(), |_, line| CALLS.iter().any(|call| line.contains(call)));
    expect_none("attention of the tensor library", &found);
    let flash = CRATES.iter().flat_map(|folder| dependencies(folder, "dependencies"));
    let flash: Vec<String> = flash.filter(|name| name.contains("flash")).collect();
    expect_none("crates of fused attention", &flash);
}

#[test]
fn unsafe_stands_in_the_kernels_alone() {
    let sources = rust_sources();
    let found = lines_with(&sources, |source, line| {
        let code: String = line.split('"').step_by(2).collect(); // what stands outside strings
        has_word(&code, "unsafe") && !source.path.starts_with("mistralrs-kernels/")
    });
    expect_none("`unsafe` outside mistralrs-kernels", &found);
    for folder in CRATES.iter().filter(|folder| **folder != "mistralrs-kernels") {
        let roots = ["lib", "main"].map(|root| format!("{folder}/src/{root}.rs"));
        let forbids = sources
            .iter()
            .filter(|source| roots.contains(&source.path))
            .all(|root| root.text.contains("#![forbid(unsafe_code)]"));
        assert!(forbids, "{folder} does not forbid unsafe code");
    }
}

#[test]
fn the_environment_is_read_in_one_place() {
    let found = lines_with(&rust_sources(), |source, line| {
        (line.contains("env::var") || line.contains("env::set_var"))
            && !READS_ENVIRONMENT.contains(&source.path.as_str())
    });
    expect_none("the environment is read outside args.rs", &found);
}

/// Row A9: the core writes to no standard stream (row N1: and installs no log subscriber).
#[test]
fn the_core_is_silent() {
    let found = lines_with(&rust_sources(), |source, line| {
        let library =
            !source.path.starts_with("mistralrs-server/") && !source.path.starts_with("examples/");
        let prints = ["println!", "print!", "eprintln!", "eprint!", "dbg!", "set_global_default"];
        library && prints.iter().any(|mark| line.contains(mark))
    });
    expect_none("a library prints", &found);
}

/// Devices are chosen when a model loads, never inside a model or a layer.
#[test]
fn models_and_layers_know_no_device_feature() {
    let found = lines_with(&rust_sources(), |source, line| {
        let rooms = ["mistralrs-core/src/models/", "mistralrs-core/src/layers/"];
        line.contains("feature = \"") && rooms.iter().any(|room| source.path.starts_with(room))
    });
    expect_none("a feature switch inside a model or layer", &found);
}

#[test]
fn traits_stay_small() {
    let mut found = Vec::new();
    for source in rust_sources() {
        let code: String = source.code().map(|(_, line)| format!("{line}\n")).collect();
        for (name, body) in traits(&code) {
            let methods = body.lines().filter(|line| has_word(line, "fn")).count();
            if methods > MAX_TRAIT_METHODS {
                found.push(format!("{}: trait {name} has {methods} methods", source.path));
            }
        }
    }
    expect_none("large traits", &found);
}

/// Name and body of every trait; the body ends at the first `}` in column 0.
fn traits(code: &str) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for (at, mark) in code.match_indices("trait ") {
        let head = code[..at].lines().next_back().unwrap_or_default();
        let line_start = code[..at].ends_with('\n') || at == 0 || head.starts_with("pub");
        if line_start {
            let rest = &code[at + mark.len()..];
            let name = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
            found.push((
                name.unwrap_or_default().to_owned(),
                rest.split("\n}").next().unwrap_or(rest),
            ));
        }
    }
    found
}

#[test]
fn no_path_of_one_machine() {
    let marks =
        [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"], ["C:\\Us", "ers"]]
            .map(|parts| parts.concat());
    let mut found = Vec::new();
    for source in all_files() {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    expect_none("paths of one machine", &found);
}

#[test]
fn the_reader_of_traits_counts_methods() {
    let code =
        "pub trait A {\n    fn a(&self);\n    fn b(&self) {\n        x\n    }\n}\nfn c() {}\n";
    let found = traits(code);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.lines().filter(|line| has_word(line, "fn")).count(), 2);
}
