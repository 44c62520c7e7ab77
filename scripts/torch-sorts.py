#!/usr/bin/env python3
"""Times the sorts that the published KV-Compress does for an eviction decision, in
PyTorch, on keys that the decision here was measured on.

    torch-sorts.py MEASURED.md KEYS.npy...

The published path sorts all KVs by metric and then, stable, by head; it does the
same again with one key for each block. Prints a table in Markdown.
"""
import re
import statistics
import sys

import torch

BLOCK = 16
REPEAT = 20


def read(path):
    """Returns the float32 array [heads, KVs] of a .npy file."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    begin = 10 + int.from_bytes(data[8:10], "little")
    heads = int(re.search(rb"'shape': \((\d+),", data[:begin]).group(1))
    return torch.frombuffer(data, dtype=torch.float32, offset=begin).view(heads, -1)


def by_metric_and_head(metrics, heads):
    """Returns the order of heads, and in each of metric."""
    order = torch.sort(metrics).indices
    return order[torch.sort(heads[order], stable=True).indices]


def sorts(metrics, heads, n_heads):
    order = by_metric_and_head(metrics, heads)
    # A block's key is the metric of the last of its KVs, in that order.
    last = order.view(n_heads, -1)[:, BLOCK - 1 :: BLOCK].flatten()
    return by_metric_and_head(metrics[last], heads[last])


def measure(path):
    """Returns the number of keys, the median in ms, and the scratch bytes for each."""
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
    """Returns the median of each decision in ms, by its number of KVs."""
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
