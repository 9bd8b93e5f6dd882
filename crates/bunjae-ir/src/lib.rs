//! bunjae-ir
