//! What the GGUF file of a vision tower (architecture `clip`, known as `mmproj`) says, as the `vision_config` and the
//! processor's file that Hugging Face would have written. What no file says is what the published models of the
//! family have. Source: the key list of the `gguf` package and what llama.cpp's converter puts under them.

use super::decimal;
use crate::error::LoadError;
use mistralrs_quant::Checkpoint;
use mistralrs_quant::gguf::{Array, GgufFile, Metadata};
use serde_json::{Value, json};
use std::path::Path;

/// A GGUF model with its eyes.
#[derive(Debug)]
pub struct Seeing {
    /// The text model's config, with what the tower's file says.
    pub config: Value,
    /// The name in the registry.
    pub architecture: &'static str,
    /// What the file says of how pictures are prepared, as `preprocessor_config.json` would.
    pub processor: Value,
}

/// One row: a kind of projector.
struct Row {
    /// `clip.projector_type`.
    projector: &'static str,
    /// `general.architecture` of the text models that it is for.
    text: &'static str,
    /// The name of both together in the registry.
    name: &'static str,
    /// What it says.
    read: fn(&Keys<'_>) -> Result<Eyes, LoadError>,
}

/// What the file of a tower says.
struct Eyes {
    /// `vision_config`.
    vision: Value,
    /// The processor's file.
    processor: Value,
    /// Tokens of one picture, where all have as many.
    tokens: Value,
}

/// All kinds.
const TOWERS: &[Row] = &[
    Row {
        projector: "qwen2vl_merger",
        text: "qwen2vl",
        name: "Qwen2VLForConditionalGeneration",
        read: qwen2_vl,
    },
    Row {
        projector: "qwen2.5vl_merger",
        text: "qwen2vl",
        name: "Qwen2_5_VLForConditionalGeneration",
        read: qwen2_5_vl,
    },
    Row {
        projector: "qwen3vl_merger",
        text: "qwen3vl",
        name: "Qwen3VLForConditionalGeneration",
        read: qwen3_vl,
    },
    Row {
        projector: "qwen3vl_merger",
        text: "qwen3vlmoe",
        name: "Qwen3VLMoeForConditionalGeneration",
        read: qwen3_vl,
    },
    Row {
        projector: "gemma3",
        text: "gemma3",
        name: "Gemma3ForConditionalGeneration",
        read: gemma3,
    },
];

/// Sides of a window of Qwen2.5-VL in pixels, where the file is silent.
const WINDOW_PIXELS: u64 = 112;
/// Of Qwen2.5-VL's clips; no file says it.
const TOKENS_PER_SECOND: u64 = 2;
/// Frames of a patch; no file says it.
const FRAMES: u64 = 2;
/// Sides of the squares of patches that Gemma 3 pools, where the file is silent.
const POOLED_SIDE: u64 = 4;
/// Tokens along each side of a picture that Gemma 3 could have at most.
const MOST_SIDE: u64 = 1 << 10;
/// No tower has more layers.
const MOST_LAYERS: u64 = 1 << 12;

/// The config of the text model in `text_file` with the eyes in `file`.
///
/// # Errors
/// [`LoadError::Option`] naming both where one is not made for the other; [`LoadError::BadFile`] naming the key.
pub fn with_tower(
    config: &Value,
    text_file: &Path,
    tower: &GgufFile,
    file: &Path,
) -> Result<Seeing, LoadError> {
    let text = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let width = config.get("hidden_size").and_then(Value::as_u64).unwrap_or_default();
    let about_text = format!("`{}` is a {text} of width {width}", text_file.display());
    let misfit = |is: String| LoadError::Option {
        option: "--mmproj",
        reason: format!("`{}` {is}; {about_text}", file.display()),
    };
    let keys = Keys { tower, file };
    let Some(projector) = tower.projector() else {
        return Err(misfit("is no vision tower (its architecture is not `clip`)".to_owned()));
    };
    let out = keys.needed("projection_dim")?;
    let rows: Vec<&Row> = TOWERS.iter().filter(|row| row.projector == projector).collect();
    let Some(row) = rows.iter().find(|row| row.text == text && out == width) else {
        let texts = rows.iter().map(|row| row.text).collect::<Vec<_>>().join(" or ");
        return Err(misfit(format!(
            "has the projector `{projector}`, for a {texts} of width {out}"
        )));
    };
    let Eyes { vision, processor, tokens } = (row.read)(&keys)?;
    let mut config = config.clone();
    config["architectures"] = json!([row.name]);
    config["vision_config"] = vision;
    config["mm_tokens_per_image"] = tokens;
    Ok(Seeing { config, architecture: row.name, processor })
}

/// The keys of a tower: `clip.vision.block_count` is `block_count` here.
struct Keys<'a> {
    tower: &'a GgufFile,
    file: &'a Path,
}

impl Keys<'_> {
    fn metadata(&self) -> &Metadata {
        self.tower.metadata()
    }

    fn bad(&self, reason: String) -> LoadError {
        LoadError::BadFile { file: self.file.to_owned(), reason }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.metadata().get_u64(&format!("clip.vision.{name}"))
    }

    fn needed(&self, name: &str) -> Result<u64, LoadError> {
        self.number(name).ok_or_else(|| self.bad(format!("`clip.vision.{name}` is missing")))
    }

    fn layers(&self) -> Result<u64, LoadError> {
        match self.needed("block_count")? {
            layers if layers <= MOST_LAYERS => Ok(layers),
            layers => Err(self.bad(format!("`clip.vision.block_count` is {layers}"))),
        }
    }

    /// Rows of a tensor: files that were converted from Qwen2-VL have another number under
    /// `feed_forward_length`, or none.
    fn rows(&self, tensor: &str) -> Result<usize, LoadError> {
        let rows = self.tower.info(tensor).and_then(|info| info.shape.first().copied());
        rows.ok_or_else(|| self.bad(format!("tensor `{tensor}` is missing")))
    }

    fn decimal(&self, name: &str) -> Option<f64> {
        decimal(self.metadata().get_f32(&format!("clip.vision.{name}"))?)
    }

    /// A fraction for each channel.
    fn channels(&self, name: &str) -> Option<Value> {
        let numbers = self.metadata().get_f32s(&format!("clip.vision.{name}"))?;
        numbers.into_iter().map(decimal).collect::<Option<Vec<f64>>>().map(Value::from)
    }

    /// The activation of the feed-forward blocks.
    fn activation(&self) -> &'static str {
        let is = |key: &str| self.metadata().get_bool(key).unwrap_or(false);
        match (is("clip.use_silu"), is("clip.use_gelu")) {
            (true, _) => "silu",
            (_, true) => "gelu_pytorch_tanh",
            _ => "quick_gelu",
        }
    }
}

/// What all Qwens say: patches in squares, and what the recipe of pictures needs.
fn qwen(keys: &Keys<'_>) -> Result<Eyes, LoadError> {
    let (patch, merge) =
        (keys.needed("patch_size")?, keys.number("spatial_merge_size").unwrap_or(2));
    let vision = json!({
        "depth": keys.layers()?,
        "num_heads": keys.needed("attention.head_count")?,
        "in_channels": 3,
        "patch_size": patch,
        "spatial_merge_size": merge,
        "temporal_patch_size": FRAMES,
        "hidden_act": keys.activation(),
    });
    let processor = json!({
        "patch_size": patch,
        "merge_size": merge,
        "temporal_patch_size": FRAMES,
        "min_pixels": keys.number("image_min_pixels"),
        "max_pixels": keys.number("image_max_pixels"),
        "image_mean": keys.channels("image_mean"),
        "image_std": keys.channels("image_std"),
    });
    Ok(Eyes { vision, processor, tokens: Value::Null })
}

fn qwen2_vl(keys: &Keys<'_>) -> Result<Eyes, LoadError> {
    let mut eyes = qwen(keys)?;
    let vision = &mut eyes.vision;
    vision["embed_dim"] = json!(keys.needed("embedding_length")?);
    vision["intermediate_size"] = json!(keys.rows("visual.blocks.0.mlp.fc1.weight")?);
    Ok(eyes)
}

fn qwen2_5_vl(keys: &Keys<'_>) -> Result<Eyes, LoadError> {
    let mut eyes = qwen(keys)?;
    let vision = &mut eyes.vision;
    let every = keys.needed("n_wa_pattern")?;
    let sees_all = |layer: &u64| (layer + 1).checked_rem(every) == Some(0);
    vision["hidden_size"] = json!(keys.needed("embedding_length")?);
    vision["intermediate_size"] = json!(keys.rows("visual.blocks.0.mlp.up_proj.weight")?);
    vision["fullatt_block_indexes"] = (0..keys.layers()?).filter(sees_all).collect();
    vision["window_size"] = json!(keys.number("window_size").unwrap_or(WINDOW_PIXELS));
    vision["tokens_per_second"] = json!(TOKENS_PER_SECOND);
    Ok(eyes)
}

/// Clips have bounds of their own, of all frames together, of which files say nothing.
fn qwen3_vl(keys: &Keys<'_>) -> Result<Eyes, LoadError> {
    let Eyes { mut vision, processor, tokens } = qwen(keys)?;
    let key = "clip.vision.is_deepstack_layers";
    let Some(Array::Bool(has)) = keys.metadata().get_array(key) else {
        return Err(keys.bad(format!("`{key}` is missing, or no list of true and false")));
    };
    let layers = has.iter().enumerate().filter(|(_, has)| **has).map(|(layer, _)| layer);
    vision["deepstack_visual_indexes"] = layers.collect();
    vision["hidden_size"] = json!(keys.needed("embedding_length")?);
    vision["intermediate_size"] = json!(keys.rows("visual.blocks.0.mlp.linear_fc1.weight")?);
    vision["num_position_embeddings"] = json!(keys.rows("visual.pos_embed.weight")?);
    let mut clips = processor.clone();
    for bound in ["min_pixels", "max_pixels"] {
        clips[bound] = Value::Null;
    }
    let processor = json!({"image_processor": processor, "video_processor": clips});
    Ok(Eyes { vision, processor, tokens })
}

/// SigLIP, whose patches are pooled square by square.
fn gemma3(keys: &Keys<'_>) -> Result<Eyes, LoadError> {
    let (image, patch) = (keys.needed("image_size")?, keys.needed("patch_size")?);
    let square = keys.number("projector.scale_factor").unwrap_or(POOLED_SIDE);
    let side = image.checked_div(patch).and_then(|patches| patches.checked_div(square));
    let side = side.filter(|side| (1..=MOST_SIDE).contains(side)).ok_or_else(|| {
        keys.bad(format!("a picture of {image} in patches of {patch}, {square} in a row pooled"))
    })?;
    let fc1 = "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight";
    let mut vision = json!({
        "num_hidden_layers": keys.layers()?,
        "num_attention_heads": keys.needed("attention.head_count")?,
        "hidden_size": keys.needed("embedding_length")?,
        "intermediate_size": keys.rows(fc1)?,
        "image_size": image,
        "patch_size": patch,
        "hidden_act": keys.activation(),
    });
    if let Some(epsilon) = keys.decimal("attention.layer_norm_epsilon") {
        vision["layer_norm_eps"] = json!(epsilon);
    }
    let processor = json!({
        "size": {"height": image, "width": image},
        "image_mean": keys.channels("image_mean"),
        "image_std": keys.channels("image_std"),
    });
    Ok(Eyes { vision, processor, tokens: json!(side * side) })
}
