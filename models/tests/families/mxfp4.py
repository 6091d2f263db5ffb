"""MXFP4 as gpt-oss stores it: codes of four bits in blocks of 32 with a power of two as their scale."""

import torch

VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])
BLOCK, BIAS = 32, 127


def quantise(weight):
    """`[experts, rows, columns]` as blocks `[experts, rows, columns / 32, 16]` and scales `[experts, rows, columns / 32]`."""
    groups = weight.double().reshape(*weight.shape[:2], -1, BLOCK)
    exponents = torch.floor(torch.log2(groups.abs().amax(-1))) - 2
    codes = ((groups / 2 ** exponents[..., None])[..., None] - VALUES).abs().argmin(-1).to(torch.uint8)
    # Two neighbours share a byte, the first in its lower half.
    return codes[..., ::2] | codes[..., 1::2] << 4, (exponents + BIAS).to(torch.uint8)


def pack(tensors):
    """The weights of experts, `[experts, in, out]` in transformers, as published: `[experts, out, in]` in blocks."""
    packed = {}
    for name, tensor in tensors.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            packed[name + "_blocks"], packed[name + "_scales"] = quantise(tensor.transpose(1, 2))
        else:
            packed[name] = tensor
    return packed
