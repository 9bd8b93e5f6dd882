"""The networks whose training is timed, and how the two sides name them."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Spec:
    name: str
    shape: tuple
    classes: int
    # What Bunjae's pictures per second should be of PyTorch's better figure.
    aim: float

    @property
    def size(self) -> str:
        return "x".join(map(str, self.shape))


SPECS = [
    Spec("mask-base", (3, 128, 128), 2, aim=1.4),
    Spec("mask-small", (3, 128, 128), 2, aim=2.5),
    Spec("pd-light", (1, 60, 120), 6, aim=1.2),
    Spec("resnet18", (3, 128, 128), 6, aim=1.0),
    Spec("mobilenet-v2", (3, 128, 128), 6, aim=1.0),
]

BATCH = 32


def torch_network(name: str, classes: int):
    """The same architecture as the zoo's, in PyTorch."""
    import torch
    from torch import nn

    def mask(widths):
        layers, before = [], 3
        for at, width in enumerate(widths):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers.append(nn.MaxPool2d(2) if at + 1 < len(widths) else nn.AdaptiveAvgPool2d(1))
            before = width
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before, classes))

    def norm(*layer):
        return [*layer, nn.BatchNorm2d(layer[-1].out_channels)]

    class Inverted(nn.Module):
        def __init__(self, inputs, outputs, stride, expand):
            super().__init__()
            hidden = inputs * expand
            layers = []
            if expand > 1:
                layers += [*norm(nn.Conv2d(inputs, hidden, 1, bias=False)), nn.LeakyReLU(0.2)]
            depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
            layers += [*norm(depthwise), nn.LeakyReLU(0.2)]
            layers += norm(nn.Conv2d(hidden, outputs, 1, bias=False))
            self.layers = nn.Sequential(*layers)
            self.shortcut = stride == 1 and inputs == outputs

        def forward(self, x):
            return x + self.layers(x) if self.shortcut else self.layers(x)

    def pd_light():
        layers = [*norm(nn.Conv2d(1, 32, 3, 2, 1, bias=False)), nn.LeakyReLU(0.2)]
        inputs = 32
        stages = [(16, 1, 1, 1), (24, 2, 6, 2), (32, 2, 6, 3), (64, 2, 6, 3)]
        for outputs, stride, expand, count in stages:
            for at in range(count):
                layers.append(Inverted(inputs, outputs, stride if at == 0 else 1, expand))
                inputs = outputs
        layers += [*norm(nn.Conv2d(64, 256, 1, bias=False)), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, classes))

    torch.manual_seed(0)
    if name == "mask-base":
        return mask((32, 64, 128))
    if name == "mask-small":
        return mask((8, 16, 32))
    if name == "pd-light":
        return pd_light()
    import torchvision

    return getattr(torchvision.models, name.replace("-", "_"))(num_classes=classes)
