//! The order of the rules, and plans over time.
