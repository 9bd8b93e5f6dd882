//! bunjae-tensor
