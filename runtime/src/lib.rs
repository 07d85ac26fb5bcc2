//! tensors and devices
