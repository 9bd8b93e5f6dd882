//! bunjae-onnx
