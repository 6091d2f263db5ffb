"""Runs transformers' models wholly in double precision, and proves that nothing in them was narrower."""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

NARROW = (torch.float32, torch.float16, torch.bfloat16, torch.complex64)


class NothingNarrow(TorchDispatchMode):
    """Fails at the first operation that gives numbers in less than double precision."""

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        result = function(*arguments, **(settings or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            assert not isinstance(value, torch.Tensor) or value.dtype not in NARROW, f"{function} gives {value.dtype}"
        return result


@contextmanager
def widened():
    """What transformers calls single precision (norms, rotation, softmax, routers) is double precision inside."""
    single, method, default = torch.float32, torch.Tensor.float, torch.get_default_dtype()
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32 = torch.float = single
        torch.Tensor.float = method
        torch.set_default_dtype(default)


def logits(config, state, ids):
    """The logits of ids, `[len(ids), vocabulary]`, of the model of a configuration with these weights."""
    with widened(), torch.no_grad():
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float64).double().eval()
        model.set_experts_implementation("eager") if hasattr(model, "set_experts_implementation") else None
        model.load_state_dict({name: tensor.double() for name, tensor in state.items()})
        model.tie_weights()
        with NothingNarrow():
            return model(torch.tensor([ids]), use_cache=False).logits[0]
