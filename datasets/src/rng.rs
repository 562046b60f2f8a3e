//! A small deterministic random-number generator.
//!
//! Everything random in moue (weight initialisation, shuffling, augmentation, synthetic faces) comes
//! from [`Rng`], so that a run is reproduced to the bit by its seed. The generator is
//! [xoshiro256++ 1.0](https://prng.di.unimi.it/) of Blackman and Vigna, seeded with SplitMix64 as its
//! authors advise. It is not meant for cryptography.

/// xoshiro256++ with 256 bits of state.
///
/// ```
/// use moue_datasets::Rng;
///
/// let mut a = Rng::new(7);
/// assert_eq!(a.next_u64(), Rng::new(7).next_u64());
///
/// // One stream per (seed, epoch, image): draws do not depend on the order images are visited in.
/// let mut image_5 = Rng::stream(&[7, 0, 5]);
/// assert!((0.0..1.0).contains(&image_5.uniform()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose state is expanded from `seed`; every seed is a good one, zero included.
    pub fn new(seed: u64) -> Self {
        let mut mixer = SplitMix64(seed);
        Self { state: std::array::from_fn(|_| mixer.next()) }
    }

    /// The stream named by `keys`, for instance `[seed, epoch, image]`.
    ///
    /// Streams with different keys are statistically independent: each key is absorbed through a
    /// 64-bit finaliser, so neighbouring keys give unrelated states, and `[a, b]`, `[b, a]` and
    /// `[a, b, 0]` are three different streams.
    pub fn stream(keys: &[u64]) -> Self {
        let mut hash = finalise(keys.len() as u64);
        for &key in keys {
            hash = finalise(hash.wrapping_add(GOLDEN_GAMMA) ^ finalise(key.wrapping_add(GOLDEN_GAMMA)));
        }
        Self::new(hash)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `[0, 1)`, on the 2^24 multiples of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform between `lo` and `hi`; rounding may return `hi` itself.
    pub fn range(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.uniform()
    }

    /// Uniform in `0..n`, without bias; 0 when `n` is 0.
    ///
    /// Lemire's multiply-and-reject method, "Fast Random Integer Generation in an Interval" (2019).
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as usize
    }

    /// A standard normal variate (Box-Muller).
    ///
    /// Always consumes two draws and keeps no spare.
    pub fn normal(&mut self) -> f32 {
        // 53-bit uniforms; the first in (0, 1], so that its logarithm is finite.
        let unit = 1.0 / (1_u64 << 53) as f64;
        let radius = ((self.next_u64() >> 11) + 1) as f64 * unit;
        let angle = (self.next_u64() >> 11) as f64 * unit;
        ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    }

    /// A variate of the Beta distribution, from 0 to 1 (Joehnk 1964). For `a` up to 2 and `b` up to 1 a third
    /// of the draws is accepted or more; not for large parameters.
    pub(crate) fn beta(&mut self, a: f32, b: f32) -> f32 {
        loop {
            // In (0, 1]: there may be powers of them that underflow, but hardly both.
            let [u, v] = [(); 2].map(|()| 1.0 - self.uniform());
            let (x, y) = (u.powf(1.0 / a), v.powf(1.0 / b));
            if x + y <= 1.0 && x + y > 0.0 {
                return x / (x + y);
            }
        }
    }

    /// Shuffles a slice so that every permutation is equally likely (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The seeding generator of the xoshiro family: an arithmetic sequence through a finaliser.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        finalise(self.0)
    }
}

/// Stafford's 13th variant of the MurmurHash3 finaliser, a bijection of 64-bit words.
fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_matches_the_published_sequence() {
        let mut mixer = SplitMix64(0);
        assert_eq!(mixer.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mixer.next(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(mixer.next(), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn xoshiro_matches_the_reference_implementation() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let expected = [
            41943041,
            58720359,
            3588806011781223,
            3591011842654386,
            9228616714210784205,
            9973669472204895162,
            14011001112246962877,
            12406186145184390807,
        ];
        assert_eq!(expected.map(|_| rng.next_u64()), expected);
    }

    #[test]
    fn streams_differ_by_every_key_their_order_and_their_number() {
        let keys: [&[u64]; 8] = [&[], &[0], &[0, 0], &[0, 1], &[1, 0], &[1], &[1, 0, 0], &[0, 0, 1]];
        let mut first: Vec<u64> = keys.iter().map(|keys| Rng::stream(keys).next_u64()).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), keys.len());
        assert_eq!(Rng::stream(&[4, 2]), Rng::stream(&[4, 2]));
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut rng = Rng::new(1);
        let mut seen = [0_usize; 7];
        for _ in 0..70_000 {
            seen[rng.below(7)] += 1;
        }
        // Standard deviation of a bin is about 93.
        assert!(seen.iter().all(|&n| n.abs_diff(10_000) < 500), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        assert!(rng.below(usize::MAX) < usize::MAX);
    }

    #[test]
    fn moments_of_uniform_and_normal() {
        let mut rng = Rng::new(2);
        let n = 100_000;
        let moments = |draw: &mut dyn FnMut() -> f32| {
            let (mut sum, mut squares) = (0.0_f64, 0.0_f64);
            for _ in 0..n {
                let x = f64::from(draw());
                sum += x;
                squares += x * x;
            }
            let mean = sum / f64::from(n);
            (mean, squares / f64::from(n) - mean * mean)
        };
        let (mean, variance) = moments(&mut || rng.uniform());
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002, "{mean} {variance}");
        let (mean, variance) = moments(&mut || rng.normal());
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!((0..n).all(|_| (-2.0..=3.0).contains(&rng.range(-2.0, 3.0))));
    }

    /// Mean a / (a + b), variance a b / ((a + b)^2 (a + b + 1)).
    #[test]
    fn moments_of_beta() {
        let mut rng = Rng::new(3);
        for (a, b) in [(1.0, 1.0), (1.2, 0.2), (1.4, 0.4), (2.0, 1.0)] {
            let n = 50_000;
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..n {
                let x = f64::from(rng.beta(a, b));
                assert!((0.0..=1.0).contains(&x));
                sum += x;
                squares += x * x;
            }
            let mean = sum / f64::from(n);
            let variance = squares / f64::from(n) - mean * mean;
            let (a, b) = (f64::from(a), f64::from(b));
            assert!((mean - a / (a + b)).abs() < 0.006, "{a} {b}: {mean}");
            let expected = a * b / ((a + b).powi(2) * (a + b + 1.0));
            assert!((variance - expected).abs() < 0.003, "{a} {b}: {variance} {expected}");
        }
    }

    #[test]
    fn shuffle_permutes_and_reaches_every_order() {
        let mut rng = Rng::new(5);
        let mut orders = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut items = [0, 1, 2];
            rng.shuffle(&mut items);
            orders.insert(items);
        }
        assert_eq!(orders.len(), 6);
        rng.shuffle::<u8>(&mut []);
    }
}
