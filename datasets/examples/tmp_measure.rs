//! tmp
use moue_datasets::*;
use std::time::Instant;
fn main() {
    let t = Instant::now();
    let f = synthetic::faces(0, Split::Train, 572).unwrap();
    println!("synthetic {} in {:?}", f.len(), t.elapsed());
    let mut cells: Vec<&[u8]> = vec![];
    for label in 0..7 { for k in 0..12 { cells.push(f.face(label + 7 * k)); } }
    contact_sheet(&cells, 12, 2).unwrap().save("/tmp/synthetic.png").unwrap();
    let mut out = vec![0.0; PIXELS];
    for _ in 0..3 {
        let t = Instant::now();
        for i in 0..f.len() { Augment::paper().apply(&mut Rng::stream(&[0, 0, i as u64]), f.face(i), &mut out).unwrap(); }
        println!("augment {:.2} us/face", t.elapsed().as_secs_f64() * 1e6 / f.len() as f64);
    }
    if let Ok(p) = std::env::var("MOUE_FER2013") {
        let dir = std::path::PathBuf::from("/tmp/ds-cache");
        let _ = std::fs::remove_dir_all(&dir);
        for cache in [None, Some(dir.clone()), Some(dir.clone()), Some(dir)] {
            let t = Instant::now();
            let d = Dataset::open(&p, &OpenOptions { cache, ..Default::default() }).unwrap();
            println!("{:?} {} {} {:?} skipped {} {:?}", t.elapsed(), d.train.len(), d.test.as_ref().unwrap().len(), d.cache, d.skipped.len(), d.train.statistics());
        }
    }
}
