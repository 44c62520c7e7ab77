"""The recall models: a Llama with rotary embeddings as Hugging Face turns them, or layers of linear attention in place
of some or all of its layers; and their initialization.
"""

import dataclasses
import math

import torch
from torch import nn


@dataclasses.dataclass
class Config:
    """The shape of a model. kinds has "full" or "linear" for each layer."""

    vocab: int = 256
    kinds: tuple = ("full",) * 4
    dim: int = 96
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    hidden: int = 192
    theta: float = 1e6
    linear_heads: int = 4
    key_dim: int = 64  # of a head of linear attention
    value_dim: int = 32
    taps: int = 4  # tokens that a convolution sees


class Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Block(nn.Module):
    """A layer: attention, which a kind of layer defines, and the network after it."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.input_layernorm, self.post_attention_layernorm = Norm(c.dim), Norm(c.dim)
        # Gradient norms are summed in the order of the parameters, and the last bits of the weights depend on it. This
        # is the order in which the bundled models were trained.
        for add in (self.add_network, self.add_attention) if "linear" in c.kinds else (self.add_attention, self.add_network):
            add(c)

    def add_network(self, c):
        self.gate_proj, self.up_proj = linear(c.dim, c.hidden), linear(c.dim, c.hidden)
        self.down_proj = linear(c.hidden, c.dim)

    def forward(self, x, cos, sin, mask, rows):
        """x is [batch, tokens, dim]; queries go through the keys before them, rows at a time."""
        x = x + self.attend(self.input_layernorm(x), cos, sin, mask, rows)
        h = self.post_attention_layernorm(x)
        return x + self.down_proj(nn.functional.silu(self.gate_proj(h)) * self.up_proj(h))


class Full(Block):
    """Softmax attention over all tokens, as in Llama."""

    def add_attention(self, c):
        self.q_proj, self.o_proj = linear(c.dim, c.heads * c.head_dim), linear(c.heads * c.head_dim, c.dim)
        self.k_proj, self.v_proj = linear(c.dim, c.kv_heads * c.head_dim), linear(c.dim, c.kv_heads * c.head_dim)

    def attend(self, h, cos, sin, mask, rows):
        c, (batch, tokens, _) = self.c, h.shape
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
        return self.o_proj(torch.cat(out, 2).transpose(1, 2).reshape(batch, tokens, c.heads * c.head_dim))


class Linear(Block):
    """Attention without a softmax, whose past is a state [key_dim, value_dim] of each head:

        S_t = decay · S_(t−1) + write_t · k_t v_tᵀ        y_t = norm(S_tᵀ q_t / key_dim)

    q, k and v are projected and then convolved with the tokens before them, channel by channel; write is a sigmoid of
    the token, decay one of the head. y is divided by its root mean square. There are no rotary embeddings.
    """

    def add_attention(self, c):
        keys, values = c.linear_heads * c.key_dim, c.linear_heads * c.value_dim
        self.q_proj, self.k_proj = linear(c.dim, keys), linear(c.dim, keys)
        self.v_proj, self.o_proj, self.write_proj = linear(c.dim, values), linear(values, c.dim), linear(c.dim, c.linear_heads)
        conv = lambda n: nn.Parameter(torch.eye(c.taps)[0][:, None].repeat(1, n))  # [taps, channels]: tap 0 is the token
        self.q_conv, self.k_conv, self.v_conv = conv(keys), conv(keys), conv(values)
        self.decay = nn.Parameter(torch.full((c.linear_heads,), 9.0))  # a sigmoid makes it a factor

    def attend(self, h, cos, sin, mask, rows):
        c, (batch, tokens, _) = self.c, h.shape

        def project(linear, conv, d):
            y = nn.functional.pad(linear(h), (0, 0, c.taps - 1, 0))
            y = sum(conv[i] * y[:, c.taps - 1 - i : c.taps - 1 - i + tokens] for i in range(c.taps))
            return y.view(batch, tokens, c.linear_heads, d).transpose(1, 2)

        q = project(self.q_proj, self.q_conv, c.key_dim) / c.key_dim
        k = project(self.k_proj, self.k_conv, c.key_dim) * self.write_proj(h).sigmoid().transpose(1, 2)[..., None]
        v = project(self.v_proj, self.v_conv, c.value_dim)
        # Chunks of rows tokens: attention within a chunk, the state for all tokens before it.
        state, out = torch.zeros(batch, c.linear_heads, c.key_dim, c.value_dim), []
        log, at = nn.functional.logsigmoid(self.decay)[:, None], torch.arange(rows)
        since = torch.exp(log[..., None] * (at[:, None] - at).clamp(min=0)).tril()  # decay^(i−j)
        entered, left = torch.exp(log * (at + 1))[..., None], torch.exp(log * (rows - 1 - at))[..., None]
        for first in range(0, tokens, rows):
            n = min(rows, tokens - first)
            a, b, u = (x[:, :, first : first + n] for x in (q, k, v))
            out.append((a @ b.transpose(-1, -2) * since[:, :n, :n]) @ u + (a * entered[:, :n]) @ state)
            state = entered[:, n - 1 : n] * state + (b * left[:, rows - n :]).transpose(-1, -2) @ u
        y = torch.cat(out, 2)
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5)
        return self.o_proj(y.transpose(1, 2).reshape(batch, tokens, -1))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab, c.dim)
        self.layers = nn.ModuleList([{"full": Full, "linear": Linear}[kind](c) for kind in c.kinds])
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
            if parts[0] == "layers" and parts[2] in ("gate_proj", "up_proj", "down_proj"):
                parts.insert(2, "mlp")
            elif parts[0] == "layers" and not parts[2].endswith("layernorm"):
                parts.insert(2, "linear_attn" if self.c.kinds[int(parts[1])] == "linear" else "self_attn")
            prefix = "" if parts[0] == "lm_head" else "model."
            named[prefix + ".".join(parts)] = t.numpy()
        return named


@torch.no_grad()
def initialize(model, seed):
    """Set weights near those of a model that retrieves; every one of them is trained afterwards.

    Embeddings are random but for coordinate 0, which is the same in all tokens: a direction that positional heads use.
    Layer 0 writes down the token before. In a full layer 0 the query heads of KV head 0 look one and two tokens back, by
    the pairs that turn fast. In the full layers above, the queries and keys of even KV heads compare the token with the
    one before each position (induction), those of odd ones with the token there (echo), by the pairs that turn slowly;
    induction heads copy what they find, and the echo heads of layer 2 return the token before it. For linear layers see
    initialize_linear.
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
    if c.kinds[0] == "full":
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
    written = normal(dim, d) * d**-0.5 * 0.7
    written[0] = 0
    if c.kinds[0] == "full":
        first.v_proj.weight[:d] = code
        first.o_proj.weight[:, :d] = written
        first.o_proj.weight[:, d : 2 * d] = normal(dim, d) * d**-0.5 * 0.3
        first.o_proj.weight[0] = 0
    read = torch.linalg.pinv(written)
    share = 1 / c.kv_heads  # of a head that writes: those of a kind add up to one head's of two

    for number, b in enumerate(model.layers):
        if c.kinds[number] == "linear":
            initialize_linear(b, normal, (code, written) if number == 0 else None)
            continue
        if number == 0:
            continue
        for h in range(c.kv_heads):
            u = normal(len(rows), d) * d**-0.5 * 1.5
            here = u @ code
            keys = torch.zeros(d, dim)
            keys[rows] = u @ read if h % 2 == 0 else here
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
                if h % 2 == 0:
                    b.o_proj.weight[:, at : at + d] = values.t() * share
                elif number == 2:
                    b.v_proj.weight[h * d : (h + 1) * d] = read
                    b.o_proj.weight[:, at : at + d] = code.t() * share
    model.lm_head.weight.copy_(model.embed_tokens.weight * 0.05)
    model.lm_head.weight[:, 0] = 0


def initialize_linear(b, normal, previous):
    """Set the weights of a linear layer's heads: one of induction, whose keys are of the token before and whose values of
    the token; one of echo, the other way round; one of induction that forgets within some twenty tokens. All three copy
    what they find. The last of layer 0 forgets everything at once, and its values are of the token before: it writes
    that down, by the two matrices in previous. The others' last is random.
    """
    c = b.c
    before = torch.eye(c.taps)[1][:, None]  # a convolution that is the token before
    for h in range(c.linear_heads):
        keys, values = slice(h * c.key_dim, (h + 1) * c.key_dim), slice(h * c.value_dim, (h + 1) * c.value_dim)
        if h < 3:
            code, value = normal(c.key_dim, c.dim) * c.dim**-0.5, normal(c.value_dim, c.dim) * c.dim**-0.5
            code[:, 0], value[:, 0] = 0, 0
            b.q_proj.weight[keys], b.k_proj.weight[keys] = code, code
            b.v_proj.weight[values], b.o_proj.weight[:, values] = value, value.t() * 0.5
            conv, at = (b.v_conv, values) if h == 1 else (b.k_conv, keys)
            conv[:, at] = before.expand(c.taps, at.stop - at.start)
            b.decay[h] = 3.0 if h == 2 else 9.0
        elif previous is not None:
            for w in (b.q_proj, b.k_proj):
                w.weight[keys], w.weight[keys, 0] = 0.02 * normal(c.key_dim, c.dim), 1.0
            b.v_proj.weight[values], b.o_proj.weight[:, values] = previous
            b.v_conv[:, values] = before.expand(c.taps, c.value_dim)
            b.decay[h] = -4.0
    for conv in (b.q_conv, b.k_conv, b.v_conv):
        conv.add_(0.02 * normal(*conv.shape))
    nn.init.zeros_(b.write_proj.weight)
