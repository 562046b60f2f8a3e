//! Pointwise, standard 3x3 (direct and Winograd) and fused depthwise + pointwise convolutions.

use super::{Bound, Case, Entry, Fill, Shapes};
use crate::{Conv, ConvBackward, DwPwBackward, Element, Grad, Isa, Mode, Shape};

/// Which layer.
#[derive(Clone, Copy, PartialEq)]
enum Layer {
    Pointwise,
    Conv3x3,
    Winograd,
    DwPw,
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Layer::Pointwise => "pointwise",
            Layer::Conv3x3 => "conv3x3",
            Layer::Winograd => "winograd",
            Layer::DwPw => "dw_pw",
        }
    }

    /// Lengths of the weights; the last are the dense ones.
    fn weights(self, conv: &Conv) -> Vec<usize> {
        let dense = conv.x.c * conv.cout;
        match self {
            Layer::Pointwise => vec![dense],
            Layer::Conv3x3 | Layer::Winograd => vec![9 * dense],
            Layer::DwPw => vec![9 * conv.x.c, dense],
        }
    }

    fn products(self, conv: &Conv) -> f64 {
        (conv.y().pixels() * self.weights(conv).iter().sum::<usize>()) as f64
    }
}

pub(super) fn describe(conv: &Conv) -> String {
    let stride = if conv.stride == 2 { "s2" } else { "" };
    format!("{}->{}{stride}", conv.x, conv.cout)
}

pub(super) fn signed(lens: impl IntoIterator<Item = usize>) -> Vec<(usize, Fill)> {
    lens.into_iter().map(|n| (n, Fill::Signed)).collect()
}

/// How much the transforms of F(4x4, 3x3) amplify what is rounded in between, in one dimension: the largest
/// output of the algorithm when inputs, matrices and intermediate signs are all positive,
/// max over i of sum over f of |A|_fi (sum over k of |G|_fk) (sum over j of |B|_jf), and for the gradient of the
/// weights the same with the roles of A and G swapped. Checked in `winograd::tests`.
pub(super) const OUTPUT: f64 = 23.75;
pub(super) const WEIGHTS: f64 = 28.4;

/// Bound of a Winograd convolution that sums `terms` products at each point, plus `start`, in units of eps: every
/// rounding (half an eps) is relative to a value that is at most amplification^2 * terms. In two dimensions a
/// result has passed through at most 4 roundings of B, 8 of G and 6 of A, those of the constants included (in the
/// gradient of the weights 4 of B, 4 of A^T and 10 of G^T), and one for each term, so that to first order the error
/// is below amplification^2 * terms * (terms + 20) / 2. Barabasz et al. 2020 bound it by norms in the same way. That is
/// for roundings of one sign; of either sign they grow like the square root of their number, and 8 times that is
/// exceeded with a probability below 1e-13 (Higham and Mary 2019, theorem 2.4). The smaller of both holds.
pub(super) fn winograd_norms(amplification: f64, terms: usize, start: f64) -> f64 {
    let terms = terms as f64;
    let roundings = terms * (terms + 20.0 + start);
    amplification * amplification * (roundings / 2.0).min(4.0 * roundings.sqrt()) + start
}

struct Forward(Layer, Conv);

impl Entry for Forward {
    fn name(&self) -> String {
        format!("{}_forward", self.0.name())
    }
    fn shape(&self) -> String {
        describe(&self.1)
    }
    fn inputs(&self) -> Vec<(usize, Fill)> {
        signed([self.1.x.len()].into_iter().chain(self.0.weights(&self.1)))
    }
    fn outputs(&self) -> Vec<usize> {
        vec![self.1.y().len()]
    }
    fn scratch<T: Element>(&self) -> usize {
        match self.0 {
            Layer::Pointwise => T::pointwise_forward_scratch(&self.1),
            Layer::Winograd => T::winograd_forward_scratch(&self.1),
            Layer::Conv3x3 => T::conv3x3_forward_scratch(&self.1),
            Layer::DwPw => T::dw_pw_forward_scratch(&self.1),
        }
    }
    fn bounds(&self) -> Vec<Bound> {
        let cin = self.1.x.c;
        vec![match self.0 {
            Layer::Pointwise => Bound::Products(cin),
            Layer::Conv3x3 => Bound::Products(9 * cin),
            Layer::Winograd => Bound::Norms(winograd_norms(OUTPUT, cin, 0.0)),
            Layer::DwPw => Bound::Products(9 + cin),
        }]
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        match self.0 {
            Layer::Pointwise => T::pointwise_forward(isa, &self.1, i[0], i[1], o[0], scratch),
            Layer::Winograd => T::winograd_forward(isa, &self.1, i[0], i[1], o[0], scratch),
            Layer::Conv3x3 => T::conv3x3_forward(isa, &self.1, i[0], i[1], o[0], scratch),
            Layer::DwPw => T::dw_pw_forward(isa, &self.1, i[0], i[1], i[2], o[0], scratch),
        }
    }
    fn flops(&self) -> f64 {
        2.0 * self.0.products(&self.1)
    }
}

/// Both gradients, or that of the weights alone, set or added to a last group of inputs.
struct Backward {
    layer: Layer,
    conv: Conv,
    mode: Mode,
    dx: bool,
}

impl Entry for Backward {
    fn name(&self) -> String {
        let add = if self.mode == Mode::Add { "_add" } else { "" };
        let part = if self.dx { "" } else { "_w" };
        format!("{}_backward{part}{add}", self.layer.name())
    }
    fn shape(&self) -> String {
        describe(&self.conv)
    }
    fn inputs(&self) -> Vec<(usize, Fill)> {
        let mut lens = vec![self.conv.x.len()];
        lens.extend(self.layer.weights(&self.conv));
        lens.push(self.conv.y().len());
        if self.mode == Mode::Add {
            lens.extend(self.outputs());
        }
        signed(lens)
    }
    fn outputs(&self) -> Vec<usize> {
        let dx = self.dx.then_some(self.conv.x.len());
        dx.into_iter().chain(self.layer.weights(&self.conv)).collect()
    }
    fn scratch<T: Element>(&self) -> usize {
        match self.layer {
            Layer::Pointwise => T::pointwise_backward_scratch(&self.conv),
            Layer::Winograd => T::winograd_backward_scratch(&self.conv),
            Layer::Conv3x3 => T::conv3x3_backward_scratch(&self.conv),
            Layer::DwPw => T::dw_pw_backward_scratch(&self.conv),
        }
    }
    fn bounds(&self) -> Vec<Bound> {
        let (cout, pixels) = (self.conv.cout, self.conv.y().pixels());
        let dx = match self.layer {
            Layer::Pointwise => Bound::Products(cout + 1),
            Layer::Conv3x3 => Bound::Products(9 * cout + 1),
            Layer::Winograd => Bound::Norms(winograd_norms(OUTPUT, cout, 1.0)),
            Layer::DwPw => Bound::Products(9 + cout + 1),
        };
        let dx = self.dx.then_some(dx);
        let dw = match self.layer {
            Layer::Winograd => {
                let Shape { n, h, w, .. } = self.conv.x;
                let tiles = n * h.div_ceil(4) * w.div_ceil(4);
                vec![Bound::Norms(winograd_norms(WEIGHTS, tiles, 1.0))]
            }
            Layer::DwPw => vec![Bound::Products(pixels + cout + 1), Bound::Products(pixels + 9 + 1)],
            _ => vec![Bound::Products(pixels + 1)],
        };
        dx.into_iter().chain(dw).collect()
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        let weights = self.layer.weights(&self.conv).len();
        if self.mode == Mode::Add {
            for (o, start) in o.iter_mut().zip(&i[weights + 2..]) {
                o.copy_from_slice(start);
            }
        }
        let (x, w, dy, mode) = (i[0], &i[1..=weights], i[weights + 1], self.mode);
        let mut grads = o.iter_mut().map(|to| Grad { to, mode });
        let dx = if self.dx { grads.next() } else { None };
        let mut grad = || grads.next().expect("an output for every gradient");
        match self.layer {
            Layer::Pointwise => {
                let args = ConvBackward { x, w: w[0], dy, dx, dw: grad(), scratch };
                T::pointwise_backward(isa, &self.conv, args);
            }
            Layer::Conv3x3 => {
                let args = ConvBackward { x, w: w[0], dy, dx, dw: grad(), scratch };
                T::conv3x3_backward(isa, &self.conv, args);
            }
            Layer::Winograd => {
                let args = ConvBackward { x, w: w[0], dy, dx, dw: grad(), scratch };
                T::winograd_backward(isa, &self.conv, args);
            }
            Layer::DwPw => {
                let args = DwPwBackward { x, wd: w[0], wp: w[1], dy, dx, dwd: grad(), dwp: grad(), scratch };
                T::dw_pw_backward(isa, &self.conv, args);
            }
        }
    }
    fn flops(&self) -> f64 {
        (if self.dx { 4.0 } else { 2.0 }) * self.layer.products(&self.conv)
    }
}

pub(super) fn conv([n, h, w, c]: [usize; 4], cout: usize, stride: usize) -> Conv {
    Conv { x: Shape::new(n, h, w, c), cout, stride }
}

/// Channels around lanes and tiles on maps around the tile's six rows; the last few are large enough for
/// several threads and several parts.
fn remainders(layer: Layer) -> Vec<Conv> {
    let mut all = Vec::new();
    let maps = [[1, 1], [1, 7], [2, 2], [3, 3], [5, 7], [6, 6], [13, 13]];
    let channels =
        [[1, 1], [1, 32], [2, 9], [3, 16], [5, 17], [8, 8], [12, 33], [16, 7], [17, 31], [31, 48], [33, 32]];
    for (i, [h, w]) in maps.into_iter().enumerate() {
        for (j, [cin, cout]) in channels.into_iter().enumerate() {
            let n = 1 + (i + j) % 3;
            all.push(conv([n, h, w, cin], cout, 1));
            if layer == Layer::Pointwise {
                all.push(conv([n, h, w, cin], cout, 2));
            }
        }
    }
    all.extend((1..=17).map(|c| conv([2, 4, 5, c], 18 - c, 1)));
    all.push(conv([3, 13, 13, 33], 48, 1));
    all.push(conv([17, 9, 10, 32], 31, 1));
    all.push(conv([2, 3, 3, 129], 130, 1));
    match layer {
        Layer::Pointwise => {
            all.push(conv([33, 1, 1, 128], 7, 1));
            all.push(conv([9, 9, 11, 64], 66, 2));
            all.push(conv([3, 12, 12, 130], 255, 1));
            all.push(conv([3, 12, 12, 130], 255, 2));
            // Cut by columns, the last panels of either pass in part.
            all.push(conv([33, 1, 1, 523], 517, 1));
        }
        Layer::Conv3x3 => {
            all.push(conv([5, 24, 25, 1], 33, 1));
            // Of one channel, rows longer than are read at once.
            all.push(conv([2, 5, 101, 1], 17, 1));
            // Several parts with several slices of the weights each.
            all.push(conv([6, 5, 7, 70], 66, 1));
        }
        Layer::Winograd => {
            // Maps of whole tiles, several blocks of tiles, few images cut into rows.
            for [n, h, w] in [[1, 4, 4], [3, 8, 8], [2, 48, 48], [1, 16, 100], [1, 40, 7]] {
                all.push(conv([n, h, w, 17], 9, 1));
            }
            all.push(conv([1, 32, 32, 32], 32, 1));
        }
        Layer::DwPw => all.push(conv([3, 12, 12, 130], 255, 1)),
    }
    all
}

/// The network's layers, and the standard twins of its fused ones.
fn network(layer: Layer, batch: usize) -> Vec<Conv> {
    let seven = [
        [48, 32, 32],
        [24, 32, 64],
        [24, 64, 64],
        [12, 64, 128],
        [12, 128, 128],
        [6, 128, 256],
        [6, 256, 256],
    ];
    let mut all: Vec<Conv> =
        seven.into_iter().map(|[map, cin, cout]| conv([batch, map, map, cin], cout, 1)).collect();
    match layer {
        Layer::Pointwise => {
            let shortcuts = [[48, 32, 32], [24, 32, 64], [12, 64, 128], [6, 128, 256]];
            all.extend(shortcuts.into_iter().map(|[map, cin, cout]| conv([batch, map, map, cin], cout, 2)));
        }
        Layer::Conv3x3 => {
            all.push(conv([batch, 48, 48, 1], 32, 1));
            all.push(conv([batch, 3, 3, 256], 128, 1));
        }
        Layer::Winograd | Layer::DwPw => {}
    }
    all
}

pub(super) fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all: Vec<Box<dyn Case>> = Vec::new();
    for layer in [Layer::Pointwise, Layer::Conv3x3, Layer::Winograd, Layer::DwPw] {
        let convs = match shapes {
            Shapes::Remainders => remainders(layer),
            Shapes::Network { batch } => network(layer, batch),
        };
        for conv in convs {
            all.push(Box::new(Forward(layer, conv)));
            // The first layer's input needs no gradient.
            let dx = shapes == Shapes::Remainders || conv.x.c > 1;
            all.push(Box::new(Backward { layer, conv, mode: Mode::Set, dx }));
            if shapes == Shapes::Remainders {
                all.push(Box::new(Backward { layer, conv, mode: Mode::Add, dx: true }));
                all.push(Box::new(Backward { layer, conv, mode: Mode::Set, dx: false }));
            }
        }
    }
    all
}
