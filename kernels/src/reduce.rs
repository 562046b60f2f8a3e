//! The determinism rule: work is cut by shape alone, and partial sums are added along a fixed tree.
//!
//! A sum over the images of a batch is a binary tree over them ([`middle`] says where a run of images is halved). Its
//! lowest level are sums over `PAIR` images, or over [`GROUP`] where a gradient is too large for so many partial
//! sums. Where to cut depends on nothing but the number of images, so a part of a batch that is a node of the tree has
//! the same tree below it as a batch of that size: whoever gets such a part (another thread, another machine) comes
//! to the same bits without knowing of the rest. Errors grow with the depth, log n, and not with n (Higham 2002,
//! section 4.2).

use crate::{Isa, Kernel, Mode, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// Images that a kernel sums over before it leaves a partial sum: enough partial sums for many threads to share, few
/// enough that combining them costs little.
pub(crate) const PAIR: usize = 2;

/// The same for gradients that are too large for so many partial sums; parts of a batch on different machines are
/// whole groups.
pub const GROUP: usize = 8;

/// Where the tree halves a run of more than one image: between groups, and below that at a power of two.
pub const fn middle(images: usize) -> usize {
    if images > GROUP {
        GROUP * images.div_ceil(GROUP).div_ceil(2)
    } else {
        images.div_ceil(2).next_power_of_two()
    }
}

/// The images of part `part` of `parts` (a power of two) of a batch, a node of its tree; nothing if the batch has
/// too few groups for so many parts.
///
/// # Panics
/// If `parts` is no power of two, or there is no such part.
pub fn share(images: usize, parts: usize, part: usize) -> Option<Range<usize>> {
    assert!(parts.is_power_of_two() && part < parts, "part {part} of {parts}");
    if images.div_ceil(GROUP) < parts {
        return None;
    }
    let (mut range, mut parts) = (0..images, parts);
    while parts > 1 {
        parts /= 2;
        let at = range.start + middle(range.len());
        range = if part & parts == 0 { range.start..at } else { at..range.end };
    }
    Some(range)
}

/// Pairs of a batch of `n` images.
pub(crate) const fn pairs(n: usize) -> usize {
    n.div_ceil(PAIR)
}

/// The images of pair `pair` of `n`.
pub(crate) fn pair(n: usize, pair: usize) -> Range<usize> {
    pair * PAIR..n.min((pair + 1) * PAIR)
}

/// Items `start..end` of part `part` when `n` are cut into `parts`: for work without sums.
pub(crate) const fn part_range(n: usize, parts: usize, part: usize) -> Range<usize> {
    part * n / parts..(part + 1) * n / parts
}

/// Levels of the largest tree: of two thousand million rows.
const DEPTH: usize = 32;

/// The tree over rows of partial sums, each over `each` images (the last over fewer if need be).
#[derive(Clone, Copy)]
struct Tree {
    rows: usize,
    each: usize,
}

impl Tree {
    /// Nodes above the rows that row `row` is the last of: as many sums are complete with it.
    #[inline(always)]
    fn ends(self, row: usize) -> usize {
        let (mut start, mut end, mut ends) = (0, self.rows, 0);
        while end - start > 1 {
            let at = start + middle((end - start) * self.each) / self.each;
            if row < at {
                (end, ends) = (at, 0);
            } else {
                (start, ends) = (at, ends + 1);
            }
        }
        ends
    }
}

/// Calls `merge(left, right, end)` for every node over `images`, children first: its images are `left..end`, those of
/// its right child start at `right`.
pub(crate) fn nodes(images: Range<usize>, merge: &mut dyn FnMut(usize, usize, usize)) {
    if images.len() > 1 {
        let at = images.start + middle(images.len());
        nodes(images.start..at, merge);
        nodes(at..images.end, merge);
        merge(images.start, at, images.end);
    }
}

/// The sum over `images` of `term`, along the tree and rounded at every node.
pub(crate) fn sum(images: Range<usize>, term: &mut dyn FnMut(usize) -> f32) -> f32 {
    if images.len() == 1 {
        return term(images.start);
    }
    let at = images.start + middle(images.len());
    let left = sum(images.start..at, term);
    left + sum(at..images.end, term)
}

/// Buffers that [`sum_groups`] wants besides the result, each as long.
pub(crate) const fn spare_buffers(n: usize) -> usize {
    // One for the result, if it is to be added.
    1 + n.div_ceil(GROUP).next_power_of_two().ilog2() as usize
}

/// `to` (=|+=) the sum over `images` of what `group` adds to zeros for up to [`GROUP`] of them; `spare` holds
/// [`spare_buffers`] times as many elements as `to`.
pub(crate) fn sum_groups(
    images: Range<usize>,
    to: &mut [f32],
    mode: Mode,
    spare: &mut [f32],
    group: &mut dyn FnMut(Range<usize>, &mut [f32]),
) {
    if mode == Mode::Add {
        let (sum, spare) = spare.split_at_mut(to.len());
        sum_groups(images, sum, Mode::Set, spare, group);
        to.iter_mut().zip(sum).for_each(|(to, x)| *to += *x);
    } else if images.len() <= GROUP {
        to.fill(0.0);
        group(images, to);
    } else {
        let at = images.start + middle(images.len());
        sum_groups(images.start..at, to, Mode::Set, spare, group);
        let (right, spare) = spare.split_at_mut(to.len());
        sum_groups(at..images.end, right, Mode::Set, spare, group);
        to.iter_mut().zip(right).for_each(|(to, x)| *to += *x);
    }
}

/// Sums that are complete, and those that wait for their right half: additions along the tree as rows come in.
pub(crate) struct Stack<V, const N: usize> {
    tree: Tree,
    sums: [[V; N]; DEPTH],
    depth: usize,
    row: usize,
}

impl<V: Copy, const N: usize> Stack<V, N> {
    /// For `rows` rows, each of `each` images.
    #[inline(always)]
    pub(crate) fn new(rows: usize, each: usize, zero: V) -> Self {
        Self { tree: Tree { rows, each }, sums: [[zero; N]; DEPTH], depth: 0, row: 0 }
    }

    /// Takes the next row.
    #[inline(always)]
    pub(crate) fn push(&mut self, row: [V; N], add: impl Fn(V, V) -> V) {
        self.sums[self.depth] = row;
        for _ in 0..self.tree.ends(self.row) {
            self.depth -= 1;
            for i in 0..N {
                self.sums[self.depth][i] = add(self.sums[self.depth][i], self.sums[self.depth + 1][i]);
            }
        }
        (self.depth, self.row) = (self.depth + 1, self.row + 1);
    }

    /// [`Stack::push`] of vectors.
    #[inline(always)]
    pub(crate) fn push_vectors<S: Simd<V = V>>(&mut self, s: S, row: [V; N]) {
        self.push(
            row,
            #[inline(always)]
            |a, b| s.add(a, b),
        );
    }

    /// The sum of all rows.
    #[inline(always)]
    pub(crate) fn total(&self) -> [V; N] {
        self.sums[0]
    }
}

/// Elements below which combining stays on one thread (a task costs about a microsecond).
const SERIAL: usize = 16 * 1024;

/// `to` (=|+=) the sum of the rows of `partial`, `[rows, to.len()]`, each over `each` images, along their tree.
pub(crate) fn combine(isa: Isa, partial: &[f32], each: usize, to: &mut [f32], mode: Mode) {
    let len = to.len();
    assert!(len > 0 && partial.len().is_multiple_of(len), "partial sums are not a multiple of {len}");
    let body = |first: usize, to: &mut [f32]| isa.run(Combine { partial, each, len, first, to, mode });
    if len <= SERIAL {
        body(0, to);
    } else {
        to.par_chunks_mut(SERIAL / 4).enumerate().for_each(|(i, chunk)| body(i * SERIAL / 4, chunk));
    }
}

/// Elements that are summed at a time: all levels of the tree stay in the first-level cache.
const BLOCK: usize = 256;

struct Combine<'a> {
    partial: &'a [f32],
    each: usize,
    len: usize,
    first: usize,
    to: &'a mut [f32],
    mode: Mode,
}

impl Kernel for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { partial, each, len, first, to, mode } = self;
        let tree = Tree { rows: partial.len() / len, each };
        let mut sums = [[0.0; BLOCK]; DEPTH];
        for (i, to) in to.chunks_mut(BLOCK).enumerate() {
            let mut depth = 0;
            for row in 0..tree.rows {
                let part = &partial[row * len + first + i * BLOCK..][..to.len()];
                let ends = tree.ends(row);
                if ends == 0 {
                    sums[depth][..part.len()].copy_from_slice(part);
                    depth += 1;
                    continue;
                }
                add(&mut sums[depth - 1], part);
                for _ in 1..ends {
                    depth -= 1;
                    let (left, right) = sums.split_at_mut(depth);
                    add(&mut left[depth - 1], &right[0][..part.len()]);
                }
            }
            match mode {
                Mode::Set => to.copy_from_slice(&sums[0][..to.len()]),
                Mode::Add => add(to, &sums[0]),
            }
        }
    }
}

/// `to[i] += from[i]` as far as both go.
#[inline(always)]
fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, x)| *to += x);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node sums written as a formula of image numbers.
    fn formula(images: Range<usize>) -> String {
        if images.len() == 1 {
            return images.start.to_string();
        }
        let at = images.start + middle(images.len());
        format!("({} {})", formula(images.start..at), formula(at..images.end))
    }

    #[test]
    fn the_tree_of_a_share_is_that_of_a_batch_of_its_size() {
        for images in 1..200 {
            for parts in [1, 2, 4, 8] {
                let shares: Vec<_> = (0..parts).map_while(|part| share(images, parts, part)).collect();
                if images.div_ceil(GROUP) < parts {
                    assert!(shares.is_empty());
                    continue;
                }
                assert_eq!(
                    shares.iter().cloned().flatten().collect::<Vec<_>>(),
                    (0..images).collect::<Vec<_>>()
                );
                for share in shares {
                    assert!(share.start.is_multiple_of(GROUP) && !share.is_empty());
                    let shifted = formula(share.clone());
                    assert!(formula(0..images).contains(&shifted), "{images} in {parts}");
                    assert_eq!(shifted.matches('(').count(), formula(0..share.len()).matches('(').count());
                }
            }
        }
        assert_eq!(share(32, 4, 2), Some(16..24));
        assert_eq!(share(20, 2, 1), Some(16..20));
        assert_eq!(share(32, 8, 0), None);
    }

    #[test]
    fn pairs_and_groups_are_nodes() {
        assert_eq!(formula(0..8), "(((0 1) (2 3)) ((4 5) (6 7)))");
        assert_eq!(formula(0..5), "(((0 1) (2 3)) 4)");
        for images in 3..100 {
            assert!(middle(images).is_multiple_of(PAIR) && middle(images) < images);
            assert!(images <= GROUP || middle(images).is_multiple_of(GROUP));
        }
    }

    /// Rows, stack, groups and numbers one by one add in the same order.
    #[test]
    fn all_sums_follow_the_tree() {
        for images in 1..70_usize {
            let mut value = |i: usize| ((i * 37 % 101) as f32).exp2().recip() + i as f32;
            let want = sum(0..images, &mut value);
            let rows: Vec<f32> = (0..images).map(&mut value).collect();
            for isa in Isa::available() {
                let mut to = [f32::NAN];
                combine(isa, &rows, 1, &mut to, Mode::Set);
                assert_eq!(to[0].to_bits(), want.to_bits(), "{images}");
                combine(isa, &rows, 1, &mut to, Mode::Add);
                assert_eq!(to[0], want + want);
            }
            let mut stack = Stack::<f32, 1>::new(images, 1, 0.0);
            rows.iter().for_each(|x| stack.push([*x], |a, b| a + b));
            assert_eq!(stack.total()[0].to_bits(), want.to_bits());
            let mut spare = vec![f32::NAN; spare_buffers(images)];
            let mut group = |group: Range<usize>, to: &mut [f32]| to[0] += sum(group, &mut value);
            let mut to = [1.0];
            sum_groups(0..images, &mut to, Mode::Add, &mut spare, &mut group);
            assert_eq!(to[0], 1.0 + want);
            sum_groups(0..images, &mut to, Mode::Set, &mut spare, &mut group);
            assert_eq!(to[0].to_bits(), want.to_bits());
        }
    }

    #[test]
    fn rows_of_pairs_are_combined_at_every_place() {
        let len = 3 * SERIAL + 5;
        for images in [2, 5, 31, 32, 37] {
            let rows = pairs(images);
            let partial: Vec<f32> = (0..rows * len).map(|i| (i % 1013) as f32 * 0.1).collect();
            let mut to = vec![f32::NAN; len];
            combine(Isa::fastest(), &partial, PAIR, &mut to, Mode::Set);
            for i in (0..len).step_by(511) {
                // An empty place for the second image of each pair.
                let mut term = |image: usize| match image % 2 {
                    0 => partial[image / 2 * len + i],
                    _ => 0.0,
                };
                assert_eq!(to[i].to_bits(), sum(0..images, &mut term).to_bits(), "{images} {i}");
            }
        }
    }

    #[test]
    fn parts_cover_everything_once() {
        for n in 1..100 {
            let seen: Vec<_> = (0..n.min(16)).flat_map(|p| part_range(n, n.min(16), p)).collect();
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
            assert_eq!(
                (0..pairs(n)).flat_map(|p| pair(n, p)).collect::<Vec<_>>(),
                (0..n).collect::<Vec<_>>()
            );
        }
    }
}
