"""Writes tensors.onnx, the oracle for decoding: every element type once in raw_data and once in its typed field.

The packing is that of the onnx package (1.23), not ours. Run: python tensors.py
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

IR_VERSION = 14
SHAPE = [3, 7]  # an odd count: the last byte of packed types is half empty
rng = np.random.default_rng(1)

initializers = []


def add(name, raw, typed):
    for how, t in (("raw", raw), ("typed", typed)):
        t.name = f"{name}/{how}"
        initializers.append(t)


def wire(t, data_type, field, values):
    """A TensorProto with values written into the typed field by hand, for types whose helper always writes raw_data."""
    out = TensorProto(data_type=data_type, dims=t.dims)
    getattr(out, field).extend(values)
    return out


for name, data_type in TensorProto.DataType.items():
    if name in ("UNDEFINED", "STRING"):
        continue
    n = int(np.prod(SHAPE))
    if name in ("FLOAT6E2M3", "FLOAT6E3M2"):
        codes = rng.integers(0, 64, n).tolist()
        bits = "".join(format(c, "06b")[::-1] for c in codes)
        bits += "0" * (-len(bits) % 8)
        raw = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
        t = TensorProto(data_type=data_type, dims=SHAPE, raw_data=raw)
        add(name, t, wire(t, data_type, "int32_data", codes))
        continue
    dtype = helper.tensor_dtype_to_np_dtype(data_type)
    if name == "BOOL":
        values = rng.integers(0, 2, SHAPE).astype(bool)
    elif name.startswith("COMPLEX"):
        values = (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)).astype(dtype)
    elif name in ("INT2", "INT4"):
        top = 1 if name == "INT2" else 7
        values = rng.integers(-top - 1, top + 1, SHAPE).astype(dtype)
    elif name in ("UINT2", "UINT4"):
        values = rng.integers(0, 4 if name == "UINT2" else 16, SHAPE).astype(dtype)
    elif "FLOAT" in name or name == "DOUBLE":
        values = (np.abs(rng.normal(size=SHAPE)) if name == "FLOAT8E8M0" else rng.normal(size=SHAPE)).astype(dtype)
    else:
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, SHAPE, dtype=dtype, endpoint=True)
    raw = numpy_helper.from_array(values)
    assert raw.data_type == data_type and raw.raw_data
    typed = helper.make_tensor("", data_type, SHAPE, values.flatten().tolist())
    assert not typed.HasField("raw_data")
    add(name, raw, typed)

strings = helper.make_tensor("STRING/typed", TensorProto.STRING, [3], ["a", "", "\u00fc\u0000a"])
initializers.append(strings)

outputs = [helper.make_tensor_value_info("STRING/typed", TensorProto.STRING, [3])]
graph = helper.make_graph([], "tensors", [], outputs, initializers)
model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", 26)])
save(model, "tensors.onnx")
