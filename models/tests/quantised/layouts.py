"""The layouts of quantised Hugging Face models: how each writes a weight, and how one value is read back by the maker's formula.

Each has a function that makes its `Scheme`, with a writer inside, and a reader (`read_...`). They share nothing: writers pack whole
arrays, readers are loops over single values of the stored tensors. make.py says what becomes of them.
"""

import json
import math
import zlib
from dataclasses import dataclass, field
from typing import Callable

import numpy as np
import torch

VOCABULARY, HEADS, KV_HEADS = 64, 4, 2
SMALL = {"width": 64, "feed_forward": 96}
LAYER = "model.layers.0."
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
# The input that each linear reads: those that read the same one are reordered in the same way.
LINEARS = {
    LAYER + "self_attn.q_proj": "attention", LAYER + "self_attn.k_proj": "attention",
    LAYER + "self_attn.v_proj": "attention", LAYER + "self_attn.o_proj": "heads",
    LAYER + "mlp.gate_proj": "feed-forward", LAYER + "mlp.up_proj": "feed-forward", LAYER + "mlp.down_proj": "activation",
}
ATTENTION = [name for name in LINEARS if "self_attn" in name]


@dataclass
class Scheme:
    """A layout: how its config.json speaks of it, and how a weight is written and read."""

    config: dict
    """The keys of config.json that say how the model is quantised."""
    write: Callable
    """Of a module's name, its weight `[out, in]` and random numbers: the tensors to store, by their names after the module's."""
    read: Callable
    """Of a module's name and its stored tensors: a function of row and column that gives the weight there."""
    group: int = 64
    """How many columns share a scale, which the random weights follow."""
    dtype: torch.dtype = torch.bfloat16
    width: int = 128
    feed_forward: int = 256
    tied: bool = False
    more: list = field(default_factory=list)
    """Modules other than the layer's linears that are quantised."""
    plain: list = field(default_factory=list)
    """Linears of the layer that are not."""
    metadata: str = "pt"

    def shapes(self):
        """The `[out, in]` of each module with a matrix."""
        keys = self.width // HEADS * KV_HEADS
        rows = {"q_proj": self.width, "k_proj": keys, "v_proj": keys, "o_proj": self.width, "down_proj": self.width}
        rows = {name: rows.get(name.split(".")[-1], self.feed_forward) for name in LINEARS}
        columns = {name: self.feed_forward if name.endswith("down_proj") else self.width for name in LINEARS}
        tables = {EMBEDDING: (VOCABULARY, self.width)} | ({} if self.tied else {HEAD: (VOCABULARY, self.width)})
        return {name: (rows[name], columns[name]) for name in LINEARS} | tables

    def quantised(self):
        return [name for name in LINEARS if name not in self.plain] + self.more


def numbers(*of):
    """Random numbers that depend only on these words."""
    return np.random.default_rng(zlib.crc32(" ".join(of).encode()))


def order(name, columns, group):
    """The group of each column where columns were sorted by how active they are: a permutation of whole groups."""
    places = numbers("order", LINEARS[name], str(columns)).permutation(columns)
    return (places // group).astype(np.int32)


def random_weight(random, rows, columns, group, groups=None):
    """A weight whose groups differ in scale; one in six has only positive or only negative values."""
    groups = np.arange(columns) // group if groups is None else groups
    count = groups.max() + 1
    scale = 0.07 * np.exp(random.normal(0, 0.5, (rows, count)))
    sign = random.choice([0, 1, -1], (rows, count), p=[5 / 6, 1 / 12, 1 / 12])[:, groups]
    weight = random.normal(0, 1, (rows, columns))
    # A tenth of the values are tiny, which reaches the denormal codes of 8-bit floats.
    weight *= np.where(random.random((rows, columns)) < 0.1, 2.0 ** -random.uniform(2, 16, (rows, columns)), 1)
    return np.where(sign == 0, weight, sign * np.abs(weight)) * scale[:, groups]


def pack(codes, bits, axis):
    """Unsigned codes in words of 32 bits, the first in the lowest bits, along an axis."""
    codes = np.moveaxis(codes.astype(np.uint64), axis, -1)
    codes = codes.reshape(*codes.shape[:-1], -1, 32 // bits)
    words = np.bitwise_or.reduce(codes << np.arange(0, 32, bits, dtype=np.uint64), axis=-1).astype(np.uint32)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(words, -1, axis)).view(np.int32))


def rounded(values, dtype):
    """Values as a tensor of this type, and as they are after its rounding."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(dtype)
    return tensor, tensor.double().numpy()


def asymmetric(weight, groups, dtype, bits=4):
    """Scales `[out, groups]` and zero points as tensor and array, from the range of each group and of 0, and the codes `[out, in]`."""
    count, last = groups.max() + 1, 2**bits - 1
    low = np.stack([weight[:, groups == group].min(1) for group in range(count)], 1).clip(max=0)
    high = np.stack([weight[:, groups == group].max(1) for group in range(count)], 1).clip(min=0)
    scale, value = rounded((high - low) / last, dtype)
    zero = np.round(-low / value).clip(0, last)
    codes = (np.round(weight / value[:, groups]) + zero[:, groups]).clip(0, last)
    return scale, zero.astype(np.int64), codes.astype(np.int64)


def symmetric(weight, groups, dtype, bits):
    """Scales `[out, groups]` from the largest value of each group, and signed codes."""
    half = 2 ** (bits - 1)
    largest = np.stack([np.abs(weight[:, groups == group]).max(1) for group in range(groups.max() + 1)], 1)
    scale, value = rounded(largest / (half - 0.5), dtype)
    return scale, np.round(weight / value[:, groups]).clip(-half, half - 1).astype(np.int64)


def plain_groups(weight, group):
    return np.arange(weight.shape[1]) // (weight.shape[1] if group == -1 else group)


def lists(stored):
    """Stored tensors as nested lists of Python numbers, which are exact."""
    return {name: tensor.tolist() for name, tensor in stored.items()}


# AWQ: AutoAWQ's "gemm". Everything is transposed; eight outputs lie in a word, in the order 0, 2, 4, 6, 1, 3, 5, 7.


def awq(group, **sizes):
    def write(name, weight, random):
        scale, zero, codes = asymmetric(weight, plain_groups(weight, group), torch.float16)
        shuffled = lambda values: values.T.reshape(values.shape[1], -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(values.T.shape)
        return {"qweight": pack(shuffled(codes), 4, 1), "qzeros": pack(shuffled(zero), 4, 1), "scales": scale.T}

    config = {"bits": 4, "group_size": group, "modules_to_not_convert": None, "quant_method": "awq", "version": "gemm", "zero_point": True}
    return Scheme({"quantization_config": config}, write, lambda module, stored: read_awq(stored, group), group, torch.float16, **sizes)


def read_awq(stored, group):
    tensors = lists(stored)
    nibble = {0: 0, 2: 1, 4: 2, 6: 3, 1: 4, 3: 5, 5: 6, 7: 7}

    def value(row, column):
        shift = 4 * nibble[row % 8]
        code = tensors["qweight"][column][row // 8] >> shift & 15
        zero = tensors["qzeros"][column // group][row // 8] >> shift & 15
        return (code - zero) * tensors["scales"][column // group][row]

    return value


# GPTQ. Eight (four) inputs lie in a word of qweight, eight (four) outputs in one of qzeros; version 1 stores the zero point minus 1.


def gptq(config, bits=4, group=128, symmetrical=False, reorder=False, version=1, **sizes):
    def groups_of(name, weight):
        return order(name, weight.shape[1], group) if reorder else plain_groups(weight, group)

    def write(name, weight, random):
        groups = groups_of(name, weight)
        if reorder:
            weight = random_weight(random, *weight.shape, group, groups)
        if symmetrical:
            scale, codes = symmetric(weight, groups, torch.float16, bits)
            codes, zero = codes + 2 ** (bits - 1), np.full(scale.shape, 2 ** (bits - 1))
        else:
            scale, zero, codes = asymmetric(weight, groups, torch.float16, bits)
        if version == 1 and (zero == 0).any():
            # A zero point of 0 is stored as 15, which borrows from the field above. Makers agree on it only in the top field of a
            # word, so elsewhere such a group is turned round.
            turned = (zero == 0) & (np.arange(len(zero)) % 8 != 7)[:, None]
            scale, zero, codes = asymmetric(np.where(turned[:, groups], -weight, weight), groups, torch.float16, bits)
        stored = (zero - (1 if version == 1 else 0)) & (2**bits - 1)
        qweight, qzeros = pack(codes.T, bits, 0), pack(stored.T, bits, 1)
        return {"g_idx": torch.from_numpy(groups.astype(np.int32)), "qweight": qweight, "qzeros": qzeros, "scales": scale.T}

    read = lambda module, stored: read_gptq(stored, bits, version)
    return Scheme({"quantization_config": config}, write, read, group, torch.float16, **sizes)


def read_gptq(stored, bits, version):
    tensors = lists(stored)
    count, mask = 32 // bits, 2**bits - 1

    def value(row, column):
        group = tensors["g_idx"][column]
        code = tensors["qweight"][column // count][row] >> bits * (column % count) & mask
        zero = tensors["qzeros"][group][row // count] >> bits * (row % count) & mask
        if version == 1:
            zero = (zero + 1) & mask
        return (code - zero) * tensors["scales"][group][row]

    return value


AUTO_GPTQ = {
    "bits": 4, "damp_percent": 0.01, "desc_act": False, "group_size": 128, "model_file_base_name": "model",
    "model_name_or_path": None, "quant_method": "gptq", "sym": True, "true_sequential": True,
}
OPTIMUM_GPTQ = {
    "batch_size": 1, "bits": 4, "block_name_to_quantize": None, "cache_block_outputs": True, "damp_percent": 0.1,
    "dataset": None, "desc_act": True, "exllama_config": {"version": 1}, "group_size": 32, "max_input_length": None,
    "model_seqlen": None, "module_name_preceding_first_block": None, "modules_in_block_to_quantize": None, "pad_token_id": None,
    "quant_method": "gptq", "sym": False, "tokenizer": None, "true_sequential": True, "use_cuda_fp16": False, "use_exllama": True,
}
GPTQ_MODEL = {
    "bits": 4, "checkpoint_format": "gptq_v2", "desc_act": False, "dynamic": None, "group_size": 64, "lm_head": False,
    "meta": {
        "damp_auto_increment": 0.0015, "damp_percent": 0.005, "mse": 0.0, "quantizer": ["gptqmodel:1.4.0"],
        "static_groups": False, "true_sequential": True, "uri": "https://github.com/modelcloud/gptqmodel",
    },
    "pack_dtype": "int32", "quant_method": "gptq", "sym": False,
}


# compressed-tensors: inputs lie along a word, codes are signed and stored plus half their range.


def compressed(name, weights, activations, write, read, group, **sizes):
    """A scheme of compressed-tensors with one group of settings for all linears but lm_head."""
    arguments = {"actorder": None, "block_structure": None, "dynamic": False, "group_size": None, "observer": "minmax",
                 "observer_kwargs": {}, "symmetric": True}
    inputs = None if activations is None else {**arguments, "observer": "memoryless", **activations}
    settings = {"input_activations": inputs, "output_activations": None, "targets": ["Linear"], "weights": {**arguments, **weights}}
    config = {
        "config_groups": {"group_0": settings}, "format": name, "global_compression_ratio": 1.5, "ignore": [HEAD],
        "kv_cache_scheme": None, "quant_method": "compressed-tensors", "quantization_status": "compressed",
    }
    return Scheme({"quantization_config": config}, write, read, group, **sizes)


def packed(bits, group, asymmetrical=False, reorder=False, **sizes):
    def write(name, weight, random):
        groups = order(name, weight.shape[1], group) if reorder else plain_groups(weight, group)
        if reorder:
            weight = random_weight(random, *weight.shape, group, groups)
        stored = {"weight_shape": torch.tensor(weight.shape)}
        if asymmetrical:
            stored["weight_scale"], zero, codes = asymmetric(weight, groups, torch.bfloat16, bits)
            stored["weight_zero_point"] = pack(zero, bits, 0)
        else:
            stored["weight_scale"], codes = symmetric(weight, groups, torch.bfloat16, bits)
            codes = codes + 2 ** (bits - 1)
        stored["weight_packed"] = pack(codes, bits, 1)
        return stored | ({"weight_g_idx": torch.from_numpy(groups)} if reorder else {})

    weights = {"num_bits": bits, "type": "int", "symmetric": not asymmetrical, "actorder": "group" if reorder else None}
    weights |= {"strategy": "channel"} if group == -1 else {"strategy": "group", "group_size": group}
    read = lambda module, stored: read_packed(stored, bits, group)
    return compressed("pack-quantized", weights, None, write, read, 64 if group == -1 else group, **sizes)


def read_packed(stored, bits, size):
    tensors = lists(stored)
    count, mask, half = 32 // bits, 2**bits - 1, 2 ** (bits - 1)

    def value(row, column):
        group = 0 if size == -1 else tensors["weight_g_idx"][column] if "weight_g_idx" in tensors else column // size
        code = (tensors["weight_packed"][row][column // count] >> bits * (column % count) & mask) - half
        zero = 0
        if "weight_zero_point" in tensors:
            zero = (tensors["weight_zero_point"][row // count][group] >> bits * (row % count) & mask) - half
        return (code - zero) * tensors["weight_scale"][row][group]

    return value


def write_int8(name, weight, random):
    scale, codes = symmetric(weight, plain_groups(weight, -1), torch.bfloat16, 8)
    return {"weight": torch.from_numpy(codes.astype(np.int8)), "weight_scale": scale}


def read_int8(module, stored):
    tensors = lists(stored)
    return lambda row, column: tensors["weight"][row][column] * tensors["weight_scale"][row][0]


# Floats of 8 bits: one sign, four of exponent with bias 7, three of mantissa; no infinity, the largest is 448.


def write_fp8(block, shape, dtype, scale="weight_scale", static=False):
    """A writer for scales of blocks of this many rows and columns (0: all), stored in this shape."""

    def write(name, weight, random):
        rows, columns = weight.shape
        high, wide = block[0] or rows, block[1] or columns
        places = np.arange(rows)[:, None] // high, np.arange(columns)[None, :] // wide
        largest = np.zeros((math.ceil(rows / high), math.ceil(columns / wide)))
        np.maximum.at(largest, np.broadcast_arrays(*places), np.abs(weight))
        tensor, values = rounded(largest / 448, dtype)
        codes = torch.from_numpy((weight / values[places]).clip(-448, 448)).to(torch.float8_e4m3fn)
        stored = {"weight": codes, scale: tensor.reshape(shape(tensor.shape))}
        return stored | ({"input_scale": torch.tensor(random.uniform(0.01, 0.05), dtype=dtype).reshape(shape((1, 1)))} if static else {})

    return write


def float8(byte):
    sign, exponent, mantissa = -1 if byte & 128 else 1, byte >> 3 & 15, byte & 7
    assert (exponent, mantissa) != (15, 7), "not a number"
    return sign * (2.0**-6 * mantissa / 8 if exponent == 0 else 2.0 ** (exponent - 7) * (1 + mantissa / 8))


def read_fp8(stored, scale_at):
    """A reader, of a function that finds the scale of a row and column among the stored ones."""
    bytes_, tensors = stored["weight"].view(torch.uint8).tolist(), lists(stored)
    return lambda row, column: float8(bytes_[row][column]) * scale_at(tensors, row, column)


def of_row(tensors, row, column):
    return tensors["weight_scale"][row][0]


def of_block(tensors, row, column):
    return tensors["weight_scale_inv"][row // 128][column // 128]


def of_all(tensors, row, column):
    scale = tensors["weight_scale"]
    return scale[0] if isinstance(scale, list) else scale


def fp8(config, block, shape, scale_at, scale="weight_scale", static=False, **sizes):
    read = lambda module, stored: read_fp8(stored, scale_at)
    return Scheme({"quantization_config": config}, write_fp8(block, shape, torch.float32, scale, static), read, **sizes)


def compressed_fp8(strategy, block, shape, scale_at, activations, static=False):
    floats = {"num_bits": 8, "type": "float"}
    read = lambda module, stored: read_fp8(stored, scale_at)
    write = write_fp8(block, shape, torch.bfloat16, static=static)
    return compressed("float-quantized", floats | {"strategy": strategy}, floats | activations, write, read, 64, **SMALL)


# bitsandbytes: blocks of 64 along the flattened weight, each with the largest absolute value; two codes to a byte, the first above.

NORMAL_FLOATS = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]
SMALL_FLOATS = [sign * value / 12 for sign in (1, -1) for value in (0, 0.0625, 8, 12, 4, 6, 2, 3)]


def dynamic_map():
    """The 256 values between -1 and 1 in which bitsandbytes stores the largest values again: the middles of 2^n parts of each decade."""
    positive = []
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2**decade + 1)
        positive += list(10.0 ** (decade - 6) * (edges[1:] + edges[:-1]) / 2)
    return np.sort(np.array([-value for value in positive] + [0.0] + positive + [1.0])).astype(np.float32)


def nearest(values, table):
    return np.abs(values[..., None] - np.asarray(table, np.float64)).argmin(-1).astype(np.uint8)


def bitsandbytes(kind, table, nested, **sizes):
    def write(name, weight, random):
        blocks = weight.reshape(-1, 64)
        largest, values = rounded(np.abs(blocks).max(1), torch.float32)
        state = {"quant_type": kind, "blocksize": 64, "dtype": "bfloat16", "shape": list(weight.shape)}
        stored = {"quant_map": torch.tensor(table, dtype=torch.float32)}
        if nested:
            offset = float(values.astype(np.float32).mean())
            rest, place = values - offset, np.arange(len(values)) // 256
            outer = np.array([np.abs(rest[place == index]).max() for index in range(place.max() + 1)], np.float32)
            again = dynamic_map()
            largest = torch.from_numpy(nearest(rest / outer[place], again))
            stored |= {"nested_absmax": torch.from_numpy(outer), "nested_quant_map": torch.from_numpy(again)}
            state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset}
        codes = nearest(blocks / values[:, None], table)
        # FP4 has a code for -0 too.
        codes = np.where((codes == 0) & (blocks < 0) & (kind == "fp4"), 8, codes).astype(np.uint8).reshape(-1, 2)
        text = np.frombuffer(json.dumps(state).encode(), np.uint8).copy()
        stored |= {"absmax": largest, f"quant_state.bitsandbytes__{kind}": torch.from_numpy(text)}
        bytes_ = torch.from_numpy(codes[:, :1] << 4 | codes[:, 1:])
        return {"weight": bytes_} | {"weight." + key: tensor for key, tensor in stored.items()}

    config = {
        "_load_in_4bit": True, "_load_in_8bit": False, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested, "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False, "llm_int8_skip_modules": None, "llm_int8_threshold": 6.0, "load_in_4bit": True,
        "load_in_8bit": False, "quant_method": "bitsandbytes",
    }
    return Scheme({"quantization_config": config}, write, read_bitsandbytes, 64, **sizes)


def read_bitsandbytes(module, stored):
    tensors = {name.removeprefix("weight."): values for name, values in lists(stored).items()}
    state = next(bytes(values) for name, values in tensors.items() if name.startswith("quant_state."))
    state = json.loads(state)

    def largest(block):
        absmax = tensors["absmax"][block]
        if "nested_absmax" not in tensors:
            return absmax
        outer = tensors["nested_absmax"][block // state["nested_blocksize"]]
        return tensors["nested_quant_map"][absmax] * outer + state["nested_offset"]

    def value(row, column):
        place = row * state["shape"][1] + column
        byte = tensors["weight"][place // 2][0]
        code = byte >> 4 if place % 2 == 0 else byte & 15
        return tensors["quant_map"][code] * largest(place // state["blocksize"])

    return value


# MLX: inputs lie along a word of 32 bits, each group has a scale (of either sign) and the value of code 0.


def mlx(group, bits, dtype, special=None, **sizes):
    special = special or {}

    def of(name):
        return special.get(name, {"group_size": group, "bits": bits})

    def write(name, weight, random):
        size, last = of(name)["group_size"], 2 ** of(name)["bits"] - 1
        groups = weight.reshape(len(weight), -1, size)
        low, high = groups.min(2), groups.max(2)
        edge = np.where(np.abs(low) > np.abs(high), low, high)
        scale = np.maximum((high - low) / last, 1e-7) * np.where(edge == low, 1, -1)
        steps = np.round(edge / scale)
        scale = np.where(steps == 0, scale, edge / np.where(steps == 0, 1, steps))
        (scales, scale), (biases, bias) = rounded(scale, dtype), rounded(np.where(steps == 0, 0, edge), dtype)
        codes = np.round((groups - bias[:, :, None]) / scale[:, :, None]).clip(0, last)
        words = pack(codes.reshape(weight.shape), of(name)["bits"], 1)
        return {"weight": words.view(torch.uint32), "scales": scales, "biases": biases}

    settings = {"group_size": group, "bits": bits, "mode": "affine"} | special
    config = {"quantization": settings, "quantization_config": settings}
    return Scheme(config, write, lambda module, stored: read_mlx(stored, of(module)), group, dtype, metadata="mlx", **sizes)


def read_mlx(stored, settings):
    tensors = lists(stored)
    count, mask = 32 // settings["bits"], 2 ** settings["bits"] - 1

    def value(row, column):
        group = column // settings["group_size"]
        code = tensors["weight"][row][column // count] >> settings["bits"] * (column % count) & mask
        return code * tensors["scales"][row][group] + tensors["biases"][row][group]

    return value


MORE_BITS = {"group_size": 32, "bits": 8}
MIXED = {LAYER + "mlp.down_proj": MORE_BITS, LAYER + "self_attn.v_proj": MORE_BITS}
BY_ROW = lambda shape: (shape[0], 1)

SCHEMES = {
    "awq_g128": awq(128),
    "awq_g64": awq(64, feed_forward=64),
    "gptq_sym_g128": gptq(AUTO_GPTQ, symmetrical=True),
    "gptq_asym_act_g32": gptq(OPTIMUM_GPTQ, group=32, reorder=True, feed_forward=160),
    "gptq_v2_asym_g64": gptq(GPTQ_MODEL, group=64, version=2, feed_forward=64),
    "gptq_8bit_channel": gptq(AUTO_GPTQ | {"bits": 8, "group_size": -1, "damp_percent": 0.1}, 8, -1, symmetrical=True, **SMALL),
    "ct_w4a16_sym_g128": packed(4, 128),
    "ct_w4a16_asym_g64": packed(4, 64, asymmetrical=True, feed_forward=64),
    "ct_w4a16_act_g128": packed(4, 128, reorder=True),
    "ct_w8a16_channel": packed(8, -1, **SMALL),
    "ct_int8_channel": compressed(
        "int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"},
        {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}, write_int8, read_int8, 64, **SMALL,
    ),
    "ct_fp8_channel": compressed_fp8("channel", (1, 0), BY_ROW, of_row, {"strategy": "token", "dynamic": True}),
    "ct_fp8_tensor": compressed_fp8("tensor", (0, 0), lambda shape: (1,), of_all, {"strategy": "tensor", "observer": "minmax"}, True),
    "bnb_nf4": bitsandbytes("nf4", NORMAL_FLOATS, False, width=64, feed_forward=128),
    "bnb_nf4_double": bitsandbytes("nf4", NORMAL_FLOATS, True, feed_forward=192),
    "bnb_fp4": bitsandbytes("fp4", SMALL_FLOATS, False, width=64, feed_forward=128),
    "mlx_q4_g64": mlx(64, 4, torch.bfloat16, tied=True, more=[EMBEDDING], feed_forward=128),
    "mlx_q8_g32": mlx(32, 8, torch.float16, more=[EMBEDDING, HEAD], **SMALL),
    "mlx_q4_mixed": mlx(64, 4, torch.bfloat16, MIXED, more=[EMBEDDING, HEAD], feed_forward=64),
    "fp8_block": fp8(
        {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
        (128, 128), lambda shape: shape, of_block, scale="weight_scale_inv", feed_forward=320,
    ),
    "fp8_tensor": fp8(
        {"activation_scheme": "static", "ignored_layers": [HEAD], "quant_method": "fp8"},
        (0, 0), lambda shape: (), of_all, static=True, **SMALL,
    ),
    "fbgemm_fp8": fp8(
        {"activation_scale_ub": 1200.0, "modules_to_not_convert": [HEAD, *ATTENTION], "quant_method": "fbgemm_fp8"},
        (1, 0), BY_ROW, of_row, plain=ATTENTION, **SMALL,
    ),
}
