//! Named f32 tensors with one JSON header, in the safetensors format: what weights and checkpoints are made of.

use crate::error::{Error, Result};
use crate::params::{ParamSpec, Params};
use moue_kernels::Element;
use safetensors::tensor::{Dtype, Metadata, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::path::Path;

/// The header is the only metadata entry: a second one would make the order of bytes a matter of chance.
const HEADER: &str = "moue";

/// The entry's name in files whose tensors are in PyTorch's layouts.
pub(crate) const PYTORCH: &str = "moue.pytorch";

/// Largest file that is read; a full checkpoint has 6 MB.
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// Largest header that is parsed; a full checkpoint's has 10 KB.
const MAX_HEADER: usize = 1 << 20;

/// Collects tensors and writes them.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    /// Adds a tensor, row-major.
    pub(crate) fn tensor(&mut self, name: impl Into<String>, dims: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensors.push((name.into(), dims.to_vec(), bytes));
    }

    /// Adds all parameters and running buffers under their own names.
    pub(crate) fn params(&mut self, params: &Params<f32>) {
        for (spec, values) in params.tensors() {
            self.tensor(&spec.name, &spec.dims, values);
        }
    }

    /// The file's bytes; the same tensors and header give the same bytes.
    pub(crate) fn finish<H: Serialize>(self, header: &H) -> Vec<u8> {
        self.finish_as(HEADER, header)
    }

    /// [`Writer::finish`] with another name of the header.
    pub(crate) fn finish_as<H: Serialize>(self, name: &str, header: &H) -> Vec<u8> {
        let header = serde_json::to_string(header).expect("headers are plain data");
        let views = self.tensors.iter().map(|(name, dims, bytes)| {
            (name, TensorView::new(Dtype::F32, dims.clone(), bytes).expect("dims fit the values"))
        });
        let metadata = HashMap::from([(name.to_owned(), header)]);
        safetensors::serialize(views, Some(metadata)).expect("f32 tensors can be written")
    }
}

/// Takes tensors out of a file's bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    path: &'a Path,
    tensors: Metadata,
    data: &'a [u8],
    taken: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    /// Parses `bytes`, which came from `path`; the header is there.
    pub(crate) fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let reader = Self::foreign(path, bytes)?;
        match (reader.entry(HEADER), reader.entry(PYTORCH)) {
            (Some(_), _) => Ok(reader),
            (_, Some(_)) => {
                Err(Error::format(path, "in PyTorch's layouts: `moue import` makes weights of it"))
            }
            _ => Err(Error::format(path, "a safetensors file, but not one of moue's")),
        }
    }

    /// Parses the `bytes` of any safetensors file, which came from `path`.
    ///
    /// The format is simple enough to cut it here: `SafeTensors::deserialize` (0.8) adds the promised length to the
    /// header's without a check, so that offsets near 2^64 overflow.
    pub(crate) fn foreign(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let broken = |what: &str| Error::format(path, format!("not a complete safetensors file: {what}"));
        let (header, data) = split(bytes).ok_or_else(|| broken("its header is cut off"))?;
        if header.len() > MAX_HEADER {
            return Err(broken(&format!("its header is larger than {} MiB", MAX_HEADER >> 20)));
        }
        // Checks that the tensors follow each other without a gap, each as long as its dimensions say.
        let tensors: Metadata = serde_json::from_slice(header).map_err(|e| broken(&e.to_string()))?;
        if tensors.data_len() != data.len() {
            let (promised, got) = (tensors.data_len(), data.len());
            return Err(broken(&format!("{promised} bytes of tensors are promised, {got} are there")));
        }
        Ok(Self { path, tensors, data, taken: BTreeSet::new() })
    }

    /// An entry of the metadata.
    pub(crate) fn entry(&self, name: &str) -> Option<&str> {
        self.tensors.metadata().as_ref()?.get(name).map(String::as_str)
    }

    /// Where the bytes came from.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// The header.
    pub(crate) fn header<H: DeserializeOwned>(&self) -> Result<H> {
        description(self.path, self.entry(HEADER).unwrap_or_default())
    }

    /// Copies the tensor called `name`, which must have these dimensions and finite values, to `to`.
    pub(crate) fn take(&mut self, name: &str, dims: &[usize], to: &mut [f32]) -> Result<()> {
        for (to, bytes) in to.iter_mut().zip(self.find(name, dims)?.as_chunks().0) {
            *to = f32::from_le_bytes(*bytes);
        }
        if let Some(i) = to.iter().position(|x| !x.is_finite()) {
            return Err(self.wrong(name, format!("holds {} at element {i}", to[i])));
        }
        self.taken.insert(name.to_owned());
        Ok(())
    }

    /// The bytes of the tensor called `name`, which must have these dimensions.
    pub(crate) fn find(&self, name: &str, dims: &[usize]) -> Result<&'a [u8]> {
        let tensor = self.tensors.info(name).ok_or_else(|| self.wrong(name, "is missing"))?;
        if tensor.dtype != Dtype::F32 || tensor.shape != dims {
            let (got, shape) = (tensor.dtype, &tensor.shape);
            return Err(self.wrong(name, format!("is {got:?} {shape:?}, but the model has F32 {dims:?}")));
        }
        let (start, end) = tensor.data_offsets;
        Ok(&self.data[start..end])
    }

    fn wrong(&self, name: &str, what: impl Display) -> Error {
        Error::format(self.path, format!("tensor `{name}` {what}"))
    }

    /// All parameters and running buffers of a model.
    pub(crate) fn params(&mut self, specs: Vec<ParamSpec>, buffers: Vec<ParamSpec>) -> Result<Params<f32>> {
        let all: Vec<ParamSpec> = specs.iter().chain(&buffers).cloned().collect();
        // Before memory is taken for them.
        all.iter().try_for_each(|spec| self.find(&spec.name, &spec.dims).map(drop))?;
        let mut params = Params::zeros(specs, buffers);
        for spec in all {
            let values = params.get_mut(&spec.name).expect("a name from the specs");
            self.take(&spec.name, &spec.dims, values)?;
        }
        Ok(params)
    }

    /// Passes over tensors that nobody needs.
    pub(crate) fn ignore(&mut self, superfluous: impl Fn(&str) -> bool) {
        self.taken.extend(self.tensors.offset_keys().into_iter().filter(|name| superfluous(name)));
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> Result<()> {
        let mut names = self.tensors.offset_keys();
        names.sort_unstable();
        match names.iter().find(|name| !self.taken.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(self.wrong(name, "belongs to another model")),
        }
    }
}

/// Reads a header, which came from `path`.
pub(crate) fn description<H: DeserializeOwned>(path: &Path, text: &str) -> Result<H> {
    serde_json::from_str(text)
        .map_err(|e| Error::format(path, format!("its description cannot be read: {e}")))
}

/// The JSON header and the tensors behind it.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// The first parameter or running buffer with a value that is not finite.
pub(crate) fn not_finite<T: Element>(params: &Params<T>) -> Option<&str> {
    let broken = |values: &[T]| values.iter().any(|x| !x.to_f64().is_finite());
    params.tensors().find(|(_, values)| broken(values)).map(|(spec, _)| spec.name.as_str())
}
