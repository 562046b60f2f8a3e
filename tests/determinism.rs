//! Same seed, same bits: whole training steps at 1, 2 and 3 threads.

mod common;

use common::{DNN_CBAM, Training, with_threads};
use moue::Isa;

/// Bits of all parameters and running statistics after three steps on a batch of 9: no multiple of any part count.
fn trained(isa: Isa, threads: usize) -> Vec<(String, Vec<u32>)> {
    with_threads(threads, || {
        let mut t = Training::<f32>::new(&DNN_CBAM, 9, 1e-3, isa).random_batch(4);
        (0..3).for_each(|_| _ = t.step());
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
        t.params.tensors().map(|(spec, values)| (spec.name.clone(), bits(values))).collect()
    })
}

#[test]
fn training_gives_the_same_bits_at_any_number_of_threads() {
    for isa in Isa::selected().unwrap() {
        let one = trained(isa, 1);
        for threads in [2, 3] {
            for ((name, bits), (_, want)) in trained(isa, threads).iter().zip(&one) {
                assert_eq!(bits, want, "{name} on {isa:?} at {threads} threads");
            }
        }
    }
}
