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

# The shape of each kind of model: what differs from the defaults of model.Config.
SHAPES = {
    "recall": dict(kinds=("full",) * 4),
    "wide": dict(kinds=("full",) * 4, heads=8, kv_heads=4),
    "hybrid": dict(kinds=("linear", "full", "linear")),
    "linear": dict(kinds=("linear",) * 3),
}

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


def config(weights):
    """Return the config.json of a model. With linear layers it is no Llama."""
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("model.layers."))
    kinds = ["linear" if f"model.layers.{i}.linear_attn.decay" in weights else "full" for i in range(layers)]
    if "full" in kinds:
        at = f"model.layers.{kinds.index('full')}.self_attn."
        heads, kv_heads = (len(weights[f"{at}{name}_proj.weight"]) // CONFIG["head_dim"] for name in ("q", "k"))
        c = CONFIG | dict(num_attention_heads=heads, num_key_value_heads=kv_heads)
    else:
        c = CONFIG
    if "linear" not in kinds:
        return c
    taps, values = weights[f"model.layers.{kinds.index('linear')}.linear_attn.v_conv"].shape
    heads, keys = (weights[f"model.layers.{kinds.index('linear')}.linear_attn.{name}"].shape[-1] for name in ("decay", "k_conv"))
    return c | dict(
        architectures=["RecallLinearForCausalLM"],
        model_type="recall_linear",
        num_hidden_layers=layers,
        layer_types=[kind + "_attention" for kind in kinds],
        linear_num_heads=heads,
        linear_key_head_dim=keys // heads,
        linear_value_head_dim=values // heads,
        linear_conv_kernel_dim=taps,
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
    c = config(weights)
    heads, kv_heads, d = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
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

    def full(h, at):
        def project(what, count):
            return (h @ weight(f"{at}{what}_proj.weight").T).reshape(n, count, d).transpose(1, 0, 2)

        q, k, v = turn(project("q", heads)), turn(project("k", kv_heads)), project("v", kv_heads)
        k, v = np.repeat(k, heads // kv_heads, 0), np.repeat(v, heads // kv_heads, 0)
        s = q @ k.transpose(0, 2, 1) / np.sqrt(d) + np.triu(np.full((n, n), -np.inf), 1)
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return (p @ v).transpose(1, 0, 2).reshape(n, -1)

    def linear(h, at):
        """Token by token, as a state that each changes."""

        def project(what):
            y, taps = h @ weight(f"{at}{what}_proj.weight").T, weight(f"{at}{what}_conv")
            y = sum(taps[i] * np.pad(y, ((i, 0), (0, 0)))[:n] for i in range(len(taps)))
            return y.reshape(n, c["linear_num_heads"], -1)

        sigmoid = lambda x: 1 / (1 + np.exp(-x))
        q, k, v, write = project("q"), project("k"), project("v"), sigmoid(h @ weight(at + "write_proj.weight").T)
        state = np.zeros((c["linear_num_heads"], c["linear_key_head_dim"], c["linear_value_head_dim"]))
        out = []
        for t in range(n):
            state = sigmoid(weight(at + "decay"))[:, None, None] * state + (write[t, :, None] * k[t])[:, :, None] * v[t, :, None]
            y = np.einsum("hk,hkv->hv", q[t] / c["linear_key_head_dim"], state)
            out.append((y / np.sqrt((y * y).mean(-1, keepdims=True) + CONFIG["rms_norm_eps"])).reshape(-1))
        return np.array(out)

    x = weight("model.embed_tokens.weight")[tokens]
    for layer, kind in enumerate(c.get("layer_types", ["full_attention"] * c["num_hidden_layers"])):
        at = f"model.layers.{layer}."
        attend, own = (full, at + "self_attn.") if kind == "full_attention" else (linear, at + "linear_attn.")
        h = norm(x, at + "input_layernorm.weight")
        x = x + attend(h, own) @ weight(own + "o_proj.weight").T
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
    (args.out / "config.json").write_text(json.dumps(config(weights), indent=1) + "\n")
    (args.out / "golden.json").write_text(json.dumps(golden(weights)) + "\n")


if __name__ == "__main__":
    main()
