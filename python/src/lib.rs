//! Trained weights in Python: the module `moue._moue`, which `moue/__init__.py` shows.

use moue::Isa;
use moue::datasets::{PIXELS, SIDE};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// One face: 48 x 48 grey values.
type Face = [u8; PIXELS];

/// Trained weights, ready to classify faces.
#[pyclass(frozen)]
struct Classifier {
    classes: Vec<String>,
    inner: Mutex<moue::Classifier>,
    /// The process that has classified with it, whose threads a forked one does not have; 0 before.
    process: AtomicU32,
}

#[pymethods]
impl Classifier {
    /// Reads the weights at `path`.
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        let inner = moue::Classifier::load(&path, Isa::fastest()).map_err(error)?;
        Ok(Self { classes: inner.classes().to_vec(), inner: Mutex::new(inner), process: AtomicU32::new(0) })
    }

    /// Class names, in the order of the probabilities.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }

    /// The probability of each class for each face.
    fn probabilities(&self, py: Python<'_>, faces: PyBuffer<u8>) -> PyResult<Vec<Vec<f32>>> {
        if !matches!(*faces.shape(), [SIDE, SIDE] | [_, SIDE, SIDE]) {
            let text = format!("expected an array [48, 48] or [n, 48, 48], got {:?}", faces.shape());
            return Err(PyValueError::new_err(text));
        }
        let process = std::process::id();
        match self.process.compare_exchange(0, process, Ordering::Relaxed, Ordering::Relaxed) {
            Err(first) if first != process => {
                let text = "this process was forked from one that has classified faces, without its threads; start \
                            processes with 'spawn'";
                return Err(PyRuntimeError::new_err(text));
            }
            _ => {}
        }
        let pixels = faces.to_vec(py)?;
        let faces: Vec<&Face> = pixels.as_chunks().0.iter().collect();
        // Others may use Python in the meantime.
        let result = py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).probabilities(&faces));
        result.map_err(error)
    }
}

fn error(error: moue::Error) -> PyErr {
    match error {
        moue::Error::Io { .. } => PyOSError::new_err(error.to_string()),
        moue::Error::Format { .. } => PyValueError::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

#[pymodule]
fn _moue(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Classifier>()
}
