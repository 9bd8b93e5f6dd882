//! bunjae-passes
