//! Named f32 tensors with one JSON header, in the safetensors format: what weights and checkpoints are made of.

use crate::error::{Error, Result};
use crate::ops::Real;
use crate::params::Params;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The header is the only metadata entry: a second one would make the order of bytes a matter of chance.
const HEADER: &str = "moue";

/// Largest file that is read; a full checkpoint has 6 MB.
const MAX_BYTES: u64 = 1 << 30;

/// Reads a whole file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::format(path, format!("larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

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
        let header = serde_json::to_string(header).expect("headers are plain data");
        let views = self.tensors.iter().map(|(name, dims, bytes)| {
            (name, TensorView::new(Dtype::F32, dims.clone(), bytes).expect("dims fit the values"))
        });
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        safetensors::serialize(views, Some(metadata)).expect("f32 tensors can be written")
    }
}

/// Takes tensors out of a file's bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    path: &'a Path,
    header: String,
    tensors: SafeTensors<'a>,
    taken: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    /// Parses `bytes`, which came from `path`.
    pub(crate) fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let not_ours = |reason: String| Error::format(path, reason);
        let broken = |e| not_ours(format!("not a complete safetensors file: {e}"));
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(HEADER)).cloned();
        let header =
            header.ok_or_else(|| not_ours("a safetensors file, but not one of moue's".to_owned()))?;
        Ok(Self { path, header, tensors, taken: BTreeSet::new() })
    }

    /// The header.
    pub(crate) fn header<H: DeserializeOwned>(&self) -> Result<H> {
        serde_json::from_str(&self.header)
            .map_err(|e| Error::format(self.path, format!("its description cannot be read: {e}")))
    }

    /// Copies the tensor called `name`, which must have these dimensions and finite values, to `to`.
    pub(crate) fn take(&mut self, name: &str, dims: &[usize], to: &mut [f32]) -> Result<()> {
        let wrong = |reason: String| Error::format(self.path, format!("tensor `{name}` {reason}"));
        let tensor = self.tensors.tensor(name).map_err(|_| wrong("is missing".to_owned()))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != dims {
            let (got, shape) = (tensor.dtype(), tensor.shape());
            return Err(wrong(format!("is {got:?} {shape:?}, but the model has F32 {dims:?}")));
        }
        for (to, bytes) in to.iter_mut().zip(tensor.data().as_chunks().0) {
            *to = f32::from_le_bytes(*bytes);
        }
        if let Some(i) = to.iter().position(|x| !x.is_finite()) {
            return Err(wrong(format!("holds {} at element {i}", to[i])));
        }
        self.taken.insert(name.to_owned());
        Ok(())
    }

    /// Fills all parameters and running buffers.
    pub(crate) fn params(&mut self, params: &mut Params<f32>) -> Result<()> {
        let specs = params.specs().iter().chain(params.buffer_specs()).cloned();
        for spec in specs.collect::<Vec<_>>() {
            let values = params.get_mut(&spec.name).expect("a name from the specs");
            self.take(&spec.name, &spec.dims, values)?;
        }
        Ok(())
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> Result<()> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        match names.into_iter().find(|name| !self.taken.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Error::format(self.path, format!("tensor `{name}` belongs to another model"))),
        }
    }
}

/// The first parameter or running buffer with a value that is not finite.
pub(crate) fn not_finite<T: Real>(params: &Params<T>) -> Option<&str> {
    let broken = |values: &[T]| values.iter().any(|x| !x.to_f64().is_finite());
    params.tensors().find(|(_, values)| broken(values)).map(|(spec, _)| spec.name.as_str())
}
