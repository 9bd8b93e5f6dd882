//! bunjae-compress
