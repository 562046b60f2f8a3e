//! Shapes and the argument structs that several kernels share.

use std::fmt;
use std::ops::AddAssign;

/// Shape of a contiguous NHWC buffer: images, height, width, channels.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Images in the batch.
    pub n: usize,
    /// Rows of the map.
    pub h: usize,
    /// Columns of the map.
    pub w: usize,
    /// Channels, the fastest dimension.
    pub c: usize,
}

impl Shape {
    /// `[n, h, w, c]`.
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// Elements in the buffer.
    pub const fn len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// The same, and none where it is too large a number.
    pub fn checked_len(&self) -> Option<usize> {
        self.n.checked_mul(self.h)?.checked_mul(self.w)?.checked_mul(self.c)
    }

    /// Whether the buffer holds no element.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of one image.
    pub const fn image_len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Rows of the buffer seen as a matrix `[n * h * w, c]`.
    pub const fn pixels(&self) -> usize {
        self.n * self.h * self.w
    }

    /// The same map with another number of channels.
    pub const fn with_c(self, c: usize) -> Self {
        Self { c, ..self }
    }

    /// The map after a 3x3 window of stride 2 and padding 1 (or a 1x1 window of stride 2).
    pub const fn halved(self) -> Self {
        Self { h: self.h.div_ceil(2), w: self.w.div_ceil(2), ..self }
    }
}

impl From<[usize; 4]> for Shape {
    fn from([n, h, w, c]: [usize; 4]) -> Self {
        Self { n, h, w, c }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.n, self.h, self.w, self.c)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}x{}", self.n, self.h, self.w, self.c)
    }
}

/// Geometry of a convolution: input shape, output channels, stride (padding keeps the map at stride 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Input, `[n, h, w, cin]`.
    pub x: Shape,
    /// Output channels.
    pub cout: usize,
    /// 1 or 2.
    pub stride: usize,
}

impl Conv {
    /// Output shape.
    pub const fn y(&self) -> Shape {
        let map = if self.stride == 2 { self.x.halved() } else { self.x };
        map.with_c(self.cout)
    }
}

/// Whether a gradient overwrites its buffer or is added to it; fixed when a plan is compiled, so that
/// nothing needs to be zeroed per step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Overwrite; the buffer may hold garbage.
    Set,
    /// Add to what is there.
    Add,
}

impl Mode {
    /// Overwrites `to` with `value`, or adds it.
    #[inline(always)]
    pub(crate) fn put<T: AddAssign>(self, to: &mut T, value: T) {
        match self {
            Self::Set => *to = value,
            Self::Add => *to += value,
        }
    }
}

/// Where a gradient goes.
#[derive(Debug)]
pub struct Grad<'a, T> {
    /// The buffer.
    pub to: &'a mut [T],
    /// Overwrite or add.
    pub mode: Mode,
}

impl<'a, T> Grad<'a, T> {
    /// Overwrites `to`.
    pub fn set(to: &'a mut [T]) -> Self {
        Self { to, mode: Mode::Set }
    }

    /// Adds to `to`.
    pub fn add(to: &'a mut [T]) -> Self {
        Self { to, mode: Mode::Add }
    }
}

/// Arguments of a convolution's backward pass: both gradients in one call, so that `dy` is read while it is
/// in cache.
#[derive(Debug)]
pub struct ConvBackward<'a, T> {
    /// The forward input.
    pub x: &'a [T],
    /// The weights.
    pub w: &'a [T],
    /// Gradient of the output.
    pub dy: &'a [T],
    /// Gradient of the input; `None` where nobody needs it (the first layer).
    pub dx: Option<Grad<'a, T>>,
    /// Gradient of the weights.
    pub dw: Grad<'a, T>,
    /// At least the kernel's `*_backward_scratch` elements.
    pub scratch: &'a mut [T],
}
