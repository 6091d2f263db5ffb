"""The formulas of README.md by themselves: reads each directory and each GGUF without transformers and compares the logits.

Run `python formulas.py [NAME ...]` with numpy, gguf, safetensors and torch. Double precision, one obvious function for each part.
"""

import math
import sys

import numpy as np
from safetensors.numpy import load_file

import readers
from make import FAMILIES, HERE


def norm(x, weight, model, eps=None):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + (eps or model.eps)) * (model.norm_offset + weight)


def softmax(x):
    shares = np.exp(x - x.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def activate(x, model):
    if model.activation == "silu":
        return x * sigmoid(x)
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def frequencies(rope, count):
    """Frequencies and the factor of cos and sin, by README's section on rotation."""
    pairs = np.arange(rope["rotated"] // 2)
    plain = rope["base"] ** (-2.0 * pairs / rope["rotated"])
    kind, original = rope.get("kind"), rope.get("original")
    if kind == "divisors":
        return plain / rope["divisors"], 1.0
    if kind == "linear":
        return plain / rope["factor"], 1.0
    if kind == "longrope":
        return plain / np.array(rope["long"] if count > original else rope["short"]), rope["attention"]
    if kind == "llama3":
        wave, low, high = 2 * math.pi / plain, rope["low"], rope["high"]
        smooth = (original / wave - low) / (high - low)
        between = (1 - smooth) * plain / rope["factor"] + smooth * plain
        return np.where(wave < original / high, plain, np.where(wave > original / low, plain / rope["factor"], between)), 1.0
    if kind == "yarn":
        low, high = (rope["rotated"] * math.log(original / (2 * math.pi * turns)) / (2 * math.log(rope["base"]))
                     for turns in (rope["fast"], rope["slow"]))
        low, high = (math.floor(low), math.ceil(high)) if rope["truncate"] else (low, high)
        low, high = max(low, 0), min(high, rope["rotated"] - 1)
        ramp = np.clip((pairs - low) / (high + 0.001 * (low == high) - low), 0, 1)
        return plain * (1 - ramp) + plain / rope["factor"] * ramp, rope["attention"]
    return plain, 1.0


def rotate(x, rope, positions, count, adjacent):
    """Turns `[positions, heads, size]`."""
    angles, factor = frequencies(rope, count)
    angles = positions[:, None, None] * angles
    cos, sin = np.cos(angles) * factor, np.sin(angles) * factor
    turned, half = x.copy(), rope["rotated"] // 2
    first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if adjacent else (slice(0, half), slice(half, 2 * half))
    turned[..., first] = x[..., first] * cos - x[..., second] * sin
    turned[..., second] = x[..., second] * cos + x[..., first] * sin
    return turned


def linear(x, layer, name):
    return x @ layer[name].T + layer.get(name + ".bias", 0)


def queries_keys_values(x, layer, model, index):
    """`[positions, heads, size]` each, keys and values for every head."""
    positions, count = np.arange(len(x)), len(x)
    rope = model.rope(index)
    if model.latent:
        latent = norm(linear(x, layer, "kv_a")[:, : model.latent], layer["kv_a_norm"], model, 1e-6)
        q = norm(linear(x, layer, "q_a"), layer["q_a_norm"], model, 1e-6) @ layer["q_b"].T if "q_a" in layer else linear(x, layer, "q")
        q = q.reshape(count, model.heads, -1)
        plain = q.shape[-1] - rope["rotated"]
        shared = rotate(linear(x, layer, "kv_a")[:, None, model.latent :], rope, positions, count, model.adjacent)
        # keys[h] is [latent, plain], so that a query may meet the latent itself.
        keys = np.einsum("pl,hln->phn", latent, layer["k_b"])
        q = np.concatenate([q[..., :plain], rotate(q[..., plain:], rope, positions, count, model.adjacent)], -1)
        keys = np.concatenate([keys, np.repeat(shared, model.heads, 1)], -1)
        return q, keys, np.einsum("pl,hvl->phv", latent, layer["v_b"])
    q, k, v = linear(x, layer, "q"), linear(x, layer, "k"), linear(x, layer, "v")
    if "q_norm" in layer and layer["q_norm"].size == q.shape[-1] and model.wide_norms:
        q, k = norm(q, layer["q_norm"], model), norm(k, layer["k_norm"], model)
    q, k, v = (part.reshape(count, -1, model.head) for part in (q, k, v))
    if "q_norm" in layer and not model.wide_norms:
        q, k = norm(q, layer["q_norm"], model), norm(k, layer["k_norm"], model)
    if rope:
        q, k = (rotate(part, rope, positions, count, model.adjacent) for part in (q, k))
    if model.temperature:
        q = q * (1 + model.temperature * np.log(1 + positions // rope["original"]))[:, None, None]
    group = model.heads // model.kv_heads
    return q, np.repeat(k, group, 1), np.repeat(v, group, 1)


def attention(x, layer, model, index):
    q, k, v = queries_keys_values(x, layer, model, index)
    scores = np.einsum("phd,thd->hpt", q, k) * model.scale
    if model.score_cap:
        scores = np.tanh(scores / model.score_cap) * model.score_cap
    distance = np.arange(len(x))[:, None] - np.arange(len(x))
    window = model.window(index)
    scores = np.where((distance >= 0) & (distance < (window or len(x))), scores, -np.inf)
    if "sinks" in layer:
        sinks = np.broadcast_to(layer["sinks"][:, None, None], (*scores.shape[:2], 1))
        shares = softmax(np.concatenate([scores, sinks], -1))[..., :-1]
    else:
        shares = softmax(scores)
    return linear(np.einsum("hpt,thd->phd", shares, v).reshape(len(x), -1), layer, "o")


def gated(x, gate, up, down, model):
    return (activate(x @ gate.T, model) * (x @ up.T)) @ down.T


def choose(scores, count):
    return np.argsort(-scores, kind="stable")[:count]


def routes(logits, layer, model):
    """The experts of a position and their weights."""
    if model.router == "chosen":
        chosen = choose(logits, model.used)
        return chosen, softmax(logits[chosen])
    scores = sigmoid(logits) if model.router == "sigmoid" else softmax(logits)
    wanted = scores + layer.get("correction", 0)
    if model.groups > 1:
        groups = wanted.reshape(model.groups, -1)
        best = np.sort(groups, -1)[:, ::-1][:, : 2 if model.router == "sigmoid" else 1].sum(-1)
        kept = np.full_like(groups, -np.inf)
        stay = choose(best, model.groups_used)
        kept[stay] = groups[stay]
        wanted = kept.reshape(-1)
    chosen = choose(wanted, model.used)
    weights = scores[chosen]
    if model.normalised:
        weights = weights / (weights.sum() + (1e-20 if model.router == "sigmoid" else 0))
    return chosen, weights * model.routed_scale


def expert(x, layer, model, index):
    if model.router != "chosen":
        return gated(x, layer["gate_exps"][index], layer["up_exps"][index], layer["down_exps"][index], model)
    gate = np.minimum(layer["gate_exps"][index] @ x + layer["gate_exps.bias"][index], model.limit)
    up = np.clip(layer["up_exps"][index] @ x + layer["up_exps.bias"][index], -model.limit, model.limit)
    return layer["down_exps"][index] @ ((up + 1) * gate * sigmoid(1.702 * gate)) + layer["down_exps.bias"][index]


def feed_forward(x, layer, model):
    if "router" not in layer:
        return linear(activate(linear(x, layer, "gate"), model) * linear(x, layer, "up"), layer, "down")
    result = np.zeros_like(x)
    for position, logits in enumerate(linear(x, layer, "router")):
        for index, weight in zip(*routes(logits, layer, model)):
            result[position] += weight * expert(x[position], layer, model, index)
    if "gate_shexp" in layer:
        shared = gated(x, layer["gate_shexp"], layer["up_shexp"], layer["down_shexp"], model)
        result += shared * (sigmoid(x @ layer["router_shexp"].T) if "router_shexp" in layer else 1)
    return result


def logits(model, ids):
    x = model.embedding[ids] * model.embedding_scale
    for index, layer in enumerate(model.layers):
        for before, part, after in (("attention_norm", lambda y: attention(y, layer, model, index), "attention_post_norm"),
                                     ("feed_forward_norm", lambda y: feed_forward(y, layer, model), "feed_forward_post_norm")):
            y = part(norm(x, layer[before], model) if before in layer else x)
            x = x + model.residual_scale * (norm(y, layer[after], model) if after in layer else y)
    result = norm(x, model.output_norm, model) @ model.output.T / model.logit_divisor
    return np.tanh(result / model.final_cap) * model.final_cap if model.final_cap else result


def compare(name):
    wanted = load_file(HERE / name / "expected.safetensors")
    for count in FAMILIES[name].prompts:
        end = "" if count == FAMILIES[name].prompts[0] else f"_{count}"
        for kind, model, key in (("directory", readers.directory, "logits"), ("gguf", readers.gguf_file, "gguf_logits")):
            if kind == "gguf" and not FAMILIES[name].has_gguf:
                continue
            expected = wanted.get(key + end, wanted["logits" + end]).astype(np.float64)
            found = logits(model(HERE / name), wanted["input_ids" + end])
            error = ((found - expected) ** 2).mean() / expected.var()
            print(f"{name:18} {kind:10} {count:3} {error:.1e}", "" if error < 1e-12 else "DIFFERS", flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or FAMILIES:
        compare(name)
