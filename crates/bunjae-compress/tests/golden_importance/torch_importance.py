"""Prints what PyTorch (in f64) and torch-pruning say about the channels of a small network.

    python torch_importance.py > torch.golden

Needs torch and torch-pruning 1.6.1. The network, its numbers and its pictures are those of
`golden_importance.rs`.
"""

import warnings

import torch
import torch.nn as nn
import torch.nn.functional as F

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch_pruning as tp
    from torch_pruning.pruner import importance

torch.set_default_dtype(torch.float64)
COUNT, CLASSES = 5, 3


def values(name, shape, low, high):
    """Numbers that look random, in f32."""
    seed = sum((at + 1) * byte for at, byte in enumerate(name.encode()))
    count = torch.Size(shape).numel()
    index = torch.arange(count)
    fraction = ((index * index * 7 + index * 37 + seed * 101) % 1009) / 1009 - 0.5
    return ((low + high) / 2 + (high - low) * fraction).float().double().reshape(shape)


class Net(nn.Module):
    """A residual block, a depthwise layer, a pointwise one, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.b1 = nn.BatchNorm2d(6)
        self.c2 = nn.Conv2d(6, 6, 3, padding=1)
        self.b2 = nn.BatchNorm2d(6)
        self.dw = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.b3 = nn.BatchNorm2d(6)
        self.p = nn.Conv2d(6, 5, 1)
        self.fc1 = nn.Linear(5 * 4 * 4, 7)
        self.fc2 = nn.Linear(7, CLASSES)
        self.read = []
        self.closed = {}
        for name, parameter in self.named_parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 0
            bound = (6 / fan_in) ** 0.5 if fan_in else 0.5
            low, high = (0.5, 1.5) if name.startswith("b") and name.endswith("weight") else (-bound, bound)
            parameter.data = values(name, parameter.shape, low, high)
        for name, buffer in self.named_buffers():
            if name.endswith("mean"):
                buffer.copy_(values(name, buffer.shape, -0.5, 0.5))
            elif name.endswith("var"):
                buffer.copy_(values(name, buffer.shape, 0.5, 1.5))

    def edge(self, group, x):
        """What a layer reads of the channels of a group, apart from all others who read it."""
        x = x.clone()
        closed = self.closed.get(group)
        if closed is not None:
            x = x * (1 - F.one_hot(torch.tensor(closed), x.shape[1])).reshape([1, -1] + [1] * (x.dim() - 2))
        if x.requires_grad:
            x.retain_grad()
            self.read.append((group, x))
        return x

    def forward(self, x):
        r1 = F.relu(self.b1(self.c1(x)))
        y = F.relu(r1 + self.b2(self.c2(self.edge("c1", r1))))
        y = F.max_pool2d(y, 2)
        y = F.relu(self.b3(self.dw(y)))
        y = F.relu(self.p(self.edge("c1", y)))
        y = self.edge("p", y).flatten(1)
        y = F.relu(self.fc1(y))
        return self.fc2(self.edge("fc1", y))


index = torch.arange(COUNT * 3 * 8 * 8)
pictures = ((index * index * 31 + index * 17) % 251).double().reshape(COUNT, 3, 8, 8)
pictures = (pictures / 255 - 0.4) / 0.25
labels = torch.arange(COUNT) % CLASSES
net = Net().eval()
GROUPS = {"c1": net.c1, "p": net.p, "fc1": net.fc1}


def write(kind, group, numbers):
    print(kind, group, *(repr(number) for number in numbers.tolist()))


def losses():
    return F.cross_entropy(net(pictures), labels, reduction="none")


print(f"# torch {torch.__version__}, torch-pruning {tp.__version__}")
base = losses().mean()
print("loss", "all", repr(base.item()))

# By activations: each picture by itself.
net.read = []
losses().sum().backward()
for group in GROUPS:
    effects = torch.zeros(COUNT, 1)
    for _, x in (read for read in net.read if read[0] == group):
        effects = effects + (x * x.grad).flatten(2).sum(2) if x.dim() > 2 else effects + x * x.grad
    write("fisher", group, (effects**2).mean(0) / 2)
    effect = effects.abs().mean(0)
    write("effect", group, effect)
    write("taylor", group, effect / effect.norm())
    [*_, x] = [x for name, x in net.read if name == group]
    if group == "p":
        # To the letter of the paper: the mean over the positions of a feature map, the absolute
        # value of each example, their mean, and the l2 norm of the layer.
        z = (x * x.grad).mean((2, 3)).abs().mean(0)
        assert torch.allclose(z / z.norm(), effect / effect.norm(), rtol=1e-12)

# By weights.
gradients, squares = {}, {}
for at in range(COUNT):
    net.zero_grad()
    losses()[at].backward()
    for name, parameter in net.named_parameters():
        gradients[name] = gradients.get(name, 0) + parameter.grad / COUNT
        squares[name] = squares.get(name, 0) + parameter.grad**2 / COUNT


def fill(by):
    for name, parameter in net.named_parameters():
        parameter.grad = by[name].clone()


graph = tp.DependencyGraph().build_dependency(net, pictures)


def judge(kind, scorer):
    for group, layer in GROUPS.items():
        function = tp.prune_linear_out_channels if group == "fc1" else tp.prune_conv_out_channels
        channels = list(range(layer.weight.shape[0]))
        write(kind, group, scorer(graph.get_pruning_group(layer, function, channels)))


fill(gradients)
judge("weight-taylor", importance.GroupTaylorImportance())
judge("weight-taylor-sum", importance.GroupTaylorImportance(multivariable=True))
fill(squares)
judge("hessian", importance.GroupHessianImportance())
scorer = importance.OBDCImportance(num_classes=CLASSES)
scorer.steps = 1
for name, layer in net.named_modules():
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        scorer.Fisher[layer] = squares[f"{name}.weight"].flatten(1)
judge("obd-c", scorer)

# The oracle: the loss without each channel, less that of the whole.
with torch.no_grad():
    for group, layer in GROUPS.items():
        changes = []
        for channel in range(layer.weight.shape[0]):
            net.closed = {group: channel}
            changes.append(losses().mean() - base)
        net.closed = {}
        write("oracle", group, torch.stack(changes))

# Penalties: what they add to gradients that are 0.
settings = dict(ignored_layers=[net.fc2], reg=0.01)
scales = importance.BNScaleImportance()
pruners = {
    "bn-scale": tp.pruner.BNScalePruner(net, pictures, scales, **settings),
    "group-norm": tp.pruner.GroupNormPruner(net, pictures, importance.GroupMagnitudeImportance(p=2), **settings),
}
for kind, pruner in pruners.items():
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    pruner.regularize(net)
    for name, parameter in net.named_parameters():
        g = parameter.grad.flatten()
        write(kind, name, torch.stack([g.sum(), (g * g).sum(), g[0], g[len(g) // 2], g[-1]]))
