# Makes adapters.md: on which adapters each weight format ran its kernel cases, as `ply selftest` tells it.
"""Runs every kernel case of every format on every adapter here, and tells the worst error of each.

    python kernels/tests/adapters.py [PLY]
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLY = sys.argv[1] if len(sys.argv) > 1 else str(HERE / "../../target/release/ply")


def main():
    told = subprocess.run([PLY, "selftest", "--json"], capture_output=True, text=True)
    results = json.loads(told.stdout)
    listed = json.loads(subprocess.run([PLY, "adapters", "--json"], capture_output=True, text=True).stdout)
    adapters = list(dict.fromkeys(result["adapter"] for result in results))
    formats = list(dict.fromkeys(result["format"] for result in results if result["format"]))
    lines = [
        "# Weight formats and adapters",
        "",
        "Made by `adapters.py`, which runs `ply selftest`: the cases of embedding and matmul in each format on every rung of each adapter's",
        "kernel ladder that has shaders of its own, and how many passed; the worst NMSE against the reference in float64 (the limit is 1e-9).",
        "",
        *(f"- {adapter['name']} ({adapter['backend']}): {adapter['driver']}" for adapter in listed),
        "",
        "| format | " + " | ".join(adapters) + " |",
        "|---|" + "---|" * len(adapters),
    ]
    for name in formats:
        cells = []
        for adapter in adapters:
            here = [result for result in results if (result["adapter"], result["format"]) == (adapter, name)]
            passed = [result for result in here if result["passed"]]
            worst = max((result["nmse"] for result in here if result["nmse"] is not None), default=float("nan"))
            cells.append(f"{len(passed)} of {len(here)}, {worst:.0e}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    (HERE / "adapters.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
