//! Entries of everything that is not a convolution. A gradient in [`Mode::Add`] takes what its buffer held
//! before from additional inputs, behind all others.

mod flat;
mod maps;
mod norm;

use super::{Case, Fill, Shapes};
use crate::{Grad, Mode, Shape};

pub(super) fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all = norm::cases(shapes);
    all.extend(maps::cases(shapes));
    all.extend(flat::cases(shapes));
    all
}

const MODES: [Mode; 2] = [Mode::Set, Mode::Add];

/// Shapes of feature maps.
pub(super) fn map_shapes(shapes: Shapes) -> Vec<Shape> {
    if let Shapes::Network { batch } = shapes {
        let maps = [(48, 32), (24, 64), (12, 128), (6, 256)];
        return maps.map(|(hw, c)| Shape::new(batch, hw, hw, c)).to_vec();
    }
    let channels = (1..=17).chain(31..=33).map(|c| Shape::new(2, 3, 2, c));
    let maps = [(1, 1), (1, 2), (2, 2), (3, 3), (5, 7), (7, 7), (6, 4)].map(|(h, w)| Shape::new(3, h, w, 9));
    let special = [
        Shape::new(1, 4, 4, 70),
        // More pixels than a chunk of batch norm.
        Shape::new(2, 24, 25, 9),
        // Enough images and elements for several threads.
        Shape::new(17, 7, 7, 40),
        Shape::new(19, 5, 7, 33),
    ];
    channels.chain(maps).chain(special).collect()
}

/// The name of a backward kernel, with its mode if that is not the usual one.
fn named(name: &str, mode: Mode) -> String {
    if mode == Mode::Add { format!("{name}_add") } else { name.into() }
}

/// `inputs`, followed by the previous contents of `gradients` in [`Mode::Add`].
fn with_previous(mode: Mode, mut inputs: Vec<(usize, Fill)>, gradients: &[usize]) -> Vec<(usize, Fill)> {
    if mode == Mode::Add {
        inputs.extend(gradients.iter().map(|&len| (len, Fill::Signed)));
    }
    inputs
}

/// The gradient that goes to `to`, which held `previous[k]`.
fn grad<'a, T: Copy>(mode: Mode, to: &'a mut [T], previous: &[&[T]], k: usize) -> Grad<'a, T> {
    if mode == Mode::Add {
        to.copy_from_slice(previous[k]);
    }
    Grad { to, mode }
}

/// Few distinct values, so that equal maxima occur.
fn with_ties(x: &mut [f64]) {
    for x in x {
        *x = (*x * 4.0).round() / 4.0;
    }
}
