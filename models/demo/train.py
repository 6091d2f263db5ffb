# Trains the demo model: public-domain text in, a bf16 Hugging Face directory out.
"""Trains the small Llama model that is built into `ply`.

    python models/demo/train.py            from the root of the repository

The text comes from $PLYWOOD_DATA/text (default ../shared/data/text). The
result is models/demo/master. Training can be stopped at any time and goes on
from the last saved state when the script is started again; the outcome is the
same, because all randomness of a step follows from the number of the step.
"""

import argparse
import json
import math
import os
import re
import tempfile
import time
from pathlib import Path

# Threads that wait must sleep: spinning ones are six times slower on a machine
# that also does other work. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

HERE = Path(__file__).resolve().parent
TEXT = Path(os.environ.get("PLYWOOD_DATA", "../shared/data")) / "text"
MASTER = HERE / "master"
STATE = Path(tempfile.gettempdir()) / "plywood-demo-training"

# Results depend on the number of threads: sums are split among them.
THREADS = 2
SEED = 1813

SEPARATOR = "<|endoftext|>"
VOCABULARY = 2048
WIDTH = 256
FEED_FORWARD = 512
LAYERS = 5
HEADS = 8
KV_HEADS = 4
HEAD_SIZE = 32
CONTEXT = 512
ROPE_BASE = 10000.0
NORM_EPSILON = 1e-5

STEPS = 4500
WARM_UP = 200
BATCH = 4
PEAK_RATE = 2e-3
LAST_RATE = 5e-5
WEIGHT_DECAY = 0.3
BETAS = (0.9, 0.99)
CLIP = 1.0
DROPOUT = 0.15

VALIDATION_SHARE = 0.03
VALIDATE_EVERY = 250
LOG_EVERY = 25
SAVE_EVERY_SECONDS = 180

# How the text is to be sampled where the user does not say.
SAMPLING = {"temperature": 0.7, "top_k": 40, "top_p": 0.9}


# ---------------------------------------------------------------- text


def read_novel():
    """The novel as chapters, each a list of paragraphs of one line.

    The file is hard-wrapped; a line break says nothing there.
    """
    text = (TEXT / "pride_and_prejudice.txt").read_text(encoding="utf-8")
    chapters = []
    for block in re.split(r"\n\s*\n", text):
        paragraph = " ".join(block.split())
        if not paragraph or set(paragraph) <= set("* "):
            continue
        if re.fullmatch(r"Chapter \d+", paragraph):
            chapters.append([])
        chapters[-1].append(paragraph)
    return chapters


def read_plays():
    """The plays as one document of speeches. Line breaks are verse and stay."""
    text = (TEXT / "tinyshakespeare.txt").read_text(encoding="utf-8")
    return [[speech.strip() for speech in re.split(r"\n\s*\n", text) if speech.strip()]]


def split_documents(documents):
    """Cuts the last few per cent off a source, at a paragraph, for validation."""
    total = sum(len(paragraph) for document in documents for paragraph in document)
    training, validation, seen = [], [], 0
    for document in documents:
        head, tail = [], []
        for paragraph in document:
            (head if seen < total * (1 - VALIDATION_SHARE) else tail).append(paragraph)
            seen += len(paragraph)
        if head:
            training.append(head)
        if tail:
            validation.append(tail)
    return training, validation


def train_tokenizer(documents):
    """A byte-level BPE with GPT-2's pre-tokeniser, learned from the training part."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(("\n\n".join(document) for document in documents), trainer)
    # The same BOS in front of every text as in training.
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{SEPARATOR} $A",
                pair=f"{SEPARATOR} $A {SEPARATOR} $B",
                special_tokens=[(SEPARATOR, 0)],
            ),
        ]
    )
    assert tokenizer.get_vocab_size() == VOCABULARY and tokenizer.token_to_id(SEPARATOR) == 0
    return tokenizer


def encode(tokenizer, documents):
    """One stream of ids, the separator before each document, and paragraph starts."""
    ids, starts = [], []
    for document in documents:
        ids.append(0)
        for index, paragraph in enumerate(document):
            starts.append(len(ids))
            # The blank line belongs to the paragraph before, as when generating.
            last = index + 1 == len(document)
            text = paragraph + ("" if last else "\n\n")
            ids += tokenizer.encode(text, add_special_tokens=False).ids
    ids.append(0)
    return torch.tensor(ids), torch.tensor(starts)


def crops(ids, starts, generator):
    """A batch of pieces of the text, one token longer than the context.

    Half of them begin with a separator at the start of a paragraph, as a
    prompt does; the others anywhere, so that the ends of long paragraphs are
    learned as well.
    """
    rows = []
    for _ in range(BATCH):
        position = int(torch.randint(len(ids) - CONTEXT - 1, (1,), generator=generator))
        if torch.rand((), generator=generator) < 0.5:
            paragraph = int(torch.searchsorted(starts, position, right=True)) - 1
            position = int(starts[max(paragraph, 0)])
            rows.append(torch.cat([torch.zeros(1, dtype=ids.dtype), ids[position : position + CONTEXT]]))
        else:
            rows.append(ids[position : position + CONTEXT + 1])
    return torch.stack(rows)


# ---------------------------------------------------------------- model


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return F.rms_norm(x, (WIDTH,), self.weight, NORM_EPSILON)


def rope_tables():
    """Cosine and sine for half-rotation RoPE, as transformers has it."""
    frequencies = ROPE_BASE ** (-torch.arange(0, HEAD_SIZE, 2).float() / HEAD_SIZE)
    angles = torch.outer(torch.arange(CONTEXT).float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x, cosine, sine):
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, HEADS * HEAD_SIZE, bias=False)
        self.k_proj = nn.Linear(WIDTH, KV_HEADS * HEAD_SIZE, bias=False)
        self.v_proj = nn.Linear(WIDTH, KV_HEADS * HEAD_SIZE, bias=False)
        self.o_proj = nn.Linear(HEADS * HEAD_SIZE, WIDTH, bias=False)

    def forward(self, x, cosine, sine):
        rows, length, _ = x.shape
        query = self.q_proj(x).view(rows, length, HEADS, HEAD_SIZE).transpose(1, 2)
        key = self.k_proj(x).view(rows, length, KV_HEADS, HEAD_SIZE).transpose(1, 2)
        value = self.v_proj(x).view(rows, length, KV_HEADS, HEAD_SIZE).transpose(1, 2)
        query, key = rotate(query, cosine, sine), rotate(key, cosine, sine)
        key = key.repeat_interleave(HEADS // KV_HEADS, dim=1)
        value = value.repeat_interleave(HEADS // KV_HEADS, dim=1)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, length, HEADS * HEAD_SIZE))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.up_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.down_proj = nn.Linear(FEED_FORWARD, WIDTH, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm = Norm()
        self.self_attn = Attention()
        self.post_attention_layernorm = Norm()
        self.mlp = FeedForward()

    def forward(self, x, cosine, sine):
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), cosine, sine), DROPOUT, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), DROPOUT, self.training)


class Llama(nn.Module):
    """Llama with dropout, which transformers' own lacks. Parameter names are theirs."""

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = Norm()
        cosine, sine = rope_tables()
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # Each layer adds twice to the residual stream; it must not grow with depth.
                into_stream = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * LAYERS) if into_stream else 1))

    def forward(self, ids):
        cosine, sine = self.cosine[: ids.shape[1]], self.sine[: ids.shape[1]]
        x = F.dropout(self.embed_tokens(ids), DROPOUT, self.training)
        for layer in self.layers:
            x = layer(x, cosine, sine)
        return F.linear(self.norm(x), self.embed_tokens.weight)


def loss_of(model, rows):
    return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


# ---------------------------------------------------------------- training


def rate_at(step):
    """Linear warm-up, then half a cosine down."""
    if step < WARM_UP:
        return PEAK_RATE * (step + 1) / WARM_UP
    progress = (step - WARM_UP) / max(1, STEPS - WARM_UP)
    return LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def validate(model, ids):
    """Mean loss per token over windows that overlap by half, each token counted once.

    So every token but the first ones has at least half a context before it.
    """
    model.eval()
    total, count, half = 0.0, 0, CONTEXT // 2
    for begin in range(0, len(ids) - CONTEXT - 1, half):
        row = ids[begin : begin + CONTEXT + 1][None]
        losses = F.cross_entropy(model(row[:, :-1])[0], row[0, 1:], reduction="none")
        losses = losses if begin == 0 else losses[half:]
        total, count = total + float(losses.sum()), count + len(losses)
    model.train()
    return total / count


def prepare():
    """The tokenizer, the training stream, and the validation stream of each source."""
    sources = {"novel": split_documents(read_novel()), "plays": split_documents(read_plays())}
    training = [document for part, _ in sources.values() for document in part]
    tokenizer = train_tokenizer(training)
    ids, starts = encode(tokenizer, training)
    validation = {}
    for name, (_, documents) in sources.items():
        stream, _ = encode(tokenizer, documents)
        characters = sum(len("\n\n".join(document)) for document in documents)
        validation[name] = (stream, len(stream) / characters)
    return tokenizer, ids, starts, validation


def save_state(path, **state):
    """Written aside and renamed, so that a kill cannot leave half a file."""
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def train(state_folder, stop_after=None):
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    state_folder.mkdir(parents=True, exist_ok=True)
    state_path, log_path = state_folder / "state.pt", state_folder / "log.txt"
    log_file = log_path.open("a", encoding="utf-8")

    def log(line):
        print(line, flush=True)
        print(line, file=log_file, flush=True)

    tokenizer, ids, starts, validation = prepare()
    model = Llama()
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    norms = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": norms, "weight_decay": 0.0}],
        lr=PEAK_RATE, betas=BETAS, fused=True,
    )
    first, history = 0, []
    if state_path.exists():
        state = torch.load(state_path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, history = state["step"], state["history"]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    log(f"{parameters} parameters, {len(ids)} training tokens, from step {first} of {STEPS}")

    model.train()
    begun = saved = time.time()
    running = []
    for step in range(first, STEPS):
        # All randomness from the step's number: a resumed run is the same run.
        torch.manual_seed(SEED * 1_000_000 + step)
        rows = crops(ids, starts, torch.Generator().manual_seed(SEED * 2_000_000 + step))
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        loss = loss_of(model, rows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        running.append(loss.item())

        done = step + 1
        if done % LOG_EVERY == 0:
            each = (time.time() - begun) / (done - first)
            left = each * (STEPS - done) / 60
            log(f"step {done} loss {sum(running) / len(running):.4f} {each:.2f} s/step, {left:.0f} min left, {time.strftime('%H:%M:%S')}")
            running = []
        if done % VALIDATE_EVERY == 0 or done == STEPS:
            losses = {name: validate(model, stream) for name, (stream, _) in validation.items()}
            bits = {name: losses[name] * validation[name][1] / math.log(2) for name in losses}
            history.append({"step": done, "loss": losses, "bits_per_character": bits})
            log(f"step {done} validation " + ", ".join(f"{name} {losses[name]:.4f} ({bits[name]:.3f} bits/char)" for name in losses))
        if time.time() - saved > SAVE_EVERY_SECONDS or done in (STEPS, stop_after):
            save_state(state_path, model=model.state_dict(), optimizer=optimizer.state_dict(), step=done, history=history)
            saved = time.time()
        if done == stop_after:
            return
    write_master(model, tokenizer)
    log(f"wrote {MASTER}")


# ---------------------------------------------------------------- master


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_master(model, tokenizer):
    """The Hugging Face directory. Weights are rounded to bf16 here, once."""
    MASTER.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"model.{name}": tensor.to(torch.bfloat16).contiguous()
        for name, tensor in sorted(model.state_dict().items())
    }
    save_file(tensors, MASTER / "model.safetensors", metadata={"format": "pt"})
    (MASTER / "model.safetensors").chmod(0o644)
    tokenizer.save(str(MASTER / "tokenizer.json"))
    write_json(MASTER / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "initializer_range": 0.02,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": CONTEXT,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": NORM_EPSILON,
        "rope_scaling": None,
        "rope_theta": ROPE_BASE,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": VOCABULARY,
    })
    write_json(MASTER / "generation_config.json", {
        "bos_token_id": 0,
        "eos_token_id": 0,
        "do_sample": True,
        **SAMPLING,
    })
    write_json(MASTER / "tokenizer_config.json", {
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            "0": {
                "content": SEPARATOR,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
        },
        "bos_token": SEPARATOR,
        "clean_up_tokenization_spaces": False,
        "eos_token": SEPARATOR,
        "model_max_length": CONTEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
    })


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--state", type=Path, default=STATE, help="folder for the log and the resumable state")
    parser.add_argument("--stop-after", type=int, help="save and leave after this step, without writing the master")
    arguments = parser.parse_args()
    train(arguments.state, arguments.stop_after)
