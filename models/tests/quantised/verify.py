"""Checks the folders beside it with the code of those who made their layouts: each weight, and the whole model where that runs.

Run `python verify.py` where their packages are installed; one that is absent is skipped. `MAKERS` names a folder with sources that
are not installed: AutoAWQ in autoawq*, AutoGPTQ in autogptq, compressed-tensors 0.9.4 in ct, DeepSeek's kernel.py in deepseek.
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TRITON_INTERPRET", "1")  # DeepSeek's kernel is for GPUs; Triton interprets it here.

import numpy as np
import torch
from safetensors.torch import load_file

import make
from layouts import MIXED, SCHEMES, read_gptq

MAKERS = Path(os.environ.get("MAKERS", "."))


def source(pattern, name):
    """A module from a file of a maker's source."""
    path = next(MAKERS.glob(pattern))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def version(package):
    return f"{package} {importlib.metadata.version(package)}"


def modules(name):
    """The name, shape and stored tensors of each quantised module, and the rows that are expected of it."""
    scheme = SCHEMES[name]
    tensors, expected = (load_file(make.HERE / name / (file + ".safetensors")) for file in ("model", "expected"))
    for module in scheme.quantised():
        yield module, scheme.shapes()[module], make.part(tensors, module), expected[module + ".weight"].numpy()


def config(name):
    return json.loads((make.HERE / name / "config.json").read_text())


def auto_awq(name):
    dequantise = source("autoawq*/awq/utils/packing_utils.py", "packing_utils").dequantize_gemm
    settings = config(name)["quantization_config"]

    def weight(module, shape, stored):
        return dequantise(stored["qweight"], stored["qzeros"], stored["scales"].double(), settings["bits"], settings["group_size"]).T

    return "AutoAWQ 0.2.9, dequantize_gemm", weight


def auto_gptq(name):
    settings = config(name)["quantization_config"]
    # The older one takes the zero point modulo 16 and knows no order; the newer one takes a stored 15 as 16.
    file = "qlinear_cuda" if settings["desc_act"] else "qlinear_cuda_old"
    linear = source(f"autogptq/auto_gptq/nn_modules/qlinear/{file}.py", file).QuantLinear

    def weight(module, shape, stored):
        layer = linear(settings["bits"], settings["group_size"], shape[1], shape[0], False, weight_dtype=torch.float64)
        layer.load_state_dict(stored)
        ones, nothing = torch.ones_like(stored["scales"]), torch.zeros_like(stored["qweight"])
        zeros = read_gptq({**stored, "scales": ones, "qweight": nothing}, settings["bits"], 1)
        result = layer(torch.eye(shape[1], dtype=torch.float64)).T.clone()
        if settings["desc_act"]:
            unsure = [[zeros(row, column) == 0 for column in range(shape[1])] for row in range(shape[0])]
            result[torch.tensor(unsure)] = float("nan")
        return result

    return f"AutoGPTQ's {file}, fed with the identity", weight


def gptq_model(name):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module

    settings = config(name)["quantization_config"]

    def weight(module, shape, stored):
        layer = TorchLinear(settings["bits"], settings["group_size"], settings["sym"], settings["desc_act"], shape[1], shape[0])
        layer.load_state_dict(stored)
        if settings.get("checkpoint_format", "gptq") == "gptq":
            convert_gptq_v1_to_v2_format_module(layer, settings["bits"], torch.int32)
        layer.scales = layer.scales.double()
        return layer.dequantize_weight().T

    return version("gptqmodel") + ", TorchLinear.dequantize_weight", weight


def compressed_tensors(name):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    settings = QuantizationConfig.model_validate(config(name)["quantization_config"])
    scheme, compressor = settings.config_groups["group_0"], BaseCompressor.get_value_from_registry(settings.format)

    def weight(module, shape, stored):
        return compressor.decompress({**stored, "weight_scale": stored["weight_scale"].double()}, scheme)["weight"]

    return version("compressed-tensors") + ", decompress", weight


def compressed_tensors_order(name):
    """Activation order, which newer versions no longer read: version 0.9.4 in a process of its own."""
    code = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from safetensors.torch import load_file, save_file
from compressed_tensors.compressors.quantized_compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs
tensors = load_file(sys.argv[2])
arguments = QuantizationArgs(num_bits=4, strategy="group", group_size=128, actorder="group")
compressor = PackedQuantizationCompressor()
weights = {}
for name in tensors:
    if name.endswith(".weight_packed"):
        module = name.removesuffix(".weight_packed")
        stored = {key.removeprefix(module + "."): value for key, value in tensors.items() if key.startswith(module + ".")}
        stored["weight_scale"] = stored["weight_scale"].double()
        weights[module] = compressor.decompress_weight(stored, arguments).contiguous()
save_file(weights, sys.argv[3])
"""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights.safetensors"
        subprocess.run([sys.executable, "-c", code, next(MAKERS.glob("ct")), make.HERE / name / "model.safetensors", out], check=True)
        weights = load_file(out)
    return "compressed-tensors 0.9.4, decompress_weight", lambda module, shape, stored: weights[module]


def bitsandbytes(name):
    from bitsandbytes.functional import QuantState, dequantize_4bit

    def weight(module, shape, stored):
        state = {key.removeprefix("weight."): value for key, value in stored.items() if key != "weight"}
        state = QuantState.from_dict(state, torch.device("cpu"))
        state.dtype = torch.float32
        return dequantize_4bit(stored["weight"], state)

    return version("bitsandbytes") + ", dequantize_4bit on the CPU", weight


def mlx(name):
    import mlx.core as mx

    settings = config(name)["quantization"]

    def weight(module, shape, stored):
        of = settings.get(module, settings)
        array = lambda tensor: mx.array(tensor.float().numpy())
        codes = mx.array(stored["weight"].view(torch.int32).numpy().view(np.uint32))
        result = mx.dequantize(codes, array(stored["scales"]), array(stored["biases"]), of["group_size"], of["bits"])
        return torch.from_numpy(np.array(result))

    return version("mlx") + ", mlx.core.dequantize", weight


def deepseek(name):
    dequantise = source("deepseek/kernel.py", "kernel").weight_dequant

    def weight(module, shape, stored):
        # The interpreter knows no 8-bit floats of torch, so it gets their values.
        return dequantise(stored["weight"].float(), stored["weight_scale_inv"])

    return "DeepSeek-V3's inference/kernel.py, weight_dequant in Triton's interpreter", weight


def transformers_fp8(name):
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    def weight(module, shape, stored):
        scale = stored.get("weight_scale_inv", stored.get("weight_scale"))
        try:
            return Fp8Dequantize(None)._dequantize_one(stored["weight"], scale.reshape(scale.shape or (1, 1)), torch.float32)
        except ValueError as error:
            print(f"    {module}: {error}")
            return torch.full(shape, float("nan"))

    return version("transformers") + ", Fp8Dequantize", weight


def scaled(name):
    """No maker's code for the CPU exists: torch's own 8-bit floats times the scales."""
    weight = lambda module, shape, stored: stored["weight"].double() * stored["weight_scale"]
    return version("torch") + ", float8_e4m3fn times scale", weight


def checks(name):
    if name.startswith("awq"):
        return [auto_awq]
    if name.startswith("gptq"):
        return [gptq_model] + ([] if "v2" in name else [auto_gptq])
    if name.startswith("ct"):
        return [compressed_tensors_order if "act" in name.split("_") else compressed_tensors]
    if name.startswith("fp8"):
        return ([deepseek] if name == "fp8_block" else []) + [transformers_fp8]
    return {"bnb": [bitsandbytes], "mlx": [mlx], "fbgemm": [scaled]}[name.split("_")[0]]


def whole(name):
    """The logits of the whole folder by the maker's loader."""
    if name.startswith("mlx"):
        import mlx.core as mx
        from mlx_lm.utils import load_model

        model, _ = load_model(make.HERE / name)
        model.set_dtype(mx.float32)
        return version("mlx-lm"), np.array(model(mx.array([make.IDS])).astype(mx.float32))[0]
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    dtype = torch.float16 if name[:4] in ("awq_", "gptq") else torch.float32
    more = {}
    if name == "ct_w4a16_asym_g64":
        # Compressed, it wants a zero point for each row, against its own packing.
        more["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(make.HERE / name, dtype=dtype, device_map="cpu", **more)
    with torch.no_grad():
        return version("transformers"), model(torch.tensor([make.IDS])).logits[0].float().numpy()


def codes(name):
    """How many of its codes a 4-bit or 8-bit scheme uses."""
    used = set()
    for module, shape, stored, rows in modules(name):
        tensor = next(stored[key] for key in ("qweight", "weight_packed", "weight") if key in stored)
        bytes_ = np.frombuffer(tensor.contiguous().view(torch.uint8).numpy().tobytes(), np.uint8)
        if module not in MIXED:
            used |= set(np.unique(bytes_))
    return len({byte >> 4 for byte in used}), len(used)


if __name__ == "__main__":
    for name in sys.argv[1:] or SCHEMES:
        print(f"{name}: uses {codes(name)[0]} of the codes of 4 bits, {codes(name)[1]} of the bytes")
        weights = make.load(make.HERE / name, SCHEMES[name])
        for check in checks(name):
            try:
                what, weight = check(name)
            except (ImportError, StopIteration) as error:
                print(f"  skipped {check.__name__}: {error!r}")
                continue
            worst = skipped = 0
            for module, shape, stored, rows in modules(name):
                theirs = weight(module, shape, stored).double().numpy()
                ours = weights[module]
                assert theirs.shape == shape == ours.shape, (module, theirs.shape, shape)
                assert (ours[[0, 1, shape[0] // 2, -1]] == rows).all(), module
                skipped += np.isnan(theirs).sum()
                scale = np.abs(ours).max(1, keepdims=True)
                worst = max(worst, np.nanmax(np.abs(theirs - ours) / scale, initial=0))
            verdict = "agrees" if worst <= 1e-6 else "DIFFERS"
            print(f"  {verdict} with {what}: {worst:.1e} of a row's largest; {skipped} values not compared")
        try:
            what, logits = whole(name)
            expected = load_file(make.HERE / name / "expected.safetensors")["logits"].numpy()
            print(f"  logits by {what}: differ by {np.abs(logits - expected).max() / np.abs(expected).max():.1e} of the largest")
        except Exception as error:
            print(f"  no logits: {error!r:.300}")
