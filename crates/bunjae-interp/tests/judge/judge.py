"""Runs single operators in ONNX Runtime for a test.

usage: judge.py CASES ANSWERS

CASES is a JSON list. Each case has `inputs`, a list of tensors, and `nodes`, a list of ONNX nodes in
order, each with `op`, `attributes`, the number of `results`, and `operands`: {"input": i} for an input
of the case, {"constant": tensor}, {"result": n} for the first result of an earlier node, or null for an
operand left out. A tensor has `dtype`, `shape` and `data`, its bytes in hexadecimal.

ANSWERS receives, for each case, the list of the last node's results, or a string that says why there
are none. Graph optimisations are off, so that what runs is what the case says.
"""

import json
import sys

import numpy
import onnx
import onnxruntime
from onnx import helper

OPSET = 21
IR_VERSION = 10
DTYPES = {
    "f32": numpy.float32,
    "f64": numpy.float64,
    "i8": numpy.int8,
    "u8": numpy.uint8,
    "i32": numpy.int32,
    "i64": numpy.int64,
}
NAMES = {numpy.dtype(dtype): name for name, dtype in DTYPES.items()}


def decode(tensor):
    values = numpy.frombuffer(bytes.fromhex(tensor["data"]), dtype=DTYPES[tensor["dtype"]])
    return values.reshape(tensor["shape"])


def encode(array):
    array = numpy.ascontiguousarray(array) if array.ndim else array
    name = NAMES[array.dtype]
    return {"dtype": name, "shape": list(array.shape), "data": array.tobytes().hex()}


def build(case, inputs):
    constants = []

    def name_of(operand):
        if operand is None:
            return ""
        if "input" in operand:
            return f"x{operand['input']}"
        if "result" in operand:
            return f"n{operand['result']}_0"
        constants.append(onnx.numpy_helper.from_array(decode(operand["constant"]), f"c{len(constants)}"))
        return constants[-1].name

    nodes = []
    for place, node in enumerate(case["nodes"]):
        operands = [name_of(operand) for operand in node["operands"]]
        results = [f"n{place}_{slot}" for slot in range(node["results"])]
        nodes.append(helper.make_node(node["op"], operands, results, **node["attributes"]))
    declared = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in inputs.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in nodes[-1].output]
    graph = helper.make_graph(nodes, "case", declared, outputs, constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def answer(case):
    inputs = {f"x{place}": decode(tensor) for place, tensor in enumerate(case["inputs"])}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        model = build(case, inputs).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return [encode(result) for result in session.run(None, inputs)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main():
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    with open(sys.argv[2], "w") as file:
        json.dump([answer(case) for case in cases], file)


main()
