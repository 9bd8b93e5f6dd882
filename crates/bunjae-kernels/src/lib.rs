//! bunjae-kernels
