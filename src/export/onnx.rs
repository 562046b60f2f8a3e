//! A trained network as an ONNX model: a walk over its elementary operations.

use super::layout::{Layout, layouts};
use super::proto::{self, Attribute, Entry, FLOAT, INT, INT64, INTS, Node, Tensor, ValueInfo};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::Elementary;
use crate::weights::Weights;
use moue_datasets::SIDE;
use moue_kernels::Shape;
use prost::Message;
use std::collections::HashMap;

/// Version of ONNX's operators: the last one with the axes of all reductions as attributes.
const OPSET: i64 = 17;
/// Version of the file format that came with it.
const IR_VERSION: i64 = 8;

/// Smallest length that a row is divided by, as in [`Graph::l2_normalize`].
const SHORTEST: f32 = 1e-12;

const INPUT: &str = "faces";
const LOGITS: &str = "logits";
const PROBABILITIES: &str = "probabilities";

impl Weights {
    /// The network as an ONNX model (opset 17, float32), ready to be written to a file.
    ///
    /// Input `faces` `[N, 1, 48, 48]`: grey values from 0 to 255, N free; the normalisation is part of the model.
    /// Outputs `[N, classes]`: `logits`, times [`Weights::softmax_scale`], and `probabilities`, their
    /// softmax. Batch norms are folded into the convolutions. The metadata names `model`, `loss`,
    /// `classes` (a JSON array in the order of the outputs), `mean` and `std`.
    ///
    /// # Errors
    /// Parameters of another model, or an operation without a form in ONNX.
    pub fn to_onnx(&self) -> Result<Vec<u8>> {
        let net = self.model.elementary(&self.params, 1)?;
        let mut writer = Writer::new(&net);
        let (factor, addend) = self.normalisation.affine();
        let factor = writer.scalar("normalise.factor", factor);
        let addend = writer.scalar("normalise.addend", addend);
        writer.emit("Mul", &[INPUT, &factor], "scaled_faces", []);
        writer.emit("Add", &["scaled_faces", &addend], "normalised_faces", []);
        writer.values[net.input.0] = Value::Named("normalised_faces".to_owned());
        for at in 0..net.graph.nodes.len() {
            writer.node(at)?;
        }
        let scores = writer.named(net.logits)?;
        writer.emit("Flatten", &[&scores], "scores", [int("axis", 1)]);
        let scale = writer.scalar("logit_scale", self.softmax_scale() as f32);
        writer.emit("Mul", &["scores", &scale], LOGITS, []);
        writer.emit("Softmax", &[LOGITS], PROBABILITIES, [int("axis", 1)]);
        Ok(self.model_proto(writer).encode_to_vec())
    }

    fn model_proto(&self, writer: Writer<'_>) -> proto::Model {
        let side = SIDE as i64;
        let classes = self.model.classes as i64;
        let grey = "grey values from 0 to 255, not normalised";
        let graph = proto::Graph {
            name: self.model.name().to_owned(),
            node: writer.nodes,
            initializer: writer.initializers,
            input: vec![value_info(INPUT, &[1, side, side], grey)],
            output: vec![
                value_info(PROBABILITIES, &[classes], "softmax of the logits"),
                value_info(LOGITS, &[classes], "scores of the classes"),
            ],
        };
        let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
        let classes = serde_json::to_string(&self.classes).expect("strings");
        proto::Model {
            ir_version: IR_VERSION,
            producer_name: "moue".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string: format!("Facial expressions: {INPUT} are {grey}; the model normalises them itself"),
            graph: Some(graph),
            opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPSET }],
            metadata_props: vec![
                entry("model", self.model.name().to_owned()),
                entry("loss", self.model.loss.name().to_owned()),
                entry("classes", classes),
                entry("mean", self.normalisation.mean.to_string()),
                entry("std", self.normalisation.std.to_string()),
            ],
        }
    }
}

/// `[N, dims]` of float32.
fn value_info(name: &str, dims: &[i64], text: &str) -> ValueInfo {
    let known = |&n: &i64| proto::Dimension { dim_value: Some(n), dim_param: None };
    let free = proto::Dimension { dim_value: None, dim_param: Some("N".to_owned()) };
    let dim = std::iter::once(free).chain(dims.iter().map(known)).collect();
    let tensor_type = proto::TensorType { elem_type: FLOAT, shape: Some(proto::TensorShape { dim }) };
    let r#type = Some(proto::Type { tensor_type: Some(tensor_type) });
    ValueInfo { name: name.to_owned(), r#type, doc_string: text.to_owned() }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i: Some(i), ints: Vec::new(), r#type: INT }
}

fn ints(name: &str, values: impl Into<Vec<i64>>) -> Attribute {
    Attribute { name: name.to_owned(), i: None, ints: values.into(), r#type: INTS }
}

/// What a recorded value is in the ONNX graph. Maps are NCHW, vectors `[N, c, 1, 1]`.
enum Value {
    /// An output of a node.
    Named(String),
    /// Rows of a parameter, `[rows, c]`, known already.
    Rows { name: String, rows: Vec<f32> },
}

/// Collects nodes and initialisers.
struct Writer<'a> {
    net: &'a Elementary<f32>,
    layouts: HashMap<String, Layout>,
    /// One for each node of the recorded graph.
    values: Vec<Value>,
    nodes: Vec<Node>,
    initializers: Vec<Tensor>,
}

impl<'a> Writer<'a> {
    fn new(net: &'a Elementary<f32>) -> Self {
        let values = net.graph.nodes.iter().map(|_| Value::Named(String::new())).collect();
        let layouts = layouts(&net.graph);
        Self { net, layouts, values, nodes: Vec::new(), initializers: Vec::new() }
    }

    fn graph(&self) -> &'a Graph {
        &self.net.graph
    }

    /// Adds a node, which is called as its output.
    fn emit<const N: usize>(&mut self, op: &str, inputs: &[&str], output: &str, attributes: [Attribute; N]) {
        self.nodes.push(Node {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op.to_owned(),
            attribute: attributes.into(),
        });
    }

    /// Adds an initialiser unless it is there; returns its name.
    fn initializer(&mut self, name: &str, data_type: i32, dims: &[usize], raw_data: Vec<u8>) -> String {
        if !self.initializers.iter().any(|tensor| tensor.name == name) {
            let dims = dims.iter().map(|&n| n as i64).collect();
            self.initializers.push(Tensor { dims, data_type, name: name.to_owned(), raw_data });
        }
        name.to_owned()
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.initializer(name, FLOAT, dims, bytes)
    }

    fn scalar(&mut self, name: &str, value: f32) -> String {
        self.floats(name, &[], &[value])
    }

    /// The name of a value that a node computes.
    fn named(&self, var: Var) -> Result<String> {
        match &self.values[var.0] {
            Value::Named(name) => Ok(name.clone()),
            Value::Rows { name, .. } => Err(unknown("read", format!("`{name}` among values"))),
        }
    }

    /// Adds what node `at` of the recorded graph computes.
    fn node(&mut self, at: usize) -> Result<()> {
        let node = &self.graph().nodes[at];
        let Some(op) = &node.op else { return Ok(()) };
        let (kind, y) = (op.spec().name, format!("{}_{at}", op.spec().name));
        match kind {
            "read" => return self.rows(at),
            "bias" => return self.bias(at),
            "l2_normalize" => return self.l2_normalize(at, y),
            "matmul_nt" => return self.matmul_nt(at, y),
            _ => {}
        }
        let x: Vec<String> = node.inputs.iter().map(|&x| self.named(x)).collect::<Result<_>>()?;
        let x: Vec<&str> = x.iter().map(String::as_str).collect();
        match kind {
            "conv3x3" => self.conv(at, &x, &y, 3, 1),
            "dwconv" => self.conv(at, &x, &y, 3, node.shape.c),
            "conv7x7" => self.conv(at, &x, &y, 7, 1),
            "pointwise" => self.conv(at, &x, &y, 1, 1),
            "relu" => self.emit("Relu", &x, &y, []),
            "sigmoid" => self.emit("Sigmoid", &x, &y, []),
            "add" => self.emit("Add", &x, &y, []),
            "add_relu" => {
                let sum = format!("{y}.sum");
                self.emit("Add", &x, &sum, []);
                self.emit("Relu", &[&sum], &y, []);
            }
            // Both factors' missing dimensions are 1.
            "scale_channels" | "scale_pixels" => self.emit("Mul", &x, &y, []),
            "max_pool" => {
                let window = [ints("kernel_shape", [3; 2]), ints("strides", [2; 2]), ints("pads", [1; 4])];
                self.emit("MaxPool", &x, &y, window);
            }
            "global_avg" => self.emit("GlobalAveragePool", &x, &y, []),
            "global_max" => self.emit("GlobalMaxPool", &x, &y, []),
            "channel_pool" => {
                let (mean, max) = (format!("{y}.mean"), format!("{y}.max"));
                self.emit("ReduceMean", &x, &mean, [ints("axes", [1]), int("keepdims", 1)]);
                self.emit("ReduceMax", &x, &max, [ints("axes", [1]), int("keepdims", 1)]);
                self.emit("Concat", &[&mean, &max], &y, [int("axis", 1)]);
            }
            // In the order c, h, w, which the weights behind it are laid out for.
            "flatten" => {
                let shape = [0, node.shape.c as i64, 1, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
                let shape = self.initializer(&format!("{y}.shape"), INT64, &[4], shape);
                self.emit("Reshape", &[x[0], &shape], &y, []);
            }
            _ => return Err(unknown(kind, kind)),
        }
        self.values[at] = Value::Named(y);
        Ok(())
    }

    /// A convolution of `side` x `side` windows around each pixel, or each second one.
    fn conv(&mut self, at: usize, x: &[&str], y: &str, side: usize, group: usize) {
        let node = &self.graph().nodes[at];
        let spec = &self.graph().param_specs().0[node.params[0].0];
        let layout = self.layouts[&spec.name].clone();
        let values = layout.convert(self.net.params.get(&spec.name).expect("a recorded parameter"));
        // The weights of dense layers are those of a convolution on a map of one pixel.
        let mut dims = layout.theirs;
        dims.resize(4, 1);
        let w = self.floats(&spec.name, &dims, &values);
        self.emit(
            "Conv",
            &[x[0], &w],
            y,
            geometry(self.graph().shape(node.inputs[0]), node.shape, side, group),
        );
    }

    /// A bias, which belongs to the convolution in front of it.
    fn bias(&mut self, at: usize) -> Result<()> {
        let node = &self.graph().nodes[at];
        let x = self.named(node.inputs[0])?;
        let spec = &self.graph().param_specs().0[node.params[0].0];
        let values = self.net.params.get(&spec.name).expect("a recorded parameter");
        let b = self.floats(&spec.name, &spec.dims, values);
        let conv = self.nodes.last_mut().filter(|node| node.op_type == "Conv" && node.output[0] == x);
        conv.ok_or_else(|| unknown("bias", "a bias without a convolution"))?.input.push(b);
        self.values[at] = Value::Named(x);
        Ok(())
    }

    fn rows(&mut self, at: usize) -> Result<()> {
        let node = &self.graph().nodes[at];
        let name = self.graph().param_specs().0[node.params[0].0].name.clone();
        let rows = self.net.params.get(&name).expect("a recorded parameter").to_vec();
        self.values[at] = Value::Rows { name, rows };
        Ok(())
    }

    fn l2_normalize(&mut self, at: usize, y: String) -> Result<()> {
        let node = &self.graph().nodes[at];
        self.values[at] = match &self.values[node.inputs[0].0] {
            Value::Rows { name, rows } => {
                let rows = rows.chunks_exact(node.shape.c).flat_map(normalized).collect();
                Value::Rows { name: name.clone(), rows }
            }
            Value::Named(x) => {
                let (x, norm, divisor) = (x.clone(), format!("{y}.norm"), format!("{y}.divisor"));
                let shortest = self.scalar("shortest", SHORTEST);
                self.emit("ReduceL2", &[&x], &norm, [ints("axes", [1]), int("keepdims", 1)]);
                self.emit("Max", &[&norm, &shortest], &divisor, []);
                self.emit("Div", &[&x, &divisor], &y, []);
                Value::Named(y)
            }
        };
        Ok(())
    }

    /// Rows of known numbers are the weights of a dense layer.
    fn matmul_nt(&mut self, at: usize, y: String) -> Result<()> {
        let node = &self.graph().nodes[at];
        let x = self.named(node.inputs[0])?;
        let Value::Rows { name, rows } = &self.values[node.inputs[1].0] else {
            return Err(unknown("matmul_nt", "two computed factors"));
        };
        let (name, rows) = (name.clone(), rows.clone());
        let (inputs, outputs) = (self.graph().shape(node.inputs[0]), node.shape);
        let w = self.floats(&name, &[outputs.c, inputs.c, 1, 1], &rows);
        self.emit("Conv", &[&x, &w], &y, geometry(inputs, outputs, 1, 1));
        self.values[at] = Value::Named(y);
        Ok(())
    }
}

/// Attributes of a convolution.
fn geometry(x: Shape, y: Shape, side: usize, group: usize) -> [Attribute; 4] {
    let stride = if y.h < x.h { 2 } else { 1 };
    [
        ints("kernel_shape", [side as i64; 2]),
        ints("strides", [stride; 2]),
        ints("pads", [side as i64 / 2; 4]),
        int("group", group as i64),
    ]
}

/// A row of length one, as [`Graph::l2_normalize`] makes it.
fn normalized(row: &[f32]) -> impl Iterator<Item = f32> {
    let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(SHORTEST.into());
    row.iter().map(move |&x| (f64::from(x) / norm) as f32)
}

fn unknown(op: &'static str, got: impl Into<String>) -> Error {
    Error::Operand { op, expected: "an operation that has a form in ONNX".to_owned(), got: got.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::{models, weights};
    use std::collections::BTreeSet;

    fn decoded(weights: &Weights) -> proto::Model {
        proto::Model::decode(&weights.to_onnx().unwrap()[..]).unwrap()
    }

    /// Every name is made before it is read, and what is made is read or an output.
    #[test]
    fn no_name_dangles() {
        for model in models() {
            let graph = decoded(&weights(model)).graph.unwrap();
            let mut known: BTreeSet<&str> = BTreeSet::from([INPUT]);
            for tensor in &graph.initializer {
                let size = if tensor.data_type == FLOAT { 4 } else { 8 };
                assert_eq!(tensor.dims.iter().product::<i64>() as usize * size, tensor.raw_data.len());
                assert!(known.insert(&tensor.name), "{model:?}: {} twice", tensor.name);
            }
            let mut read = BTreeSet::from([LOGITS, PROBABILITIES]);
            for node in &graph.node {
                for name in &node.input {
                    assert!(known.contains(name.as_str()), "{model:?}: {name} in {}", node.name);
                    read.insert(name);
                }
                assert!(known.insert(&node.output[0]), "{model:?}: {} twice", node.output[0]);
            }
            assert_eq!(known, read, "{model:?}");
        }
    }

    /// The paper's network, counted by hand: the input module's 2 convolutions, 5 in each of 4 blocks, the output
    /// module's, the attention's 4 dense calls and its map, and the class weights.
    #[test]
    fn the_network_has_its_layers() {
        let model = models()[5];
        let onnx = decoded(&weights(model));
        let graph = onnx.graph.unwrap();
        let count = |op: &str| graph.node.iter().filter(|node| node.op_type == op).count();
        assert_eq!(count("Conv"), 2 + 5 * 4 + 1 + 5 + 1);
        assert_eq!((count("MaxPool"), count("BatchNormalization"), count("Softmax")), (4, 0, 1));
        let dims = |name: &str| {
            let tensor = graph.initializer.iter().find(|tensor| tensor.name == name);
            tensor.unwrap_or_else(|| panic!("no {name}")).dims.clone()
        };
        assert_eq!(dims("stem.conv1.weight"), [32, 1, 3, 3]);
        assert_eq!(dims("block2.dw1.weight"), [32, 1, 3, 3]);
        assert_eq!(dims("block2.short.weight"), [64, 32, 1, 1]);
        assert_eq!(dims("cbam.spatial.weight"), [1, 2, 7, 7]);
        assert_eq!(dims("head.weight"), [3, 128, 1, 1]);
        assert_eq!((onnx.opset_import[0].version, onnx.ir_version), (OPSET, IR_VERSION));
        let classes = onnx.metadata_props.iter().find(|entry| entry.key == "classes").unwrap();
        assert_eq!(classes.value, r#"["class 0","class 1","class 2"]"#);
        let head = graph.initializer.iter().find(|tensor| tensor.name == "head.weight").unwrap();
        let row = head.raw_data[..512].as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b)));
        assert!((row.map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-6, "class weights have length one");
    }

    #[test]
    fn parameters_of_another_model_are_refused() {
        let [small, large] = [models()[6], models()[0]].map(weights);
        let mixed = Weights { params: small.params, ..large };
        assert!(mixed.to_onnx().unwrap_err().to_string().contains("another model"));
    }
}
