#!/bin/bash
# What rounding activations to 8 bits costs, in every format: perplexity on the host without and with `--exact`, of files that `ply quantize` writes.
#
#     benches/perplexity.sh PLY MODEL TEXT [ADAPTER]
set -euo pipefail
ply=$1 model=$2 text=$3 adapter=${4:-host}
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
perplexity() {
    "$ply" perplexity "$folder/model.gguf" "$text" --first 2000 --adapters "$adapter" --json "$@" 2>/dev/null |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])'
}
for type in f32 f16 bf16 q8_0 q6_k q5_k_m q4_k_m q3_k_m q2_k q5_1 q5_0 q4_1 q4_0 iq4_nl iq4_xs mxfp4; do
    # Types whose blocks do not divide a row want a mix.
    "$ply" quantize -q --force --pure -t "$type" "$model" "$folder/model.gguf" 2>/dev/null ||
        "$ply" quantize -q --force -t "$type" "$model" "$folder/model.gguf"
    fast=$(perplexity) exact=$(perplexity --exact)
    python3 -c "print(f'{\"$type\":8} {$fast:10.4f} {$exact:10.4f} {$fast / $exact - 1:+.3%}')"
done
