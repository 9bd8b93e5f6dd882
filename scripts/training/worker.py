"""Times PyTorch's training steps of one network and prints a line of JSON.

usage: python worker.py NAME THREADS STEPS nchw|channels_last
"""
import json
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F

import networks

WARM_UP = 2


def main() -> None:
    name, threads, steps, layout = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    spec = next(spec for spec in networks.SPECS if spec.name == name)
    torch.set_num_threads(threads)
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    network = networks.torch_network(name, spec.classes).to(memory_format=form).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    pictures = torch.randn(networks.BATCH, *spec.shape).to(memory_format=form)
    labels = torch.arange(networks.BATCH) % spec.classes
    optimiser = torch.optim.Adam(network.parameters(), 1e-3, foreach=True)
    times = []
    for step in range(WARM_UP + steps):
        begin = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(pictures), labels)
        loss.backward()
        optimiser.step()
        loss.item()
        if step >= WARM_UP:
            times.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    weights = sum(weight.numel() for weight in network.parameters())
    found = {"pictures_per_second": networks.BATCH / statistics.median(times)}
    print(json.dumps({**found, "peak_resident_mb": peak, "weights": weights}))


main()
