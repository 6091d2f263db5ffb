"""A tokenizer of 64 tokens, as tokenizer.json and as the keys of a GGUF."""

SPECIAL = ["<unk>", "<s>", "</s>"]
MERGED = ["th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of", "ed"]
TOKENS = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz", "\u0120", *"0123456789", *".,!?'-:;", *MERGED]
MERGES = [" ".join(token) for token in MERGED]
NORMAL, CONTROL = 1, 3
BOS, EOS = 1, 2


def json():
    """tokenizer.json: bytes are letters in GPT-2's way, words are cut in its way too."""
    special = [{"id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for index, token in enumerate(SPECIAL)]
    spaces = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": {token: index for index, token in enumerate(TOKENS)},
             "merges": MERGES}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": spaces, "post_processor": None, "decoder": spaces, "model": model}


def write_keys(writer):
    """The same for a GGUF."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([CONTROL if token in SPECIAL else NORMAL for token in TOKENS])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(False)
