//! tmp
use moue_datasets::*;
struct P { w: Vec<f32>, g: Vec<f32>, m: Vec<f32>, v: Vec<f32> }
impl P { fn new(n: usize, s: f32, r: &mut Rng) -> P { P { w: (0..n).map(|_| s * r.normal()).collect(), g: vec![0.; n], m: vec![0.; n], v: vec![0.; n] } }
 fn step(&mut self, t: i32, lr: f32) { let (c1, c2) = (1. - 0.9f32.powi(t), 1. - 0.999f32.powi(t)); for i in 0..self.w.len() { let g = self.g[i] / 32.; self.m[i] = 0.9 * self.m[i] + 0.1 * g; self.v[i] = 0.999 * self.v[i] + 0.001 * g * g; self.w[i] -= lr * (self.m[i] / c1) / ((self.v[i] / c2).sqrt() + 1e-7); self.g[i] = 0.; } } }
struct C<const O: usize> { k: usize, n: usize, ci: usize, p: P, b: P }
impl<const O: usize> C<O> {
 fn new(k: usize, n: usize, ci: usize, r: &mut Rng) -> Self { C { k, n, ci, p: P::new(k * k * ci * O, (2. / (k * k * ci) as f32).sqrt(), r), b: P::new(O, 0., r) } }
 fn f(&self, x: &[f32]) -> Vec<f32> { let h = self.n / 2; let mut y = vec![0.; h * h * O]; let pad = self.k / 2;
  for oy in 0..h { for ox in 0..h { let mut acc = [0f32; O]; acc.copy_from_slice(&self.b.w);
   for ky in 0..self.k { let iy = (2 * oy + ky).wrapping_sub(pad); if iy >= self.n { continue; } for kx in 0..self.k { let ix = (2 * ox + kx).wrapping_sub(pad); if ix >= self.n { continue; }
    for c in 0..self.ci { let v = x[(iy * self.n + ix) * self.ci + c]; let w = &self.p.w[((ky * self.k + kx) * self.ci + c) * O..][..O]; for o in 0..O { acc[o] += v * w[o]; } } } }
   for o in 0..O { y[(oy * h + ox) * O + o] = acc[o].max(0.); } } } y }
 fn bk(&mut self, x: &[f32], y: &[f32], dy: &[f32], need: bool) -> Vec<f32> { let h = self.n / 2; let mut dx = vec![0.; x.len()]; let pad = self.k / 2;
  for oy in 0..h { for ox in 0..h { let mut d = [0f32; O]; for o in 0..O { let i = (oy * h + ox) * O + o; d[o] = if y[i] > 0. { dy[i] } else { 0. }; self.b.g[o] += d[o]; }
   for ky in 0..self.k { let iy = (2 * oy + ky).wrapping_sub(pad); if iy >= self.n { continue; } for kx in 0..self.k { let ix = (2 * ox + kx).wrapping_sub(pad); if ix >= self.n { continue; }
    for c in 0..self.ci { let xi = (iy * self.n + ix) * self.ci + c; let v = x[xi]; let wi = ((ky * self.k + kx) * self.ci + c) * O; let g = &mut self.p.g[wi..][..O]; for o in 0..O { g[o] += v * d[o]; } if need { let w = &self.p.w[wi..][..O]; let mut s = [0f32; O]; for o in 0..O { s[o] = w[o] * d[o]; } dx[xi] += s.iter().sum::<f32>(); } } } } } } dx }
}
fn main() {
 let d = Dataset::open("synthetic", &OpenOptions::default()).unwrap();
 let nm = Normalisation::of(&d.train); let mut r = Rng::new(1);
 let (mut a, mut b, mut c) = (C::<16>::new(5, 48, 1, &mut r), C::<32>::new(3, 24, 16, &mut r), C::<32>::new(3, 12, 32, &mut r));
 let mut w = P::new(1152 * 7, 0.02, &mut r);
 let l = Loader::new(&d.train, 32, nm, Augment::none(), 0, true).unwrap();
 let te = d.test.as_ref().unwrap();
 let (mut px, mut la, mut im) = (vec![0.; 32 * PIXELS], vec![0; 32], vec![0; 32]); let mut t = 0;
 for e in 0..4 { let ep = l.epoch(e); let mut ok = 0;
  for k in 0..l.batches_per_epoch() { let n = l.fill(&ep, k, &mut px, &mut la, &mut im).unwrap();
   for i in 0..n { let x = &px[i * PIXELS..][..PIXELS]; let y1 = a.f(x); let y2 = b.f(&y1); let y3 = c.f(&y2);
    let mut z = [0f32; 7]; for j in 0..1152 { for q in 0..7 { z[q] += y3[j] * w.w[j * 7 + q]; } }
    let m = z.iter().cloned().fold(f32::MIN, f32::max); if z[la[i] as usize] == m { ok += 1; } let s: f32 = z.iter().map(|v| (v - m).exp()).sum();
    let mut dz = z.map(|v| (v - m).exp() / s); dz[la[i] as usize] -= 1.; let mut d3 = vec![0.; 1152];
    for j in 0..1152 { for q in 0..7 { w.g[j * 7 + q] += y3[j] * dz[q]; d3[j] += w.w[j * 7 + q] * dz[q]; } }
    let d2 = c.bk(&y2, &y3, &d3, true); let d1 = b.bk(&y1, &y2, &d2, true); a.bk(x, &y1, &d1, false); }
   t += 1; for p in [&mut a.p, &mut a.b, &mut b.p, &mut b.b, &mut c.p, &mut c.b, &mut w] { p.step(t, 1.5e-3); } }
  let mut conf = [[0; 7]; 7]; let mut x = vec![0.; PIXELS];
  for i in 0..te.len() { nm.apply(te.face(i), &mut x); let y3 = c.f(&b.f(&a.f(&x))); let mut z = [0f32; 7]; for j in 0..1152 { for q in 0..7 { z[q] += y3[j] * w.w[j * 7 + q]; } } let best = (0..7).max_by(|&i, &j| z[i].total_cmp(&z[j])).unwrap(); conf[te.labels[i] as usize][best] += 1; }
  let hit: i32 = (0..7).map(|i| conf[i][i]).sum(); println!("epoch {e}: train {:.3} test {:.3} {:?}", ok as f32 / d.train.len() as f32, hit as f32 / te.len() as f32, conf); }
}
