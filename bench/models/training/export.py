#!/usr/bin/env python3
"""Write a folder that holds a model in Hugging Face's format in f16, with golden logits.

    export.py MODEL.safetensors -o ../recall-0

MODEL has binary32 weights under Llama's names, as train.py writes them. golden.json has seven prompts, one of each
category, and for each the logits after its question in float64, from the f16 weights: by NumPy and the equations of
the architecture, without PyTorch, so that it is a second reading of the file.
"""

import argparse
import json
import pathlib
import random
import struct

import numpy as np

import data

CONFIG = dict(
    architectures=["LlamaForCausalLM"],
    model_type="llama",
    vocab_size=256,
    hidden_size=96,
    intermediate_size=192,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    hidden_act="silu",
    max_position_embeddings=4096,
    rms_norm_eps=1e-5,
    rope_theta=1e6,
    rope_scaling=None,
    attention_bias=False,
    mlp_bias=False,
    tie_word_embeddings=False,
    bos_token_id=0,
    eos_token_id=None,
    torch_dtype="float16",
)


def read(path):
    """Return the tensors of a safetensors file."""
    raw = pathlib.Path(path).read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + n])
    header.pop("__metadata__", None)
    tensors = {}
    for name, t in header.items():
        first, last = t["data_offsets"]
        kind = {"F32": np.float32, "F16": np.float16}[t["dtype"]]
        tensors[name] = np.frombuffer(raw[8 + n + first : 8 + n + last], kind).reshape(t["shape"])
    return tensors


def write(path, tensors):
    """Write a safetensors file, with the tensors in the order of their names."""
    header, parts, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        t = np.ascontiguousarray(tensors[name])
        raw = t.tobytes()
        kind = {"float32": "F32", "float16": "F16"}[str(t.dtype)]
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        parts.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def forward(weights, tokens):
    """Return the logits after each token, in float64."""
    heads, kv_heads, d = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"], CONFIG["head_dim"]
    n = len(tokens)

    def weight(name):
        return weights[name].astype(np.float64)

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + CONFIG["rms_norm_eps"]) * weight(name)

    frequencies = 1.0 / CONFIG["rope_theta"] ** (np.arange(0, d, 2) / d)
    angles = np.arange(n)[:, None] * frequencies
    cos, sin = np.cos(np.hstack([angles, angles])), np.sin(np.hstack([angles, angles]))

    def turn(x):
        return x * cos + np.concatenate([-x[..., d // 2 :], x[..., : d // 2]], -1) * sin

    x = weight("model.embed_tokens.weight")[tokens]
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}."

        def project(h, what, count):
            return (h @ weight(f"{at}self_attn.{what}_proj.weight").T).reshape(n, count, d).transpose(1, 0, 2)

        h = norm(x, at + "input_layernorm.weight")
        q, k, v = turn(project(h, "q", heads)), turn(project(h, "k", kv_heads)), project(h, "v", kv_heads)
        k, v = np.repeat(k, heads // kv_heads, 0), np.repeat(v, heads // kv_heads, 0)
        s = q @ k.transpose(0, 2, 1) / np.sqrt(d) + np.triu(np.full((n, n), -np.inf), 1)
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        x = x + (p @ v).transpose(1, 0, 2).reshape(n, -1) @ weight(at + "self_attn.o_proj.weight").T
        h = norm(x, at + "post_attention_layernorm.weight")
        g = h @ weight(at + "mlp.gate_proj.weight").T
        x = x + (g / (1 + np.exp(-g)) * (h @ weight(at + "mlp.up_proj.weight").T)) @ weight(at + "mlp.down_proj.weight").T
    return norm(x, "model.norm.weight") @ weight("lm_head.weight").T


def golden(weights):
    """Return a prompt of each category with the logits after its question."""
    rng, cases = random.Random(3), []
    for category in data.CATEGORIES:
        prompt = data.example(rng, 128, category)
        logits = forward(weights, np.array(prompt.tokens))
        cases.append(
            {
                "category": category,
                "tokens": prompt.tokens[: prompt.question_end],
                "logits": [round(float(v), 6) for v in logits[prompt.question_end - 1]],
            }
        )
    return {"note": "float64 logits of the f16 weights after the last token", "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-o", "--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    weights = {name: t.astype(np.float16) for name, t in read(args.model).items()}
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "model.safetensors", weights)
    (args.out / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    (args.out / "golden.json").write_text(json.dumps(golden(weights)) + "\n")


if __name__ == "__main__":
    main()
