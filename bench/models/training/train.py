#!/usr/bin/env python3
"""Train a recall model: a Llama of 418,656 parameters that finds what a question asks for in its context.

    train.py --seed 11 -o recall.safetensors        # some ten minutes on one core
    export.py recall.safetensors -o ../recall-2

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
            exact = 0
            for _ in range(count):
                p = data.example(rng, length, category)
                tokens = torch.tensor([p.tokens])
                hidden = model(tokens, torch.arange(length)[None])
                at = torch.tensor([target for target, _ in p.targets])
                exact += bool((model.lm_head(hidden[0, at - 1]).argmax(-1) == tokens[0, at]).all())
            right[category] = round(exact / count, 3)
    return right


def train(seed, stages, rate):
    torch.manual_seed(seed)
    rng, model = random.Random(seed + 1), Model(Config())
    initialize(model, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
    done, began = 0, time.time()
    for number, stage in enumerate(stages):
        for step in range(stage.steps):
            tokens, positions, prompt, at, weight = batch(rng, stage)
            factor = stage.first * (stage.last / stage.first) ** (step / stage.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * factor * min(1, (done + 1) / 100)
            logits = model.lm_head(model(tokens, positions)[prompt, at - 1])
            losses = functional.cross_entropy(logits, tokens[prompt, at], reduction="none")
            loss = (losses * weight).sum() / weight.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            done += 1
            if done % 100 == 0:
                print(f"stage {number}, step {done}: loss {loss.item():.3f}, {time.time() - began:.0f} s", flush=True)
        length = max(128, stage.lengths[-1])
        print(f"stage {number}, {length} tokens: {evaluate(model, length, 16)}", flush=True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--part", type=float, default=1.0, help="part of each stage's steps, to try the script")
    parser.add_argument("-o", "--out", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    stages = [dataclasses.replace(s, steps=max(1, int(s.steps * args.part))) for s in STAGES]
    export.write(args.out, train(args.seed, stages, args.rate).tensors())


if __name__ == "__main__":
    main()
