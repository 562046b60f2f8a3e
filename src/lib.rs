//! moue.
