//! CUDA source text, generated from the same programs that the CPU runs.
