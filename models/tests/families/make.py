"""Makes the folders beside it: tiny models of each family as published directories, as GGUF files, and what they must give.

Run `python make.py [--converter LLAMA_CPP] [NAME ...]` with torch, transformers, accelerate, safetensors and gguf. Without the source of
llama.cpp (its `conversion` folder) no GGUF is made. The bytes are the same each time.
"""

import argparse
import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import double
import mxfp4
import tokenizer
from dense import DENSE
from family import VOCABULARY
from mixtures import MIXTURES

HERE = Path(__file__).parent
FAMILIES = DENSE | MIXTURES
IDS = np.random.default_rng(60).integers(0, VOCABULARY, 60).tolist()
LEAST, NOISE = 1e-4, 1e-9


def error(found, expected):
    """Mean squared error in parts of the variance of what is expected."""
    return ((found - expected) ** 2).mean().item() / expected.var().item()


def settings(config, changes=None):
    """transformers' configuration of a config.json, as read without a file."""
    plain = copy.deepcopy(config | (changes or {}))
    plain.pop("quantization_config", None)
    return CONFIG_MAPPING[plain["model_type"]].from_dict(plain)


def store(name, family, folder):
    """model.safetensors under the names that transformers gives published files."""
    with tempfile.TemporaryDirectory() as scratch:
        model = AutoModelForCausalLM.from_config(settings(family.config), dtype=family.dtype())
        model.save_pretrained(scratch)
        shapes = {key: tensor.shape for key, tensor in load_file(Path(scratch) / "model.safetensors").items()}
    tensors = {key: family.weight(name, key, shape) for key, shape in sorted(shapes.items())}
    if "quantization_config" in family.config:
        tensors = mxfp4.pack(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def load(name, folder):
    """The weights that transformers reads from a folder, under its own names."""
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if name != "llama2" else torch.float16,
                                                         output_loading_info=True)
    assert not any(report.values()), report
    return model.state_dict()


def check(name, family, state, expected):
    """Every quirk matters, and a small error stays small."""
    for quirk, change in family.off.items():
        changed = isinstance(change, dict)
        weights = state if changed else change(state)
        found = double.logits(settings(family.config, change if changed else None), weights, IDS)
        assert error(found, expected) > LEAST, f"{name}: {quirk} matters only by {error(found, expected):.1e}"
    generator = torch.Generator().manual_seed(1)
    shaken = {key: tensor.double() * (1 + 1e-6 * torch.randn(tensor.shape, generator=generator)) for key, tensor in state.items()}
    noise = error(double.logits(settings(family.config), shaken, IDS), expected)
    assert noise < NOISE, f"{name}: a change by a millionth gives {noise:.1e}"
    return noise


def make(name, family):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for file, value in (("config.json", family.config), ("generation_config.json", family.generation)):
        if value is not None:
            (folder / file).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer.json(), separators=(",", ":"), ensure_ascii=False) + "\n")
    store(name, family, folder)

    state = load(name, folder)
    wanted = {}
    for count in family.prompts:
        end = "" if count == family.prompts[0] else f"_{count}"
        wanted["input_ids" + end] = torch.tensor(IDS[:count])
        wanted["logits" + end] = double.logits(AutoConfig.from_pretrained(folder), state, IDS[:count])
        if family.gguf:
            wanted["gguf_logits" + end] = double.logits(settings(family.config, family.gguf), state, IDS[:count])
    noise = check(name, family, state, wanted["logits"])
    spread = wanted["logits"].std().item()
    assert 1 < spread < 8, f"{name}: logits are spread by {spread}"
    save_file({key: value.float() if value.is_floating_point() else value for key, value in wanted.items()},
              folder / "expected.safetensors")
    return f"logits spread by {spread:.2f}, shaken {noise:.0e}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--converter", type=Path)
    arguments.add_argument("names", nargs="*")
    arguments = arguments.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names or FAMILIES:
        family = FAMILIES[name]
        line = make(name, family)
        if arguments.converter and family.has_gguf:
            from convert import convert
            convert(HERE / name, family, arguments.converter)
        size = sum(path.stat().st_size for path in (HERE / name).iterdir())
        print(f"{name:18} {size:7} bytes, {line}", flush=True)


if __name__ == "__main__":
    main()
