"""Trains tiny SentencePiece models and writes what sentencepiece itself makes of some texts.

    python make.py [FOLDER]        with sentencepiece 0.2 and protobuf; FOLDER holds the corpus pride_and_prejudice.txt

Each model NAME.model has its settings beside it in MODELS; expected.json gives the ids of TEXTS by each.
"""

import json
import pathlib
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

HERE = pathlib.Path(__file__).parent
CORPUS = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "../../../../shared/data/text")

# Full-width letters, a ligature, a line end and a zero-width space, as nmt_nfkc treats them.
RULES = "\n".join(
    ["FF21\t41", "FF22\t42", "FF41\t61", "FB01\t66 69", "0A\t20", "9\t20", "200B\t", "3000\t20", "65 301\tE9"]
) + "\n"

MODELS = {
    "unigram": dict(model_type="unigram", byte_fallback=True, user_defined_symbols=["<tool>", "Mr. Darcy", "  "]),
    "unigram_rules": dict(model_type="unigram", normalization_rule_tsv="rules.tsv", user_defined_symbols=["<sep>"]),
    "merges": dict(
        model_type="bpe", byte_fallback=True, user_defined_symbols=["<tool>", "ing", "\n"], add_dummy_prefix=False,
        remove_extra_whitespaces=False, normalization_rule_name="identity",
    ),
    "merges_unknown": dict(model_type="bpe", normalization_rule_tsv="rules.tsv", character_coverage=0.98),
}

# Models whose pieces are of other kinds than they were trained as: user-defined ones within others, and unused ones.
CHANGED = {
    "unigram_changed": ("unigram_rules", {"w": 5, "k": 5, "▁the": 5, "er": 4, "z": 5, "g": 5}),
    "merges_changed": ("merges", {"▁the": 5, "er": 5, "in": 4, "ed": 4, "ou": 5, "nd": 5}),
}

TEXTS = [
    "", " ", "   ", "a", " a ", "It is a truth universally acknowledged", "Mr. Darcy and  Mr.  Bennet were talking.",
    "Elizabeth\nwalked\t\tto   Meryton.  ", "naïve café — „Bücher“", "日本語 🙂🙃 x", "<tool>reading<tool> the <sep>",
    "<s>text</s><unk>", "ＡＢ ａ ﬁne \u200b\u3000e\u0301", "e\u0301e\u0301\u0301", "1234567890", "  leading", "trailing  ",
    "▁ ▁▁", "zzzzqqqq", "\n\n\n", "\u0000\u0001", "thing ing singing inging", "Mr. Darcy", "Mr. Darc", "áàâãäå ǅ ﷽",
    "within the winding wind and over the other; housed, indeed, bending, minded", "walking weeks zigzag owing greatly",
    "the under thunder wonderer's sound and found ground",
]


def main():
    rules = HERE / "rules.tsv"
    rules.write_text(RULES)
    expected = {}
    for name, settings in MODELS.items():
        if "normalization_rule_tsv" in settings:
            settings = settings | dict(normalization_rule_tsv=str(rules))
        else:
            settings = dict(normalization_rule_name="identity") | settings
        sentencepiece.SentencePieceTrainer.train(
            input=str(CORPUS / "pride_and_prejudice.txt"), model_prefix=str(HERE / name), vocab_size=420,
            control_symbols=["<ctl>"], input_sentence_size=4000, num_threads=1, minloglevel=2, **settings,
        )
        (HERE / f"{name}.vocab").unlink()
    rules.unlink()
    for name, (source, kinds) in CHANGED.items():
        model = sentencepiece_model_pb2.ModelProto.FromString((HERE / f"{source}.model").read_bytes())
        changed = [piece for piece in model.pieces if piece.piece in kinds]
        print(name, [piece.piece for piece in changed])
        for piece in changed:
            piece.type = kinds[piece.piece]
        (HERE / f"{name}.model").write_bytes(model.SerializeToString())
    for name in [*MODELS, *CHANGED]:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(HERE / f"{name}.model"))
        expected[name] = [{"text": text, "ids": processor.encode(text)} for text in TEXTS]
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


main()
