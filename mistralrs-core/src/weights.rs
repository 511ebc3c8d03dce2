//! A cursor into a checkpoint: names, shapes and requested quantisation meet here and nowhere else.
//! Layers say what they want; what is missing, surplus or misshapen is reported by full name.

mod experts;

use crate::attention::{self, AttentionBackend};
use crate::places::LayerPlaces;
use candle_core::Tensor;
use mistralrs_quant::{Checkpoint, Error, Linear, Place, QuantMethod, Result, WeightOptions};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Where in the checkpoint a module's tensors are. Cheap to clone.
#[derive(Clone)]
pub struct Weights {
    shared: Arc<Shared>,
    prefix: String,
    /// What names begin with here, and with what they begin in the checkpoint instead.
    renamed: (&'static str, &'static str),
    /// How attention is computed where this project's kernels are.
    attention: Arc<dyn AttentionBackend>,
    places: Arc<LayerPlaces>,
    /// How linear layers are kept, and where.
    options: WeightOptions,
}

struct Shared {
    checkpoint: Arc<dyn Checkpoint>,
    num_tensors: usize,
    /// Told how many tensors have been taken, and of how many.
    progress: Arc<dyn Fn(usize, usize) + Send + Sync>,
    /// Names that somebody asked for. Only touched while loading.
    used: Mutex<BTreeSet<String>>,
}

impl Weights {
    /// The root of a checkpoint; linear layers are treated by `options` as they are read, embeddings
    /// keep their type. `progress` is told how many tensors have been taken, and of how many.
    pub fn new(
        checkpoint: Arc<dyn Checkpoint>,
        options: WeightOptions,
        attention: Arc<dyn AttentionBackend>,
        progress: impl Fn(usize, usize) + Send + Sync + 'static,
    ) -> Self {
        let (used, progress) = (Mutex::new(BTreeSet::new()), Arc::new(progress));
        let num_tensors = checkpoint.names().len();
        let shared = Arc::new(Shared { checkpoint, num_tensors, progress, used });
        let (prefix, places) = (String::new(), Arc::default());
        Self { shared, prefix, renamed: ("", ""), attention, places, options }
    }

    /// The same, of a model whose layers are at such places.
    #[must_use]
    pub fn with_places(&self, places: LayerPlaces) -> Self {
        let options = WeightOptions { place: places.primary().clone(), ..self.options.clone() };
        Self { places: Arc::new(places), options, ..self.clone() }
    }

    /// Where this model's layers are.
    pub fn places(&self) -> &LayerPlaces {
        &self.places
    }

    /// One step down the path, to layer `number` of the model, and to where that layer is.
    #[must_use]
    pub fn layer(&self, number: usize) -> Self {
        let place = self.places.of_layer(number).clone();
        Self { options: WeightOptions { place, ..self.options.clone() }, ..self.pp(number) }
    }

    /// One step down the path: `weights.pp("model").pp("layers").pp(3)`.
    #[must_use]
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: self.joined(name), ..self.clone() }
    }

    /// The root of a checkpoint whose names begin with `theirs` where they usually begin with `ours`.
    #[must_use]
    pub fn with_renamed(&self, ours: &'static str, theirs: &'static str) -> Self {
        Self { renamed: (ours, theirs), ..self.clone() }
    }

    /// The same with another way to attend.
    #[must_use]
    pub fn with_attention(&self, attention: Arc<dyn AttentionBackend>) -> Self {
        Self { attention, ..self.clone() }
    }

    /// The same for a tower or projector: without quantization, small as they are beside their text model and
    /// easily hurt, but for what is named one by one, and where this project's kernels compute, wherever the text
    /// model is.
    #[must_use]
    pub fn of_tower(&self) -> Self {
        self.as_stored().with_kernels()
    }

    /// The same where this project's kernels compute, wherever the layer is.
    #[must_use]
    pub fn with_kernels(&self) -> Self {
        let options = WeightOptions { place: Place::default(), ..self.options.clone() };
        Self { options, ..self.clone() }
    }

    /// The same without quantization, but for what is named one by one.
    fn as_stored(&self) -> Self {
        Self { options: self.options.only_named(), ..self.clone() }
    }

    /// How this module's matrices are kept, for those that are made of its tensors.
    pub fn options(&self) -> &WeightOptions {
        &self.options
    }

    /// Whether the checkpoint has tensors of this module.
    pub fn has_any(&self) -> bool {
        let prefix = self.full_name("");
        self.shared.checkpoint.names().iter().any(|name| name.starts_with(&prefix))
    }

    /// Whether the checkpoint has a tensor of this name here.
    pub fn contains(&self, name: &str) -> bool {
        self.shared.checkpoint.info(&self.full_name(name)).is_some()
    }

    /// The shape of the tensor of this name, whatever it is.
    ///
    /// # Errors
    /// When it is missing.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        let tensor = self.full_name(name);
        match self.shared.checkpoint.info(&tensor) {
            Some(info) => Ok(info.shape.clone()),
            None => Err(Error::Missing { tensor, file: self.first_file() }),
        }
    }

    /// The module's `weight` `[out, in]` and, if `bias`, its `bias` `[out]`.
    ///
    /// # Errors
    /// When one is missing or misshapen.
    pub fn linear(&self, out: usize, input: usize, bias: bool) -> Result<Linear> {
        let weight = self.matrix(out, input)?;
        let bias = bias.then(|| self.tensor("bias", &[out])).transpose()?;
        Ok(Linear::new(weight, bias))
    }

    /// The module's `weight` `[vocab, hidden]`, not quantized unless it is named, of which rows are read and
    /// which is multiplied, too: embeddings that are the last layer as well.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn embedding(&self, vocab: usize, hidden: usize) -> Result<Arc<dyn QuantMethod>> {
        self.as_stored().matrix(vocab, hidden)
    }

    /// The module's `weight` `[rows, width]` of which rows are read and nothing is multiplied: unless it is
    /// named, it stays where it lies in the file. Its rows are in main memory.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn table(&self, rows: usize, width: usize) -> Result<Arc<dyn QuantMethod>> {
        let options = WeightOptions { stay_mapped: true, ..self.options.only_named() };
        Self { options, ..self.clone() }.with_kernels().matrix(rows, width)
    }

    /// Any tensor, in numbers of this module's place.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = self.full_name(name);
        let info = self.find(&name, shape)?;
        let numbers = mistralrs_quant::dense(info, self.shared.checkpoint.read(&name)?)?;
        self.place().take(&numbers).map_err(|source| self.refused(&name, source))
    }

    /// The attention backend of this module's place.
    pub fn attention_backend(&self) -> Arc<dyn AttentionBackend> {
        match self.place().has_kernels() {
            true => Arc::clone(&self.attention),
            false => attention::select(self.place()),
        }
    }

    /// The attention backend over the cache of layer `number`.
    pub fn attention_of_layer(&self, number: usize) -> Arc<dyn AttentionBackend> {
        self.layer(number).attention_backend()
    }

    /// Where this module is.
    pub fn place(&self) -> &Place {
        &self.options.place
    }

    fn refused(&self, tensor: &str, source: candle_core::Error) -> Error {
        Error::Tensor {
            tensor: tensor.to_owned(),
            file: self.first_file(),
            source: Box::new(source),
        }
    }

    /// Complains of tensors that nobody asked for, but for those whose name `ignorable` knows.
    ///
    /// # Errors
    /// [`Error::Surplus`] with their names.
    pub fn check_surplus(&self, ignorable: impl Fn(&str) -> bool) -> Result<()> {
        let used = self.shared.used.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.shared.checkpoint.names().into_iter();
        let surplus = names.filter(|name| !used.contains(*name) && !ignorable(name));
        let tensors: Vec<String> = surplus.map(str::to_owned).collect();
        match tensors.is_empty() {
            true => Ok(()),
            false => Err(Error::Surplus { file: self.first_file(), tensors }),
        }
    }

    fn first_file(&self) -> PathBuf {
        let checkpoint = &self.shared.checkpoint;
        let first = checkpoint.names().first().and_then(|name| checkpoint.info(name));
        first.map(|info| info.file.clone()).unwrap_or_default()
    }

    fn matrix(&self, rows: usize, cols: usize) -> Result<Arc<dyn QuantMethod>> {
        let name = self.full_name("weight");
        let info = self.find(&name, &[rows, cols])?;
        mistralrs_quant::weight(info, self.shared.checkpoint.read(&name)?, &self.options)
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<&mistralrs_quant::TensorInfo> {
        let checkpoint = &self.shared.checkpoint;
        let Some(info) = checkpoint.info(name) else {
            return Err(Error::Missing { tensor: name.to_owned(), file: self.first_file() });
        };
        if info.shape != shape {
            return Err(Error::Misshapen {
                tensor: name.to_owned(),
                file: info.file.clone(),
                wanted: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        // The set is valid at every instruction, so a poisoned lock can be taken over.
        let mut used = self.shared.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(name.to_owned());
        let taken = used.len();
        drop(used);
        (self.shared.progress)(taken, self.shared.num_tensors);
        Ok(info)
    }

    /// The name in the checkpoint.
    fn full_name(&self, name: impl std::fmt::Display) -> String {
        let (name, (ours, theirs)) = (self.joined(name), self.renamed);
        name.strip_prefix(ours).map(|rest| format!("{theirs}{rest}")).unwrap_or(name)
    }

    fn joined(&self, name: impl std::fmt::Display) -> String {
        match self.prefix.is_empty() {
            true => name.to_string(),
            false => format!("{}.{name}", self.prefix),
        }
    }
}
