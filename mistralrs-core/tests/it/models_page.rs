//! docs/models.md, written from the registry, the heads of the models' files and the fixtures.

use crate::answers::load;
use crate::distance::{BF16_MEAN, BF16_WORST, TOLERANCE};
use mistralrs_core::models::ARCHITECTURES;
use mistralrs_quant::gguf::Metadata;
use mistralrs_testkit::{GGUF_MODELS, HF_MODELS, fixture, read_json, workspace};
use std::collections::{BTreeMap, BTreeSet};

const HEAD: &str = "\
# Models

Written by a test from the registry, the heads of the models' files and the fixtures; after a change:
`UPDATE_DOCS=1 cargo test -p mistralrs-core --test it models_page`.

Every architecture loads from safetensors under the names of its Hugging Face checkpoint, with a
`config.json` in the spelling of transformers 4 or 5. The column GGUF has the names under which GGUF files
with tested reference values know it. Each fixture is a tiny random checkpoint with the published options
switched on; its log-probabilities (prompt and 24 greedy steps, computed whole, in chunks, on a shared prefix
and beside other requests) are those of transformers in float32 within the bound. With weights in bfloat16,
and activations rounded to it where the processor multiplies in it, no log-probability of a prompt is further
from float32's than the last column, and the mean by less than {mean}; so is the mean of greedy steps (a single one
may be further: a model with experts may choose another one where two are nearly level). Chunks, shared prefixes and company change no bit of it.

Encoders are in [encoders.md](encoders.md).

| architecture | what it is | GGUF | fixtures | bound | bfloat16 |
|---|---|---|---|---|---|
";

const TAIL: &str = "
## GGUF files of models that see

They come in two: the text model's, and that of its tower (architecture `clip`, most often `mmproj-….gguf`), as
llama.cpp's converter writes them.

```sh
cargo run --release -p mistralrs-server -- -m models/Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf
cargo run --release -p mistralrs-server -- -m models -f Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf --mmproj mmproj-F16.gguf
```

If exactly one file with `mmproj` in its name lies beside the model it is used, where it fits; the log says so. `--mmproj`
(`LoadOptions::mmproj`, `mmproj` in TOML files) names another: a file in the model's folder or hub repository, or a path.
One that is named and not the model's is refused, with its projector and width and the model's. Without a tower the
model reads text.

| `general.architecture` | `clip.projector_type` | models |
|---|---|---|
| `qwen2vl` | `qwen2vl_merger` | Qwen2-VL |
| `qwen2vl` | `qwen2.5vl_merger` | Qwen2.5-VL |
| `qwen3vl`, `qwen3vlmoe` | `qwen3vl_merger` | Qwen3-VL (of the mixture there is no fixture) |
| `gemma3` | `gemma3` | Gemma 3 |

A tower's tensors may be of any type that is read; queries, keys and values that differ in theirs become F32. Files of
the first converters, which have the names of a tower's feed-forward layers the wrong way round, are read as well. A
tower is never quantized by `--isq`. What the files do not say is what transformers takes: the bounds of a picture's
area (keys `image_min_pixels` and `image_max_pixels`, which few files have), how large clips of Qwen3-VL are, that
pictures of Gemma 3 are not cut into pieces; and, of Qwen2.5-VL, the published 112 pixels of a window and 2 tokens per
second. Each pair of fixtures (F32) answers as the folder that it was made from, to the bit.

## Types that look their values up

The IQ types of GGUF files store numbers of values in a table; those with less than four bits, eight or four neighbors at once, as one of
256 to 2048 combinations of magnitudes. They are read to the bit as the `gguf` package reads them and multiplied like all others, with
the same bits alone and in company. In memory a weight takes what it takes without its neighbors: 4.3 to 4.5 bits of IQ4 and IQ3, 3.3 to
3.6 of IQ2 and IQ1. So a file of IQ2_XXS (2.1 bits) takes half as much again as it has bytes; the plan of memory counts it so. `--isq`
makes IQ4_NL and IQ4_XS; to choose well in the others one has to know what the inputs of a model are like, and nothing is quantized to
them. Models of four layers with random blocks of each of the nine types, and a vocabulary of 151936, were compared with llama.cpp: both
go on with the same four tokens, log-probabilities at most 0.11 apart (0.03 with Q8_0; both round activations).

## Slices of Gemma 3n

Gemma 3n is a MatFormer: smaller models are parts of E4B. Google publishes which, as a table
([gemma3n-slicing-configs](https://huggingface.co/datasets/google/gemma3n-slicing-configs), `configs.csv`), and one
of them can be loaded instead of the whole:

```sh
cargo run --release -p mistralrs-server -- -m google/gemma-3n-E4B-it \\
  --matformer-config-path configs.csv --matformer-slice-name \"Config for E2.98B (block-level)\"
```

In the library it is `LoadOptions::matformer`. The table needs the columns `name`, `FFN Hidden Dims` (a list with the
width of the MLP of each layer that stays, such as `[2_048 * 4, 8192]`) and `Layers Skipped` (numbers from 0 on, or
nothing); a row can be written by hand. Layers that are skipped are not loaded; a layer that stays keeps its kind, its
sparse gates and the layer whose keys and values it reads, and one that others read cannot be skipped without them. MLPs
keep the first rows of gate and up and the first columns of down. It is done while loading, before weights are
quantized (`--isq`), with folders and with GGUF files (widths that are multiples of their blocks: 32 or 256), and what is
left out is neither counted nor kept in memory; only the table of embeddings for layers stays whole, in the file. Two
slices of `gemma3n`, also from its GGUF file, and one of `gemma3n-media` with pictures and sounds give the
log-probabilities that transformers gives for checkpoints that were cut before.
";

/// Name in the registry → its module, read from the registry's source.
fn modules() -> BTreeMap<String, String> {
    let registry = workspace().join("mistralrs-core/src/models/mod.rs");
    let text = std::fs::read_to_string(registry).unwrap();
    let rows = text.split("row::<").skip(1).filter_map(|row| {
        let (ty, rest) = row.split_once(">(\"")?;
        let name = rest.split_once('"')?.0;
        Some((name.to_owned(), ty.split_once("::")?.0.to_owned()))
    });
    rows.collect()
}

/// What a model's file says of itself before it names its sources.
fn description(module: &str) -> String {
    let file = workspace().join(format!("mistralrs-core/src/models/{module}.rs"));
    let text = std::fs::read_to_string(file).unwrap();
    let head = text.lines().map_while(|line| line.strip_prefix("//!"));
    let words: Vec<_> = head.map(str::trim).take_while(|l| !l.starts_with("Source")).collect();
    words.join(" ").replace('|', "\\|").trim_end_matches('.').to_owned()
}

fn page() -> String {
    let mut fixtures: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in HF_MODELS {
        let config: serde_json::Value = read_json(&fixture(name).join("config.json"));
        let architecture = config["architectures"][0].as_str().unwrap().to_owned();
        fixtures.entry(architecture).or_default().push(name);
    }
    let mut gguf: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in GGUF_MODELS {
        let architecture = load(&fixture(name), |_| ()).info().architecture.clone();
        let metadata = Metadata::read(&fixture(name)).unwrap();
        let theirs = metadata.get_str("general.architecture").unwrap().to_owned();
        gguf.entry(architecture).or_default().insert(format!("`{theirs}`"));
    }
    let modules = modules();
    let mut page = HEAD.replace("{mean}", &BF16_MEAN.to_string());
    for row in ARCHITECTURES {
        let description = description(&modules[row.name]);
        let gguf: Vec<_> = gguf.get(row.name).into_iter().flatten().cloned().collect();
        let gguf = if gguf.is_empty() { "–".to_owned() } else { gguf.join(", ") };
        let fixtures = fixtures.get(row.name).map(|names| names.join(", ")).unwrap();
        let (name, bound) = (row.name, format!("{TOLERANCE:e}"));
        page += &format!(
            "| `{name}` | {description} | {gguf} | {fixtures} | {bound} | {BF16_WORST} |\n"
        );
    }
    page + TAIL
}

#[test]
fn the_models_page_is_the_registry() {
    let file = workspace().join("docs/models.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, page, "docs/models.md is not what the code says: UPDATE_DOCS=1 writes it");
}
