//! Depthwise 3x3 and the 7x7 of spatial attention, forward and backward.

use super::{Bound, Case, Entry, Fill, Shapes};
use crate::{ConvBackward, Element, Grad, Isa, Mode, Shape};

pub(super) fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all: Vec<Box<dyn Case>> = Vec::new();
    for (kind, shape) in list(shapes) {
        all.push(Box::new(Forward { kind, shape }));
        // Every way the four modes of the two gradients can go: dx not wanted, set, added; dw set, added.
        let modes: &[_] = match shapes {
            Shapes::Network { .. } => &[(Some(Mode::Set), Mode::Set)],
            Shapes::Remainders => &[
                (Some(Mode::Set), Mode::Set),
                (Some(Mode::Add), Mode::Set),
                (Some(Mode::Set), Mode::Add),
                (Some(Mode::Add), Mode::Add),
                (None, Mode::Set),
            ],
        };
        all.extend(modes.iter().map(|&(dx, dw)| Box::new(Backward { kind, shape, dx, dw }) as Box<dyn Case>));
    }
    all
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Depthwise,
    Spatial,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Depthwise => "dwconv",
            Kind::Spatial => "conv7x7",
        }
    }
    fn weights(self, shape: Shape) -> usize {
        self.taps() * shape.c
    }
    fn taps(self) -> usize {
        match self {
            Kind::Depthwise => 9,
            Kind::Spatial => 49,
        }
    }
    fn y(self, shape: Shape) -> Shape {
        match self {
            Kind::Depthwise => shape,
            Kind::Spatial => shape.with_c(1),
        }
    }
}

const MAPS: [(usize, usize); 11] =
    [(1, 1), (1, 7), (7, 1), (2, 2), (3, 3), (5, 7), (6, 6), (13, 13), (12, 12), (1, 2), (4, 3)];

fn list(shapes: Shapes) -> Vec<(Kind, Shape)> {
    let mut all = Vec::new();
    match shapes {
        Shapes::Network { batch } => {
            for (c, map) in [(32, 48), (32, 24), (64, 24), (64, 12), (128, 12), (128, 6), (256, 6)] {
                all.push((Kind::Depthwise, Shape::new(batch, map, map, c)));
            }
            all.extend([3, 6, 12, 24, 48].map(|map| (Kind::Spatial, Shape::new(batch, map, map, 2))));
        }
        Shapes::Remainders => {
            // Every map with some channel count of each kind, every channel count with some map.
            for (i, c) in (1..=17).chain([31, 32, 33, 48]).enumerate() {
                for k in 0..3 {
                    let (h, w) = MAPS[(i + 4 * k) % MAPS.len()];
                    all.push((Kind::Depthwise, Shape::new(1 + (i + k) % 3, h, w, c)));
                }
            }
            for (h, w) in MAPS {
                all.push((Kind::Depthwise, Shape::new(2, h, w, 16)));
                all.push((Kind::Spatial, Shape::new(1 + h % 3, h, w, 2)));
            }
            // More images than parts; one image in row blocks; wider and higher than the 7x7's tile.
            all.push((Kind::Depthwise, Shape::new(19, 3, 3, 20)));
            all.push((Kind::Depthwise, Shape::new(1, 37, 29, 40)));
            all.push((Kind::Depthwise, Shape::new(2, 33, 48, 32)));
            all.push((Kind::Spatial, Shape::new(18, 3, 3, 2)));
            all.push((Kind::Spatial, Shape::new(1, 17, 53, 2)));
            all.push((Kind::Spatial, Shape::new(2, 48, 48, 2)));
            all.push((Kind::Spatial, Shape::new(2, 9, 101, 2)));
        }
    }
    all
}

struct Forward {
    kind: Kind,
    shape: Shape,
}

impl Entry for Forward {
    fn name(&self) -> String {
        format!("{}_forward", self.kind.name())
    }
    fn shape(&self) -> String {
        self.shape.to_string()
    }
    fn inputs(&self) -> Vec<(usize, Fill)> {
        vec![(self.shape.len(), Fill::Signed), (self.kind.weights(self.shape), Fill::Signed)]
    }
    fn outputs(&self) -> Vec<usize> {
        vec![self.kind.y(self.shape).len()]
    }
    fn scratch<T: Element>(&self) -> usize {
        0
    }
    fn bounds(&self) -> Vec<Bound> {
        vec![Bound::Products(self.kind.weights(self.shape) / self.kind.y(self.shape).c)]
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], _: &mut [T]) {
        match self.kind {
            Kind::Depthwise => T::dwconv_forward(isa, self.shape, i[0], i[1], o[0]),
            Kind::Spatial => T::conv7x7_forward(isa, self.shape, i[0], i[1], o[0]),
        }
    }
    fn flops(&self) -> f64 {
        2.0 * (self.shape.len() * self.kind.taps()) as f64
    }
}

struct Backward {
    kind: Kind,
    shape: Shape,
    dx: Option<Mode>,
    dw: Mode,
}

impl Entry for Backward {
    fn name(&self) -> String {
        let mode = |mode| match mode {
            None => "_none",
            Some(Mode::Set) => "",
            Some(Mode::Add) => "_add",
        };
        format!("{}_backward_dx{}_dw{}", self.kind.name(), mode(self.dx), mode(Some(self.dw)))
    }
    fn shape(&self) -> String {
        self.shape.to_string()
    }
    /// x, w, dy, then what dx and dw hold before the call, for [`Mode::Add`].
    fn inputs(&self) -> Vec<(usize, Fill)> {
        let (x, w, y) = (self.shape.len(), self.kind.weights(self.shape), self.kind.y(self.shape).len());
        [x, w, y, x, w].map(|len| (len, Fill::Signed)).to_vec()
    }
    fn outputs(&self) -> Vec<usize> {
        let dx = if self.dx.is_some() { self.shape.len() } else { 0 };
        vec![dx, self.kind.weights(self.shape)]
    }
    fn scratch<T: Element>(&self) -> usize {
        match self.kind {
            Kind::Depthwise => T::dwconv_backward_scratch(self.shape),
            Kind::Spatial => T::conv7x7_backward_scratch(self.shape),
        }
    }
    fn bounds(&self) -> Vec<Bound> {
        // One more addition where the gradient is added to what was there.
        vec![Bound::Products(self.kind.taps() + 1), Bound::Products(self.shape.pixels() + 1)]
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        let [dx, dw] = o else { panic!("two outputs") };
        if self.dx == Some(Mode::Add) {
            dx.copy_from_slice(i[3]);
        }
        if self.dw == Mode::Add {
            dw.copy_from_slice(i[4]);
        }
        let args = ConvBackward {
            x: i[0],
            w: i[1],
            dy: i[2],
            dx: self.dx.map(|mode| Grad { to: dx, mode }),
            dw: Grad { to: dw, mode: self.dw },
            scratch,
        };
        match self.kind {
            Kind::Depthwise => T::dwconv_backward(isa, self.shape, args),
            Kind::Spatial => T::conv7x7_backward(isa, self.shape, args),
        }
    }
    fn flops(&self) -> f64 {
        let passes = if self.dx.is_some() { 4.0 } else { 2.0 };
        passes * (self.shape.len() * self.kind.taps()) as f64
    }
}
