"""Writes a folder's model.gguf with llama.cpp's own converter, which lies elsewhere and is no part of this project."""

import logging
import sys

import tokenizer


def convert(folder, family, source):
    """All that the converter does, but for the vocabulary: its hash is none that llama.cpp knows."""
    for path in (source, source / "gguf-py"):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
    import gguf
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    logging.disable(logging.INFO)
    hparams = ModelBase.load_hparams(folder, False)
    kind = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    file_type = gguf.LlamaFileType.MOSTLY_F16 if family.config["torch_dtype"] == "float16" else gguf.LlamaFileType.MOSTLY_BF16
    # llama.cpp wants certain tokens in models with phi3 in their name.
    title = folder.name.replace("phi3", "phi 3")
    model = kind(folder, file_type, folder / "model.gguf", model_name=title)
    # Ministral 3 has a converter inside the converter.
    inner = getattr(model, "impl", model)
    inner.set_vocab = lambda: tokenizer.write_keys(inner.gguf_writer)
    model.write()
