#!/usr/bin/env python3
"""Train a recall model: a Llama of 418,656 parameters that finds what a question asks for in its context, one with twice
its heads, for contexts twice as long, or one with layers of linear attention.

    train.py --seed 11 -o recall.safetensors        # some ten minutes on one core
    export.py recall.safetensors -o ../recall-2
    train.py --shape wide -o wide.safetensors
    export.py wide.safetensors -o ../wide-0
    train.py --shape linear --rate 3e-3 -o linear.safetensors        # and hybrid
    export.py linear.safetensors -o ../linear-0

It needs PyTorch and NumPy (Debian: python3-torch, python3-numpy). Stages count steps and not minutes, and it runs on one
thread, so that one version of PyTorch on one kind of processor gives the same weights again. The loss is that of the
answers' tokens alone.
"""

import argparse
import dataclasses
import random
import time

import torch
from torch.nn import functional

import data
import export
from model import Config, Model, initialize


@dataclasses.dataclass
class Stage:
    """A number of steps on contexts of some lengths."""

    lengths: tuple
    tokens: int  # of a step
    steps: int
    positions: int  # in 30 % of the prompts, positions jump, up to this
    copying: float  # part of the prompts that only repeat
    first: float  # factor of the learning rate, at the beginning
    last: float  # and at the end, with a straight line between their logarithms


STAGES = (
    Stage((64,), 2048, 700, 64, 0.3, 1, 1),
    Stage((128,), 2048, 700, 512, 0.1, 0.7, 0.6),
    Stage((128, 256), 3072, 750, 1024, 0.03, 0.6, 0.5),
    Stage((256, 512), 4096, 700, 2048, 0.0, 0.5, 0.3),
    Stage((512, 1024), 6144, 250, 2304, 0.0, 0.3, 0.05),
)
# For twice the heads: more steps on the longest contexts, then contexts twice as long.
WIDE_STAGES = STAGES[:4] + (
    Stage((512, 1024), 6144, 500, 4608, 0.0, 0.4, 0.25),
    Stage((1024, 2048), 8192, 300, 4608, 0.0, 0.25, 0.03),
)
# For linear layers: a quarter of the steps, with fewer tokens each.
LINEAR_STAGES = (
    Stage((64,), 1024, 350, 64, 0.2, 1, 1),
    Stage((128,), 1536, 200, 512, 0.0, 0.8, 0.7),
    Stage((128, 256), 2048, 150, 1024, 0.0, 0.7, 0.4),
    Stage((256, 512), 3072, 50, 2048, 0.0, 0.4, 0.1),
)


def batch(rng, stage):
    """Return tokens and positions [batch, length], and of each target its prompt, place and weight."""
    length = rng.choice(stage.lengths)
    prompts = [
        data.copying_prompt(rng, length) if rng.random() < stage.copying else data.training_prompt(rng, length)
        for _ in range(max(1, stage.tokens // length))
    ]
    tokens = torch.tensor([p.tokens for p in prompts])
    positions = torch.tensor([data.positions(rng, length, stage.positions if rng.random() < 0.3 else length) for _ in prompts])
    targets = [(i, at, weight) for i, p in enumerate(prompts) for at, weight in p.targets]
    prompt, at, weight = (torch.tensor(column) for column in zip(*targets))
    return tokens, positions, prompt, at, weight


def evaluate(model, length, count):
    """Return which part of the prompts of each category is answered without a mistake."""
    rng, right = random.Random(99), {}
    with torch.no_grad():
        for category in data.CATEGORIES:
            prompts = [data.example(rng, length, category) for _ in range(count)]
            tokens = torch.tensor([p.tokens for p in prompts])
            hidden = model(tokens, torch.arange(length).expand(count, -1))
            exact = 0
            for i, p in enumerate(prompts):
                at = torch.tensor([target for target, _ in p.targets])
                exact += bool((model.lm_head(hidden[i, at - 1]).argmax(-1) == tokens[i, at]).all())
            right[category] = round(exact / count, 3)
    return right


def train(shape, seed, stages, rate):
    torch.manual_seed(seed)
    rng, model = random.Random(seed + 1), Model(Config(**shape))
    initialize(model, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
    done, began, warm = 0, time.time(), max(1, min(100, sum(s.steps for s in stages) // 20))
    for number, stage in enumerate(stages):
        for step in range(stage.steps):
            tokens, positions, prompt, at, weight = batch(rng, stage)
            factor = stage.first * (stage.last / stage.first) ** (step / stage.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * factor * min(1, (done + 1) / warm)
            logits = model.lm_head(model(tokens, positions)[prompt, at - 1])
            losses = functional.cross_entropy(logits, tokens[prompt, at], reduction="none")
            loss = (losses * weight).sum() / weight.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            done += 1
            if done % 50 == 0:
                print(f"stage {number}, step {done}: loss {loss.item():.3f}, {time.time() - began:.0f} s", flush=True)
        length = max(128, stage.lengths[-1])
        print(f"stage {number}, {length} tokens: {evaluate(model, length, 16)}", flush=True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", choices=list(export.SHAPES), default="recall", help="layers and heads of the model")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--part", type=float, default=1.0, help="part of each stage's steps, to try the script")
    parser.add_argument("-o", "--out", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    stages = {"recall": STAGES, "wide": WIDE_STAGES}.get(args.shape, LINEAR_STAGES)
    stages = [dataclasses.replace(s, steps=max(1, int(s.steps * args.part))) for s in stages]
    export.write(args.out, train(export.SHAPES[args.shape], args.seed, stages, args.rate).tensors())


if __name__ == "__main__":
    main()
