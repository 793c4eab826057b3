"""Writes weights.txt: what ONNX Runtime makes of weights of a few bits. Run with onnxruntime, onnx and numpy:

    python engine/testdata/weights.py > engine/testdata/weights.txt

A line has the case, as key=value, and behind " : " the result. Operands are numbers that the test makes too (fill). Versions in the first line."""
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as nh

f4 = np.float32


def fill(n, seed):
    """n numbers of 32 bits."""
    x = (np.arange(n, dtype=np.uint64) * 0x9E3779B1 + seed * 0x85EBCA77) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    return x ^ (x >> 12)


def floats(shape, seed):
    return (fill(int(np.prod(shape)), seed) / 2.0**31 - 1).astype(f4).reshape(shape)


def codes(shape, seed, bits):
    return (fill(int(np.prod(shape)), seed) >> (32 - bits)).astype(np.uint8).reshape(shape)


def run(nodes, inits, feeds, outputs, opset):
    ins = [h.make_tensor_value_info(k, T.INT64 if v.dtype == np.int64 else T.FLOAT, None) for k, v in feeds.items()]
    outs = [h.make_tensor_value_info(k, T.FLOAT, None) for k in outputs]
    g = h.make_graph(nodes, "g", ins, outs, inits)
    m = h.make_model(g, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("com.microsoft", 1)], ir_version=13 if opset > 21 else 10)
    o = ort.SessionOptions()
    o.log_severity_level = 4
    o.intra_op_num_threads = 1
    return ort.InferenceSession(m.SerializeToString(), o).run(outputs, feeds)[0]


def packed(x, bits):
    """Codes along the last axis, the first one lowest, rows in whole bytes."""
    per = 8 // bits
    pad = -x.shape[-1] % per
    x = np.concatenate([x, np.zeros((*x.shape[:-1], pad), np.uint8)], -1).reshape(*x.shape[:-1], -1, per).astype(np.uint32)
    return (x << (np.arange(per, dtype=np.uint32) * bits)).sum(-1).astype(np.uint8)


def small(name, x, typ):
    """A tensor of a packed type."""
    bits = {T.INT4: 4, T.UINT4: 4, T.INT2: 2, T.UINT2: 2, T.INT8: 8, T.UINT8: 8}[typ]
    return h.make_tensor(name, typ, x.shape, packed(x.reshape(1, -1), bits).tobytes(), raw=True)


def show(y):
    return " ".join(f"{v:.9g}" for v in y.ravel())


def nbits(bits, block, level, zeros, bias, m, k, n):
    blocks = -(-k // block)
    B = codes((n, blocks, block), 1, bits)
    inits = [nh.from_array(packed(B, bits), "B"), nh.from_array(floats((n, blocks), 2), "S")]
    names = ["A", "B", "S"]
    if zeros == "codes":
        inits.append(nh.from_array(packed(codes((n, blocks), 3, bits), bits), "Z"))
    if zeros == "floats":
        inits.append(nh.from_array(floats((n, blocks), 3) * f4(8), "Z"))
    names.append("" if zeros == "none" else "Z")
    if bias:
        inits.append(nh.from_array(floats((n,), 4), "bias"))
        names += ["", "bias"]
    while names[-1] == "":
        names.pop()
    node = h.make_node("MatMulNBits", names, ["Y"], domain="com.microsoft", K=k, N=n, bits=bits, block_size=block, accuracy_level=level)
    y = run([node], inits, {"A": floats((m, k), 5)}, ["Y"], 21)
    print(f"op=nbits bits={bits} block={block} level={level} zeros={zeros} bias={int(bias)} m={m} k={k} n={n} : {show(y)}")


def qdq(op, typ, block, zeros, m, k, n):
    """DequantizeLinear of constants in front of a product; block 0: per column, -1: per tensor."""
    bits = {T.INT4: 4, T.UINT4: 4, T.INT2: 2, T.UINT2: 2, T.INT8: 8, T.UINT8: 8}[typ]
    shape = {0: (n,), -1: ()}.get(block, (-(-k // max(block, 1)), n))
    inits = [small("W", codes((k, n), 1, bits), typ), nh.from_array(floats(shape, 2), "S")]
    names = ["W", "S"]
    if zeros:
        inits.append(small("Z", codes(shape, 3, bits), typ))
        names.append("Z")
    attrs = {"axis": 0, "block_size": block} if block > 0 else {"axis": 1}
    nodes = [h.make_node("DequantizeLinear", names, ["D"], **attrs)]
    if op == "gemm":
        inits.append(nh.from_array(floats((n,), 4), "bias"))
    nodes.append(h.make_node("Gemm", ["A", "D", "bias"], ["Y"]) if op == "gemm" else h.make_node("MatMul", ["A", "D"], ["Y"]))
    y = run(nodes, inits, {"A": floats((m, k), 5)}, ["Y"], 25 if bits == 2 else 21)
    print(f"op={op} type={T.DataType.Name(typ)} block={block} zeros={int(zeros)} m={m} k={k} n={n} : {show(y)}")


def gather(typ, bits, block, zeros, shape, gather_axis, quantize_axis, indices):
    data = codes(shape, 1, bits)
    scales = list(shape)
    scales[quantize_axis] = -(-scales[quantize_axis] // block)
    Z = codes(scales, 3, bits)
    if typ == T.UINT8:
        D, Z = nh.from_array(packed(data, bits), "D"), nh.from_array(packed(Z, bits), "Z")
    else:
        D, Z = small("D", data, typ), small("Z", Z, typ)
    inits = [D, nh.from_array(floats(scales, 2), "S")] + ([Z] if zeros else [])
    node = h.make_node("GatherBlockQuantized", ["D", "I", "S"] + (["Z"] if zeros else []), ["Y"], domain="com.microsoft",
                       bits=bits, block_size=block, gather_axis=gather_axis, quantize_axis=quantize_axis)
    y = run([node], inits, {"I": np.array(indices, np.int64)}, ["Y"], 21)
    at = lambda x: ",".join(map(str, x))
    print(f"op=gather type={T.DataType.Name(typ)} bits={bits} block={block} zeros={int(zeros)} shape={at(shape)} gather={gather_axis} "
          f"quantize={quantize_axis} indices={at(indices)} : {show(y)}")


print(f"# onnxruntime {ort.__version__}, onnx {onnx.__version__}, numpy {np.__version__}")
for bits in (4, 8, 2):
    for level in (0, 1, 4):
        nbits(bits, 16, level, "none", False, 2, 40, 5)
        nbits(bits, 32, level, "codes", True, 3, 80, 5)
        nbits(bits, 128, level, "codes", False, 1, 300, 3)
        nbits(bits, 256, level, "none", True, 2, 300, 3)
for level in (0, 4):
    nbits(4, 32, level, "floats", True, 2, 80, 5)
    nbits(8, 64, level, "codes", False, 12, 130, 4)
    nbits(4, 512, level, "codes", False, 2, 600, 3)
    nbits(8, 1024, level, "none", False, 2, 1100, 3)
for typ in (T.INT4, T.UINT4, T.INT8, T.UINT8, T.INT2, T.UINT2):
    for op in ("matmul", "gemm"):
        qdq(op, typ, 32, True, 2, 80, 4)
    qdq("matmul", typ, 16, False, 3, 40, 4)
    qdq("matmul", typ, 128, True, 1, 300, 8)
for typ in (T.INT8, T.UINT8, T.INT4):
    for block in (0, -1):
        qdq("matmul", typ, block, block == 0, 2, 70, 5)
        qdq("gemm", typ, block, True, 2, 70, 5)
for bits in (2, 4, 8):
    for zeros in (False, True):
        gather(T.UINT8, bits, 16, zeros, (5, 48), 0, 1, [3, -1, 0, 4, 9])
for typ in (T.UINT4, T.INT4):
    gather(typ, 4, 16, True, (5, 40), 0, 1, [3, -1, 0])
    gather(typ, 4, 16, False, (3, 20, 4), 1, 2, [2, 1])
    gather(typ, 4, 16, True, (4, 3, 36), 1, 2, [2, -3])
    gather(typ, 4, 16, True, (20, 6), 1, 0, [2, 5, 1])
