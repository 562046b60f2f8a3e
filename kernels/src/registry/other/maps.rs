use super::super::{Bound, Case, Entry, Fill, Shapes};
use super::{MODES, grad, map_shapes, named, with_previous, with_ties};
use crate::{Element, Isa, Mode, PoolKernels, Shape};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    MaxPool,
    MaxPoolBackward,
    GlobalAvg,
    GlobalAvgBackward,
    GlobalMax,
    GlobalMaxBackward,
    ChannelPool,
    ChannelPoolBackward,
    ScaleChannels,
    ScaleChannelsBackward,
    ScalePixels,
    ScalePixelsBackward,
}
use Pass::*;

const FORWARD: [Pass; 6] = [MaxPool, GlobalAvg, GlobalMax, ChannelPool, ScaleChannels, ScalePixels];
const BACKWARD: [Pass; 6] = [
    MaxPoolBackward,
    GlobalAvgBackward,
    GlobalMaxBackward,
    ChannelPoolBackward,
    ScaleChannelsBackward,
    ScalePixelsBackward,
];

/// Pooling and the products with attention maps.
struct Map {
    pass: Pass,
    shape: Shape,
    mode: Mode,
}

pub(super) fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all: Vec<Box<dyn Case>> = Vec::new();
    for shape in map_shapes(shapes) {
        for pass in FORWARD {
            all.push(Box::new(Map { pass, shape, mode: Mode::Set }));
        }
        for pass in BACKWARD {
            for mode in MODES {
                all.push(Box::new(Map { pass, shape, mode }));
            }
        }
    }
    all
}

fn bytes<T: Element>(x: &[T]) -> Vec<u8> {
    x.iter().map(|x| x.to_f64() as u8).collect()
}

impl Entry for Map {
    fn name(&self) -> String {
        let name = match self.pass {
            MaxPool => "max_pool_forward",
            MaxPoolBackward => "max_pool_backward",
            GlobalAvg => "global_avg_forward",
            GlobalAvgBackward => "global_avg_backward",
            GlobalMax => "global_max_forward",
            GlobalMaxBackward => "global_max_backward",
            ChannelPool => "channel_pool_forward",
            ChannelPoolBackward => "channel_pool_backward",
            ScaleChannels => "scale_channels_forward",
            ScaleChannelsBackward => "scale_channels_backward",
            ScalePixels => "scale_pixels_forward",
            ScalePixelsBackward => "scale_pixels_backward",
        };
        named(name, self.mode)
    }

    fn shape(&self) -> String {
        self.shape.to_string()
    }

    fn inputs(&self) -> Vec<(usize, Fill)> {
        let (x, pixels) = (self.shape.len(), self.shape.pixels());
        let (half, global) = (self.shape.halved().len(), self.shape.n * self.shape.c);
        let inputs = match self.pass {
            MaxPool | GlobalAvg | GlobalMax | ChannelPool => vec![x],
            // x, dy and, prepared, what the forward pass leaves.
            MaxPoolBackward => vec![x, half, half],
            GlobalMaxBackward => vec![x, global, global],
            ChannelPoolBackward => vec![x, 2 * pixels, 2 * pixels],
            GlobalAvgBackward => vec![global],
            ScaleChannels => vec![x, global],
            ScaleChannelsBackward => vec![x, global, x],
            ScalePixels => vec![x, pixels],
            ScalePixelsBackward => vec![x, pixels, x],
        };
        let mut inputs: Vec<_> = inputs.into_iter().map(|len| (len, Fill::Signed)).collect();
        if matches!(self.pass, MaxPoolBackward | GlobalMaxBackward | ChannelPoolBackward) {
            inputs[2].1 = Fill::Prepared;
        }
        with_previous(self.mode, inputs, &self.outputs())
    }

    fn outputs(&self) -> Vec<usize> {
        let (x, pixels) = (self.shape.len(), self.shape.pixels());
        let (half, global) = (self.shape.halved().len(), self.shape.n * self.shape.c);
        match self.pass {
            // The index is compared as numbers.
            MaxPool => vec![half, half],
            GlobalAvg | GlobalMax => vec![global],
            ChannelPool => vec![2 * pixels],
            ScaleChannelsBackward => vec![x, global],
            ScalePixelsBackward => vec![x, pixels],
            _ => vec![x],
        }
    }

    fn scratch<T: Element>(&self) -> usize {
        0
    }

    fn bounds(&self) -> Vec<Bound> {
        let (map, c) = (self.shape.h * self.shape.w, self.shape.c);
        let one_sum = if self.mode == Mode::Set { Bound::Exact } else { Bound::Relative(1) };
        match self.pass {
            MaxPool => vec![Bound::Exact; 2],
            GlobalMax => vec![Bound::Exact],
            // A pixel is in at most four windows.
            MaxPoolBackward => vec![Bound::Products(5)],
            GlobalMaxBackward => vec![one_sum],
            GlobalAvg => vec![Bound::Products(map + 2)],
            GlobalAvgBackward => vec![Bound::Products(3)],
            // Of |x| <= 1: a mean of c values in 8 lanes, each sum rounded to half an eps of its size.
            ChannelPool => vec![Bound::Relative(c / 8 + 8)],
            ChannelPoolBackward => vec![Bound::Relative(3)],
            ScaleChannels | ScalePixels => vec![Bound::Products(1)],
            ScaleChannelsBackward => vec![Bound::Products(2), Bound::Products(map + 1)],
            ScalePixelsBackward => vec![Bound::Products(2), Bound::Products(c + 1)],
        }
    }

    fn prepare(&self, inputs: &mut [Vec<f64>]) {
        let (isa, shape) = (Isa::fastest(), self.shape);
        match (self.pass, inputs) {
            (MaxPool | GlobalMax, [x, ..]) => with_ties(x),
            (MaxPoolBackward, [x, _, index, ..]) => {
                with_ties(x);
                let (mut y, mut found) = (vec![0.0; index.len()], vec![0; index.len()]);
                f64::max_pool_forward(isa, shape, x, &mut y, &mut found);
                index.iter_mut().zip(found).for_each(|(i, f)| *i = f.into());
            }
            (GlobalMaxBackward, [x, _, y, ..]) => {
                with_ties(x);
                f64::global_max_forward(isa, shape, x, y);
            }
            (ChannelPoolBackward, [x, _, y, ..]) => {
                with_ties(x);
                crate::AttentionKernels::channel_pool_forward(isa, shape, x, y);
            }
            _ => {}
        }
    }

    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], _: &mut [T]) {
        let (s, mode) = (self.shape, self.mode);
        let previous = &i[i.len() - if mode == Mode::Add { o.len() } else { 0 }..];
        let (first, rest) = o.split_first_mut().expect("an output");
        match self.pass {
            MaxPool => {
                let mut index = vec![99; first.len()];
                T::max_pool_forward(isa, s, i[0], first, &mut index);
                rest[0].iter_mut().zip(index).for_each(|(to, k)| *to = T::from_f64(k.into()));
            }
            GlobalAvg => T::global_avg_forward(isa, s, i[0], first),
            GlobalMax => T::global_max_forward(isa, s, i[0], first),
            ChannelPool => T::channel_pool_forward(isa, s, i[0], first),
            ScaleChannels => T::scale_channels_forward(isa, s, i[0], i[1], first),
            ScalePixels => T::scale_pixels_forward(isa, s, i[0], i[1], first),
            pass => {
                let dx = grad(mode, first, previous, 0);
                let second = rest.first_mut().map(|second| grad(mode, second, previous, 1));
                match pass {
                    MaxPoolBackward => T::max_pool_backward(isa, s, &bytes(i[2]), i[1], dx),
                    GlobalAvgBackward => T::global_avg_backward(isa, s, i[0], dx),
                    GlobalMaxBackward => T::global_max_backward(isa, s, i[0], i[2], i[1], dx),
                    ChannelPoolBackward => T::channel_pool_backward(isa, s, i[0], i[2], i[1], dx),
                    ScaleChannelsBackward => {
                        T::scale_channels_backward(isa, s, i[0], i[1], i[2], Some(dx), second);
                    }
                    _ => T::scale_pixels_backward(isa, s, i[0], i[1], i[2], Some(dx), second),
                }
            }
        }
    }

    fn flops(&self) -> f64 {
        let per_element = match self.pass {
            MaxPool | MaxPoolBackward => 9.0 / 4.0,
            ScaleChannelsBackward | ScalePixelsBackward => 3.0,
            ChannelPool => 2.0,
            _ => 1.0,
        };
        per_element * self.shape.len() as f64
    }
}
