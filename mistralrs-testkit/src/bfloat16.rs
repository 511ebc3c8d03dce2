//! Fixtures with other weights: a copy whose every tensor is stored as bfloat16.

use crate::copy_of;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use std::path::Path;

/// A copy of a Hugging Face fixture whose weights are stored as bfloat16, the nearest ones.
///
/// # Panics
/// When the fixture cannot be read or written.
pub fn in_bfloat16(name: &str) -> tempfile::TempDir {
    let copy = copy_of(name);
    convert_folder(copy.path()).unwrap_or_else(|error| panic!("fixture `{name}`: {error}"));
    copy
}

fn convert_folder(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            convert(&path)?;
        }
    }
    Ok(())
}

fn convert(file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = std::fs::read(file)?;
    let tensors = SafeTensors::deserialize(&bytes)?.tensors();
    let rounded: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape().to_vec(), rounded(tensor)))
        .collect();
    let views = rounded.iter().map(|(name, shape, numbers)| {
        let view = TensorView::new(Dtype::BF16, shape.clone(), numbers)?;
        Ok((*name, view))
    });
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(serialize_to_file(views, None, file)?)
}

fn rounded(tensor: &TensorView<'_>) -> Vec<u8> {
    let data = tensor.data();
    let numbers: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => return data.to_vec(),
        other => panic!("fixtures have no {other:?}"),
    };
    numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_the_nearest() {
        let copy = in_bfloat16("bert-plain");
        let read = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
        let (old, new) = (read(&crate::fixture("bert-plain")), read(copy.path()));
        let (old, new) =
            (SafeTensors::deserialize(&old).unwrap(), SafeTensors::deserialize(&new).unwrap());
        assert_eq!(old.len(), new.len());
        for (name, tensor) in old.tensors() {
            let twin = new.tensor(&name).unwrap();
            assert_eq!((twin.dtype(), twin.shape()), (Dtype::BF16, tensor.shape()));
            let halves =
                tensor.data().as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32());
            let twins = twin.data().as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32());
            for (half, twin) in halves.zip(twins) {
                assert!((half - twin).abs() <= half.abs() / 256.0, "{name}: {half} {twin}");
            }
        }
    }
}
