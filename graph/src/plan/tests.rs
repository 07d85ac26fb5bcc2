//! Plans on the null device.
