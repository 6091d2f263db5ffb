"""What a family is: its config.json, how its random weights are drawn, and which quirks must matter."""

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch

VOCABULARY = 64


def numbers(family, name):
    """Random numbers that depend on nothing but the names."""
    return np.random.default_rng(zlib.crc32(f"{family}/{name}".encode()))


@dataclass(frozen=True)
class Family:
    """A fixture: `off` names each quirk and what switches it off, changes of config.json or a function on the weights."""

    config: dict
    off: dict
    generation: dict | None = None
    # Changes to config.json that make the published model of transformers what a GGUF still says of it.
    gguf: dict = field(default_factory=dict)
    has_gguf: bool = True
    prompts: tuple = (60,)
    # Factors on the spread of weights, by the end of the name.
    gains: dict = field(default_factory=dict)
    # Norms that multiply by 1 + weight store weights about 0.
    norm_offset: float = 1.0

    def dtype(self):
        return getattr(torch, self.config["torch_dtype"])

    def weight(self, family, name, shape):
        """The random tensor of a name as it lies in the file."""
        random = numbers(family, name).normal(0, 1, shape)
        gain = next((gain for end, gain in self.gains.items() if name.endswith(end)), None)
        if "norm" in name:
            random = self.norm_offset + random * 0.25
        elif name.endswith("e_score_correction_bias"):
            random = random * 0.2
        elif name.endswith(("bias", "_bias")):
            random = random * 0.4
        elif name.endswith("sinks"):
            random = random * 1.5
        elif name.endswith("embed_tokens.weight"):
            tied = self.config.get("tie_word_embeddings", TIED_BY_DEFAULT.get(self.config["model_type"], False))
            random = random * (gain or (3 / shape[1] ** 0.5 if tied else 1.0))
        else:
            random = random * (gain or next((gain for end, gain in GAINS.items() if end in name), 1.0)) / shape[-1] ** 0.5
        # DeepSeek-V3 alone stores something in single precision; its value is rounded all the same.
        stored = torch.from_numpy(np.ascontiguousarray(random)).to(self.dtype())
        return stored.float() if name.endswith("e_score_correction_bias") else stored


TIED_BY_DEFAULT = {"gemma2": True, "gemma3_text": True}
GAINS = {"q_proj": 1.5, "k_proj": 1.5, "q_b_proj": 1.5, "qkv_proj": 1.4, "kv_b_proj": 1.3, "lm_head": 3.0, "gate.weight": 2.0,
         "router": 2.0, "down_proj": 1.6, "w2": 1.6}


def scaled(*ends, by=0.0):
    """Switches off by multiplying the weights whose names end so."""
    def change(state):
        found = [name for name in state if name.endswith(ends)]
        assert found, ends
        return state | {name: state[name] * by for name in found}
    return change


def flat(*ends, to=1.0):
    """Switches off the weights of norms, not the norms."""
    def change(state):
        found = [name for name in state if name.endswith(ends)]
        assert found, ends
        return state | {name: torch.full_like(state[name], to) for name in found}
    return change
