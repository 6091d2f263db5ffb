# Turns the demo model's bf16 master into the Q8_0 GGUF that is built into the binary.
"""Writes models/demo/demo.gguf from models/demo/master.

    python models/demo/export.py

Keys, tensor names and the order of q and k rows are those of llama.cpp's
convert script, so that llama.cpp reads the file as well.
"""

import json
from pathlib import Path

import gguf
import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
MASTER = HERE / "master"
OUTPUT = HERE / "demo.gguf"

NAME = "Plywood demo"
AUTHOR = "The Plywood authors"
DESCRIPTION = "A small Llama model trained on Pride and Prejudice and on plays of Shakespeare"
LICENSE = "MIT OR Apache-2.0"
LARGEST = 4_000_000


def permute(weight, heads):
    """From half-rotation to adjacent pairs, as `LlamaModel.permute` of llama.cpp does."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def read_json(name):
    return json.loads((MASTER / name).read_text(encoding="utf-8"))


def add_settings(writer, config, generation):
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_sampling_top_k(generation["top_k"])
    writer.add_sampling_top_p(generation["top_p"])
    writer.add_sampling_temp(generation["temperature"])
    writer.add_name(NAME)
    writer.add_author(AUTHOR)
    writer.add_description(DESCRIPTION)
    writer.add_license(LICENSE)
    writer.add_languages(["en"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_vocabulary(writer, tokenizer, template, config):
    pieces = sorted(tokenizer["model"]["vocab"].items(), key=lambda entry: entry[1])
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    assert [identifier for _, identifier in pieces] == list(range(config["vocab_size"]))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([piece for piece, _ in pieces])
    writer.add_token_types(
        [gguf.TokenType.CONTROL if identifier in special else gguf.TokenType.NORMAL for _, identifier in pieces]
    )
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    # What is said stands in quotation marks, as in the novel: the model was taught no conversation.
    writer.add_chat_template(template)


def to_q8_0(rows, _name):
    """Rows of a matrix as blocks, with the number of their type."""
    return gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0), gguf.GGMLQuantizationType.Q8_0


def add_tensors(writer, config, encode):
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    tensors = load_file(MASTER / "model.safetensors")
    heads = {"q_proj.weight": config["num_attention_heads"], "k_proj.weight": config["num_key_value_heads"]}
    # In layers' order, the embedding first and the last norm at the end: the order of use.
    order = {"model.embed_tokens.weight": -1, "model.norm.weight": config["num_hidden_layers"]}
    for name in sorted(tensors, key=lambda name: (order[name] if name in order else int(name.split(".")[2]), name)):
        weight = tensors[name].to(torch.float32)
        for ending, count in heads.items():
            if name.endswith(ending):
                weight = permute(weight, count)
        rows = weight.contiguous().numpy()
        name = names.get_name(name, try_suffixes=(".weight",))
        data, kind = (rows, gguf.GGMLQuantizationType.F32) if weight.dim() == 1 else encode(rows, name)
        writer.add_tensor(name, data, raw_dtype=kind)


def write(path, encode):
    """Writes the model to a GGUF file, its matrices as `encode` gives them."""
    config, generation = read_json("config.json"), read_json("generation_config.json")
    writer = gguf.GGUFWriter(path, "llama")
    add_settings(writer, config, generation)
    add_vocabulary(writer, read_json("tokenizer.json"), read_json("tokenizer_config.json")["chat_template"], config)
    add_tensors(writer, config, encode)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    write(OUTPUT, to_q8_0)
    size = OUTPUT.stat().st_size
    print(f"wrote {OUTPUT}, {size} bytes")
    assert size <= LARGEST, f"larger than {LARGEST} bytes"


if __name__ == "__main__":
    main()
