//! The `ds` command.

fn main() {}
