//! Convolutions between batch norms, the reader's half of a norm, the end of a residual block.

use super::dense::{OUTPUT, WEIGHTS, describe, winograd_norms};
use super::{Bound, Case, Entry, Fill, Shapes};
use crate::*;

pub(super) fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all: Vec<Box<dyn Case>> = Vec::new();
    for (layer, relu) in layers(shapes) {
        all.push(Box::new(Forward { layer, relu }));
        // The first layer's input needs no gradient.
        let dx = shapes == Shapes::Remainders || layer.conv.x.c > 1;
        all.push(Box::new(Backward { layer, relu, mode: Mode::Set, dx }));
        if shapes == Shapes::Remainders {
            all.push(Box::new(Backward { layer, relu, mode: Mode::Add, dx: true }));
            all.push(Box::new(Backward { layer, relu, mode: Mode::Set, dx: false }));
        }
    }
    for shape in super::other::map_shapes(shapes) {
        for (relu, mode) in [(true, Mode::Set), (false, Mode::Add)] {
            all.push(Box::new(AffinePass { shape, relu, mode }));
        }
        for mode in [Mode::Set, Mode::Add] {
            all.push(Box::new(Residual { shape, mode }));
        }
    }
    all
}

/// Each layer with and without a norm in front; channels around lanes and tiles, maps with and without Winograd.
fn layers(shapes: Shapes) -> Vec<(NormConv, bool)> {
    use ConvLayer::*;
    let layer = |layer, [n, h, w, c]: [usize; 4], cout, stride, affine| {
        (NormConv { layer, conv: Conv { x: Shape::new(n, h, w, c), cout, stride }, affine }, true)
    };
    if let Shapes::Network { batch } = shapes {
        let mut all = vec![
            layer(Conv3x3, [batch, 48, 48, 1], 32, 1, false),
            layer(Conv3x3, [batch, 48, 48, 32], 32, 1, true),
            layer(Pointwise, [batch, 48, 48, 32], 32, 2, true),
            layer(Pointwise, [batch, 24, 24, 32], 64, 2, false),
            layer(Pointwise, [batch, 12, 12, 64], 128, 2, false),
        ];
        for [map, cin, cout] in [[48, 32, 32], [24, 64, 64], [12, 128, 128]] {
            all.push(layer(DwPw, [batch, map, map, cin], cout, 1, true));
        }
        for [map, cin, cout] in [[24, 32, 64], [12, 64, 128]] {
            all.push(layer(DwPw, [batch, map, map, cin], cout, 1, false));
        }
        return all;
    }
    let mut all = Vec::new();
    let channels = [[1, 3], [3, 16], [5, 17], [8, 8], [17, 31], [33, 32]];
    let maps = [[1, 1], [2, 3], [7, 5], [8, 9], [13, 6]];
    for (i, [cin, cout]) in channels.into_iter().enumerate() {
        for (j, [h, w]) in maps.into_iter().enumerate() {
            let x = [1 + (i + j) % 3, h, w, cin];
            for (kind, stride) in [(Conv3x3, 1), (DwPw, 1), (Pointwise, 1), (Pointwise, 2)] {
                let affine = (i + j + stride) % 3 != 0;
                let (layer, _) = layer(kind, x, cout, stride, affine);
                all.push((layer, (i + j) % 2 == 0));
            }
        }
    }
    // Every width around lanes and tiles; the 3x3 convolution is by Winograd where both sides have 8 channels.
    for (i, c) in (1..=17).chain(31..=33).enumerate() {
        let x = [1 + i % 3, 8, 9, c];
        for (kind, stride) in [(Conv3x3, 1), (DwPw, 1), (Pointwise, 1 + i % 2)] {
            let (layer, _) = layer(kind, x, 18usize.abs_diff(c), stride, i % 4 != 3);
            all.push((layer, i % 3 != 0));
        }
    }
    // More images than parts; several threads.
    for kind in [Conv3x3, DwPw, Pointwise] {
        all.push(layer(kind, [19, 9, 10, 24], 20, 1, true));
    }
    all.push(layer(Pointwise, [17, 11, 12, 40], 48, 2, true));
    // Several blocks of rows, with channels that fill no vector and the last block cut short.
    for affine in [false, true] {
        all.push(layer(Conv3x3, [3, 37, 11, 9], 17, 1, affine));
        all.push(layer(DwPw, [3, 33, 29, 20], 19, 1, affine));
    }
    all
}

fn winograd(layer: &NormConv) -> bool {
    layer.layer == ConvLayer::Conv3x3 && winograd_pays(&layer.conv)
}

/// Products summed by an element of the result, from channels that a convolution of `c` inputs has.
fn terms(layer: &NormConv, c: usize) -> usize {
    match layer.layer {
        ConvLayer::Conv3x3 => 9 * c,
        ConvLayer::DwPw => 9 + c,
        ConvLayer::Pointwise => c,
    }
}

fn products(layer: &NormConv) -> f64 {
    (layer.conv.y().pixels() * layer.weights().iter().sum::<usize>()) as f64
}

fn name(layer: &NormConv, relu: bool) -> &'static str {
    match (layer.layer, layer.affine, relu) {
        (ConvLayer::Conv3x3, true, true) => "affine_relu_conv3x3_norm",
        (ConvLayer::Conv3x3, true, false) => "affine_conv3x3_norm",
        (ConvLayer::Conv3x3, false, _) => "conv3x3_norm",
        (ConvLayer::DwPw, true, true) => "affine_relu_dw_pw_norm",
        (ConvLayer::DwPw, true, false) => "affine_dw_pw_norm",
        (ConvLayer::DwPw, false, _) => "dw_pw_norm",
        (ConvLayer::Pointwise, true, true) => "affine_relu_pointwise_norm",
        (ConvLayer::Pointwise, true, false) => "affine_pointwise_norm",
        (ConvLayer::Pointwise, false, _) => "pointwise_norm",
    }
}

/// x, scale, shift, mean, then the weights.
fn operands(layer: &NormConv) -> Vec<(usize, Fill)> {
    let c = layer.conv.x.c;
    let x = [(layer.conv.x.len(), Fill::Signed), (c, Fill::Positive), (c, Fill::Signed), (c, Fill::Signed)];
    x.into_iter().chain(layer.weights().map(|w| (w, Fill::Signed))).collect()
}

fn affine<'a, T>(i: &[&'a [T]], relu: bool) -> Affine<'a, T> {
    Affine { scale: i[0], shift: i[1], mean: i[2], relu }
}

struct Forward {
    layer: NormConv,
    relu: bool,
}

impl Entry for Forward {
    fn name(&self) -> String {
        format!("{}_forward", name(&self.layer, self.relu))
    }
    fn shape(&self) -> String {
        describe(&self.layer.conv)
    }
    fn inputs(&self) -> Vec<(usize, Fill)> {
        operands(&self.layer)
    }
    fn outputs(&self) -> Vec<usize> {
        vec![self.layer.conv.y().len(), 2 * self.layer.conv.cout]
    }
    fn scratch<T: Element>(&self) -> usize {
        T::norm_conv_scratch(&self.layer).0
    }
    fn bounds(&self) -> Vec<Bound> {
        let (cin, y) = (self.layer.conv.x.c, self.layer.conv.y());
        // The affine map makes inputs up to 2.1 and adds two roundings.
        let y_bound = match winograd(&self.layer) {
            true => Bound::Norms(2.1 * winograd_norms(OUTPUT, cin, 2.0)),
            false => Bound::Products(terms(&self.layer, cin) + 2),
        };
        // Statistics inherit what y is off: terms of y beside the sum over the pixels.
        vec![y_bound, Bound::Relative(8 * terms(&self.layer, cin) + y.pixels())]
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        let [y, stats] = o else { unreachable!("two outputs") };
        let args = NormConvForward {
            x: i[0],
            affine: self.layer.affine.then(|| affine(&i[1..], self.relu)),
            w: [i[4], i[5]],
            y,
            stats: Some(stats),
            scratch,
        };
        T::norm_conv_forward(isa, &self.layer, args);
    }
    fn flops(&self) -> f64 {
        2.0 * products(&self.layer)
    }
}

struct Backward {
    layer: NormConv,
    relu: bool,
    mode: Mode,
    dx: bool,
}

impl Entry for Backward {
    fn name(&self) -> String {
        let add = if self.mode == Mode::Add { "_add" } else { "" };
        format!("{}_backward{add}", name(&self.layer, self.relu))
    }
    fn shape(&self) -> String {
        describe(&self.layer.conv)
    }
    fn inputs(&self) -> Vec<(usize, Fill)> {
        let (y, cout) = (self.layer.conv.y().len(), self.layer.conv.cout);
        let mut all = operands(&self.layer);
        // y, dz, then scale, shift, by_y and constant.
        all.extend([y, y, cout, cout, cout, cout].map(|len| (len, Fill::Signed)));
        if self.mode == Mode::Add {
            all.extend(self.outputs().into_iter().map(|len| (len, Fill::Signed)));
        }
        all
    }
    /// Weight gradients, dx, its sums.
    fn outputs(&self) -> Vec<usize> {
        let mut all = self.layer.weights().to_vec();
        if self.dx {
            all.push(self.layer.conv.x.len());
            all.push(if self.layer.affine { 2 * self.layer.conv.x.c } else { 0 });
        }
        all
    }
    fn scratch<T: Element>(&self) -> usize {
        T::norm_conv_scratch(&self.layer).1
    }
    fn bounds(&self) -> Vec<Bound> {
        let (x, cout, pixels) = (self.layer.conv.x, self.layer.conv.cout, self.layer.conv.y().pixels());
        // dy has two roundings and is up to 3, z has two and is up to 2.1.
        let (dw, dx) = if winograd(&self.layer) {
            let tiles = x.n * x.h.div_ceil(4) * x.w.div_ceil(4);
            let dw = Bound::Norms(6.3 * winograd_norms(WEIGHTS, tiles, 4.0));
            (dw, Bound::Norms(3.0 * winograd_norms(OUTPUT, cout, 3.0)))
        } else {
            (Bound::Products(pixels + cout + 9 + 5), Bound::Products(terms(&self.layer, cout) + 4))
        };
        let mut all = vec![dw, Bound::Products(pixels + 9 + 5)];
        if self.dx {
            all.push(dx);
            all.push(Bound::Relative(8 * terms(&self.layer, cout) + x.pixels()));
        }
        all
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        if self.mode == Mode::Add {
            o.iter_mut().zip(&i[12..]).for_each(|(o, start)| o.copy_from_slice(start));
        }
        let mode = self.mode;
        let mut outputs = o.iter_mut().map(|o| &mut **o);
        let mut next = || outputs.next().expect("an output for every gradient");
        let dw = [Grad { to: next(), mode }, Grad { to: next(), mode }];
        let dx = self.dx.then(|| {
            let (dz, sums) = (Grad { to: next(), mode }, next());
            if self.layer.affine {
                InputGrad::Affine(AffineGrad { dz, sums: Some(sums) })
            } else {
                InputGrad::Plain(dz)
            }
        });
        let args = NormConvBackward {
            x: i[0],
            affine: self.layer.affine.then(|| affine(&i[1..], self.relu)),
            w: [i[4], i[5]],
            y: i[6],
            dz: i[7],
            norm: NormGrad { scale: i[8], shift: i[9], by_y: i[10], constant: i[11], relu: self.relu },
            dx,
            dw,
            scratch,
        };
        T::norm_conv_backward(isa, &self.layer, args);
    }
    fn flops(&self) -> f64 {
        (if self.dx { 4.0 } else { 2.0 }) * products(&self.layer)
    }
}

/// Both passes of the reader's half.
struct AffinePass {
    shape: Shape,
    relu: bool,
    mode: Mode,
}

impl Entry for AffinePass {
    fn name(&self) -> String {
        format!("affine{}", if self.relu { "_relu" } else { "_add" })
    }
    fn shape(&self) -> String {
        self.shape.to_string()
    }
    fn inputs(&self) -> Vec<(usize, Fill)> {
        let (len, c) = (self.shape.len(), self.shape.c);
        [len, c, c, c, len, len, 2 * c].map(|len| (len, Fill::Signed)).to_vec()
    }
    fn outputs(&self) -> Vec<usize> {
        vec![self.shape.len(), self.shape.len(), 2 * self.shape.c]
    }
    fn scratch<T: Element>(&self) -> usize {
        T::affine_backward_scratch(self.shape)
    }
    fn bounds(&self) -> Vec<Bound> {
        vec![Bound::Products(2), Bound::Relative(1), Bound::Relative(self.shape.pixels() + 2)]
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        let [z, dz, sums] = o else { unreachable!("three outputs") };
        let affine = affine(&i[1..], self.relu);
        T::affine_forward(isa, self.shape, i[0], affine, z);
        if self.mode == Mode::Add {
            dz.copy_from_slice(i[5]);
            sums.copy_from_slice(i[6]);
        }
        let dx = AffineGrad { dz: Grad { to: dz, mode: self.mode }, sums: Some(sums) };
        T::affine_backward(isa, self.shape, i[0], affine, i[4], dx, scratch);
    }
    fn flops(&self) -> f64 {
        8.0 * self.shape.len() as f64
    }
}

/// Both passes of the end of a residual block; the index goes from one to the other.
struct Residual {
    shape: Shape,
    mode: Mode,
}

impl Entry for Residual {
    fn name(&self) -> String {
        format!("residual{}", if self.mode == Mode::Add { "_add" } else { "" })
    }
    fn shape(&self) -> String {
        self.shape.to_string()
    }
    /// Both branches with their norms, dy, then what the gradients held before.
    fn inputs(&self) -> Vec<(usize, Fill)> {
        let (len, out, c) = (self.shape.len(), self.shape.halved().len(), self.shape.c);
        let lens = [len, c, c, c, out, c, c, c, out, len, 2 * c, out, 2 * c];
        lens.map(|len| (len, Fill::Signed)).to_vec()
    }
    /// y, then the gradients of both branches.
    fn outputs(&self) -> Vec<usize> {
        let (len, out, c) = (self.shape.len(), self.shape.halved().len(), self.shape.c);
        vec![out, len, 2 * c, out, 2 * c]
    }
    fn scratch<T: Element>(&self) -> usize {
        T::residual_backward_scratch(self.shape)
    }
    fn bounds(&self) -> Vec<Bound> {
        let sums = Bound::Relative(self.shape.pixels() + 2);
        // Up to four windows add to a pixel.
        vec![Bound::Relative(6), Bound::Relative(5), sums, Bound::Relative(1), sums]
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        let [y, dmain, sums_main, dshort, sums_short] = o else { unreachable!("five outputs") };
        let main = Branch { x: i[0], affine: affine(&i[1..], false) };
        let short = Branch { x: i[4], affine: affine(&i[5..], false) };
        let mut index = vec![255; y.len()];
        T::residual_forward(isa, self.shape, main, short, y, &mut index);
        if self.mode == Mode::Add {
            for (to, from) in
                [&mut **dmain, &mut **sums_main, &mut **dshort, &mut **sums_short].into_iter().zip(&i[9..])
            {
                to.copy_from_slice(from);
            }
        }
        let mode = self.mode;
        let args = ResidualBackward {
            main,
            short,
            y,
            index: &index,
            dy: i[8],
            dmain: AffineGrad { dz: Grad { to: dmain, mode }, sums: Some(sums_main) },
            dshort: AffineGrad { dz: Grad { to: dshort, mode }, sums: Some(sums_short) },
            scratch,
        };
        T::residual_backward(isa, self.shape, args);
    }
    fn flops(&self) -> f64 {
        30.0 * self.shape.halved().len() as f64
    }
}
