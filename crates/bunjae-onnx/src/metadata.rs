//! Keys of [`Graph::metadata`](bunjae_ir::Graph::metadata) that stand for fields of an ONNX file.
//!
//! Import writes them, export turns them back into the fields and leaves the keys out of the file.

/// The version of the standard operators.
pub const OPSET: &str = "bunjae.onnx.opset";

/// The tool that wrote the file.
pub const PRODUCER_NAME: &str = "bunjae.onnx.producer_name";

/// The version of that tool.
pub const PRODUCER_VERSION: &str = "bunjae.onnx.producer_version";

/// The name space of the model.
pub const DOMAIN: &str = "bunjae.onnx.domain";

/// The version of the model.
pub const MODEL_VERSION: &str = "bunjae.onnx.model_version";

/// The description of the model.
pub const DOC_STRING: &str = "bunjae.onnx.doc_string";

/// The description of the graph.
pub const GRAPH_DOC_STRING: &str = "bunjae.onnx.graph_doc_string";

/// All of the above.
pub const FIELDS: [&str; 7] =
    [OPSET, PRODUCER_NAME, PRODUCER_VERSION, DOMAIN, MODEL_VERSION, DOC_STRING, GRAPH_DOC_STRING];

/// The 16-bit types that import widened to 32 bits, separated by commas. Stays in the file.
pub const WIDENED_FROM: &str = "bunjae.widened_from";

/// The producer of the files that export writes of graphs that were not imported.
pub(crate) const PRODUCER: &str = "bunjae";

/// In a file only: the names, one a line, of the weights that training leaves alone although their
/// part in the network would have it change them.
pub(crate) const FROZEN: &str = "bunjae.frozen";
