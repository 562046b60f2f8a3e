//! Gradients of a whole model on every instruction set; `moue gradcheck` checks all models on one.

use moue::Isa;
use moue::gradcheck::{Options, Suite};

#[test]
fn the_papers_model_has_the_right_gradients() {
    let suite = Suite::models();
    for isa in Isa::available() {
        let options = Options { isa, ..Options::default() };
        for result in suite.run(&options, Some("dnn-cbam block4 am-softmax")) {
            let (name, report) = result.expect("the model compiles");
            assert!(report.ok(), "{name} on {isa:?}: {report:#?}");
        }
    }
}

#[test]
fn names_are_unique_and_known() {
    let mut names: Vec<String> = [Suite::operations(), Suite::models()]
        .iter()
        .flat_map(|suite| suite.names().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(names.iter().any(|name| name == "conv3x3"));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
