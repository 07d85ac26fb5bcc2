//! deciding at once
