"""Makes the test models: data, training, export, accuracy. See README.md.

    python make.py [NAME...]        all models, or only those named
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import numpy_helper

import data
import legacy
import nets

HERE = Path(__file__).parent


@dataclass
class Recipe:
    """One test model. `export` writes the trained network to a path."""

    source: str
    splits: Callable
    net: Callable
    export: Callable
    epochs: int
    rate: float  # peak of the one-cycle learning rate
    batch: int = 64
    decay: float = 0.01
    output: str = "logits"
    state: dict = field(default_factory=dict)  # output: input it is fed back to, between the steps of a sample
    steps: dict = field(default_factory=dict)  # input: number of steps along the axis after the sample axis
    extras: Callable = lambda folder, splits: None  # writes what only this model has


# ---- training ---------------------------------------------------------------


def logits(net, inputs):
    return net(*inputs)


def melody_logits(net, inputs):
    chunks, rate = inputs
    state = torch.zeros(1, len(chunks), 48)
    for t in range(chunks.shape[1]):
        out, state = net(chunks[:, t], rate[:1], state)
    return out


def train(recipe, net, splits, forward):
    sets = [
        ([torch.from_numpy(x) for x in inputs.values()], torch.from_numpy(labels))
        for split, (inputs, labels) in splits.items()
        if split.startswith("train")
    ]
    batches = sum(-(-len(labels) // recipe.batch) for _, labels in sets)
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=recipe.epochs * batches)
    net.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        for inputs, labels in sets:
            for rows in torch.randperm(len(labels)).split(recipe.batch):
                loss = F.cross_entropy(forward(net, [x[rows] for x in inputs]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += loss.item()
        print(f"  epoch {epoch + 1}: loss {total / batches:.4f}", flush=True)
    net.eval()


# ---- export -----------------------------------------------------------------


def torchscript(opset, example, axes, outputs=("logits",), fuse_batchnorm=True):
    """The exporter most models in the field were written with."""
    modes = torch.onnx.TrainingMode

    def export(net, path):
        names = list(example)
        torch.onnx.export(
            net,
            tuple(example.values()),
            str(path),
            dynamo=False,
            opset_version=opset,
            training=modes.EVAL if fuse_batchnorm else modes.PRESERVE,
            do_constant_folding=fuse_batchnorm,
            input_names=names,
            output_names=list(outputs),
            dynamic_axes=axes,
        )

    return export


def scripted(opset, example, axes, outputs):
    """As torchscript, control flow kept: Python's `if` becomes If."""
    export = torchscript(opset, example, axes, outputs)
    return lambda net, path: export(torch.jit.script(net), path)


def dynamo(example, opset):
    """torch's present exporter."""

    def export(net, path):
        program = torch.onnx.export(
            net,
            tuple(example.values()),
            dynamo=True,
            opset_version=opset,
            input_names=list(example),
            output_names=["logits"],
            dynamic_shapes=tuple({0: torch.export.Dim("N")} for _ in example),
        )
        model = program.model_proto
        for node in model.graph.node:  # source lines of the exporting machine
            kept = [p for p in node.metadata_props if p.key != "pkg.torch.onnx.stack_trace"]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
        onnx.save(model, path)

    return export


def old_exporter(net, path):
    onnx.save(legacy.legacy_model(net), path)


# ---- evaluation and files ---------------------------------------------------


class Runner:
    """Runs a model sample by sample as a user would: batch 1, state fed back."""

    def __init__(self, path, recipe):
        self.session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.recipe = recipe
        self.outputs = [o.name for o in self.session.get_outputs()]
        shapes = {i.name: i.shape for i in self.session.get_inputs()}
        self.zeros = {
            name: np.zeros([d if isinstance(d, int) else 1 for d in shapes[name]], np.float32)
            for name in recipe.state.values()
        }

    def __call__(self, sample):
        feeds = sample | self.zeros
        for t in range(max(self.recipe.steps.values(), default=1)):
            feeds |= {name: sample[name][:, t] for name in self.recipe.steps}
            results = dict(zip(self.outputs, self.session.run(self.outputs, feeds)))
            feeds |= {name: results[output] for output, name in self.recipe.state.items()}
        return results[self.recipe.output]


def sample_of(inputs, i):
    return {name: x[i : i + 1] for name, x in inputs.items()}


def evaluate(run, net, forward, inputs, labels):
    """Top-1 accuracy of the file; it must say what the network says."""
    got = np.concatenate([run(sample_of(inputs, i)) for i in range(len(labels))])
    with torch.no_grad():
        want = forward(net, [torch.from_numpy(x) for x in inputs.values()])
    if run.recipe.output == "probabilities":
        want = want.softmax(1)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-3, atol=1e-3)
    return float((got.argmax(1) == labels).mean())


def write_calibration_folder(folder, splits):
    inputs, _ = splits["calib"]
    (folder / "calib").mkdir(exist_ok=True)
    for i in range(32):
        np.savez_compressed(folder / "calib" / f"sample_{i:03}.npz", **sample_of(inputs, i))


def write_test_data_set(folder, splits):
    """One sample as ONNX's own test cases have it."""
    (folder / "test_data_set_0").mkdir(exist_ok=True)
    sample = sample_of(splits["test"][0], 0)
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, sample)
    for file, name, array in (("input_0", *next(iter(sample.items()))), ("output_0", "logits", output)):
        onnx.save_tensor(numpy_helper.from_array(array, name), folder / "test_data_set_0" / f"{file}.pb")


def make(name, recipe):
    print(name, flush=True)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    splits, net = recipe.splits(), recipe.net()
    forward = melody_logits if recipe.state else logits
    train(recipe, net, splits, forward)
    path = folder / "model.onnx"
    recipe.export(net, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)

    run = Runner(path, recipe)
    accuracy = {}
    for split, (inputs, labels) in splits.items():
        if split.startswith("train"):
            continue
        np.savez_compressed(folder / f"{split}.npz", **inputs, labels=labels)
        accuracy[split] = evaluate(run, net, forward, inputs, labels)
    recipe.extras(folder, splits)

    test, labels = splits["test"]
    (opset,) = (o.version for o in model.opset_import if not o.domain)
    card = {
        "source": recipe.source,
        "inputs": [{"name": k, "type": str(x.dtype), "sample_shape": x.shape[1:]} for k, x in test.items()],
        "output": recipe.output,
        "metric": "top1",
        "float_accuracy": accuracy["test"],
        "samples": len(labels),
        "classes": int(labels.max()) + 1,
        "opset": opset,
        "ir_version": model.ir_version,
    }
    if recipe.state:
        card |= {"state": recipe.state, "steps": recipe.steps}
    if "test-16k" in accuracy:
        card["float_accuracy_16k"] = accuracy["test-16k"]
    (folder / "model.json").write_text(json.dumps(card, indent=2) + "\n")
    print("  accuracy", accuracy, "bytes", path.stat().st_size, flush=True)


def languages_example():
    inputs, _ = data.languages()["calib"]
    return {name: torch.from_numpy(x[:2]) for name, x in inputs.items()}


RECIPES = {
    "mlp-digits": lambda: Recipe(
        source="MLP (Gemm, Relu) on scikit-learn's digits; torch's dynamo exporter",
        splits=lambda: data.digits("x", as_picture=False),
        net=nets.MLP,
        export=dynamo({"x": torch.zeros(2, 64)}, opset=18),
        epochs=30,
        rate=2e-3,
        extras=write_test_data_set,
    ),
    "cnn-shapes": lambda: Recipe(
        source="CNN (residual and depthwise blocks, BatchNormalization unfused) on generated pictures; torchscript exporter",
        splits=data.shapes,
        net=lambda: nets.ShapeCNN(len(data.SHAPES)),
        export=torchscript(
            13, {"x": torch.zeros(2, 1, 32, 32)}, {"x": {0: "N"}, "logits": {0: "N"}}, fuse_batchnorm=False
        ),
        epochs=10,
        rate=4e-3,
        extras=write_calibration_folder,
    ),
    "encoder-chars": lambda: Recipe(
        source="BERT-like encoder, layers share weights, on text in generated languages; torchscript exporter",
        splits=data.languages,
        net=lambda: nets.CharEncoder(data.FIRST_LETTER + data.LETTERS, 32, data.LANGUAGES),
        export=torchscript(
            13,
            languages_example(),
            {"input_ids": {0: "N", 1: "S"}, "attention_mask": {0: "N", 1: "S"}, "logits": {0: "N"}},
        ),
        epochs=8,
        rate=1e-3,
    ),
    "vit-digits": lambda: Recipe(
        source="Vision transformer (pre-norm, LayerNormalization) on scikit-learn's digits; torchscript exporter",
        splits=lambda: data.digits("x", as_picture=True),
        net=nets.ViT,
        export=torchscript(17, {"x": torch.zeros(2, 1, 8, 8)}, {"x": {0: "N"}, "logits": {0: "N"}}),
        epochs=40,
        rate=2e-3,
        decay=0.05,
    ),
    "lstm-sines": lambda: Recipe(
        source="Two bidirectional LSTM layers on generated waveforms; torchscript exporter",
        splits=data.waves,
        net=lambda: nets.WaveLSTM(len(data.WAVES)),
        export=torchscript(14, {"x": torch.zeros(2, 40, 4)}, {"x": {0: "N"}, "logits": {0: "N"}}),
        epochs=10,
        rate=6e-3,
    ),
    "gru-melodies": lambda: Recipe(
        source="Streaming GRU, state fed back, If on the sample rate, on generated melodies; torchscript exporter",
        splits=data.melodies,
        net=lambda: nets.MelodyGRU(len(data.CONTOURS)),
        export=scripted(
            16,
            {"chunk": torch.zeros(2, 64), "rate": torch.tensor([8000]), "state": torch.zeros(1, 2, 48)},
            {"chunk": {0: "N", 1: "L"}, "state": {1: "N"}, "logits": {0: "N"}, "state_out": {1: "N"}},
            outputs=("logits", "state_out"),
        ),
        epochs=7,
        rate=5e-3,
        state={"state_out": "state"},
        steps={"chunk": data.CHUNKS},
    ),
    "legacy-opset8": lambda: Recipe(
        source="Small CNN on scikit-learn's digits, written as an exporter of 2018 wrote it",
        splits=lambda: data.digits("data", as_picture=True),
        net=nets.LegacyCNN,
        export=old_exporter,
        epochs=25,
        rate=4e-3,
        output="probabilities",
    ),
}


def main(names):
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    torch.use_deterministic_algorithms(True)
    for name in names or RECIPES:
        if name not in RECIPES:
            sys.exit(f"no test model {name!r}; there are: {', '.join(RECIPES)}")
        make(name, RECIPES[name]())


if __name__ == "__main__":
    main(sys.argv[1:])
