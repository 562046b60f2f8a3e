//! What fuzzing calls: each reader, from memory, with what must hold of its answer whatever the bytes are.

use crate::archive::{self, Writer, not_finite};
use crate::cli;
use crate::error::{Error, Result};
use crate::nn::{CbamPosition, Loss, Model};
use crate::train::Config;
use crate::train::checkpoint::{Checkpoint, Header};
use crate::weights::Weights;
use moue_datasets::fuzzing::check_message;
use moue_datasets::{MAX_CLASSES, Normalisation};
use moue_kernels::Isa;
use safetensors::tensor::Metadata;
use std::cell::RefCell;
use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

/// Bytes of tensors that are made up for a header: enough for a checkpoint of the paper's network.
const MAX_TENSORS: usize = 8 << 20;

/// Largest header that tensors are made up for.
const MAX_HEADER: usize = 1 << 20;

/// What the error messages name.
const NAME: &str = "file";

fn check_error(error: &Error) {
    let message = error.to_string();
    check_message(&message);
    assert!(message.starts_with("file: "), "{message}");
}

fn check_weights(weights: &Weights) {
    assert!((1..=MAX_CLASSES).contains(&weights.classes.len()));
    assert_eq!(weights.classes.len(), weights.model.classes);
    assert_eq!(not_finite(&weights.params), None);
    let (factor, addend) = weights.normalisation.affine();
    assert!(factor.is_finite() && addend.is_finite());
}

/// A weights file: `0` and its bytes; `1` and the header, which zeros are appended to as tensors; `2` and `3` the same
/// for PyTorch's; or another byte and the JSON description, which the tensors of a plain model with two classes are
/// given to.
pub fn weights(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else { return };
    let answered = |result: Result<Weights>| match result {
        Ok(weights) => check_weights(&weights),
        Err(error) => check_error(&error),
    };
    let check = |file: &[u8]| answered(Weights::parse(Path::new(NAME), file));
    let check_theirs = |file: &[u8]| answered(Weights::parse_pytorch(Path::new(NAME), file, None));
    match form {
        b'0' => check(rest),
        b'1' => with_tensors(rest, check),
        b'2' => check_theirs(rest),
        b'3' => with_tensors(rest, check_theirs),
        _ => with_tensors(described(rest, false).as_bytes(), check),
    }
}

/// A checkpoint: `0` and its bytes; without magic and checksum, `1` and the header or `3` and the JSON description,
/// as for [`weights`]; `2` and a `config.json`; or another byte and the description alone, which is fastest.
pub fn checkpoint(bytes: &[u8]) {
    let Some((form, rest)) = bytes.split_first() else { return };
    let path = Path::new(NAME);
    let check = |result: Result<Checkpoint>| match result {
        Ok(Checkpoint { state, weights, .. }) => {
            check_weights(&weights);
            state.config.check().and_then(|()| state.progress.check(&state.config)).unwrap();
        }
        Err(error) => check_error(&error),
    };
    let check_archive = |archive: &[u8]| check(Checkpoint::from_archive(path, archive));
    match form {
        b'0' => check(Checkpoint::parse(path, rest)),
        b'1' => with_tensors(rest, check_archive),
        b'2' => Config::parse(path, rest)
            .map_or_else(|error| check_error(&error), |config| config.check().unwrap()),
        b'3' => with_tensors(described(rest, true).as_bytes(), check_archive),
        _ => match archive::description::<Header>(path, &String::from_utf8_lossy(rest)) {
            Ok(header) => header.check().err().iter().for_each(|reason| check_message(reason)),
            Err(error) => check_error(&error),
        },
    }
}

/// Arguments separated by zeros.
pub fn cli(bytes: &[u8]) {
    thread_local! {
        static COMMAND: RefCell<clap::Command> = RefCell::new(cli::command());
    }
    let args = bytes.split(|byte| *byte == 0).map(os_string);
    let complaint = COMMAND.with_borrow_mut(|command| cli::complaint_of(command, args));
    complaint.iter().for_each(|message| check_message(message));
}

/// The header of an archive with this description over the tensors of a plain model, of a checkpoint or of weights.
fn described(text: &[u8], checkpoint: bool) -> String {
    let description = serde_json::to_string(&String::from_utf8_lossy(text)).expect("a string");
    let tensors = plain_tensors(checkpoint);
    format!("{{\"__metadata__\":{{\"moue\":{description}}},{tensors}")
}

/// Calls `check` with a file of this header and as many zeros as it promises.
fn with_tensors(header: &[u8], check: impl FnOnce(&[u8])) {
    thread_local! {
        // Room for a header, then the zeros: filling them anew would take most of the time.
        static FILE: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_HEADER + MAX_TENSORS]);
    }
    let promised = serde_json::from_slice(header).map_or(0, |metadata: Metadata| metadata.data_len());
    let Some(start) = MAX_HEADER.checked_sub(8 + header.len()) else { return };
    FILE.with_borrow_mut(|file| {
        file[start..start + 8].copy_from_slice(&(header.len() as u64).to_le_bytes());
        file[start + 8..MAX_HEADER].copy_from_slice(header);
        check(&file[start..MAX_HEADER + promised.min(MAX_TENSORS)]);
    });
}

/// The tensors of a plain model with two classes, as a header lists them behind its metadata.
fn plain_tensors(checkpoint: bool) -> &'static str {
    static TENSORS: [OnceLock<String>; 2] = [const { OnceLock::new() }; 2];
    TENSORS[usize::from(checkpoint)].get_or_init(|| {
        let model = Model::new(CbamPosition::None, Loss::Softmax, 2);
        let classes = ["happy", "sad"].map(str::to_owned).to_vec();
        let weights = Weights::new(model, classes, Normalisation::identity(), 0, Isa::fastest());
        let params = weights.expect("a model that can be recorded").params;
        let mut writer = Writer::default();
        writer.params(&params);
        if checkpoint {
            writer.tensor("adam.m", &[params.values.len()], &params.values);
            writer.tensor("adam.v", &[params.values.len()], &params.values);
        }
        let file = writer.finish(&());
        let (header, _) = archive::split(&file).expect("a file that was just written");
        let mut tensors: serde_json::Map<_, _> = serde_json::from_slice(header).expect("JSON");
        tensors.remove("__metadata__");
        serde_json::to_string(&tensors).expect("JSON")[1..].to_owned()
    })
}

#[cfg(unix)]
fn os_string(argument: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(argument.to_vec())
}

#[cfg(not(unix))]
fn os_string(argument: &[u8]) -> OsString {
    String::from_utf8_lossy(argument).into_owned().into()
}
