//! Tables of what candidates and leaders decide.
