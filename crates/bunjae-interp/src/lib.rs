//! bunjae-interp
