//! bunjae-testkit
