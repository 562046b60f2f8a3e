//! Owned values: what goes into a plan and what comes out.

use moue_kernels::Shape;

/// A contiguous NHWC array.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    shape: Shape,
    data: Vec<T>,
}

impl<T> Tensor<T> {
    /// A tensor of `shape` over `data`, row-major.
    ///
    /// # Panics
    /// If `data` has another length than `shape`.
    pub fn new(shape: impl Into<Shape>, data: Vec<T>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.len(), data.len(), "data of shape {shape}");
        Self { shape, data }
    }

    /// `[n, h, w, c]`.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// All elements, row-major.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The rows of c elements, in order of n, h, w.
    ///
    /// # Panics
    /// If c is 0.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[T]> {
        self.data.chunks_exact(self.shape.c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_channels() {
        let t = Tensor::new([2, 1, 1, 3], vec![1, 2, 3, 4, 5, 6]);
        assert_eq!(t.rows().collect::<Vec<_>>(), [[1, 2, 3], [4, 5, 6]]);
    }

    #[test]
    #[should_panic(expected = "data of shape 1x1x1x2")]
    fn another_length_is_refused() {
        Tensor::new([1, 1, 1, 2], vec![0.0]);
    }
}
