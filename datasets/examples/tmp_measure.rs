//! tmp
use moue_datasets::*;
use std::time::Instant;
fn main() {
    let t = Instant::now();
    let f = synthetic::faces(0, Split::Train, 572).unwrap();
    println!("synthetic {} in {:?}", f.len(), t.elapsed());
    let mut cells: Vec<&[u8]> = vec![];
    for label in 0..7 {
        for k in 0..12 {
            cells.push(f.face(label + 7 * k));
        }
    }
    contact_sheet(&cells, 12, 2).unwrap().save("/tmp/synthetic.png").unwrap();
    let mut out = vec![0.0; PIXELS];
    for _ in 0..3 {
        let t = Instant::now();
        for i in 0..f.len() {
            Augment::paper().apply(&mut Rng::stream(&[0, 0, i as u64]), f.face(i), &mut out).unwrap();
        }
        println!("augment {:.2} us/face", t.elapsed().as_secs_f64() * 1e6 / f.len() as f64);
    }
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let l = Loader::new(&f, 32, Normalisation::of(&f), Augment::paper(), 0, true).unwrap();
            let e = l.epoch(0);
            let (mut p, mut a, mut b) = (vec![0.0; 32 * PIXELS], vec![0; 32], vec![0; 32]);
            l.fill(&e, 0, &mut p, &mut a, &mut b).unwrap();
            let n = N.load(std::sync::atomic::Ordering::Relaxed);
            let t = Instant::now();
            for k in 0..l.batches_per_epoch() {
                l.fill(&e, k, &mut p, &mut a, &mut b).unwrap();
            }
            println!(
                "{threads} threads: {:.2} us/face, {} allocations in {} batches",
                t.elapsed().as_secs_f64() * 1e6 / f.len() as f64,
                N.load(std::sync::atomic::Ordering::Relaxed) - n,
                l.batches_per_epoch()
            );
        });
    }
    if let Ok(p) = std::env::var("MOUE_FER2013") {
        let dir = std::path::PathBuf::from("/tmp/ds-cache");
        let _ = std::fs::remove_dir_all(&dir);
        for cache in [None, Some(dir.clone()), Some(dir.clone()), Some(dir)] {
            let t = Instant::now();
            let d = Dataset::open(&p, &OpenOptions { cache, ..Default::default() }).unwrap();
            println!(
                "{:?} {} {} {:?} skipped {} {:?}",
                t.elapsed(),
                d.train.len(),
                d.test.as_ref().unwrap().len(),
                d.cache,
                d.skipped.len(),
                d.train.statistics()
            );
        }
    }
}

struct Count;
static N: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
unsafe impl std::alloc::GlobalAlloc for Count {
    unsafe fn alloc(&self, l: std::alloc::Layout) -> *mut u8 {
        N.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        unsafe { std::alloc::System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: std::alloc::Layout) {
        unsafe { std::alloc::System.dealloc(p, l) }
    }
}
#[global_allocator]
static A: Count = Count;
