# Makes importance.dat: how much each column of the demo model's matrices counts, as llama.cpp's `llama-imatrix` tells it.
"""Writes models/demo/importance.dat from models/demo/master and the front of the novel that it was trained on.

    python models/demo/importance.py

For each matrix the mean square of its inputs, over all tokens, in llama.cpp's first format for such files
(`tools/imatrix`): counts and names, then per entry a number of calls and the means times it.
"""

import os
import struct
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

HERE = Path(__file__).resolve().parent
TEXT = Path(os.environ.get("PLYWOOD_DATA", HERE / "../../../shared/data")) / "text" / "pride_and_prejudice.txt"
OUTPUT = HERE / "importance.dat"

CHARACTERS = 60_000
CONTEXT = 256
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


@torch.no_grad()
def main():
    model = LlamaForCausalLM.from_pretrained(HERE / "master", dtype=torch.float32).eval()
    sums, tokens = {}, 0

    def watch(name):
        def hook(module, inputs):
            squares = inputs[0].double().pow(2).sum(dim=(0, 1))
            sums[name] = sums.get(name, 0) + squares

        return hook

    for layer, block in enumerate(model.model.layers):
        for module, name in NAMES.items():
            block.get_submodule(module).register_forward_pre_hook(watch(f"blk.{layer}.{name}.weight"))
    ids = Tokenizer.from_file(str(HERE / "master/tokenizer.json")).encode(TEXT.read_text(encoding="utf-8")[:CHARACTERS]).ids
    for first in range(0, len(ids) - CONTEXT, CONTEXT):
        model(torch.tensor([ids[first : first + CONTEXT]]))
        tokens += CONTEXT
    calls = tokens // CONTEXT
    out = struct.pack("<i", len(sums))
    for name, total in sums.items():
        out += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(total))
        out += (total / tokens * calls).to(torch.float32).numpy().tobytes()
    dataset = TEXT.name.encode()
    OUTPUT.write_bytes(out + struct.pack("<ii", calls, len(dataset)) + dataset)
    print(f"{OUTPUT}: {len(sums)} matrices, {tokens} tokens, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
