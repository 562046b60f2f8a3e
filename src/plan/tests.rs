//! What a step computes, and what a plan refuses.

use crate::nn::{CbamPosition, Loss, Model};
use crate::{Graph, Init, Isa, Phase, Rng};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bits of loss, gradients and running statistics after a step of DNN-CBAM in an arena that was full of `garbage`.
fn after_a_step(garbage: (f32, u8), loss: Loss) -> Vec<u32> {
    let mut g = Graph::new(Phase::Train);
    let net = Model::new(CbamPosition::Block4, loss, 7).record(&mut g, 3);
    let mut params = g.init_params(&mut Rng::new(1));
    let mut plan = g.compile::<f32>(net.loss, Isa::fastest()).unwrap();
    plan.arena.all().fill(garbage.0);
    plan.index.fill(garbage.1);
    let mut rng = Rng::new(2);
    plan.input_mut(net.input).fill_with(|| rng.range(-1.5, 1.5));
    plan.set_labels(net.labels, &[6, 0, 3]);
    plan.forward(&mut params);
    plan.backward(&mut params);
    let results = [&[plan.loss() as f32][..], &params.grads, &params.buffers].concat();
    results.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_step_reads_nothing_that_it_has_not_written() {
    for loss in [Loss::AM_SOFTMAX, Loss::Softmax] {
        let clean = after_a_step((0.0, 0), loss);
        // NaN shows in sums, but not behind a maximum; large values do.
        for garbage in [(f32::NAN, 0xa5), (1e30, 0xff)] {
            assert!(after_a_step(garbage, loss) == clean, "{garbage:?} in the arena, {loss:?}");
        }
    }
}

/// Backward runs from the last operation to the first: only then nobody adds any more, and one sum for a norm is
/// enough.
#[test]
fn a_gradient_is_complete_with_its_first_reader() {
    let mut g = Graph::new(Phase::Train);
    let x = g.input([1, 2, 2, 3]);
    g.watch(x);
    let (a, b) = (g.sigmoid(x), g.relu(x));
    let loss = g.dot(a, b);
    let plan = g.compile::<f32>(loss, Isa::fastest()).unwrap();
    let last: Vec<_> = plan.steps.iter().map(|step| (step.spec.name, step.dx_last)).collect();
    let expected = [("sigmoid", [true, false]), ("relu", [false, false]), ("matmul_nt", [true, true])];
    assert_eq!(last, expected);
}

#[test]
fn only_gradients_that_were_watched_can_be_read() {
    let mut g = Graph::new(Phase::Train);
    let x = g.input([1, 2, 2, 3]);
    let (a, b, aside) = (g.sigmoid(x), g.relu(x), g.sigmoid(x));
    [x, aside].into_iter().for_each(|v| g.watch(v));
    let loss = g.dot(a, b);
    let plan = g.compile::<f32>(loss, Isa::fastest()).unwrap();
    assert_eq!(plan.gradient(x).len(), 12);
    for v in [a, aside] {
        assert!(catch_unwind(AssertUnwindSafe(|| plan.gradient(v).len())).is_err(), "{v:?}");
    }
}

/// Two losses on one trunk: the gradient of the other head is not what the last step left.
#[test]
fn parameters_that_do_not_lead_to_the_loss_have_no_gradient() {
    let plan = |head: usize| {
        let mut g = Graph::new(Phase::Train);
        let x = g.input([1, 2, 2, 3]);
        let heads = ["a", "b"].map(|name| g.param(name, &[3, 2], Init::Uniform { fan_in: 3 }));
        let outputs = heads.map(|w| g.pointwise(x, w, 1));
        let squashed = g.sigmoid(outputs[head]);
        let loss = g.dot(outputs[head], squashed);
        let params = g.init_params(&mut Rng::new(1));
        let mut plan = g.compile::<f32>(loss, Isa::fastest()).unwrap();
        plan.input_mut(x).fill(1.0);
        (plan, params)
    };
    let ((mut a, mut params), (mut b, _)) = (plan(0), plan(1));
    for plan in [&mut a, &mut b] {
        plan.forward(&mut params);
        plan.backward(&mut params);
    }
    let spans = params.spans().0;
    let zero = spans.iter().map(|span| params.grads[span.clone()].iter().all(|g| *g == 0.0));
    assert_eq!(zero.collect::<Vec<_>>(), [true, false]);
}

#[test]
fn parameters_of_another_graph_are_refused() {
    let (mut g, mut other) = (Graph::new(Phase::Train), Graph::new(Phase::Train));
    for (graph, len) in [(&mut g, 3), (&mut other, 40)] {
        let w = graph.param("w", &[1, len], Init::Constant(1.0));
        graph.read(w);
    }
    let mut params = other.init_params(&mut Rng::new(1));
    let mut plan = g.compile_forward::<f32>(Isa::fastest()).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| plan.forward(&mut params))).is_err());
}

#[test]
fn products_and_bytes_by_hand() {
    let mut g = Graph::new(Phase::Train);
    let x = g.input([2, 4, 4, 3]);
    let w = g.param("w", &[3, 5], Init::Uniform { fan_in: 3 });
    let y = g.pointwise(x, w, 1);
    let z = g.relu(y);
    let loss = g.dot(y, z);
    let mut plan = g.compile::<f32>(loss, Isa::fastest()).unwrap();
    // Two of each operation but the last; of the product 3 and 5 terms, and 32 pixels.
    assert_eq!(plan.roundings(), 2.0 + 3.0 + 5.0 + 32.0 + 2.0);
    plan.start_profile();
    let costs: Vec<_> = plan
        .profile()
        .iter()
        .map(|op| (op.op, op.macs, op.backward_macs, op.forward_bytes / 4, op.backward_bytes / 4))
        .collect();
    let expected = [
        // Nobody needs the gradient of x.
        ("pointwise", 480, 480, 96 + 15 + 160, 96 + 15 + 160 + 15),
        // Adds to the gradient of y that the product has set.
        ("relu", 0, 0, 2 * 160, 2 * 160 + 2 * 160),
        ("matmul_nt", 160, 320, 2 * 160 + 1, 2 * 160 + 1 + 2 * 160),
    ];
    assert_eq!(costs, expected);
}
