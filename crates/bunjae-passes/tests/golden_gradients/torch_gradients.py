"""Prints torch.golden: the gradients of small networks as PyTorch computes them, in f64.

A network is a list of layers, which is printed with its results, so that the test builds the same. All numbers come
from one formula over a name and an index, in whole numbers and one division. For each gradient there are its number
of elements, sum, sum of squares, and the elements at the start, one and two thirds of the way, and the end.
"""
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def fraction(name, index):
    """A number in -0.5 to 0.5."""
    seed = sum(byte * (at + 1) for at, byte in enumerate(name.encode()))
    return (index * index * 7 + index * 37 + seed * 101) % 1009 / 1009 - 0.5


def values(name, shape, low, high):
    count = math.prod(shape)
    numbers = [(low + high) / 2 + (high - low) * fraction(name, index) for index in range(count)]
    return torch.tensor(numbers).reshape(shape)


def single(number):
    """The nearest number in f32, which is how a graph holds its settings."""
    return torch.tensor(number, dtype=torch.float32).item()


class Net:
    def __init__(self):
        self.weights = {}

    def weight(self, name, shape, low, high):
        if name not in self.weights:
            self.weights[name] = values(name, shape, low, high).requires_grad_()
        return self.weights[name]

    def filter(self, name, shape, fan_in):
        bound = math.sqrt(6 / fan_in)
        return self.weight(name, shape, -bound, bound)

    def layer(self, name, kind, x, o):
        a = x[0]
        i = lambda key, default=0: int(o.get(key, default))
        channels = a.shape[1]
        window = dict(stride=i("stride", 1), padding=i("pad"))
        if kind == "conv":
            groups, k, out = i("groups", 1), i("kernel"), i("out")
            seen = channels // groups
            weight = self.filter(f"{name}.weight", (out, seen, k, k), seen * k * k)
            bias = self.weight(f"{name}.bias", (out,), -0.5, 0.5) if i("bias") else None
            return F.conv2d(a, weight, bias, groups=groups, dilation=i("dilation", 1), **window)
        if kind == "deconv":
            groups, k, made = i("groups", 1), i("kernel"), i("out")
            weight = self.filter(f"{name}.weight", (channels, made // groups, k, k), channels * k)
            bias = self.weight(f"{name}.bias", (made,), -0.5, 0.5)
            return F.conv_transpose2d(a, weight, bias, groups=groups, output_padding=i("output_pad"), **window)
        if kind == "bn":
            gamma = self.weight(f"{name}.gamma", (channels,), 0.5, 1.5)
            beta = self.weight(f"{name}.beta", (channels,), -0.5, 0.5)
            return F.batch_norm(a, None, None, gamma, beta, training=True, eps=single(1e-5))
        if kind == "linear":
            weight = self.filter(f"{name}.weight", (i("out"), channels), channels)
            return F.linear(a, weight, self.weight(f"{name}.bias", (i("out"),), -0.5, 0.5))
        if kind == "prelu":
            return F.prelu(a, self.weight(f"{name}.slope", (channels, 1, 1), 0.1, 0.4).flatten())
        if kind == "max_pool":
            return F.max_pool2d(a, i("kernel"), **window)
        if kind == "average_pool":
            return F.avg_pool2d(a, i("kernel"), count_include_pad=False, **window)
        if kind == "upsample":
            return F.interpolate(a, scale_factor=2, mode="bilinear", align_corners=False)
        if kind == "global_pool":
            return a.mean((2, 3), keepdim=True)
        if kind == "add":
            return a + x[1]
        if kind == "mul":
            return a * x[1]
        if kind == "concat":
            return torch.cat(x, 1)
        if kind == "flatten":
            return a.flatten(1)
        if kind == "leaky_relu":
            return F.leaky_relu(a, single(0.1))
        if kind == "hard_sigmoid":
            return (a * single(1 / 6) + 0.5).clamp(0, 1)
        functions = dict(relu=F.relu, relu6=F.relu6, sigmoid=F.sigmoid, hard_swish=F.hardswish, silu=F.silu,
                         gelu=F.gelu, tanh=torch.tanh)
        return functions[kind](a)


def loss(kind, y):
    count, classes = y.shape[0], y.shape[1]
    if kind == "squares":
        return ((y - values("target", y.shape, -1, 1)) ** 2).mean()
    # Every example has most of its probability on one class.
    targets = torch.full((count, classes), 0.1 / classes)
    for n in range(count):
        targets[n, n % classes] += 0.9
    weights = values("weights", (count,), 0.5, 1.5)
    hard = (F.cross_entropy(y, targets, reduction="none") * weights).mean()
    if kind == "entropy":
        return hard
    teacher = values("teacher", y.shape, -3, 3)
    soft = F.kl_div(F.log_softmax(y / 4, 1), F.softmax(teacher / 4, 1), reduction="batchmean") * 16
    return 0.1 * hard + 0.9 * soft


NETS = {
    "mask": ("3 3 20 18", "entropy", """
        c1 conv x out=6 kernel=3 pad=1
        b1 bn c1
        r1 relu b1
        p1 max_pool r1 kernel=2 stride=2
        c2 conv p1 out=8 kernel=3 pad=1
        b2 bn c2
        r2 relu b2
        p2 max_pool r2 kernel=3 stride=2 pad=1
        c3 conv p2 out=10 kernel=3 pad=1 bias=1
        r3 relu c3
        flat flatten r3
        fc1 linear flat out=7
        r4 relu fc1
        fc2 linear r4 out=2"""),
    "residual": ("2 3 17 15", "entropy", """
        c1 conv x out=4 kernel=3 pad=1
        b1 bn c1
        r1 relu b1
        c2 conv r1 out=8 kernel=3 stride=2 pad=1
        b2 bn c2
        r2 relu b2
        c3 conv r2 out=8 kernel=3 pad=1
        b3 bn c3
        down conv r1 out=8 kernel=1 stride=2
        bd bn down
        sum add b3 bd
        r3 relu sum
        c4 conv r3 out=8 kernel=3 pad=1
        b4 bn c4
        sum2 add b4 r3
        r4 relu sum2
        pool global_pool r4
        flat flatten pool
        fc linear flat out=5"""),
    "mobile": ("4 3 19 16", "distillation", """
        c1 conv x out=6 kernel=3 stride=2 pad=1
        b1 bn c1
        r1 leaky_relu b1
        e1 conv r1 out=12 kernel=1
        be1 bn e1
        re1 leaky_relu be1
        d1 conv re1 out=12 kernel=3 stride=2 pad=1 groups=12
        bd1 bn d1
        rd1 leaky_relu bd1
        squeeze global_pool rd1
        s1 conv squeeze out=3 kernel=1 bias=1
        sr relu s1
        s2 conv sr out=12 kernel=1 bias=1
        gate hard_sigmoid s2
        se mul rd1 gate
        q1 conv se out=8 kernel=1
        bq1 bn q1
        e2 conv bq1 out=16 kernel=1
        be2 bn e2
        re2 relu6 be2
        d2 conv re2 out=16 kernel=5 pad=2 groups=16
        bd2 bn d2
        rd2 hard_swish bd2
        q2 conv rd2 out=8 kernel=1
        bq2 bn q2
        sum add bq1 bq2
        pool global_pool sum
        flat flatten pool
        fc linear flat out=3"""),
    "decoder": ("2 2 10 9", "squares", """
        c1 conv x out=4 kernel=3 pad=2 dilation=2 bias=1
        r1 gelu c1
        p1 average_pool r1 kernel=3 stride=2 pad=1
        m1 conv p1 out=8 kernel=1 groups=4
        r2 prelu m1
        u1 deconv r2 out=6 kernel=3 stride=2 pad=1 output_pad=1 groups=2
        s1 silu u1
        u2 upsample p1
        t2 tanh u2
        both concat s1 t2
        c2 conv both out=3 kernel=3 pad=1"""),
}

print(f"# torch {torch.__version__}")
for name, (shape, kind, layers) in NETS.items():
    net = Net()
    shape = [int(size) for size in shape.split()]
    tensors = {"x": values("x", shape, -1.5, 1.5).requires_grad_()}
    print(f"net {name}\ninput {' '.join(map(str, shape))}")
    for line in layers.split("\n")[1:]:
        layer, operator, *rest = line.split()
        options = dict(word.split("=") for word in rest if "=" in word)
        operands = [tensors[word] for word in rest if "=" not in word]
        y = tensors[layer] = net.layer(layer, operator, operands, options)
        print("layer", line.strip())
    total = loss(kind, y)
    total.backward()
    print(f"loss {kind} {total.item()!r}")
    for weight, tensor in [("x", tensors["x"]), *net.weights.items()]:
        g = tensor.grad.flatten()
        picked = [0, len(g) // 3, 2 * len(g) // 3, len(g) - 1]
        numbers = [g.sum(), (g * g).sum(), *(g[at] for at in picked)]
        print("grad", weight, len(g), *(repr(number.item()) for number in numbers))
