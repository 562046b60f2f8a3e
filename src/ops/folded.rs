//! Inference: a convolution with the batch norm behind it folded into weights and bias, and an optional ReLU; and
//! the end of a residual block.

use super::{Backward, Forward, Operands, Operation, Run, Scratch, Spec};
use crate::graph::{Graph, Param, Var};
use moue_kernels::{Element, Folded, FoldedKind};

#[derive(Debug)]
struct FoldedConv(Folded);

#[derive(Debug)]
struct ResidualEnd(Folded);

#[derive(Debug)]
struct Stem([Folded; 2]);

impl Graph {
    /// y = convolution(x) + bias, then max(y, 0) if `layer` says so. Forward only.
    ///
    /// `prepared`, `[layer.prepared_len()]`, holds what [`moue_kernels::FoldedKernels::folded_prepare`] made of
    /// weights and bias.
    pub fn folded(&mut self, x: Var, layer: Folded, prepared: Param) -> Var {
        self.require(layer.conv.x == self.shape(x), "folded", &layer.conv.x.to_string(), self.shape(x));
        self.require_prepared("folded", &layer, prepared);
        let stride = layer.conv.stride;
        let strided = layer.kind == FoldedKind::Pointwise && stride == 2;
        self.require(stride == 1 || strided, "folded", "stride 1, or a pointwise layer", stride);
        self.push(FoldedConv(layer), &[x], Operands { params: vec![prepared], ..Default::default() })
    }

    /// y = max pool(h) + convolution(x) + bias, then max(y, 0) if `layer`, which is pointwise with stride 2, says
    /// so. `h` is `[n, h, w, cout]`. Forward only.
    pub fn residual_end(&mut self, h: Var, x: Var, layer: Folded, prepared: Param) -> Var {
        let shapes = [layer.conv.x.with_c(layer.conv.cout), layer.conv.x];
        let got = [self.shape(h), self.shape(x)];
        self.require(got == shapes, "residual_end", &format!("{shapes:?}"), format!("{got:?}"));
        let shortcut = layer.kind == FoldedKind::Pointwise && layer.conv.stride == 2;
        self.require(shortcut, "residual_end", "a pointwise layer of stride 2", format!("{layer:?}"));
        self.require_prepared("residual_end", &layer, prepared);
        self.push(ResidualEnd(layer), &[h, x], Operands { params: vec![prepared], ..Default::default() })
    }

    /// y = layer 1(layer 0(x)): the input module, two standard 3x3 convolutions from one channel, without the value
    /// in between. The second is by Winograd's filtering. Forward only.
    pub fn folded_stem(&mut self, x: Var, layers: [Folded; 2], prepared: [Param; 2]) -> Var {
        let [before, conv] = layers.map(|layer| layer.conv);
        let kinds = layers.map(|layer| layer.kind) == [FoldedKind::Conv3x3, FoldedKind::Winograd];
        let fits = before.x == self.shape(x) && before.x.c == 1 && before.y() == conv.x;
        let plain = before.stride == 1 && conv.stride == 1;
        let expected = format!("two layers behind each other on {}, one channel", self.shape(x));
        self.require(kinds && fits && plain, "stem", &expected, format!("{layers:?}"));
        for i in 0..2 {
            self.require_prepared("stem", &layers[i], prepared[i]);
        }
        self.push(Stem(layers), &[x], Operands { params: prepared.to_vec(), ..Default::default() })
    }

    fn require_prepared(&mut self, op: &'static str, layer: &Folded, prepared: Param) {
        let dims = self.dims(prepared).to_vec();
        let expected = format!("prepared weights [{}]", layer.prepared_len());
        self.require(dims == [layer.prepared_len()], op, &expected, format!("{dims:?}"));
    }
}

fn spec(name: &'static str, layer: &Folded) -> Spec {
    Spec { macs: layer.macs() as u64, forward_only: true, ..Spec::new(name, layer.conv.y()) }
}

impl Operation for FoldedConv {
    fn spec(&self) -> Spec {
        let name = match self.0.kind {
            FoldedKind::Conv3x3 => "folded_conv3x3",
            FoldedKind::Winograd => "folded_winograd",
            FoldedKind::DwPw => "folded_dw_pw",
            FoldedKind::Pointwise => "folded_pointwise",
        };
        spec(name, &self.0)
    }
}

impl<T: Element> Run<T> for FoldedConv {
    fn scratch(&self) -> Scratch {
        Scratch { forward: T::folded_scratch(&self.0), backward: 0 }
    }

    fn forward(&self, io: Forward<'_, T>) {
        T::folded_forward(io.isa, &self.0, io.x[0], io.w[0], io.y, io.scratch);
    }

    fn backward(&self, _: Backward<'_, T>) {
        unreachable!("compile refuses operations that are forward only");
    }
}

impl Operation for ResidualEnd {
    fn spec(&self) -> Spec {
        spec("residual_end", &self.0)
    }
}

impl<T: Element> Run<T> for ResidualEnd {
    fn forward(&self, io: Forward<'_, T>) {
        T::residual_end(io.isa, &self.0, io.x[0], io.x[1], io.w[0], io.y);
    }

    fn backward(&self, _: Backward<'_, T>) {
        unreachable!("compile refuses operations that are forward only");
    }
}

impl Operation for Stem {
    fn spec(&self) -> Spec {
        let [before, layer] = &self.0;
        Spec { macs: (before.macs() + layer.macs()) as u64, ..spec("stem", layer) }
    }
}

impl<T: Element> Run<T> for Stem {
    fn scratch(&self) -> Scratch {
        Scratch { forward: T::stem_scratch(&self.0), backward: 0 }
    }

    fn forward(&self, io: Forward<'_, T>) {
        T::stem_forward(io.isa, &self.0, io.x[0], [io.w[0], io.w[1]], io.y, io.scratch);
    }

    fn backward(&self, _: Backward<'_, T>) {
        unreachable!("compile refuses operations that are forward only");
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Phase, Var};
    use crate::params::Init;
    use moue_datasets::Rng;
    use moue_kernels::{Conv, Folded, FoldedKind, Isa, Shape};

    const SHAPE: Shape = Shape::new(2, 5, 4, 3);

    fn layer(kind: FoldedKind, stride: usize) -> Folded {
        Folded { kind, conv: Conv { x: SHAPE, cout: 4, stride }, relu: false, threads: true }
    }

    fn record(g: &mut Graph) -> Var {
        let layer = layer(FoldedKind::Pointwise, 1);
        let x = g.input([SHAPE.n, SHAPE.h, SHAPE.w, SHAPE.c]);
        let w = g.param("w", &[layer.prepared_len()], Init::Constant(0.0));
        g.folded(x, layer, w)
    }

    #[test]
    fn compile_refuses_to_train() {
        let mut g = Graph::new(Phase::Eval);
        record(&mut g);
        g.init_params(&mut Rng::new(0));
        assert!(g.compile_forward::<f32>(Isa::fastest()).is_ok());
        let mut g = Graph::new(Phase::Eval);
        let y = record(&mut g);
        let error = g.compile::<f32>(y, Isa::fastest()).unwrap_err().to_string();
        assert!(error.contains("folded_pointwise") && error.contains("without a backward pass"), "{error}");
    }

    #[test]
    fn wrong_operands_are_named() {
        let complaint = |kind, stride, len: usize| {
            let mut g = Graph::new(Phase::Eval);
            let x = g.input([SHAPE.n, SHAPE.h, SHAPE.w, SHAPE.c]);
            let w = g.param("w", &[len], Init::Constant(0.0));
            g.folded(x, layer(kind, stride), w);
            g.compile_forward::<f32>(Isa::fastest()).unwrap_err().to_string()
        };
        assert!(complaint(FoldedKind::DwPw, 1, 1).contains("prepared weights ["));
        let len = layer(FoldedKind::Conv3x3, 2).prepared_len();
        assert!(complaint(FoldedKind::Conv3x3, 2, len).contains("stride 1"));
    }
}
