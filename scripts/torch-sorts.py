#!/usr/bin/env python3
"""Time the PyTorch sorts of an eviction decision of the published KV-Compress, on the
keys on which this project's eviction decision was measured.

    torch-sorts.py MEASURED.md KEYS.npy...

The published code sorts all KVs by metric and then, with a stable sort, by head. Then it
does the same with one key per block. The output is a table in Markdown.
"""
import re
import statistics
import sys

import torch

BLOCK = 16
REPEAT = 20


def read(path):
    """Return the float32 array [heads, KVs] of a .npy file."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    begin = 10 + int.from_bytes(data[8:10], "little")
    heads = int(re.search(rb"'shape': \((\d+),", data[:begin]).group(1))
    return torch.frombuffer(data, dtype=torch.float32, offset=begin).view(heads, -1)


def by_metric_and_head(metrics, heads):
    """Return the indices of KVs sorted by head, and within a head by metric."""
    order = torch.sort(metrics).indices
    return order[torch.sort(heads[order], stable=True).indices]


def sorts(metrics, heads, n_heads):
    order = by_metric_and_head(metrics, heads)
    # A block's key is the metric of the last of its KVs in this order.
    last = order.view(n_heads, -1)[:, BLOCK - 1 :: BLOCK].flatten()
    return by_metric_and_head(metrics[last], heads[last])


def measure(path):
    """Return the number of keys, the median time in ms, and the scratch bytes per key."""
    keys = read(path)
    n_heads = keys.shape[0]
    metrics = keys.flatten().cuda()
    heads = torch.arange(n_heads, dtype=torch.int32, device="cuda").repeat_interleave(keys.shape[1])
    sorts(metrics, heads, n_heads)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    times = []
    for _ in range(REPEAT):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        sorts(metrics, heads, n_heads)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    scratch = (torch.cuda.max_memory_allocated() - before) / metrics.numel()
    return metrics.numel(), statistics.median(times), scratch


def decisions(path):
    """Return the median time of each decision in ms, by its number of KVs."""
    with open(path) as f:
        rows = re.findall(r"^\| eviction decision \| (\d+) KVs \|[^|]*\| ([\d.]+) ms \|", f.read(), re.M)
    return {int(n): float(ms) for n, ms in rows}


def main():
    ours = decisions(sys.argv[1])
    print(f"PyTorch {torch.__version__}, medians of {REPEAT}.\n")
    print("| KVs | the sorts | scratch of the sorts for each KV | the decision here | times faster |")
    print("|---|---|---|---|---|")
    for n, ms, scratch in sorted(measure(path) for path in sys.argv[2:]):
        print(f"| {n} | {ms:.3f} ms | {scratch:.1f} bytes | {ours[n]:.3f} ms | {ms / ours[n]:.1f} |")


if __name__ == "__main__":
    main()
