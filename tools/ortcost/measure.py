#!/usr/bin/env python3
"""Measures what a MatMul with constant weights costs in ONNX Runtime in each of the forms zqonnx writes, and fits the
cost table of the package target by non-negative least squares on relative errors:

    t[µs] = call + x·M·K + mac·M·K·N + y·M·N + w·K·N

    python3 tools/ortcost/measure.py [--fit-only measured.json] > measured.json

One thread, minimum over interleaved rounds. Needs onnxruntime, onnx, numpy, scipy.
"""
import json
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from scipy.optimize import nnls

FORMS = ["float", "dynamic", "token", "token21"]
SHAPES = [(m, k, n) for m in (1, 16, 64, 128, 256) for k in (64, 128, 256, 384, 768, 1536)
          for n in (64, 128, 256, 384, 768, 1536) if m * k * n <= 128 * 768 * 1536 and 1 / 8 <= k / n <= 8]


def graph(form, k, n, rng):
    w = (rng.standard_normal((k, n)) / np.sqrt(k)).astype(np.float32)
    sw = (np.abs(w).max(0) / 127).astype(np.float32)
    wq = np.clip(np.rint(w / sw), -127, 127).astype(np.int8)
    c = {"w": w, "sw": sw, "wq": wq, "wz": np.zeros(n, np.int8), "b": rng.standard_normal(n).astype(np.float32),
         "one": np.float32(1), "z": np.uint8(128), "tiny": np.float32(1e-20), "c127": np.float32(127)}
    nodes = {
        "float": [("MatMul", "x w", "y0"), ("Add", "y0 b", "y")],
        "dynamic": [("DynamicQuantizeLinear", "x", "xq sx zx"), ("MatMulInteger", "xq wq zx", "acc"), ("Cast", "acc", "accf", {"to": 1}),
                    ("Mul", "sx sw", "s"), ("Mul", "accf s", "y0"), ("Add", "y0 b", "y")],
        "token": [("Abs", "x", "a"), ("ReduceMax", "a", "m", {"axes": [-1], "keepdims": 1}), ("Max", "m tiny", "m2"), ("Div", "m2 c127", "s"),
                  ("Div", "x s", "xn"), ("QuantizeLinear", "xn one z", "xq"), ("DequantizeLinear", "xq one z", "xd"),
                  ("DequantizeLinear", "wq sw wz", "wd", {"axis": 1}), ("MatMul", "xd wd", "y1"), ("Mul", "y1 s", "y0"), ("Add", "y0 b", "y")],
        "token21": [("Abs", "x", "a"), ("ReduceMax", "a axes", "m", {"keepdims": 1}), ("Max", "m tiny", "m2"), ("Div", "m2 c127", "s"),
                    ("Shape", "s", "shape"), ("ConstantOfShape", "shape", "zz", {"value": nh.from_array(np.array([128], np.uint8))}),
                    ("QuantizeLinear", "x s zz", "xq", {"axis": -1, "block_size": k}), ("DequantizeLinear", "xq one z", "xd"),
                    ("DequantizeLinear", "wq sw wz", "wd", {"axis": 1}), ("MatMul", "xd wd", "y1"), ("Mul", "y1 s", "y0"), ("Add", "y0 b", "y")],
    }[form]
    c["axes"] = np.array([-1], np.int64)
    ns = [h.make_node(x[0], x[1].split(), x[2].split(), **(x[3] if len(x) > 3 else {})) for x in nodes]
    used = {i for x in ns for i in x.input}
    g = h.make_graph(ns, "g", [h.make_tensor_value_info("x", T.FLOAT, ["M", k])], [h.make_tensor_value_info("y", T.FLOAT, ["M", n])],
                     [nh.from_array(np.asarray(v), name) for name, v in c.items() if name in used])
    return h.make_model(g, ir_version=10, opset_imports=[h.make_opsetid("", 21 if form == "token21" else 13)]).SerializeToString()


def measure():
    rng = np.random.default_rng(1)
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.log_severity_level = 1, 4
    rows = []
    for k, n in sorted({(k, n) for _, k, n in SHAPES}):
        ss = {f: ort.InferenceSession(graph(f, k, n, rng), o, providers=["CPUExecutionProvider"]) for f in FORMS}
        for m in sorted({m for m, kk, nn in SHAPES if (kk, nn) == (k, n)}):
            x = rng.standard_normal((m, k)).astype(np.float32)
            best = dict.fromkeys(FORMS, 1e9)
            end = time.perf_counter() + 0.12 + m * k * n * 4e-9
            while time.perf_counter() < end:
                for f in FORMS:
                    t0 = time.perf_counter()
                    ss[f].run(None, {"x": x})
                    best[f] = min(best[f], time.perf_counter() - t0)
            rows.append({"m": m, "k": k, "n": n, **{f: round(best[f] * 1e6, 2) for f in FORMS}})
    return rows


rows = json.load(open(sys.argv[2])) if len(sys.argv) > 2 else measure()
if len(sys.argv) == 1:
    json.dump(rows, sys.stdout)
for f in FORMS:
    a = np.array([[1, r["m"] * r["k"], r["m"] * r["k"] * r["n"], r["m"] * r["n"], r["k"] * r["n"]] for r in rows], float)
    t = np.array([r[f] for r in rows])
    c, _ = nnls(a / t[:, None], np.ones(len(t)))
    rel = a @ c / t - 1
    print(f"{f:8s} call {c[0]:.3g}  x {c[1]:.3g}  mac {c[2]:.3g}  y {c[3]:.3g}  w {c[4]:.3g}   error rms {np.sqrt((rel**2).mean()):.2f} max {np.abs(rel).max():.2f}", file=sys.stderr)
