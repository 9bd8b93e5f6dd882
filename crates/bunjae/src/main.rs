//! bunjae
fn main() {}
