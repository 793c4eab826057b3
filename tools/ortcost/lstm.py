#!/usr/bin/env python3
"""Measures what an LSTM costs in ONNX Runtime in float and as com.microsoft.DynamicQuantizeLSTM, and fits the cost table of the
package target by non-negative least squares on relative errors. For D directions, L steps, hidden size H, inputs of size I:

    t[µs] = session + call + direction·D + step·D·L + gate·D·L·4H + mac·D·L·4H·(I+H) + w·D·4H·(I+H)

    python3 tools/ortcost/lstm.py [measured.json] > measured.json

One thread, minimum over interleaved rounds. Needs onnxruntime, onnx, numpy, scipy.
"""
import json
import sys
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from scipy.optimize import nnls

SHAPES = [(d, l, hid, i) for d in (1, 2) for l in (1, 8, 32) for hid in (8, 16, 32, 64, 128, 256) for i in (hid // 2, 2 * hid)]
SESSION = 4.96  # as tools/ortcost/conv.py measures it


def graph(form, d, l, hid, i, rng):
    w, r = (rng.standard_normal((d, 4 * hid, k)).astype(np.float32) * np.float32(0.1) for k in (i, hid))
    attrs = {"hidden_size": hid, "direction": "forward" if d == 1 else "bidirectional"}
    if form == "float":
        consts = {"w": w, "r": r}
        node = h.make_node("LSTM", ["x", "w", "r"], ["", "y"], **attrs)
    else:
        consts = {}
        for name, x in (("w", w), ("r", r)):
            s = (np.abs(x).max(2) / 127).astype(np.float32)
            consts[name] = np.ascontiguousarray(np.rint(x / s[..., None]).astype(np.int8).transpose(0, 2, 1))
            consts[name + "s"], consts[name + "z"] = s, np.zeros(s.shape, np.int8)
        node = h.make_node("DynamicQuantizeLSTM", ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"], ["", "y"],
                           domain="com.microsoft", **attrs)
    g = h.make_graph([node], "g", [h.make_tensor_value_info("x", T.FLOAT, [l, 1, i])], [h.make_tensor_value_info("y", T.FLOAT, None)],
                     [nh.from_array(v, k) for k, v in consts.items()])
    return h.make_model(g, ir_version=8, opset_imports=[h.make_opsetid("", 14), h.make_opsetid("com.microsoft", 1)]).SerializeToString()


def measure():
    rng, o, rows = np.random.default_rng(1), ort.SessionOptions(), []
    o.intra_op_num_threads, o.log_severity_level = 1, 4
    for d, l, hid, i in SHAPES:
        ss = {f: ort.InferenceSession(graph(f, d, l, hid, i, rng), o, providers=["CPUExecutionProvider"]) for f in ("float", "dynamic")}
        x, best = rng.standard_normal((l, 1, i)).astype(np.float32), dict.fromkeys(ss, 1e9)
        end = time.perf_counter() + 0.25
        while time.perf_counter() < end:
            for f, s in ss.items():
                t0 = time.perf_counter()
                s.run(None, {"x": x})
                best[f] = min(best[f], time.perf_counter() - t0)
        rows.append({"d": d, "l": l, "h": hid, "i": i, **{f: round(t * 1e6, 2) for f, t in best.items()}})
    return rows


rows = json.load(open(sys.argv[1])) if len(sys.argv) > 1 else measure()
if len(sys.argv) == 1:
    json.dump(rows, sys.stdout)
for f in ("float", "dynamic"):
    macs = lambda r: r["d"] * 4 * r["h"] * (r["i"] + r["h"])
    a = np.array([[1, r["d"], r["d"] * r["l"], r["d"] * r["l"] * 4 * r["h"], r["l"] * macs(r), macs(r)] for r in rows], float)
    t = np.array([r[f] for r in rows])
    c, _ = nnls(a / t[:, None], 1 - SESSION / t)
    rel = (a @ c + SESSION) / t - 1
    print(f"{f:8s} call {c[0]:.3g} direction {c[1]:.3g} step {c[2]:.3g} gate {c[3]:.3g} mac {c[4]:.3g} w {c[5]:.3g}"
          f"   error rms {np.sqrt((rel**2).mean()):.2f} max {np.abs(rel).max():.2f}", file=sys.stderr)
