//! Accuracy of weights while they are trained.

use crate::error::Result;
use crate::infer::Forward;
use crate::parallel::Team;
use crate::params::Params;
use moue_datasets::{Faces, Normalisation, Peers};

/// Share of `faces` classified right, 0 to 1; the processes of a team share them.
pub(super) fn accuracy(
    forward: &mut Forward,
    params: &Params<f32>,
    faces: &Faces,
    normalisation: Normalisation,
    team: Option<&Team>,
) -> Result<f64> {
    forward.load(params)?;
    let Some(team) = team else {
        return Ok(right(forward, faces, normalisation)? as f64 / faces.len() as f64);
    };
    let part = faces.subset(&team.part(faces.len()).collect::<Vec<_>>());
    let right = if part.is_empty() { 0 } else { right(forward, &part, normalisation)? };
    Ok(team.count([right as u64])[0] as f64 / faces.len() as f64)
}

/// How many faces are classified right.
fn right(forward: &mut Forward, faces: &Faces, normalisation: Normalisation) -> Result<usize> {
    let classes = forward.classify(faces, normalisation)?;
    Ok(classes.iter().zip(&faces.labels).filter(|(c, l)| **c == usize::from(**l)).count())
}
