#!/usr/bin/env python3
"""Quantize the models of testmodels/ to few bits in every form, and hold the files to ONNX Runtime.

  .ci/fewbits.py                     every row of FORMS that this version of ONNX Runtime knows
  .ci/fewbits.py --only cnn-shapes   one model

Each file must load, give what zqonnx's engine gives for it, and run on no fewer integer kernels than the file of the same scheme
in 8 bits. Needs numpy and onnxruntime, 1.17 or newer. Exit status: 0 all holds, 1 not, 2 wrong usage.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from judge import ROOT, program

MODELS = ROOT / "testmodels"
VERSION = tuple(int(x) for x in ort.__version__.split(".")[:2])
SAMPLES = 16               # of the test data, run in both engines
AGREE = 60 if VERSION >= (1, 32) else 45   # dB between the engines, at least: ours rounds as the newest does
CALIBRATION = 32           # samples

# Schemes: what zqonnx is told besides, and whether it gets calibration data.
SCHEMES = {"static": ("", True), "token": ("--activations token", False), "dynamic": ("--activations dynamic", False), "stored": ("--activations float", False)}


@dataclass
class Form:
    scheme: str
    flags: str
    since: tuple = (1, 17)     # of ONNX Runtime
    kernel: str = ""           # that the models of PRODUCTS must run on; "": as many integer kernels as in 8 bits
    agree: float = AGREE


FORMS = [
    *(Form("static", f"--weights {t}") for t in ("int6", "int4", "kmeans4", "int3", "kmeans3", "int2", "ternary", "binary")),
    Form("static", "--weights int4 --opset 24", (1, 24)),
    *(Form("token", f"--weights {t}") for t in ("int6", "int4", "kmeans4", "int3")),
    Form("token", "--weights int4 --opset 24", (1, 24)),
    *(Form("dynamic", f"--weights {t}") for t in ("int4", "kmeans4")),
    *(Form("stored", f"--weights {t} --storage folded") for t in ("uint8", "int6", "int4", "uint4", "kmeans4", "uint3", "uint2", "ternary", "binary")),
    *(Form("stored", f"--weights {t} --block {b} --storage folded") for t in ("int8", "int4", "uint4", "uint3") for b in (16, 24)),
    *(Form("stored", f"--weights {t} --block {b} --storage native", kernel="MatMulNBits") for t, b in (("int4", 16), ("uint4", 32), ("int4", 64), ("uint4", 128), ("int4", 256))),
    *(Form("stored", f"--weights {t} --block {b} --storage native --accuracy-level 4", (1, 20), "MatMulNBits") for t, b in (("int4", 16), ("uint4", 32))),
    *(Form("stored", f"--weights {t} --block 32 --storage native --accuracy-level 4", (1, 22), "MatMulNBits") for t in ("int8", "uint8")),
    *(Form("stored", f"--weights {t} --block 32 --storage native", (1, 27), "MatMulNBits") for t in ("int2", "uint2")),
    *(Form("stored", f"--weights {t} --block {b} --storage qdq", (1, 25), "MatMulNBits") for t, b in (("int4", 32), ("uint4", 16))),
]

PRODUCTS = {"mlp-digits", "vit-digits"}      # whose matrices are large enough for few bits, and used once
INTEGER = ("QLinear", "MatMulInteger", "ConvInteger", "DynamicQuantize", "QGemm", "MatMulNBits")


class Unloadable(Exception):
    """ONNX Runtime is too old for the opset that the scheme is written in, whatever the bits."""


class Model:
    """A model of testmodels/, with samples as zqonnx takes them. Of sequences, it is the first step, from a state of zeros."""

    def __init__(self, name, folder):
        self.name, self.path = name, MODELS / name / "model.onnx"
        about = json.loads((MODELS / name / "model.json").read_text())
        self.inputs, self.steps, self.stateful = session(self.path).get_inputs(), about.get("steps", {}), "state" in about
        self.test = self.samples("test", SAMPLES)
        self.data, self.calib = folder / f"{name}-test", folder / f"{name}-calib"
        for path, samples in ((self.data, self.test), (self.calib, self.samples("calib", CALIBRATION))):
            path.mkdir()
            for i, feed in enumerate(samples):
                np.savez(path / f"sample_{i:03d}.npz", **feed)

    def samples(self, kind, n):
        with np.load(MODELS / self.name / f"{kind}.npz") as z:
            return [{x.name: self.sample(z, x, i) for x in self.inputs} for i in range(min(n, len(z["labels"])))]

    def sample(self, z, x, i):
        if x.name not in z.files:
            return np.zeros([d if isinstance(d, int) else 1 for d in x.shape], np.float32)
        one = z[x.name][i:i + 1, 0] if x.name in self.steps else z[x.name][i:i + 1]
        return one if x.shape else one.reshape(())


def session(path, **options):
    o = ort.SessionOptions()
    o.log_severity_level = 3
    for k, v in options.items():
        setattr(o, k, v)
    return ort.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])


def kernels(path, feed, folder):
    """What ONNX Runtime runs, by its own profile."""
    s = session(path, enable_profiling=True, profile_file_prefix=str(folder / "profile"))
    s.run(None, feed)
    file = Path(s.end_profiling())
    events = json.loads(file.read_text())
    file.unlink()
    return Counter(e["args"]["op_name"] for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time"))


def sqnr(want, got):
    power = noise = 0.0
    for a, b in zip(want, got):
        a, b = a.astype(np.float64), b.astype(np.float64)
        power, noise = power + np.square(a).sum(), noise + np.square(a - b).sum()
    return 200.0 if noise == 0 else 10 * np.log10(power / noise)


class Bench:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.base = binary, folder, {}

    def file(self, model, scheme, flags):
        out = self.folder / "few.onnx"
        extra, data = SCHEMES[scheme]
        calib = ["--calib", model.calib] if data else []
        program(self.binary, model.path, out, "--force", "-q", "--no-verify", *calib, *extra.split(), *flags.split())
        return out

    def integers(self, model, path):
        return {op: n for op, n in kernels(path, model.test[0], self.folder).items() if op.startswith(INTEGER)}

    def check(self, model, form):
        """What is wrong with a file, how near the engines are, and its integer kernels."""
        if (model.name, form.scheme) not in self.base:
            path = self.file(model, form.scheme, "")
            try:
                self.base[model.name, form.scheme] = self.integers(model, path), path.stat().st_size
            except Exception as e:                 # ONNX Runtime's have no common type
                raise Unloadable(str(e)) from e
        before, size = self.base[model.name, form.scheme]
        path = self.file(model, form.scheme, form.flags)
        now = self.integers(model, path)
        outputs = self.folder / "outputs"
        shutil.rmtree(outputs, ignore_errors=True)
        program(self.binary, "run", path, "--data", model.data, "-o", outputs, "-q")
        s = session(path)
        names, ours, theirs = [x.name for x in s.get_outputs()], [], []
        for i, feed in enumerate(model.test):
            theirs += s.run(names, feed)
            with np.load(outputs / f"sample_{i:03d}.npz") as z:
                ours += [z[name] for name in names]
        db = sqnr(theirs, ours)
        wrong = []
        if not db >= form.agree:
            wrong.append(f"the engine is {db:.1f} dB from ONNX Runtime, must be >= {form.agree}")
        if form.kernel and model.name in PRODUCTS and not now.get(form.kernel):
            wrong.append(f"nothing runs on {form.kernel}: {now}")
        if not form.kernel and sum(now.values()) < sum(before.values()):
            wrong.append(f"runs on {now}, in 8 bits on {before}")
        return wrong, db, now, path.stat().st_size / size


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", action="append", default=[], metavar="MODEL", help="only this model (repeatable)")
    p.add_argument("--flags", default="", metavar="TEXT", help="only forms whose flags hold this text")
    p.add_argument("--binary", help="zqonnx (default: built from this repository)")
    args = p.parse_args()
    names = sorted(d.name for d in MODELS.iterdir() if (d / "model.onnx").exists())
    if unknown := set(args.only) - set(names):
        p.error(f"no model {', '.join(sorted(unknown))}")
    failed = count = skipped = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        binary = args.binary or folder / "zqonnx"
        if not args.binary:
            program("go", "build", "-C", ROOT, "-o", binary, "./cmd/zqonnx")
        b = Bench(binary, folder)
        for name in args.only or names:
            try:
                model = Model(name, folder)
            except Exception as e:                 # ONNX Runtime's have no common type
                print(f"{name} does not load: {str(e).splitlines()[0][:200]}")
                continue
            for form in FORMS:
                if VERSION < form.since or args.flags not in form.flags or (SCHEMES[form.scheme][1] and model.stateful):
                    continue
                count += 1
                line = f"{name}  {form.scheme}  {form.flags}"
                try:
                    wrong, db, now, size = b.check(model, form)
                    print(f"{line}  {db:.1f} dB  {size:.2f}  {now}", flush=True)
                except Unloadable:
                    skipped += 1
                    continue
                except Exception as e:
                    wrong = [f"{type(e).__name__}: {e}"]
                    print(line, flush=True)
                for w in wrong:
                    print(f"    FAILED: {w}", flush=True)
                failed += bool(wrong)
    print(f"ONNX Runtime {ort.__version__}: {count} files, {failed} wrong, {skipped} in a form that it does not load in 8 bits either")
    return 1 if failed or count == skipped else 0


if __name__ == "__main__":
    sys.exit(main())
