#!/usr/bin/env python3
"""Measure few bits on real models, method by method, in ONNX Runtime and in zqonnx's engine; write docs/accuracy.md.

  .ci/accuracy.py --only kwt1            the rows of one model that the results do not have yet
  .ci/accuracy.py --scheme W4A16         the rows of one scheme
  .ci/accuracy.py --redo --only kwt1     measure them anew
  .ci/accuracy.py --write                the document from the results that there are, and nothing measured

Results are kept in --results, a file that each row is added to as soon as it is measured: what was interrupted goes on where it
was, and several may measure at the same time. Data as for .ci/judge.py, which does the scoring. Exit status: 0 done, 1 a row
failed, 2 wrong usage, 3 no shared data.
"""

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/accuracy.md"


def load_judge():
    spec = importlib.util.spec_from_file_location("ci_judge", ROOT / ".ci/judge.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ci = load_judge()
number = ci.number

# What the weights of a scheme are, and how activations become integers; A16: they stay float.
WEIGHTS = {"W8A8": "int8", "W4A8": "int4", "W4A16": "uint4 --block 32", "W3A16": "uint3 --block 32", "W2A16": "uint2 --block 32"}
CODEBOOK = {"W4A8": "kmeans4", "W4A16": "kmeans4", "W3A16": "kmeans3", "W2A16": "kmeans2"}
UNIFORM = {"W4A8": "int4", "W4A16": "int4", "W3A16": "int3", "W2A16": "int2"}     # per channel, as codebooks are
METHODS = {"rtn": "--rounding rtn", "hqq": "--rounding hqq", "gptq": "--rounding gptq", "default": "", "uniform, per channel": "", "kmeans": ""}

STATIC = {"resnet20-cifar10": "top1", "kws-dscnn": "top1", "mnist-cnn": "top1", "squeezenet-imagenet": "top1",
          "mobilenet-v1-075-imagenet": "top1", "super-resolution": "psnr_db", "ultraface-rfb320": "f1_iou50", "ppocr-det": "map_iou"}
TOKENWISE = {"kwt1": "top1", "stories260k-llama": "perplexity", "minilm-stsb": "partner_top1"}
METRIC = STATIC | TOKENWISE


@dataclass(frozen=True)
class Row:
    task: str
    scheme: str
    method: str
    flags: str
    calib: int = 128

    @property
    def key(self):
        return f"{self.task} | {self.scheme} | {self.method}"


def row(task, scheme, method):
    weights = {"kmeans": CODEBOOK, "uniform, per channel": UNIFORM}.get(method, WEIGHTS)[scheme]
    activations = "--activations float" if scheme.endswith("A16") else "--activations token" if task in TOKENWISE else ""
    return Row(task, scheme, method, " ".join(filter(None, [activations, f"--weights {weights}", METHODS[method]])))


def ablation(task):
    """ZeroQuant's parts, one after the other, on W8A8."""
    return [Row(task, "ablation", name, flags) for name, flags in (
        ("per channel, static", "--activations static --rounding rtn --equalize none"),
        ("per channel, dynamic", "--activations dynamic --rounding rtn --equalize none"),
        ("+ token-wise", "--activations token --rounding rtn --equalize none"),
        ("+ compensation", "--activations token"))]


def rows():
    for task in TOKENWISE:
        yield from (row(task, "W8A8", m) for m in ("rtn", "default"))
        yield from (row(task, "W4A8", m) for m in ("rtn", "gptq", "default", "kmeans"))
        yield from (row(task, "W4A16", m) for m in ("rtn", "hqq", "gptq", "default", "uniform, per channel", "kmeans"))
        yield from (row(task, s, m) for s in ("W3A16", "W2A16") for m in ("rtn", "hqq", "default"))
        if task != "minilm-stsb":
            yield from ablation(task)
    for task in STATIC:
        yield from (row(task, "W8A8", m) for m in ("rtn", "default"))
        if task not in ("ultraface-rfb320", "ppocr-det"):
            yield from (row(task, "W4A8", m) for m in ("rtn", "gptq", "default", "kmeans"))


# Goals: task, scheme, what is measured, what it must reach, and what others reach (issue 5 of the project).
GOALS = [
    ("stories260k-llama", "W4A16", "loss", "<=", .050, "rounding and \"GPTQ\" of ONNX Runtime .104; HQQ .088; NNCF .066; onnxsim GPTQ .084, HQQ .081, GPTQ + LoRC .054"),
    ("kwt1", "W4A16", "sqnr", ">=", 31, "HQQ 20.9, NNCF 25.1, AWQ 29.5"),
    ("kwt1", "W4A8", "sqnr", ">=", 26, "-"),
    ("kwt1", "W4A8", "drop", "<=", .004, "-"),
    ("resnet20-cifar10", "W4A8", "drop", "<=", .010, "rounding loses several points"),
    ("mobilenet-v1-075-imagenet", "W8A8", "sqnr", ">=", 23, "16.9"),
    ("super-resolution", "W8A8", "drop", "<=", .15, "3.5 to 5.1"),
    ("mobilenet-v1-075-imagenet", "W4A8", "drop", "<=", .05, "published, ImageNet: rounding 27.6 %, AdaRound 71.8 of 72.7 %"),
    ("squeezenet-imagenet", "W4A8", "drop", "<=", .015, "-"),
    ("kws-dscnn", "W4A8", "drop", "<=", .015, "-"),
    ("minilm-stsb", "W8A8", "drop", "<=", 0, ".02 (dynamic INT8)"),
    ("minilm-stsb", "W4A16", "drop", "<=", .0067, "-"),
    ("kws-dscnn", "W8A8", "sqnr", ">=", 30.5, "29.8"),
    ("resnet20-cifar10", "W8A8", "sqnr", ">=", 29, "28.0"),
    ("mnist-cnn", "W8A8", "sqnr", ">=", 37, "34.8"),
    ("squeezenet-imagenet", "W8A8", "sqnr", ">=", 22.5, "19.8"),
    ("ultraface-rfb320", "W8A8", "sqnr", ">=", 43, "41.9"),
    ("ppocr-det", "W8A8", "map_iou", ">=", .95, ".79"),
    ("kwt1", "W8A8", "sqnr", ">=", 38.5, "28.4; token-wise with plain rounding 37.5"),
    ("stories260k-llama", "W8A8", "sqnr", ">=", 39, "31.2; token-wise with plain rounding 37.6"),
]
UNITS = {"loss": "increase of the loss", "sqnr": "SQNR, dB", "drop": "drop of the metric"}


class Bench(ci.Bench):
    def measure(self, row):
        task, model, report = self.tasks[row.task](), self.folder / "few.onnx", self.folder / "report.json"
        task.split()                              # says which data are missing
        _, made = ci.program(self.binary, task.model_path, model, "--force", "-q", "--calib", self.calibration(row), "--report", report, *row.flags.split())
        s = ci.judge("score", row.task, "--model", model)
        metric = METRIC[row.task]
        r = {**s["metric"], "metric": s["metric"][metric], "float": s["reference"][metric], "drop": s["drop"][metric],
             "sqnr": s["agreement"]["sqnr_db"], "bytes": s["bytes"], "size": s["bytes"] / s["reference_bytes"], "made": made,
             "engine": json.loads(report.read_text())["outputs"]["pooled"]["sqnr"], "flags": row.flags}
        if metric == "perplexity":
            r["loss"] = math.log(r["metric"]) - math.log(r["float"])
        return r

    def fold(self, name):
        """Bytes and shortest run of the W4A8 file over those of the INT8 file, in turns. The codes do not matter: they are rounded."""
        task, files = self.tasks[name](), []
        task.split()
        for scheme in ("W8A8", "W4A8"):
            r = row(name, scheme, "rtn")
            files.append(self.folder / f"{scheme}.onnx")
            ci.program(self.binary, task.model_path, files[-1], "--force", "-q", "--no-verify", "--calib", self.calibration(r), *r.flags.split())
        x = ci.judge("bench", *files, "--seconds", self.args.seconds, *self.shapes(name, task))["files"]
        return {"bytes": [f["bytes"] for f in x], "ms": [f["min_ms"] for f in x]}


def load(file):
    return json.loads(file.read_text()) if file.exists() else {}


def save(file, key, x):
    """Add a row to the file, in which others may have put theirs meanwhile."""
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(load(file) | {key: x}, indent=1))
    new.replace(file)


# --- document -----------------------------------------------------------------------------

def main_table(task, results):
    head = ["scheme", "method", "flags", "metric", "drop" if task != "stories260k-llama" else "loss", "SQNR in ONNX Runtime", "SQNR in zqonnx", "bytes", "made in"]
    lines = []
    for r in rows():
        x = results.get(r.key)
        if r.task != task or r.scheme == "ablation" or not x:
            continue
        if "failed" in x:
            lines.append([r.scheme, r.method, f"`{r.flags}`", f"failed: {x['failed']}", *["-"] * 5])
            continue
        digits = 2 if METRIC[task].endswith("_db") else 4
        lines.append([r.scheme, r.method, f"`{r.flags}`", number(x["metric"], digits), number(x.get("loss", x["drop"]), 4),
                      f"{number(x['sqnr'], 1)} dB", f"{number(x['engine'], 1)} dB", str(x["bytes"]), f"{x['made']:.0f} s"])
    return ci.markdown(head, lines) if lines else ""


def ablation_table(results):
    lines = [[r.task, r.method, f"`{r.flags}`", number(x["metric"], 4), f"{number(x['sqnr'], 1)} dB"]
             for r in rows() if r.scheme == "ablation" and (x := results.get(r.key)) and "failed" not in x]
    return ci.markdown(["model", "what", "flags", "metric", "SQNR"], lines)


def versus_table(results, a, b, schemes):
    """Two methods on the same model and scheme."""
    lines = []
    for task in METRIC:
        for scheme in schemes:
            x, y = (results.get(f"{task} | {scheme} | {m}") for m in (a, b))
            if x and y and "failed" not in x and "failed" not in y:
                lines.append([task, scheme, f"{number(x['sqnr'], 1)} dB", f"{number(y['sqnr'], 1)} dB", f"{y['sqnr'] - x['sqnr']:+.1f} dB", f"{y['bytes'] / x['bytes']:.3f}"])
    return ci.markdown(["model", "scheme", a, b, "gain", "bytes"], lines)


def goals_table(results):
    lines = []
    for task, scheme, what, op, limit, peers in GOALS:
        x = results.get(f"{task} | {scheme} | default")
        if x and "failed" not in x:
            value = round(x[what], 4)
            state = "reached" if ci.COMPARE[op](value, limit) else "**missed**"
        else:
            value, state = None, "not measured"
        digits = 1 if what == "sqnr" else 4
        lines.append([task, scheme, UNITS.get(what, what), f"{op} {limit:g}".replace("<=", "≤").replace(">=", "≥"), number(value, digits), state, peers])
    return ci.markdown(["model", "scheme", "measured", "goal", "zqonnx", "", "others"], lines)


def write(results):
    commits = sorted({x["commit"] for x in results.values() if "commit" in x})
    ci.fill(DOCUMENT, {
        "machine": f"{ci.machine()}; zqonnx at {', '.join(commits)}; {time.strftime('%Y-%m-%d')}.",
        "goals": goals_table(results), "ablation": ablation_table(results), "folded": folded_table(results),
        "gptq": versus_table(results, "rtn", "gptq", ["W4A8", "W4A16"]),
        "kmeans": "\n".join([versus_table(results, "uniform, per channel", "kmeans", ["W4A16"]), "", versus_table(results, "gptq", "kmeans", ["W4A8"])]),
        "models": "\n\n".join(f"### {task}\n\nMetric: {METRIC[task]}, {float_of(task, results)} in float.\n\n{t}" for task in METRIC if (t := main_table(task, results))),
    })


def folded_table(results):
    lines = []
    for task in METRIC:
        if x := results.get(f"{task} | folded"):
            (b8, b4), (t8, t4) = x["bytes"], x["ms"]
            lines.append([task, str(b8), str(b4), f"{b4 / b8:.3f}", f"{t8:.3f} ms", f"{t4:.3f} ms", f"{t4 / t8:.3f}"])
    return ci.markdown(["model", "bytes in 8 bits", "bytes in 4 bits", "", "run in 8 bits", "run in 4 bits", ""], lines)


def float_of(task, results):
    return next((number(x["float"], 4) for k, x in results.items() if k.startswith(f"{task} |") and "float" in x), "-")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", action="append", default=[], metavar="TASK", help="only this model (repeatable)")
    p.add_argument("--scheme", action="append", default=[], help="only this scheme (repeatable)")
    p.add_argument("--method", action="append", default=[], help="only this method (repeatable)")
    p.add_argument("--redo", action="store_true", help="measure what is in the results, too")
    p.add_argument("--results", type=Path, default=Path(tempfile.gettempdir()) / "zqonnx-accuracy.json", metavar="FILE")
    p.add_argument("--binary", help="zqonnx (default: built from this repository)")
    p.add_argument("--bench", action="store_true", help="measure bytes and latency of W4A8 beside INT8, and nothing else")
    p.add_argument("--seconds", type=float, default=3, help="of a file in --bench")
    p.add_argument("--write", action="store_true", help="write docs/accuracy.md and measure nothing")
    args = p.parse_args()
    for chosen, known in ((args.only, METRIC), (args.scheme, [*WEIGHTS, "ablation"])):
        if unknown := set(chosen) - set(known):
            p.error(f"there is no {', '.join(sorted(unknown))}")
    if args.write:
        write(load(args.results))
        return 0
    if not ci.JUDGE.exists():
        print(f"accuracy.py: {ci.JUDGE} is not here: set ZQONNX_SHARED", file=sys.stderr)
        return 3
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        b = Bench(args, folder)
        for task in METRIC if args.bench else []:
            if not args.only or task in args.only:
                try:
                    x = b.fold(task)
                    save(args.results, f"{task} | folded", x)
                    print(task, x, flush=True)
                except b.MissingData as e:
                    print(f"skipped {task}: {e}")
        for r in [] if args.bench else rows():
            if args.only and r.task not in args.only or args.scheme and r.scheme not in args.scheme or args.method and r.method not in args.method:
                continue
            if not args.redo and "failed" not in load(args.results).get(r.key, {"failed": ""}):
                continue
            try:
                x = b.measure(r)
            except b.MissingData as e:
                print(f"skipped {r.task}: {e}")
                continue
            except ci.Failed as e:
                x, failed = {"failed": str(e).splitlines()[0][:200]}, failed + 1
            save(args.results, r.key, x | {"commit": commit})
            print(r.key, {k: round(v, 4) if isinstance(v, float) else v for k, v in x.items()}, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
