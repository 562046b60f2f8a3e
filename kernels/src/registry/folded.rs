//! Layers of inference. One call prepares the weights, at the start of the scratch, and computes.

use super::dense::{OUTPUT, conv, describe, signed, winograd_norms};
use super::{Bound, Case, Entry, Fill, Shapes};
use crate::{Conv, Element, Folded, FoldedKind, Isa};

use FoldedKind::{Conv3x3, DwPw, Pointwise, Winograd};

struct Layer {
    layer: Folded,
    /// The end of a residual block.
    end: bool,
}

impl Entry for Layer {
    fn name(&self) -> String {
        let kind = match self.layer.kind {
            _ if self.end => "residual_end",
            Conv3x3 => "folded_conv3x3",
            Winograd => "folded_winograd",
            DwPw => "folded_dw_pw",
            Pointwise => "folded_pointwise",
        };
        let relu = if self.layer.relu { "_relu" } else { "" };
        let threads = if self.layer.threads { "" } else { "_serial" };
        format!("{kind}{relu}{threads}")
    }
    fn shape(&self) -> String {
        describe(&self.layer.conv)
    }
    /// x, both weights, bias, what is pooled.
    fn inputs(&self) -> Vec<(usize, Fill)> {
        let Conv { x, cout, .. } = self.layer.conv;
        let [a, b] = self.layer.weights();
        signed([x.len(), a, b, cout, if self.end { x.with_c(cout).len() } else { 0 }])
    }
    fn outputs(&self) -> Vec<usize> {
        vec![self.layer.conv.y().len()]
    }
    fn scratch<T: Element>(&self) -> usize {
        self.layer.prepared_len() + T::folded_scratch(&self.layer)
    }
    /// As without bias and ReLU, with one or two terms more; a ReLU makes no error larger.
    fn bounds(&self) -> Vec<Bound> {
        let cin = self.layer.conv.x.c;
        vec![match self.layer.kind {
            // The largest of a window is exact, and no larger than that of the absolute values.
            Pointwise if self.end => Bound::Products(cin + 2),
            Pointwise => Bound::Products(cin + 1),
            Conv3x3 => Bound::Products(9 * cin + 1),
            Winograd => Bound::Norms(winograd_norms(OUTPUT, cin, 1.0)),
            DwPw => Bound::Products(9 + cin + 1),
        }]
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        let layer = &self.layer;
        let (prepared, scratch) = scratch.split_at_mut(layer.prepared_len());
        T::folded_prepare(isa, layer, [i[1], i[2]], i[3], prepared);
        if self.end {
            T::residual_end(isa, layer, i[4], i[0], prepared, o[0]);
        } else {
            T::folded_forward(isa, layer, i[0], prepared, o[0], scratch);
        }
    }
    fn flops(&self) -> f64 {
        2.0 * self.layer.macs() as f64
    }
}

/// Both layers of the input module.
struct Stem([Folded; 2]);

impl Entry for Stem {
    fn name(&self) -> String {
        format!("stem{}", if self.0[0].threads { "" } else { "_serial" })
    }
    fn shape(&self) -> String {
        format!("{}->{}", describe(&self.0[0].conv), self.0[1].conv.cout)
    }
    /// x, then weights and bias of each layer.
    fn inputs(&self) -> Vec<(usize, Fill)> {
        let [a, b] = self.0;
        signed([a.conv.x.len(), a.weights()[0], a.conv.cout, b.weights()[0], b.conv.cout])
    }
    fn outputs(&self) -> Vec<usize> {
        vec![self.0[1].conv.y().len()]
    }
    fn scratch<T: Element>(&self) -> usize {
        self.0[0].prepared_len() + self.0[1].prepared_len() + T::stem_scratch(&self.0)
    }
    /// The first layer's results are at most 10, with an error of at most 10 * 10 eps that the second one sums over
    /// 9 channels' worth of taps; its own error is that of inputs ten times as large.
    fn bounds(&self) -> Vec<Bound> {
        let c = self.0[0].conv.cout;
        vec![Bound::Norms(10.0 * winograd_norms(OUTPUT, c, 1.0) + (9 * c * 100) as f64)]
    }
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        let (first, scratch) = scratch.split_at_mut(self.0[0].prepared_len());
        let (second, scratch) = scratch.split_at_mut(self.0[1].prepared_len());
        T::folded_prepare(isa, &self.0[0], [i[1], &[]], i[2], first);
        T::folded_prepare(isa, &self.0[1], [i[3], &[]], i[4], second);
        T::stem_forward(isa, &self.0, i[0], [first, second], o[0], scratch);
    }
    fn flops(&self) -> f64 {
        2.0 * (self.0[0].macs() + self.0[1].macs()) as f64
    }
}

/// Both layers of an input module on `[n, h, w]`.
fn stem([n, h, w]: [usize; 3], c: usize, cout: usize, threads: bool) -> Box<dyn Case> {
    let layer = |kind, conv| Folded { kind, conv, relu: true, threads };
    let (first, second) = (conv([n, h, w, 1], c, 1), conv([n, h, w, c], cout, 1));
    Box::new(Stem([layer(Conv3x3, first), layer(Winograd, second)]))
}

/// Kind, geometry, whether it is the end of a block.
fn list(shapes: Shapes) -> Vec<(FoldedKind, Conv, bool)> {
    if let Shapes::Network { .. } = shapes {
        let mut all = vec![
            (Conv3x3, conv([4, 48, 48, 1], 32, 1), false),
            (Winograd, conv([4, 48, 48, 32], 32, 1), false),
            (Conv3x3, conv([4, 3, 3, 256], 128, 1), false),
        ];
        for [map, cin, cout] in [[48, 32, 32], [24, 32, 64], [12, 64, 128], [6, 128, 256]] {
            all.push((DwPw, conv([4, map, map, cin], cout, 1), false));
            all.push((DwPw, conv([4, map, map, cout], cout, 1), false));
            all.push((Pointwise, conv([4, map, map, cin], cout, 2), true));
        }
        return all;
    }
    let mut all = Vec::new();
    let maps = [[1, 1], [2, 3], [6, 6], [5, 7], [13, 8]];
    let channels = [[1, 1], [1, 33], [3, 16], [8, 7], [9, 24], [16, 17], [17, 40], [33, 128]];
    for (i, [h, w]) in maps.into_iter().enumerate() {
        for (j, [cin, cout]) in channels.into_iter().enumerate() {
            let x = [1 + (i + j) % 3, h, w, cin];
            for kind in [Conv3x3, Winograd, DwPw, Pointwise] {
                all.push((kind, conv(x, cout, 1), false));
            }
            all.push((Pointwise, conv(x, cout, 2), false));
            all.push((Pointwise, conv(x, cout, 2), true));
        }
    }
    // Every width around lanes and tiles.
    for (i, c) in (1..=17).chain(31..=33).enumerate() {
        let x = [1 + i % 3, 3, 5, c];
        for kind in [Conv3x3, Winograd, DwPw, Pointwise] {
            all.push((kind, conv(x, 18usize.abs_diff(c), 1), false));
        }
        all.push((Pointwise, conv(x, 18usize.abs_diff(c), 2), true));
    }
    // Several tasks: of rows, of images, of columns.
    all.push((Conv3x3, conv([1, 24, 25, 1], 33, 1), false));
    all.push((Conv3x3, conv([2, 3, 3, 129], 128, 1), false));
    all.push((Winograd, conv([1, 20, 48, 32], 32, 1), false));
    all.push((Winograd, conv([9, 9, 10, 17], 31, 1), false));
    all.push((DwPw, conv([1, 24, 24, 32], 63, 1), false));
    all.push((DwPw, conv([2, 6, 6, 128], 255, 1), false));
    all.push((Pointwise, conv([1, 24, 24, 32], 66, 2), true));
    all.push((Pointwise, conv([3, 13, 12, 64], 127, 2), true));
    all
}

pub(super) fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all: Vec<Box<dyn Case>> = Vec::new();
    let stems: &[_] = match shapes {
        Shapes::Network { .. } => &[([4, 48, 48], 32, 32)],
        Shapes::Remainders => &[
            ([1, 1, 1], 1, 1),
            ([2, 3, 5], 9, 17),
            ([3, 8, 7], 16, 8),
            ([1, 9, 13], 17, 33),
            ([2, 30, 14], 32, 31),
            ([1, 48, 48], 16, 32),
            ([2, 61, 40], 24, 16),
            ([1, 9, 101], 9, 17),
        ],
    };
    for &(x, c, cout) in stems {
        all.push(stem(x, c, cout, true));
        all.push(stem(x, c, cout, false));
    }
    for (i, (kind, conv, end)) in list(shapes).into_iter().enumerate() {
        // The second of a pair differs in everything that is not the shape.
        let relu = i % 2 == 0;
        all.push(Box::new(Layer { layer: Folded { kind, conv, relu, threads: true }, end }));
        if shapes == Shapes::Remainders {
            all.push(Box::new(Layer { layer: Folded { kind, conv, relu: !relu, threads: false }, end }));
        }
    }
    all
}
