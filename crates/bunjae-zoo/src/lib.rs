//! bunjae-zoo
