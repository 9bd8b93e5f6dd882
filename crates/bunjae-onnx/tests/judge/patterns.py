"""Builds small models as exporters write them, for a test.

usage: patterns.py FOLDER

Writes FOLDER/NAME.onnx for every function below that `pattern` registers. What the importer should
make of a model stands in its metadata under `ops`: the operators of the graph in the text form,
separated by blanks. Sizes with a name are N (the batch), H and W.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSIONS = {9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 17: 8, 18: 8, 20: 9, 21: 10, 26: 13}
TYPES = {"f32": TensorProto.FLOAT, "f16": TensorProto.FLOAT16, "i64": TensorProto.INT64}
INT64_MAX = np.iinfo(np.int64).max
PATTERNS = []


def pattern(*opsets):
    """Registers a function that fills a model, once for each operator set."""

    def register(function):
        for opset in opsets:
            PATTERNS.append((f"{function.__name__}_{opset}", opset, function))
        return function

    return register


class Model:
    def __init__(self, name, opset):
        self.name, self.opset = name, opset
        self.random = np.random.default_rng(len(name) * 1000 + opset)
        self.nodes, self.inputs, self.outputs, self.weights = [], [], [], []
        self.listed = []
        self.ir_version = IR_VERSIONS[opset]

    def input(self, *shape, dtype="f32"):
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], shape))
        return name

    def array(self, value):
        """An initialiser."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def normal(self, *shape):
        """An initialiser of random numbers."""
        return self.array(self.random.normal(size=shape).astype(np.float32))

    def const(self, value, dtype=np.int64):
        """What a Constant node holds."""
        value = numpy_helper.from_array(np.asarray(value, dtype))
        return self.node("Constant", value=value)

    def node(self, op, *inputs, results=1, **attributes):
        start = sum(len(node.output) for node in self.nodes)
        names = [f"v{start + at}" for at in range(results)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0] if results == 1 else names

    def axes(self, op, x, axes, since=13, **attributes):
        """An operator that takes its axes as an attribute or, from a set on, as an operand."""
        if self.opset >= since:
            return self.node(op, x, self.const(axes), **attributes)
        return self.node(op, x, axes=axes, **attributes)

    def slice(self, x, starts, ends, axes, steps=None):
        if self.opset < 10:
            return self.node("Slice", x, starts=starts, ends=ends, axes=axes)
        operands = [self.const(part) for part in (starts, ends, axes, steps) if part is not None]
        return self.node("Slice", x, *operands)

    def size(self, x, axis):
        """One size of x as a list, the way PyTorch's tracing exporter writes it."""
        size = self.node("Gather", self.node("Shape", x), self.const(axis), axis=0)
        return self.axes("Unsqueeze", size, [0])

    def conv(self, x, inputs, outputs, kernel=3, bias=True, group=1, **attributes):
        operands = [self.normal(outputs, inputs // group, kernel, kernel)]
        operands += [self.normal(outputs)] if bias else []
        attributes.setdefault("pads", [kernel // 2] * 4)
        if attributes["pads"] is None:
            del attributes["pads"]
        return self.node("Conv", x, *operands, group=group, **attributes)

    def output(self, *names, ops=None):
        self.ops = ops
        # Shapes are left to the runtime.
        self.outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    def build(self):
        graph = helper.make_graph(
            self.nodes, self.name, self.inputs + self.listed, self.outputs, self.weights
        )
        sets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=sets, ir_version=self.ir_version)
        if self.ops is not None:
            helper.set_model_props(model, {"ops": self.ops})
        return model


# What PyTorch's exporters make of the usual lines of code


@pattern(9, 11, 13, 17)
def flatten_by_size(m):
    """x.view(x.size(0), -1)"""
    x = m.conv(m.input("N", 3, 6, 6), 3, 4)
    shape = m.node("Concat", m.size(x, 0), m.const([-1]), axis=0)
    x = m.node("Reshape", x, shape)
    x = m.node("Gemm", x, m.normal(5, 144), m.normal(5), transB=1, alpha=1.0, beta=1.0)
    m.output(x, ops="conv2d reshape linear")


@pattern(9, 11, 13, 17)
def channel_shuffle(m):
    """x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)"""
    x = m.input("N", 8, "H", "W")
    channels = m.node("Gather", m.node("Shape", x), m.const(1), axis=0)
    half = m.axes("Unsqueeze", m.node("Div", channels, m.const(2)), [0])
    n, h, w = (m.size(x, axis) for axis in (0, 2, 3))
    y = m.node("Reshape", x, m.node("Concat", n, m.const([2]), half, h, w, axis=0))
    y = m.node("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = m.node("Reshape", y, m.node("Concat", n, m.const([-1]), h, w, axis=0))
    m.output(y, ops="reshape transpose reshape")


@pattern(11, 13, 17)
def scaled_sizes(m):
    """F.interpolate(x, scale_factor=2, recompute_scale_factor=True)"""
    x = m.input("N", 3, "H", "W")
    sizes = []
    for axis in (2, 3):
        size = m.node("Gather", m.node("Shape", x), m.const(axis), axis=0)
        size = m.node("Mul", m.node("Cast", size, to=1), m.const(2.0, np.float32))
        size = m.node("Cast", m.node("Floor", size), to=7)
        sizes.append(m.axes("Unsqueeze", size, [0]))
    kept = m.slice(m.node("Shape", x), [0], [2], [0])
    sizes = m.node("Concat", kept, *sizes, axis=0)
    empty = m.const([], np.float32)
    x = m.node("Resize", x, empty, empty, sizes, mode="nearest", nearest_mode="floor",
               coordinate_transformation_mode="asymmetric")
    m.output(x, ops="resize")


@pattern(9, 11, 13, 17)
def normalised_layer(m):
    """F.linear(F.normalize(x), F.normalize(weight))"""
    x = m.axes("ReduceMean", m.conv(m.input("N", 3, 6, 6), 3, 8), [2, 3], since=18, keepdims=0)
    weight = m.normal(5, 8)

    def normalise(x):
        norm = m.axes("ReduceL2", x, [1], since=18, keepdims=1)
        if m.opset < 11:
            norm = m.node("Clip", norm, min=1e-12)
        else:
            norm = m.node("Clip", norm, m.const(1e-12, np.float32))
        return m.node("Div", x, m.node("Expand", norm, m.node("Shape", x)))

    x = m.node("MatMul", normalise(x), m.node("Transpose", normalise(weight), perm=[1, 0]))
    m.output(x, ops="conv2d reduce reduce clip div matmul")


@pattern(9, 11, 13, 17)
def expand_with_choice(m):
    """x * y.expand_as(x), with the test for -1 that the exporter adds"""
    x = m.input("N", 4, "H", "W")
    gate = m.node("Sigmoid", m.node("GlobalAveragePool", x))
    shape = m.node("Shape", x)
    one = numpy_helper.from_array(np.array([1], np.int64))
    ones = m.node("ConstantOfShape", m.const([4]), value=one)
    if m.opset >= 11:
        unknown = m.node("Equal", shape, m.node("Mul", ones, m.const(-1)))
        shape = m.node("Where", unknown, ones, shape)
    m.output(m.node("Mul", x, m.node("Expand", gate, shape)), ops="global_pool sigmoid mul")


@pattern(9, 13, 18, 26)
def chunks(m):
    """torch.chunk, torch.split, x[:, 1], x[:, 1:3, ::2] and friends"""
    x = m.input("N", 10, 8, "W")
    if m.opset >= 18:
        a, b, c = m.node("Split", x, results=3, axis=1, num_outputs=3)
        parts = m.node("Concat", c, a, b, axis=1)
    else:
        a, b = m.node("Split", x, results=2, axis=1)
        parts = m.node("Concat", b, a, axis=1)
    sizes = [2, 3, 5]
    if m.opset >= 13:
        d, e, f = m.node("Split", x, m.const(sizes), results=3, axis=1)
    else:
        d, e, f = m.node("Split", x, results=3, axis=1, split=sizes)
    picked = m.node("Gather", x, m.const(-2), axis=1)
    run = m.node("Gather", x, m.const([3, 4]), axis=1)
    far = m.slice(e, [1], [INT64_MAX], [1], None if m.opset < 10 else [1])
    outputs = [parts, d, far, f, picked, run]
    if m.opset >= 10:
        outputs.append(m.slice(x, [0, -1], [INT64_MAX, -INT64_MAX], [2, 1], [2, -3]))
    m.output(*outputs)


@pattern(13, 17)
def anchors(m):
    """Centres of the cells of a grid, added to what the network found."""
    x = m.node("Transpose", m.input("N", 2, 3, 4), perm=[0, 2, 3, 1])
    x = m.node("Reshape", x, m.const([0, -1, 2]))
    columns = m.node("Range", m.const(0), m.const(4), m.const(1))
    rows = m.node("Range", m.const(0), m.const(3), m.const(1))
    columns = m.node("Expand", m.axes("Unsqueeze", columns, [0]), m.const([3, 4]))
    rows = m.node("Tile", m.axes("Unsqueeze", rows, [1]), m.const([1, 4]))
    grid = m.node("Concat", *(m.axes("Unsqueeze", a, [2]) for a in (columns, rows)), axis=2)
    grid = m.node("Cast", m.node("Reshape", grid, m.const([1, -1, 2])), to=1)
    stride = m.const(8.0, np.float32)
    x = m.node("Mul", m.node("Add", x, grid), stride)
    m.output(x, ops="transpose reshape add mul")


@pattern(17)
def attention(m):
    """Scaled dot-product attention over the positions of a picture, two heads"""
    x = m.input("N", 8, 3, 5)
    x = m.node("Reshape", x, m.node("Concat", m.size(x, 0), m.const([8, 15]), axis=0))
    x = m.node("Transpose", x, perm=[0, 2, 1])
    x = m.node("LayerNormalization", x, m.normal(8), m.normal(8), axis=-1)
    heads = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        y = m.node("Add", m.normal(8), m.node("MatMul", x, m.normal(8, 8)))
        y = m.node("Reshape", y, m.const([0, 0, 2, 4]))
        heads.append(m.node("Transpose", y, perm=perm))
    q, k, v = heads
    scale = m.node("Sqrt", m.node("Div", m.const(1.0, np.float32), m.const(4.0, np.float32)))
    weight = m.node("Softmax", m.node("Mul", m.node("MatMul", q, k), scale), axis=-1)
    y = m.node("Transpose", m.node("MatMul", weight, v), perm=[0, 2, 1, 3])
    m.output(m.node("Reshape", y, m.const([0, 0, 8])))


# What converters from TensorFlow write


@pattern(9, 13, 18)
def channels_last(m):
    x = m.node("Transpose", m.input("N", 9, 9, 3), perm=[0, 3, 1, 2])
    weight = m.node("Transpose", m.normal(3, 3, 3, 8), perm=[3, 2, 0, 1])
    x = m.node("Conv", x, weight, strides=[2, 2], auto_pad="SAME_UPPER")
    x = m.node("Add", x, m.node("Reshape", m.normal(8), m.const([1, 8, 1, 1])))
    if m.opset < 11:
        x = m.node("Clip", x, min=0.0, max=6.0)
    else:
        x = m.node("Clip", x, m.array(np.float32(0)), m.array(np.float32(6)))
    depthwise = m.node("Transpose", m.normal(3, 3, 8, 1), perm=[2, 3, 0, 1])
    x = m.node("Conv", x, depthwise, group=8, auto_pad="SAME_LOWER", strides=[2, 2])
    scale, shift = m.array(m.random.random((1, 8, 1, 1), np.float32)), m.normal(1, 8, 1, 1)
    x = m.node("Add", m.node("Mul", x, scale), shift)
    x = m.axes("ReduceMean", x, [2, 3], since=18, keepdims=1)
    x = m.node("Transpose", x, perm=[0, 2, 3, 1])
    x = m.axes("Squeeze", x, [1, 2])
    x = m.node("Add", m.node("MatMul", x, m.normal(8, 5)), m.normal(5))
    m.output(m.node("Softmax", x, axis=1), ops="transpose conv2d add clip conv2d mul add reduce "
             "transpose squeeze matmul add softmax")


@pattern(9)
def weights_among_the_inputs(m):
    """Version 3 of the file format lists weights as inputs."""
    x = m.conv(m.input(1, 3, 4, 4), 3, 2)
    m.ir_version = 3
    m.listed = [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in m.weights]
    m.output(x, ops="conv2d")


# Operators one by one, in forms that the graph does not have itself


@pattern(9, 11, 13)
def gemms(m):
    x, y = m.input(3, 4), m.input(4, 3)
    weight = m.normal(4, 5)
    outputs = []
    for c in ((), (1,), (5,), (1, 5), (3, 1), (3, 5)):
        bias = m.array(m.random.normal(size=c).astype(np.float32))
        outputs.append(m.node("Gemm", x, weight, bias))
        outputs.append(m.node("Gemm", y, m.normal(5, 4), bias, transA=1, transB=1, alpha=0.5,
                              beta=-2.0))
    outputs.append(m.node("Gemm", x, y, m.array(np.float32(1))))
    outputs.append(m.node("Gemm", y, y, m.array(np.float32(1)), transB=1, beta=0.0))
    if m.opset >= 11:
        outputs += [m.node("Gemm", x, weight), m.node("Gemm", x, weight, alpha=3.0)]
    m.output(*outputs)


@pattern(9, 13)
def matrix_products(m):
    x = m.input("N", 3, 4)
    row, column = m.normal(3), m.normal(4)
    outputs = [m.node("MatMul", x, column), m.node("MatMul", row, x)]
    outputs += [m.node("MatMul", x, m.normal(2, 1, 4, 5)), m.node("MatMul", row, m.normal(3, 2))]
    m.output(*outputs)


@pattern(9, 10, 11, 18, 26)
def windows(m):
    x = m.input(2, 4, 9, 12)
    outputs = []
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        outputs.append(m.conv(x, 4, 6, 4, strides=[2, 3], group=2, auto_pad=mode, pads=None))
        outputs.append(m.conv(x, 4, 2, 2, auto_pad=mode, pads=None))
        pool = {"kernel_shape": [3, 2], "strides": [2, 1], "auto_pad": mode}
        outputs.append(m.node("MaxPool", x, **pool))
        outputs.append(m.node("AveragePool", x, **pool))
        outputs.append(m.node("AveragePool", x, count_include_pad=1, **pool))
    # ONNX Runtime knows no dilation with SAME.
    outputs.append(m.conv(x, 4, 2, 2, dilations=[1, 2], auto_pad="VALID", pads=None))
    ceil = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1]}
    if m.opset >= 10:
        ceil["ceil_mode"] = 1
        outputs.append(m.node("MaxPool", x, kernel_shape=[2, 2], dilations=[2, 3]))
    outputs.append(m.node("MaxPool", x, storage_order=1, **ceil))
    outputs.append(m.node("AveragePool", x, **ceil))
    outputs += [m.node("GlobalMaxPool", x), m.node("GlobalAveragePool", x)]
    m.output(*outputs)


@pattern(9, 11, 13)
def transposed_convolutions(m):
    x = m.input(2, 4, 5, 6)
    weight, halves = m.normal(4, 3, 3, 4), m.normal(4, 1, 3, 3)
    outputs = [
        m.node("ConvTranspose", x, weight, m.normal(3), strides=[2, 3], pads=[1, 0, 0, 2]),
        m.node("ConvTranspose", x, halves, group=4, strides=[2, 2], output_padding=[1, 0]),
        m.node("ConvTranspose", x, m.normal(4, 2, 3, 3), group=2, dilations=[2, 1]),
        m.node("ConvTranspose", x, weight, strides=[2, 2], output_shape=[10, 13], pads=[0] * 4)
    ]
    if m.opset >= 11:
        for mode in ("SAME_UPPER", "SAME_LOWER"):
            outputs.append(m.node("ConvTranspose", x, weight, strides=[2, 3], auto_pad=mode))
            outputs.append(m.node("ConvTranspose", x, weight, strides=[2, 2], auto_pad=mode,
                                  output_shape=[10, 12]))
    m.output(*outputs)


@pattern(9, 11, 13)
def softmaxes(m):
    x, y = m.input(2, 3, 4, 5), m.input("N", 6, 1, 1)
    outputs = []
    for op in ("Softmax", "LogSoftmax"):
        outputs += [m.node(op, x), m.node(op, x, axis=2), m.node(op, x, axis=3)]
        outputs += [m.node(op, y, axis=1)]
    m.output(*outputs)


@pattern(9, 13, 18)
def reductions(m):
    x = m.input("N", 3, 4, 5)
    outputs = []
    for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
               "ReduceSumSquare"):
        since = 13 if op == "ReduceSum" else 18
        outputs.append(m.axes(op, x, [3, 1], since, keepdims=0))
        outputs.append(m.axes(op, x, [2], since))
        outputs.append(m.node(op, x, keepdims=0))
        if m.opset >= since and op in ("ReduceMean", "ReduceSum"):
            outputs.append(m.node(op, x, noop_with_empty_axes=1))
    m.output(*outputs)


@pattern(9, 13, 18, 20)
def elements(m):
    x, y, z = m.input(2, 3, 4), m.input(3, 1), m.input(1, 3, 4)
    outputs = [m.node(op, x, y, z) for op in ("Max", "Min", "Sum", "Mean")]
    outputs += [m.node(op, y) for op in ("Max", "Min", "Sum", "Mean")]
    outputs += [m.node("PRelu", x, m.normal(3, 1)), m.node("PRelu", x, m.normal(1))]
    outputs += [m.node("Elu", x, alpha=0.5), m.node("HardSigmoid", x), m.node("LeakyRelu", x)]
    outputs += [m.node("Pow", x, m.const(2.0, np.float32)), m.node("Softplus", x)]
    outputs += [m.node("LpNormalization", x, axis=1), m.node("Erf", x)]
    outputs += m.node("Dropout", x, results=2)[:1]
    if m.opset >= 13:
        outputs += [m.node("Pow", x, m.const(3)), m.node("CastLike", x, y) if m.opset > 14 else x]
        outputs += [m.node("Clip", x, "", m.const(0.5, np.float32)), m.node("Clip", x)]
        bound = m.axes("ReduceMax", y, [0, 1], since=18, keepdims=0)
        outputs += [m.node("Clip", x, "", bound)]
    else:
        outputs += [m.node("Clip", x, max=0.5)]
    if m.opset >= 18:
        outputs += [m.node("Mish", x), m.node("HardSwish", x)]
    if m.opset >= 20:
        outputs += [m.node("Gelu", x), m.node("Gelu", x, approximate="tanh")]
    m.output(*outputs)


@pattern(9, 11, 13, 18, 21)
def pads(m):
    x = m.input(2, 3, 4, 5)

    def pad(amounts, **attributes):
        if m.opset < 11:
            return m.node("Pad", x, pads=amounts, **attributes)
        value = attributes.pop("value", 0.0)
        return m.node("Pad", x, m.const(amounts), m.const(value, np.float32), **attributes)

    outputs = [pad([0, 1, 2, 0, 0, 2, 1, 3], value=1.5)]
    outputs += [pad([0, 0, 1, 2, 0, 0, 3, 0], mode=mode) for mode in ("reflect", "edge")]
    outputs += [pad([0, 0, -1, 2, 0, 0, 0, -2]), pad([0, -1, 0, 0, 0, 0, 0, -1])]
    if m.opset >= 18:
        axes = m.const([-1, 1])
        outputs.append(m.node("Pad", x, m.const([1, 0, 2, 1]), "", axes))
    m.output(*outputs)


@pattern(9, 10, 11, 13, 18)
def resizes(m):
    x = m.input(2, 3, 4, 6)
    outputs = []
    op = "Upsample" if m.opset == 9 else "Resize"
    if m.opset < 11:
        scales = [[1, 1, 2, 3], [1, 1, 1.5, 2]] + [[1, 1, 0.5, 0.6]] * (m.opset > 9)
        for mode in ("nearest", "linear"):
            outputs += [m.node(op, x, m.const(s, np.float32), mode=mode) for s in scales]
        return m.output(*outputs)
    empty = m.const([], np.float32) if m.opset < 13 else ""
    for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        for to in ([7, 9], [2, 1]):
            options = {"coordinate_transformation_mode": coordinates}
            sizes = m.const([2, 3, *to])
            outputs.append(m.node(op, x, empty, empty, sizes, mode="linear", **options))
            for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
                outputs.append(m.node(op, x, empty, empty, sizes, nearest_mode=rounding, **options))
        scales = m.const([1, 1, 1.5, 0.7], np.float32)
        outputs.append(m.node(op, x, empty, scales, mode="linear", **options))
    if m.opset >= 18:
        outputs.append(m.node(op, x, "", "", m.const([5, 8]), axes=[2, 3], mode="linear"))
    m.output(*outputs)


@pattern(11, 13)
def blocks(m):
    x = m.input("N", 8, 4, 6)
    outputs = [m.node("DepthToSpace", x, blocksize=2, mode=mode) for mode in ("DCR", "CRD")]
    outputs.append(m.node("SpaceToDepth", x, blocksize=2))
    m.output(*outputs)


@pattern(10, 13, 21)
def quantised(m):
    """Fake quantisation of activations and integer weights, zero points left out and not"""
    x = m.input("N", 2, 5, 5)
    scale, one = m.array(np.float32(0.02)), m.array(np.array([0.02], np.float32))
    zero = m.array(np.uint8(128))
    x = m.node("DequantizeLinear", m.node("QuantizeLinear", x, scale, zero), scale, zero)
    weight = m.array(m.random.integers(-128, 128, (3, 2, 3, 3)).astype(np.int8))
    if m.opset >= 13:
        scales = m.array(m.random.random(3, np.float32) / 64)
        weight = m.node("DequantizeLinear", weight, scales, axis=0)
        bias = m.array(m.random.integers(-999, 999, 3).astype(np.int32))
        bias = m.node("DequantizeLinear", bias, m.array(np.float32(1e-3)))
        x = m.node("Conv", x, weight, bias)
        x = m.node("DequantizeLinear", m.node("QuantizeLinear", x, one), one)
        return m.output(x, ops="quantize dequantize dequantize dequantize conv2d quantize dequantize")
    x = m.node("Conv", x, m.node("DequantizeLinear", weight, scale))
    m.output(x, ops="quantize dequantize dequantize conv2d")


@pattern(13)
def half_precision(m):
    """Weights of 16 bits, widened before use"""
    x = m.input("N", 2, 5, 5)
    weight = m.array(m.random.normal(size=(3, 2, 3, 3)).astype(np.float16))
    m.output(m.node("Conv", x, m.node("Cast", weight, to=1)), ops="conv2d")


@pattern(13)
def shared_and_unused(m):
    """One weight under two names, a branch that leads nowhere, a weight that nobody uses"""
    x = m.input("N", 4, 5, 5)
    weight = m.normal(4, 4, 1, 1)
    m.normal(1000)
    y = m.node("Conv", x, weight)
    m.node("NonZero", y)
    m.output(m.node("Conv", y, m.node("Identity", weight)), ops="conv2d conv2d")


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, opset, function in PATTERNS:
        model = Model(name, opset)
        function(model)
        onnx.save(model.build(), folder / f"{name}.onnx")


main()
