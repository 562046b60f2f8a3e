//! Tensors in the layouts that ONNX and PyTorch share: convolutions' weights OIHW, dense layers' \[outputs, inputs\],
//! and maps flattened in the order c, h, w.

use crate::graph::Graph;
use crate::params::ParamSpec;
use std::collections::HashMap;

/// How a parameter of the engine becomes one of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Dimensions here; flattened maps are taken apart.
    ours: Vec<usize>,
    /// Which of these dimensions comes first there, second, and so on.
    axes: Vec<usize>,
    /// Dimensions there.
    pub(super) theirs: Vec<usize>,
}

impl Layout {
    /// As it is.
    pub(super) fn same(dims: &[usize]) -> Self {
        Self { ours: dims.to_vec(), axes: (0..dims.len()).collect(), theirs: dims.to_vec() }
    }

    /// Of the parameter with these dimensions that node `at` of an elementary graph reads.
    fn of(graph: &Graph, at: usize, dims: &[usize]) -> Self {
        let node = &graph.nodes[at];
        let name = node.op.as_ref().map_or("", |op| op.spec().name);
        let (ours, axes, theirs) = match (name, dims) {
            ("conv3x3", &[h, w, i, o]) => (dims.to_vec(), vec![3, 2, 0, 1], vec![o, i, h, w]),
            ("dwconv", &[h, w, c]) => (dims.to_vec(), vec![2, 0, 1], vec![c, 1, h, w]),
            ("conv7x7", &[h, w, c]) => (dims.to_vec(), vec![2, 0, 1], vec![1, c, h, w]),
            ("pointwise", &[i, o]) => {
                let x = graph.shape(node.inputs[0]);
                let before = &graph.nodes[node.inputs[0].0];
                let flat = before.op.as_ref().is_some_and(|op| op.spec().name == "flatten");
                if flat {
                    let map = graph.shape(before.inputs[0]);
                    (vec![map.h, map.w, map.c, o], vec![3, 2, 0, 1], vec![o, i])
                } else if (x.h, x.w) == (1, 1) {
                    (dims.to_vec(), vec![1, 0], vec![o, i])
                } else {
                    (dims.to_vec(), vec![1, 0], vec![o, i, 1, 1])
                }
            }
            _ => return Self::same(dims),
        };
        Self { ours, axes, theirs }
    }

    /// In their order.
    pub(super) fn convert(&self, values: &[f32]) -> Vec<f32> {
        self.places().map(|place| values[place]).collect()
    }

    /// In ours again.
    pub(super) fn revert(&self, values: &[f32], to: &mut [f32]) {
        self.places().zip(values).for_each(|(place, &value)| to[place] = value);
    }

    /// Places of the elements here, in the order in which they stand there.
    fn places(&self) -> impl Iterator<Item = usize> {
        let mut strides = vec![1; self.ours.len()];
        for i in (1..self.ours.len()).rev() {
            strides[i - 1] = strides[i] * self.ours[i];
        }
        let dims: Vec<(usize, usize)> =
            self.axes.iter().map(|&axis| (self.ours[axis], strides[axis])).collect();
        (0..self.ours.iter().product()).map(move |mut index: usize| {
            let mut place = 0;
            for &(len, stride) in dims.iter().rev() {
                place += index % len * stride;
                index /= len;
            }
            place
        })
    }
}

/// The layout of each parameter that the operations of an elementary graph read, by name.
pub(super) fn layouts(graph: &Graph) -> HashMap<String, Layout> {
    let specs = graph.param_specs().0;
    let read = |at: usize| graph.nodes[at].params.iter().map(move |param| (at, &specs[param.0]));
    let all = (0..graph.nodes.len()).flat_map(read);
    all.map(|(at, ParamSpec { name, dims, .. })| (name.clone(), Layout::of(graph, at, dims))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Phase;
    use crate::params::Init;

    #[test]
    fn elements_go_where_their_indices_say() {
        // [2, 3, 4] with the last axis first.
        let layout = Layout { ours: vec![2, 3, 4], axes: vec![2, 0, 1], theirs: vec![4, 2, 3] };
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let there = layout.convert(&values);
        for (i, j, k) in [(0, 0, 0), (1, 2, 3), (1, 0, 2), (0, 1, 3)] {
            assert_eq!(there[(k * 2 + i) * 3 + j], values[(i * 3 + j) * 4 + k]);
        }
        let mut back = vec![0.0; 24];
        layout.revert(&there, &mut back);
        assert_eq!(back, values);
    }

    /// The same parameter dimensions mean other things behind other operations.
    #[test]
    fn the_reader_decides() {
        let mut g = Graph::new(Phase::Eval);
        let x = g.input([1, 2, 3, 4]);
        let names = ["pixels", "flat", "dense"];
        let dims = [[4, 4], [24, 5], [5, 6]];
        let w: Vec<_> = (0..3).map(|i| g.param(names[i], &dims[i], Init::Constant(0.0))).collect();
        let h = g.pointwise(x, w[0], 1);
        let h = g.flatten(h);
        let h = g.pointwise(h, w[1], 1);
        g.pointwise(h, w[2], 1);
        let layouts = layouts(&g);
        assert_eq!(names.map(|name| &layouts[name].theirs[..]), [&[4, 4, 1, 1][..], &[5, 24], &[6, 5]]);
        // Input (h, w, c) = (1, 2, 3) of output 4 stands at (1 * 3 + 2) * 4 + 3 here and at (3 * 2 + 1) * 3 + 2 there.
        let values: Vec<f32> = (0..24 * 5).map(|i| i as f32).collect();
        assert_eq!(layouts["flat"].convert(&values)[4 * 24 + 23], values[23 * 5 + 4]);
        assert_eq!(
            layouts["flat"].convert(&values)[4 * 24 + 3 * 6 + 3 + 1],
            values[((3 + 1) * 4 + 3) * 5 + 4]
        );
    }
}
