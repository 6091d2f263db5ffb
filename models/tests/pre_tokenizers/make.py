"""Writes the ids that llama.cpp gives some texts, by each of the names that GGUF files have for ways to split them.

    python make.py [VOCABULARY] < NAMES        with xllamacpp, which carries llama.cpp; VOCABULARY is ggml-vocab-gpt-2.gguf,
                                               and NAMES what `ply` says that it knows

All have the vocabulary of GPT-2: only how texts are split differs. Names that give the same ids stand together.
"""

import ctypes
import json
import pathlib
import struct
import sys
import tempfile

import xllamacpp

HERE = pathlib.Path(__file__).parent
DATA = HERE / "../../../../shared/data/tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf"
# Where `vocab_only` lies in llama_model_params of xllamacpp 2026.10.
VOCAB_ONLY = 72

TEXTS = [
    "Hello, World! It's we'LL they'Re I'D 'quoted' x'S",
    "1 12 123 1234 12345 123456 1234567 3.14159 1,000,000 x1y22z333 ²³½ ٣٤٥ Ⅷ",
    "camelCase HTTPServer ABCdef xmlHTTPRequest iOS9 ΑΒΓδ Ǆx ǅ ʰa",
    "  leading   and  inner   spaces  \n\n\n  lines \r\n\ttabs\t\t \r x \n",
    "trailing spaces   ", "\n", " \n \n", "\n\n\nx", "\u00a0\u2003nbsp\u3000wide \u2028 line",
    "a/b//c /// path/to\\file.txt\n!!!\n?? ...\n\n--- ___ ** `code` ``` $x+y=z$ <a|b> ~^ #tag @me",
    "(x[0] && y||z) == {\"k\": 'v'}; // end\r\n/* c */",
    "日本語テキスト、中文字符。한국어 텍스트! ไทย ひらがなカタカナ 混ぜるmixed語",
    "naïve café Ünïcödé e\u0301a\u0308 हिन्दी देवनागरी עִבְרִית العَرَبِيَّة",
    "🙂🙃 👩‍👩‍👧‍👦 ❤️‍🔥x 🇩🇪! €£¥ ©® → ∑∫ «q» „w“ …—–",
    "don't DON'T can'T you'VE'd 'Twas o'clock rock'n'roll",
    "x=1;y=22;z=333\nif(a>b){return\n\n  1}\n", "$100 + 200% = <300> ^4 |5| `6` ~7",
    "Ⅻ ① 〇 零 ㍿ ﬁ ﷽ \u200b\u200d \ufeff \u00ad", ".word !word ?Word -word /word (word) \"word\" 'word",
]


def main():
    library = ctypes.CDLL(str(next(pathlib.Path(xllamacpp.__file__).parent.glob("*.so"))))
    parameters = type("Parameters", (ctypes.Structure,), {"_fields_": [("bytes", ctypes.c_uint8 * 160)]})
    library.llama_model_default_params.restype = parameters
    library.llama_model_load_from_file.restype = ctypes.c_void_p
    library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, parameters]
    library.llama_model_get_vocab.restype = ctypes.c_void_p
    library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    library.llama_tokenize.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool, ctypes.c_bool,
    ]
    silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    library.llama_log_set(silent, None)
    library.llama_backend_init()
    vocabulary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else DATA).read_bytes()

    def entry(name):
        return b"tokenizer.ggml.pre" + struct.pack("<IQ", 8, len(name)) + name.encode()

    def load(name):
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            assert entry("gpt-2") in vocabulary
            file.write(vocabulary.replace(entry("gpt-2"), entry(name)))
            file.flush()
            options = library.llama_model_default_params()
            options.bytes[VOCAB_ONLY] = 1
            model = library.llama_model_load_from_file(file.name.encode(), options)
        return model and library.llama_model_get_vocab(model)

    def encode(vocab, text):
        text = text.encode()
        ids = (ctypes.c_int32 * (len(text) + 8))()
        return list(ids[: library.llama_tokenize(vocab, text, len(text), ids, len(ids), False, False)])

    groups = {}
    for name in sys.stdin.read().split():
        vocab = load(name)
        if not vocab:
            print(f"llama.cpp does not know {name}", file=sys.stderr)
            continue
        groups.setdefault(json.dumps([encode(vocab, text) for text in TEXTS]), []).append(name)
    rows = [{"names": names, "ids": json.loads(ids)} for ids, names in groups.items()]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    texts = json.dumps(TEXTS, ensure_ascii=False)
    (HERE / "expected.json").write_text(f'{{"texts":{texts},\n"groups":[\n{lines}\n]}}\n')


main()
