//! Slices of Gemma 3n: layers are left out and the others move up, MLPs keep their first numbers. A layer keeps
//! its kind, its sparsity and the layer whose keys and values it reads.
//! Source: Google's MatFormer Lab (`gemma-cookbook`).

use super::super::decoder;
use super::super::matformer::MatformerSlice;
use super::config::{Gemma3nConfig, PER_LAYER_TABLE};
use crate::error::LoadError;
use mistralrs_quant::{Checkpoint, Cut, TensorInfo, cut_checkpoint};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// The config and the checkpoint of a slice of the model that `json` and `whole` are.
///
/// # Errors
/// [`LoadError::BadFile`] naming the slice and what it asks for that the model does not have.
pub fn slice(
    file: &Path,
    json: &Value,
    whole: Arc<dyn Checkpoint>,
    slice: &MatformerSlice,
) -> Result<(Value, Arc<dyn Checkpoint>), LoadError> {
    let config = Gemma3nConfig::parse(file, json)?;
    let kept = kept_layers(&config, slice)?;
    let tensors = Tensors {
        prefix: decoder::text_prefix(|name| whole.info(name).is_some()),
        layers: config.text.num_hidden_layers,
        per_layer: config.per_layer,
        kept: &kept,
        widths: &slice.widths,
    };
    let part = cut_checkpoint(whole, |info| tensors.part(info))?;
    Ok((sliced_config(json, &config, &kept, slice), part))
}

/// The layers of the slice, by their numbers in the whole model.
fn kept_layers(config: &Gemma3nConfig, slice: &MatformerSlice) -> Result<Vec<usize>, LoadError> {
    let layers = config.text.num_hidden_layers;
    if let Some(beyond) = slice.skipped.iter().find(|layer| **layer >= layers) {
        let last = layers - 1;
        return Err(slice.bad(&format!("it skips layer {beyond}, the model's last is {last}")));
    }
    let kept: Vec<usize> = (0..layers).filter(|layer| !slice.skipped.contains(layer)).collect();
    if kept.is_empty() {
        return Err(slice.bad("it skips all layers"));
    }
    if slice.widths.len() != kept.len() {
        return Err(slice.bad(&format!(
            "it has {} widths; of the model's {layers} layers it keeps {}, and each needs one",
            slice.widths.len(),
            kept.len()
        )));
    }
    for (layer, width) in kept.iter().zip(&slice.widths) {
        let most = config.intermediate(*layer);
        if !(1..=most).contains(width) {
            return Err(slice.bad(&format!(
                "it wants {width} numbers in the MLP of layer {layer}, which has {most}: 1 to {most} are possible"
            )));
        }
        let lender = config.kv_place(*layer).cache;
        if slice.skipped.contains(&lender) {
            return Err(slice.bad(&format!(
                "it skips layer {lender}, whose keys and values layer {layer} reads; skip both or neither"
            )));
        }
    }
    Ok(kept)
}

/// What happens to each tensor.
struct Tensors<'a> {
    /// What the names of the text model's tensors begin with.
    prefix: &'static str,
    layers: usize,
    per_layer: usize,
    kept: &'a [usize],
    widths: &'a [usize],
}

impl Tensors<'_> {
    fn part(&self, info: &TensorInfo) -> Option<(String, Cut)> {
        let whole = || Some((info.name.clone(), Cut::Whole));
        let Some(name) = info.name.strip_prefix(self.prefix) else { return whole() };
        if name == "per_layer_model_projection.weight" {
            let rows =
                self.kept.iter().map(|layer| layer * self.per_layer..(layer + 1) * self.per_layer);
            return Some((info.name.clone(), Cut::Rows(rows.collect())));
        }
        let layer = name.strip_prefix("layers.").and_then(|name| name.split_once('.'));
        let Some((number, name)) = layer else { return whole() };
        let Some(number) = number.parse().ok().filter(|number| *number < self.layers) else {
            return whole();
        };
        let place = self.kept.binary_search(&number).ok()?;
        let width = self.widths.get(place).copied().unwrap_or(0);
        let cut = match name {
            "mlp.gate_proj.weight" | "mlp.up_proj.weight" => {
                Cut::Rows(std::iter::once(0..width).collect())
            }
            "mlp.down_proj.weight" => Cut::Columns(width),
            _ => Cut::Whole,
        };
        Some((format!("{}layers.{place}.{name}", self.prefix), cut))
    }
}

/// The keys as a checkpoint that has no more than the slice would have them.
fn sliced_config(
    json: &Value,
    config: &Gemma3nConfig,
    kept: &[usize],
    slice: &MatformerSlice,
) -> Value {
    let mut json = json.clone();
    let own = config.own_caches();
    let kind = |layer: &usize| match config.slides(*layer) {
        true => "sliding_attention",
        false => "full_attention",
    };
    let kinds: Vec<_> = kept.iter().map(kind).collect();
    // Null where all gates are open.
    let deviations: Vec<_> = kept.iter().map(|layer| config.deviations(*layer)).collect();
    let text = match json.get("text_config").is_some_and(Value::is_object) {
        true => &mut json["text_config"],
        false => &mut json,
    };
    text["num_hidden_layers"] = kept.len().into();
    text["num_kv_shared_layers"] = kept.iter().filter(|layer| **layer >= own).count().into();
    text["layer_types"] = kinds.into();
    text["intermediate_size"] = slice.widths.clone().into();
    text["activation_sparsity_scale"] = json!(deviations);
    // The table of embeddings for layers is larger than all the rest: it stays whole, where it lies.
    text[PER_LAYER_TABLE] = json!({"layers": config.text.num_hidden_layers, "read": kept});
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::KvPlace;
    use std::collections::BTreeSet;

    fn slice_of(skipped: &[usize], widths: Vec<usize>) -> MatformerSlice {
        let skipped: BTreeSet<_> = skipped.iter().copied().collect();
        MatformerSlice { file: "configs.csv".into(), name: "small".into(), widths, skipped }
    }

    /// Of the published E4B, whose file has the text model's keys in a part of their own.
    fn sliced(slice: &MatformerSlice) -> Result<Gemma3nConfig, String> {
        let file = Path::new("config.json");
        let json = json!({"text_config": {"num_hidden_layers": 35}});
        let config = Gemma3nConfig::parse(file, &json).unwrap();
        let kept = kept_layers(&config, slice).map_err(|error| error.to_string())?;
        let json = sliced_config(&json, &config, &kept, slice);
        Gemma3nConfig::parse(file, &json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_official_slice_is_the_published_e2b() {
        let e2b = sliced(&slice_of(&[20, 21, 22, 23, 24], vec![8192; 30])).unwrap();
        assert_eq!((e2b.text.num_hidden_layers, e2b.own_caches()), (30, 20));
        let published =
            json!({"num_hidden_layers": 30, "num_kv_shared_layers": 10, "intermediate_size": 8192});
        let published = Gemma3nConfig::parse(Path::new("config.json"), &published).unwrap();
        for layer in 0..30 {
            let of = |config: &Gemma3nConfig| {
                let (window, place) = (config.window(layer), config.kv_place(layer));
                (config.intermediate(layer), config.deviations(layer), window, place)
            };
            assert_eq!(of(&e2b), of(&published), "layer {layer}");
        }
        let columns = |layers: std::ops::Range<usize>| layers.start * 256..layers.end * 256;
        assert_eq!(e2b.per_layer_columns(), [columns(0..20), columns(25..35)]);
        assert_eq!(e2b.per_layer_table.layers, 35);
    }

    #[test]
    fn layers_keep_what_is_theirs() {
        // Layers 4, 9, 14 … see everything; 18 and 19 lend to those from 20 on.
        let mut widths = vec![16384; 32];
        widths[4] = 5;
        let config = sliced(&slice_of(&[3, 4, 30], widths)).unwrap();
        assert_eq!((config.text.num_hidden_layers, config.own_caches()), (32, 18));
        let full: Vec<_> = (0..32).filter(|layer| config.window(*layer).is_none()).collect();
        assert_eq!(full, [7, 12, 17, 22, 27, 31]);
        assert_eq!((0..32).filter(|layer| config.deviations(*layer).is_some()).count(), 8);
        assert_eq!((config.intermediate(3), config.intermediate(4)), (16384, 5));
        let place = |cache| KvPlace { cache, borrowed: true };
        assert_eq!((config.kv_place(18), config.kv_place(22)), (place(16), place(17)));
    }

    #[test]
    fn what_the_model_does_not_have_is_refused() {
        let refused = |skipped: &[usize], widths| sliced(&slice_of(skipped, widths)).unwrap_err();
        for (error, told) in [
            (refused(&[35], vec![1; 34]), "it skips layer 35, the model's last is 34"),
            (refused(&[], vec![1; 36]), "it has 36 widths; of the model's 35 layers it keeps 35"),
            (refused(&[20], vec![1; 35]), "it has 35 widths; of the model's 35 layers it keeps 34"),
            (
                refused(&[18], vec![1; 34]),
                "it skips layer 18, whose keys and values layer 20 reads",
            ),
            (
                refused(&[2, 19], vec![1; 33]),
                "it skips layer 19, whose keys and values layer 24 reads",
            ),
            (
                refused(&[], vec![16385; 35]),
                "it wants 16385 numbers in the MLP of layer 0, which has 16384",
            ),
            (refused(&[], vec![0; 35]), "1 to 16384 are possible"),
            (refused(&(0..35).collect::<Vec<_>>(), vec![]), "it skips all layers"),
        ] {
            assert!(error.starts_with("configs.csv: slice `small`: "), "{error}");
            assert!(error.contains(told), "{error}");
        }
        // Nobody reads what layer 19 keeps any more.
        let lone = [19, 24, 29, 34];
        assert_eq!(sliced(&slice_of(&lone, vec![1; 31])).unwrap().own_caches(), 19);
    }
}
