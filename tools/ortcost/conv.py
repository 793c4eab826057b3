#!/usr/bin/env python3
"""Measures what a Conv costs in ONNX Runtime in float and in integers, and fits the cost table of the package target by
non-negative least squares on relative errors. Of a chain of n equal convolutions, C channels to C channels,

    t[µs] = session + 2·(border + x·elements) + n·(call + mac·MACs + y·elements + tap·taps + column·columns + w·weights)

The first bracket is what it costs to enter the chain and again to leave it: QuantizeLinear, DequantizeLinear and the
transpositions to channels-last of the integer form, the reorderings of the float form. The second is the convolution.
MACs count output channels in blocks of 16; the float form skips those with padding. Taps are places·kernel, columns
taps·C.

    python3 tools/ortcost/conv.py [measured.json] > measured.json

One thread, minimum over interleaved rounds. Needs onnxruntime, onnx, numpy, scipy.
"""
import json
import math
import sys
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from scipy.optimize import nnls

FORMS = ["float", "static"]
CHAINS = [1, 3]
SPACES = {2: [(1, 4), (1, 33), (8, 8), (16, 16), (32, 32), (56, 56)], 1: [(2,), (4,), (16,), (64,), (400,)]}
KINDS = {"plane": [(1, 1), (3, 3)], "plane depthwise": [(3, 3)], "signal": [(1,), (3,)], "signal depthwise": [(3,)]}
SHAPES = [(kind, c, k, p) for kind, ks in KINDS.items() for k in ks for c in (1, 4, 8, 16, 32, 64, 128, 256)[2 * ("depthwise" in kind):] for p in SPACES[len(k)]
          if (1 if "depthwise" in kind else c) * c * math.prod(k) * math.prod(p) <= 5e7 and c * math.prod(p) <= 3e5]


def graph(form, n, kind, c, k, plane, rng):
    """A chain of n convolutions; integer ones stand between DequantizeLinear and QuantizeLinear."""
    group = c if "depthwise" in kind else 1
    consts = {"s": np.float32(0.05), "z": np.uint8(128), "ws": np.full(c, 0.01, np.float32), "wz": np.zeros(c, np.int8),
              "b": np.zeros(c, np.float32), "bs": np.full(c, 0.0005, np.float32), "bq": np.zeros(c, np.int32)}
    nodes, x = [], "x"
    q = lambda a, b: nodes.append(h.make_node("QuantizeLinear", [a, "s", "z"], [b]))
    d = lambda a, b: nodes.append(h.make_node("DequantizeLinear", [a, "s", "z"], [b]))
    if form == "static":
        q("x", "xq"), d("xq", "xd")
        x = "xd"
        nodes.append(h.make_node("DequantizeLinear", ["bq", "bs"], ["bd"], axis=0))
    for i in range(n):
        w, y = f"w{i}", f"y{i}"
        consts[w] = (rng.standard_normal((c, c // group, *k)) / np.sqrt(c // group * math.prod(k))).astype(np.float32)
        b = "b"
        if form == "static":
            consts[w] = np.clip(consts[w] * 100, -127, 127).astype(np.int8)
            nodes.append(h.make_node("DequantizeLinear", [w, "ws", "wz"], [w + "d"], axis=0))
            w, b = w + "d", "bd"
        nodes.append(h.make_node("Conv", [x, w, b], [y], group=group, kernel_shape=k, pads=[n // 2 for n in k] * 2))
        x = y
        if form == "static":
            q(y, y + "q"), d(y + "q", y + "d")
            x = y + "d"
    nodes[-1].output[0] = "y"
    used = {i for x in nodes for i in x.input}
    shape = [1, c, *plane]
    g = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, shape)], [h.make_tensor_value_info("y", T.FLOAT, shape)],
                     [nh.from_array(np.asarray(v), name) for name, v in consts.items() if name in used])
    return h.make_model(g, ir_version=10, opset_imports=[h.make_opsetid("", 13)]).SerializeToString()


def empty():
    g = h.make_graph([h.make_node("Identity", ["x"], ["y"])], "g", [h.make_tensor_value_info("x", T.FLOAT, [1])],
                     [h.make_tensor_value_info("y", T.FLOAT, [1])])
    return h.make_model(g, ir_version=10, opset_imports=[h.make_opsetid("", 13)]).SerializeToString()


def measure():
    rng = np.random.default_rng(1)
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.log_severity_level = 1, 4
    session = lambda b: ort.InferenceSession(b, o, providers=["CPUExecutionProvider"])
    base, one, rows = session(empty()), np.zeros(1, np.float32), []
    for kind, c, k, plane in SHAPES:
        x = rng.standard_normal((1, c, *plane)).astype(np.float32)
        runs = {"session": lambda: base.run(None, {"x": one})}
        for f in FORMS:
            for n in CHAINS:
                s = session(graph(f, n, kind, c, k, plane, rng))
                runs[f"{f}{n}"] = lambda s=s: s.run(None, {"x": x})
        best = dict.fromkeys(runs, 1e9)
        end = time.perf_counter() + 0.3 + c * c * math.prod(k) * math.prod(plane) * 2e-8
        while time.perf_counter() < end:
            for name, run in runs.items():
                t0 = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - t0)
        rows.append({"kind": kind, "c": c, "k": k, "plane": plane, **{n: round(t * 1e6, 2) for n, t in best.items()}})
    return rows


def features(form, r):
    """What a row's convolution costs are multiples of: elements, MACs, taps, columns, weights."""
    c, k, plane = r["c"], r["k"], r["plane"]
    of_channel = 1 if "depthwise" in r["kind"] else c
    taps = [sum(0 <= o + i - n // 2 < size for o in range(size) for i in range(n)) if form == "float" else size * n
            for n, size in zip(k, plane)]
    elements = c * math.prod(plane)
    places = math.prod(plane) * math.prod(k)
    return elements, -(-c // 16) * 16 * of_channel * math.prod(taps), places, c * places, c * of_channel * math.prod(k)


rows = json.load(open(sys.argv[1])) if len(sys.argv) > 1 else measure()
if len(sys.argv) == 1:
    json.dump(rows, sys.stdout)
session = min(r["session"] for r in rows)
print(f"session {session:.3g}", file=sys.stderr)
for f in FORMS:
    for kind in KINDS:
        part = [(r, n) for r in rows if r["kind"] == kind for n in CHAINS]
        f4 = [(n, *features(f, r)) for r, n in part]
        a = np.array([[2, 2 * e, n, n * macs, n * e, n * tap, n * columns, n * w] for n, e, macs, tap, columns, w in f4], float)
        t = np.array([r[f"{f}{n}"] for r, n in part])
        c, _ = nnls(a / t[:, None], 1 - session / t)
        rel = (a @ c + session) / t - 1
        print(f"{f:6s} {kind:16s} border {c[0]:.3g} x {c[1]:.3g} call {c[2]:.3g} mac {c[3]:.3g} y {c[4]:.3g} tap {c[5]:.3g} column {c[6]:.3g} w {c[7]:.3g}"
              f"   error rms {np.sqrt((rel**2).mean()):.2f} max {np.abs(rel).max():.2f}", file=sys.stderr)
