#!/usr/bin/env python3
"""Measure the published Python code of compression methods and, with --go, this project's Go code on the same prompt.

    go test -c -o ref.test ./ref
    scripts/published-plans.py --sources DIR --go ./ref.test
    scripts/published-plans.py --sources DIR --method snapkv --method knorm     # only the Python code

DIR has clones of these repositories, in folders of these names, at these commits:

    AdaKV            FFY0/AdaKV@efe4e2e
    KVCache-Factory  Zefan-Cai/KVCache-Factory@c97f9d7
    kvpress          NVIDIA/kvpress@8bb29b9
    H2O              FMInference/H2O@ac75c2a

Needs Linux, Python 3.10, PyTorch (1.13 or later) and NumPy. transformers and flash-attn are not needed: the functions
and classes under test are compiled from the repositories' files, unmodified, with stubs for what the files import.
PyTorch needs an optimized BLAS: Debian's python3-torch uses the system's BLAS, which is 20 times slower without the
package libopenblas0-pthread.

The prompt is that of BenchmarkMethods in package ref: one layer of Llama-3.1-8B's shape (8 KV heads, 32 query heads,
head size 128) and 4,096 tokens in binary32, of which each head keeps 1,024. Number i of q, k and v is u/2^23 - 1, where
u is the top 24 bits of output i of SplitMix64 from state 1, 2 and 3. Python and Go have one thread each. In every round
each method runs in Python and then in Go several times; a round's figure is the mean of its runs. The table has the
minimum and the median of the rounds' figures, and the median, minimum and maximum of their ratios. All times are
processor time, which depends less on other work of the machine than elapsed time.

A published function computes scores, selects KVs, and copies the selected keys and values. It is compared with observe
+ compress of the Go code: scores, the plan, and the moves in the cache. Neither side includes attention (unless the row
says so), projections, or storing the prompt.
"""

import argparse
import ast
import contextlib
import dataclasses
import io
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import typing
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

TOKENS, KEEP, KV_HEADS, GROUP, DIM = 4096, 1024, 8, 4, 128
ROPE_BASE = 500000.0
LEAST_SPEED = 10  # GFLOP/s of one thread: the reference BLAS has 2 to 4, an optimized BLAS 30 or more
CLOSE = 1e-5  # relative difference of two scores that rounding may explain, if sums are in different orders


def uniform(state, n):
    """Return n numbers in [-1, 1), the same as the Go function of this name."""
    x = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(state)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    u = (x ^ x >> np.uint64(31)) >> np.uint64(40)
    return torch.from_numpy(u.astype(np.float32) / np.float32(1 << 23) - np.float32(1))


def angles(positions, dtype):
    """Return the cosines and sines of RoPE, [positions, DIM]. Pair i has the elements i and i + DIM/2."""
    frequencies = ROPE_BASE ** (-torch.arange(0, DIM, 2, dtype=torch.float64) / DIM)
    theta = torch.outer(positions.to(torch.float64), frequencies).repeat(1, 2)
    return theta.cos().to(dtype), theta.sin().to(dtype)


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


class Prompt:
    """The layer's q, k and v, [1, heads, tokens, DIM], and a stand-in for an attention module of transformers."""

    def __init__(self):
        def heads(state, n):
            return uniform(state, TOKENS * n * DIM).view(1, TOKENS, n, DIM).transpose(1, 2).contiguous()

        self.q, self.k, self.v = heads(1, KV_HEADS * GROUP), heads(2, KV_HEADS), heads(3, KV_HEADS)
        self.k_repeated = self.k.repeat_interleave(GROUP, dim=1)
        self.v_repeated = self.v.repeat_interleave(GROUP, dim=1)

        positions = torch.arange(TOKENS)
        cos, sin = angles(positions, torch.float64)
        q = self.q.to(torch.float64)
        unrotated = (q * cos - rotate_half(q) * sin).to(torch.float32)
        self.hidden = unrotated.transpose(1, 2).reshape(1, TOKENS, -1)
        cos, sin = angles(positions, torch.float32)
        self.kwargs = {"position_embeddings": (cos[None], sin[None])}

        self.module = nn.Module()
        self.module.q_proj = nn.Identity()  # the hidden states are the queries
        self.module.head_dim = DIM
        self.module.config = type("Config", (), {
            "num_attention_heads": KV_HEADS * GROUP, "num_key_value_heads": KV_HEADS, "_attn_implementation": "sdpa"})
        self.module.rotary_emb = lambda x, ids: tuple(t[None] for t in angles(ids[0], x.dtype))

    def attention(self):
        """Return the attention weights of every query, [1, query heads, tokens, tokens]."""
        p = self.q @ self.k_repeated.transpose(2, 3)
        p *= 1 / math.sqrt(DIM)
        p.masked_fill_(torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1), -math.inf)
        return F.softmax(p, dim=-1)


class Sources:
    """Classes and functions of published files, compiled without importing their packages."""

    def __init__(self, folder):
        self.folder = folder

    def names(self, path, *names, **given):
        """Return a namespace with the named classes and functions of a file. given has other names that they use."""
        namespace = {"__name__": "published", "torch": torch, "nn": nn, "F": F, "math": math, "warnings": warnings,
                     "dataclass": dataclasses.dataclass, **{n: getattr(typing, n) for n in ("List", "Optional", "Tuple")},
                     "_debug_print": lambda *_: None, **given}
        with open(os.path.join(self.folder, path), encoding="utf-8") as f:
            tree = ast.parse(f.read(), path)
        tree.body = [d for d in tree.body if isinstance(d, (ast.ClassDef, ast.FunctionDef)) and d.name in names]
        missing = set(names) - {d.name for d in tree.body}
        if missing:
            raise SystemExit(f"{path} has no {', '.join(sorted(missing))}: is the clone at the commit that --help names?")
        exec(compile(tree, path, "exec"), namespace)
        return namespace

    def press(self, file, name, **given):
        """Return a press class of kvpress. Its base classes are compiled, too."""
        folder = "kvpress/kvpress/"
        stub = {f"{model}Attention": type(model, (), {}) for model in ("Phi3", "Qwen3", "Gemma3")}
        query = self.names(folder + "utils.py", "get_prerope_query_states", **stub)["get_prerope_query_states"]
        repeat = self.names(ADAKV, "repeat_kv")["repeat_kv"]
        base = self.names(folder + "presses/scorer_press.py", "ScorerPress", BasePress=object)["ScorerPress"]
        shared = {"ScorerPress": base, "repeat_kv": repeat, "rotate_half": rotate_half, "get_prerope_query_states": query}
        shared["SnapKVPress"] = self.names(folder + "presses/snapkv_press.py", "SnapKVPress", **shared)["SnapKVPress"]
        if name in shared:
            return shared[name]
        return self.names(folder + "presses/" + file, name, **shared, **given)[name]


ADAKV = "AdaKV/adaptive_snapkv/monkeypatch/snapkv_utils.py"
FACTORY = "KVCache-Factory/pyramidkv/pyramidkv_utils.py"
FACTORY_FUNCTIONS = ("repeat_kv", "_gqa_groups", "_reduce_group_scores", "_grouped_window_attn_cache", "_select_topk_kv")
H2O = "H2O/h2o_hf/utils_real_drop/modify_llama.py"


@dataclasses.dataclass
class Case:
    """A published method. make returns a function that takes the attention weights, or None if the method does not
    use them, and returns the kept keys of every head, a list of [kept, DIM]."""
    method: str
    source: str
    make: typing.Callable
    includes: str = "scores, top-k, gather"
    weights: bool = False  # attention weights are given
    repeats: bool = False  # K and V are repeated for every query head
    comparable: bool = True  # the kept sets are
    runs: int = 3


def by_head(keys):
    return list(keys[0])


def factory(name, layers=1, **options):
    def make(sources, x):
        cluster = sources.names(FACTORY, name, *FACTORY_FUNCTIONS)[name]
        def step(_):
            kept = []
            for layer in range(layers):
                layer_options = {"layer_idx": layer, "num_hidden_layers": layers} if layers > 1 else {}
                c = cluster(max_capacity_prompt=KEEP, kernel_size=5, pooling="avgpool", **options, **layer_options)
                kept += by_head(c.update_kv(x.k, x.q, x.v, None, GROUP)[0])
            return kept
        return step
    return make


def ada(sources, x):
    cluster = sources.names(ADAKV, "AdaptiveSnapKVCluster", "repeat_kv")["AdaptiveSnapKVCluster"]
    def step(_):
        c = cluster(window_size=32, kernel_size=7, pooling="maxpool", base_capacity=KEEP, floor_alpha=0.2, skip=0,
                    normalize=False, layer_idx=0, num_hidden_layers=1, gqa_support=True, num_key_value_groups=GROUP,
                    gqa_func="mean")
        keys = c.update_kv(x.k, x.q, x.v)[0]
        return keys.split(c.head_lens.tolist())
    return step


def snapkv_repeated(sources, x):
    cluster = sources.names(ADAKV, "SnapKVCluster", "repeat_kv")["SnapKVCluster"]
    return lambda _: by_head(cluster(window_size=32, max_capacity_prompt=KEEP, num_key_value_groups=GROUP)
                             .update_kv(x.k, x.q, x.v)[0])


def streaming(sources, x):
    cluster = sources.names(ADAKV, "StreamingLLMKVCluster")["StreamingLLMKVCluster"]
    return lambda _: by_head(cluster(max_capacity_prompt=KEEP).update_kv(x.k, x.q, x.v)[0])


def h2o(sources, x):
    cache = sources.names(H2O, "H2OKVCache_LayerWise")["H2OKVCache_LayerWise"]
    return lambda p: by_head(cache(hh_size=KEEP // 2, recent_size=KEEP // 2)((x.k_repeated, x.v_repeated), p)[0])


def press(file, name, **options):
    def make(sources, x):
        p = sources.press(file, name)(compression_ratio=1 - KEEP / TOKENS, **options)
        return lambda weights: by_head(p.compress(x.module, x.hidden, x.k, x.v, weights, x.kwargs)[0])
    return make


PRESS = "NVIDIA/kvpress@8bb29b9"
QUERIES = "rotation of the queries, scores, top-k, gather"
CASES = [
    Case("ada-snapkv", "FFY0/AdaKV@efe4e2e", ada, "scores, sort, budgets, gather head by head"),
    Case("snapkv", "Zefan-Cai/KVCache-Factory@c97f9d7", factory("SnapKVCluster", window_size=32)),
    Case("snapkv-published", "FFY0/AdaKV@efe4e2e", snapkv_repeated, "repetition of K and V, scores, top-k, gather, for 32 heads",
         repeats=True),
    Case("snapkv-kvpress", PRESS, press("snapkv_press.py", "SnapKVPress"), QUERIES),
    Case("pyramidkv", "Zefan-Cai/KVCache-Factory@c97f9d7", factory("PyramidKVCluster", layers=2, window_size=8),
         "scores, top-k, gather, of 2 layers"),
    Case("tova", PRESS, press("tova_press.py", "TOVAPress"), QUERIES),
    Case("expected-attention", PRESS, press("expected_attention_press.py", "ExpectedAttentionPress")),
    Case("keydiff", PRESS, press("keydiff_press.py", "KeyDiffPress")),
    Case("knorm", PRESS, press("knorm_press.py", "KnormPress")),
    Case("lagkv", PRESS, press("lagkv_press.py", "LagKVPress")),
    Case("random", PRESS, press("random_press.py", "RandomPress", seed=1), comparable=False),
    Case("streaming-llm", "FFY0/AdaKV@efe4e2e", streaming, "copies of what is kept"),
    Case("streaming-llm-kvpress", PRESS, press("streaming_llm_press.py", "StreamingLLMPress")),
    Case("h2o-prefill", "Zefan-Cai/KVCache-Factory@c97f9d7",
         factory("H2OKVCluster", window_size=8, gqa_score_agg="sum"), "attention of all queries, scores, top-k, gather", runs=1),
    Case("h2o-real-drop", "FMInference/H2O@ac75c2a", h2o,
         "attention of all queries, which it is given; scores, top-k, gather, for 32 heads", weights=True, repeats=True,
         runs=1),
    Case("observed-attention", PRESS, press("observed_attention_press.py", "ObservedAttentionPress"),
         "attention of all queries, which it is given; scores, top-k, gather", weights=True, runs=1),
]


def positions(kept, keys):
    """Return the positions in the prompt of the kept keys of one head. The first two elements identify a key."""
    of = {tuple(row): i for i, row in enumerate(keys[:, :2].tolist())}
    return sorted(of[tuple(row)] for row in kept[:, :2].tolist())


def difference(kept, go):
    """Describe how the positions kept here and in Go differ, [heads][positions] each. If scores are equal, for example
    after max pooling, or differ only by the rounding of sums, the two sides may keep different positions."""
    if [len(head) for head in kept] != [len(head) for head in go["kept"]]:
        return "DIFFERENT NUMBERS"
    exchanged, worse = 0, 0
    for head, (here, there) in enumerate(zip(kept, go["kept"])):
        mine, others = set(here) - set(there), set(there) - set(here)
        exchanged += len(mine)
        if "scores" not in go:
            worse += len(mine)
            continue
        scores = go["scores"][head]
        pairs = zip(sorted(scores[i] for i in mine), sorted(scores[i] for i in others))
        worse += sum(abs(a - b) > CLOSE * abs(a) for a, b in pairs)
    total = f"{sum(map(len, kept)):,}"
    if worse:
        return f"{total}: {exchanged} DIFFER, {worse} in score"
    return f"{total}, the same" if exchanged == 0 else f"{total}, the same but for {exchanged} of tied scores"


def timed(f):
    """Return f's result and its processor time in milliseconds."""
    start = time.process_time()
    result = f()
    return result, (time.process_time() - start) * 1e3


def quietly(f):
    with contextlib.redirect_stdout(io.StringIO()):
        return f()


class Published:
    def __init__(self, case, sources, prompt):
        self.case, self.prompt, self.step = case, prompt, case.make(sources, prompt)
        self.kept = None  # after a run

    def run(self):
        """Run once. Return the milliseconds for computing the attention weights, and those of the method itself."""
        weights, given = timed(self.prompt.attention) if self.case.weights else (None, 0.0)
        kept, own = timed(lambda: quietly(lambda: self.step(weights)))
        if self.kept is None:
            keys = (self.prompt.k_repeated if self.case.repeats else self.prompt.k)[0]
            self.kept = [positions(head, keys[i % len(keys)]) for i, head in enumerate(kept)]
        return given, own

    def round(self):
        """Return the mean times of a round, as from run."""
        runs = [self.run() for _ in range(self.case.runs)]
        return tuple(statistics.mean(r[i] for r in runs) for i in (0, 1))


def go_round(binary, case):
    """Return the milliseconds of Go's observe, plan and compress."""
    out = subprocess.run(
        [binary, "-test.run", "^$", "-test.bench", f"^BenchmarkMethods$/^{case.method}$", "-test.benchtime", f"{case.runs}x"],
        env=dict(os.environ, GOMAXPROCS="1"), stdout=subprocess.PIPE, text=True, check=True).stdout
    found = dict(re.findall(r"^BenchmarkMethods/[^/]+/(\w+)\s.*?([\d.]+) cpu-ns/op", out, re.M))
    return tuple(float(found.get(part, 0)) / 1e6 for part in ("observe", "plan", "compress"))


def go_kept(binary, cases):
    """Return the positions that Go keeps, by method."""
    methods = "|".join(c.method for c in cases)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kept.json")
        subprocess.run([binary, "-test.run", f"^TestMethodsKept$/^({methods})$", "-kept", path],
                       env=dict(os.environ, GOMAXPROCS="1"), stdout=subprocess.DEVNULL, check=True)
        with open(path) as f:
            return json.load(f)


def least(rounds):
    """Return the round with the least total time."""
    return min(rounds, key=sum)


def milliseconds(x):
    return f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:,.0f}"


def multiplication_speed():
    """Return the GFLOP/s of a 1,024 × 1,024 matrix product, the best of five."""
    a = torch.rand(1024, 1024)
    return 2 * 1024**3 / min(timed(lambda: a @ a)[1] for _ in range(5)) / 1e6


def row(case, published, go, kept):
    given, own = least(published)
    cell = milliseconds(own) if not case.weights else f"{milliseconds(given)} + {milliseconds(own)}"
    cells = [f"`{case.method}`", case.source, cell, milliseconds(statistics.median(map(sum, published)))]
    if go:
        here = [(observe, compress) for observe, _, compress in go]
        observe, compress = least(here)
        ratios = [sum(p) / sum(h) for p, h in zip(published, here)]
        cells += [f"{milliseconds(observe)} + {milliseconds(compress)}", milliseconds(statistics.median(map(sum, here))),
                  milliseconds(min(plan for _, plan, _ in go)),
                  f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})", kept]
    return "| " + " | ".join(cells + [case.includes]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", required=True, metavar="DIR", help="folder of the clones")
    parser.add_argument("--go", metavar="FILE", help="test binary of package ref")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default 5)")
    parser.add_argument("--method", action="append", help="measure only this method; may be repeated")
    parser.add_argument("--json", metavar="FILE", help="also write the figures of every round, in ms")
    args = parser.parse_args()
    unknown = set(args.method or ()) - {c.method for c in CASES}
    if unknown or args.rounds < 1:
        parser.error(f"no method {', '.join(unknown)} is published there" if unknown else "--rounds must be at least 1")

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    speed = multiplication_speed()
    if speed < LEAST_SPEED:
        raise SystemExit(f"PyTorch multiplies matrices at {speed:.1f} GFLOP/s: its BLAS is the reference one, and times would "
                         "say nothing of the published code: install libopenblas0-pthread, or see --help")
    cases = [c for c in CASES if not args.method or c.method in args.method]
    sources, prompt = Sources(args.sources), Prompt()
    kept = go_kept(args.go, cases) if args.go else {}
    published = {c.method: Published(c, sources, prompt) for c in cases}
    figures = {c.method: ([], []) for c in cases}
    for case in cases:
        published[case.method].run()  # the first run is not counted
    for number in range(args.rounds):
        for case in cases:
            here, there = figures[case.method]
            here.append(published[case.method].round())
            if args.go:
                there.append(go_round(args.go, case))
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
        if args.json:
            with open(args.json, "w") as f:
                json.dump({m: {"published": p, "go": g} for m, (p, g) in figures.items()}, f, indent=1)

    print(f"PyTorch {torch.__version__}, whose BLAS multiplies at {speed:.0f} GFLOP/s on one thread; {args.rounds} rounds; "
          "milliseconds of processor time.\n")
    head = ["method", "published in", "published, least", "median"]
    if args.go:
        head += ["Go: observe + compress, least", "median", "of it plan", "times as long", "kept"]
    print("| " + " | ".join(head + ["published includes"]) + " |")
    print("|---" * (len(head) + 1) + "|")
    for case in cases:
        same = difference(published[case.method].kept, kept[case.method]) if args.go and case.comparable else "not compared"
        print(row(case, *figures[case.method], same))


if __name__ == "__main__":
    main()
