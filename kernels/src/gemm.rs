//! The register tiles under every dense product.
