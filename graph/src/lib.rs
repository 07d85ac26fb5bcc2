//! deciding before
