//! trifold
