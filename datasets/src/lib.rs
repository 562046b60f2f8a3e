//! Faces for moue.
