"""Writes the trained LegacyCNN as exporters wrote models in 2018: IR 3, opset 8.

Initializers are graph inputs too, small ones hold typed float_data, Dropout
stands in the graph, Reshape takes its shape from an initializer, dense layers
are MatMul and Add, and Softmax on a 4-D tensor runs over all axes from `axis` on.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def typed(name, array):
    kind = TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT
    return helper.make_tensor(name, kind, array.shape, array.ravel().tolist())


def legacy_model(net):
    weights = {k: v.numpy() for k, v in net.state_dict().items() if v.ndim > 0}
    initializers = []

    def constant(name, array):
        small = array.size <= 64
        initializers.append(typed(name, array) if small else numpy_helper.from_array(array, name))
        return name

    def parameters(layer, *fields):
        return [constant(f"{layer}_{field}", weights[f"{layer}.{field}"]) for field in fields]

    nodes = []

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(layer, x, pad):
        w, b = parameters(layer, "weight", "bias")
        kernel = weights[f"{layer}.weight"].shape[2:]
        return node("Conv", [x, w, b], layer, kernel_shape=kernel, strides=[1, 1], pads=[pad] * 4)

    def dense(layer, x):
        w = constant(f"{layer}_weight", np.ascontiguousarray(weights[f"{layer}.weight"].T))
        product = node("MatMul", [x, w], f"{layer}_matmul")
        return node("Add", [product, *parameters(layer, "bias")], layer)

    x = conv("conv1", "data", pad=1)
    bn = parameters("bn1", "weight", "bias", "running_mean", "running_var")
    x = node("BatchNormalization", [x, *bn], "bn1", epsilon=1e-5, momentum=0.9, spatial=1)
    x = node("Relu", [x], "relu1")
    x = node("MaxPool", [x], "pool1", kernel_shape=[2, 2], strides=[2, 2])
    x = conv("conv2", x, pad=1)
    x = node("Relu", [x], "relu2")
    x = node("Dropout", [x], "dropout", ratio=0.25)
    attention = node("Softmax", [conv("place", x, pad=0)], "attention", axis=1)
    x = node("Mul", [x, attention], "attended")
    x = node("Reshape", [x, constant("flat_shape", np.array([1, 512], np.int64))], "flat")
    x = node("Relu", [dense("dense1", x)], "relu3")
    node("Softmax", [dense("dense2", x)], "probabilities", axis=1)

    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 1, 8, 8])]
    inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in initializers]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])]
    graph = helper.make_graph(nodes, "legacy", inputs, outputs, initializers)
    return helper.make_model(
        graph, ir_version=3, opset_imports=[helper.make_opsetid("", 8)], producer_name="zqonnx testmodels"
    )
