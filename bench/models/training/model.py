"""The recall model: a Llama with rotary embeddings as Hugging Face turns them, and its initialization."""

import dataclasses
import math

import torch
from torch import nn


@dataclasses.dataclass
class Config:
    vocab: int = 256
    layers: int = 4
    dim: int = 96
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    hidden: int = 192
    theta: float = 1e6


class Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.input_layernorm, self.post_attention_layernorm = Norm(c.dim), Norm(c.dim)
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.q_proj, self.o_proj = linear(c.dim, c.heads * c.head_dim), linear(c.heads * c.head_dim, c.dim)
        self.k_proj, self.v_proj = linear(c.dim, c.kv_heads * c.head_dim), linear(c.dim, c.kv_heads * c.head_dim)
        self.gate_proj, self.up_proj = linear(c.dim, c.hidden), linear(c.dim, c.hidden)
        self.down_proj = linear(c.hidden, c.dim)

    def forward(self, x, cos, sin, mask, rows):
        """x is [batch, tokens, dim]; queries go through the keys before them, rows at a time."""
        c, (batch, tokens, _) = self.c, x.shape
        h = self.input_layernorm(x)
        split = lambda y, n: y.view(batch, tokens, n, c.head_dim).transpose(1, 2)
        q = turn(split(self.q_proj(h), c.heads), cos, sin) * c.head_dim**-0.5
        k, v = turn(split(self.k_proj(h), c.kv_heads), cos, sin), split(self.v_proj(h), c.kv_heads)
        group, kt, out = c.heads // c.kv_heads, k.transpose(-1, -2), []
        for first in range(0, tokens, rows):
            last = min(tokens, first + rows)
            n = last - first
            a = q[:, :, first:last].reshape(batch, c.kv_heads, group * n, c.head_dim) @ kt[..., :last]
            a = a.view(batch, c.kv_heads, group, n, last) + mask[first:last, :last]
            y = a.softmax(-1).view(batch, c.kv_heads, group * n, last) @ v[:, :, :last]
            out.append(y.view(batch, c.heads, n, c.head_dim))
        x = x + self.o_proj(torch.cat(out, 2).transpose(1, 2).reshape(batch, tokens, c.heads * c.head_dim))
        h = self.post_attention_layernorm(x)
        return x + self.down_proj(nn.functional.silu(self.gate_proj(h)) * self.up_proj(h))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab, c.dim)
        self.layers = nn.ModuleList([Block(c) for _ in range(c.layers)])
        self.norm, self.lm_head = Norm(c.dim), nn.Linear(c.dim, c.vocab, bias=False)

    def forward(self, tokens, positions, rows=128):
        """Return the normalized hidden state [batch, tokens, dim]; lm_head makes logits of it."""
        half = self.c.head_dim // 2
        frequencies = 1.0 / (self.c.theta ** (torch.arange(half).float() / half))
        angles = positions.float()[..., None] * frequencies
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        n = tokens.shape[1]
        mask = torch.full((n, n), -1e9).triu(1)
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin, mask, rows)
        return self.norm(x)

    def tensors(self):
        """Return the weights under Hugging Face's names."""
        named = {}
        for name, t in self.state_dict().items():
            parts = name.split(".")
            if parts[0] == "layers" and parts[2] in ("q_proj", "k_proj", "v_proj", "o_proj"):
                parts.insert(2, "self_attn")
            elif parts[0] == "layers" and parts[2] in ("gate_proj", "up_proj", "down_proj"):
                parts.insert(2, "mlp")
            prefix = "" if parts[0] == "lm_head" else "model."
            named[prefix + ".".join(parts)] = t.numpy()
        return named


@torch.no_grad()
def initialize(model, seed):
    """Set weights near those of a model that retrieves; every one of them is trained afterwards.

    Embeddings are random but for coordinate 0, which is the same in all tokens: a direction that positional heads use.
    In layer 0 the query heads of KV head 0 look one and two tokens back, by the pairs that turn fast. In the layers
    above, the queries and keys of KV head 0 compare the token with the one before each position (induction), those of
    KV head 1 with the token there (echo), by the pairs that turn slowly; induction heads copy what they find, and the
    echo head of layer 2 returns the token before it.
    """
    c, g = model.c, torch.Generator().manual_seed(3 + seed)
    torch.manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=g)
    d, half, dim, group = c.head_dim, c.head_dim // 2, c.dim, c.heads // c.kv_heads
    nn.init.normal_(model.embed_tokens.weight, 0, 1.0)
    model.embed_tokens.weight[:, 0] = 3.0
    for b in model.layers:
        for w in (b.q_proj, b.k_proj, b.v_proj, b.gate_proj, b.up_proj):
            nn.init.normal_(w.weight, 0, dim**-0.5)
        nn.init.normal_(b.o_proj.weight, 0, 0.01)
        nn.init.normal_(b.down_proj.weight, 0, 0.01)

    frequency = c.theta ** (-torch.arange(half).float() / half)
    fast = [i for i in range(half) if frequency[i] > 0.02]
    slow = [i for i in range(half) if frequency[i] < 1.2e-3]
    rows = torch.tensor(slow + [half + i for i in slow])
    constant = float(model.embed_tokens.weight[0, 0]) / float(model.embed_tokens.weight.pow(2).mean().sqrt())
    strength = (6.0 * d**0.5) ** 0.5 / constant

    first = model.layers[0]
    key = torch.zeros(d)
    key[fast] = strength
    first.k_proj.weight[:d] = 0.02 * normal(d, dim)
    first.k_proj.weight[:d, 0] = key
    for j in range(group):
        query = torch.zeros(d)
        for i in fast:
            query[i] = strength * math.cos(frequency[i] * (j + 1))
            query[half + i] = -strength * math.sin(frequency[i] * (j + 1))
        first.q_proj.weight[j * d : (j + 1) * d] = 0.02 * normal(d, dim)
        first.q_proj.weight[j * d : (j + 1) * d, 0] = query
    code = normal(d, dim) * dim**-0.5  # of a token, as the heads above compare it
    code[:, 0] = 0
    first.v_proj.weight[:d] = code
    written = normal(dim, d) * d**-0.5 * 0.7
    written[0] = 0
    first.o_proj.weight[:, :d] = written
    first.o_proj.weight[:, d : 2 * d] = normal(dim, d) * d**-0.5 * 0.3
    first.o_proj.weight[0] = 0
    read = torch.linalg.pinv(written)

    for number, b in enumerate(model.layers):
        if number == 0:
            continue
        for h in range(c.kv_heads):
            u = normal(len(rows), d) * d**-0.5 * 1.5
            here = u @ code
            keys = torch.zeros(d, dim)
            keys[rows] = u @ read if h == 0 else here
            b.k_proj.weight[h * d : (h + 1) * d] = keys + 0.02 * normal(d, dim)
            for j in range(group):
                queries = torch.zeros(d, dim)
                queries[rows] = here
                at = (h * group + j) * d
                b.q_proj.weight[at : at + d] = queries + 0.05 * normal(d, dim)
            values = normal(d, dim) * dim**-0.5
            values[:, 0] = 0
            b.v_proj.weight[h * d : (h + 1) * d] = values
            for j in range(group):
                at = (h * group + j) * d
                if h == 0:
                    b.o_proj.weight[:, at : at + d] = values.t() * 0.5
                elif number == 2:
                    b.v_proj.weight[h * d : (h + 1) * d] = read
                    b.o_proj.weight[:, at : at + d] = code.t() * 0.5
    model.lm_head.weight.copy_(model.embed_tokens.weight * 0.05)
    model.lm_head.weight[:, 0] = 0
