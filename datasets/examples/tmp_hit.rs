//! tmp
use moue_datasets::*;
fn main() {
    for _ in 0..5 {
        let t = std::time::Instant::now();
        let d = Dataset::open(
            "/root/data/fer2013",
            &OpenOptions { cache: Some("/tmp/ds-cache".into()), ..Default::default() },
        )
        .unwrap();
        println!("{:?} {}", t.elapsed(), d.train.len());
    }
}
