package target

// ortX64 is ONNX Runtime's CPU provider on x86-64 with VNNI, uint8 activations and int8 weights, versions 1.20 to 1.32.
var ortX64 = &Target{
	Name: "ort-x64",
	Doc:  "ONNX Runtime on x86-64",
	rules: index(
		Rule{Op: "Conv", Support: Weighted},
		Rule{Op: "MatMul", Support: Weighted, FloatOut: true},
		Rule{Op: "Gemm", Support: Weighted, FloatOut: true},

		Rule{Op: "Add", Support: Integer},
		Rule{Op: "Mul", Support: Integer},
		Rule{Op: "Concat", Support: Integer},
		Rule{Op: "AveragePool", Support: Integer},
		Rule{Op: "GlobalAveragePool", Support: Integer},
		Rule{Op: "LeakyRelu", Support: Integer},
		// The kernel multiplies by floor(1/scale): 1/256 is exact, 1/255 is not.
		Rule{Op: "Sigmoid", Support: Integer, Range: 1},
		Rule{Op: "Softmax", Support: Integer, Range: 1},

		Rule{Op: "MaxPool", Support: Moving, Shrinks: true},
		Rule{Op: "Reshape", Support: Moving},
		Rule{Op: "Transpose", Support: Moving},
		Rule{Op: "Flatten", Support: Moving},
		Rule{Op: "Squeeze", Support: Moving},
		Rule{Op: "Unsqueeze", Support: Moving},
		Rule{Op: "Slice", Support: Moving, Shrinks: true},
		Rule{Op: "Split", Support: Moving},
		Rule{Op: "Expand", Support: Moving},
		Rule{Op: "Tile", Support: Moving},

		Rule{Op: "Relu", Support: Absorbed},
		Rule{Op: "Clip", Support: Absorbed},

		Rule{Op: "ConvTranspose", Why: "no runtime fuses an integer ConvTranspose"},
		Rule{Op: "Resize", Why: "only nearest-neighbour Resize moves codes; linear and cubic round differently between versions"},
		Rule{Op: "HardSwish", Why: "HardSwish has no integer kernel; Q/DQ around it would only cost time and accuracy"},
		Rule{Op: "LayerNormalization", Why: "normalisations need float"},
		Rule{Op: "InstanceNormalization", Why: "normalisations need float"},
		Rule{Op: "BatchNormalization", Why: "a BatchNormalization that could not be folded needs float"},
	),
	Costs: ortX64Costs,
	Convs: ortX64Convs,
	LSTMs: ortX64LSTMs,
}

func index(rules ...Rule) map[string]Rule {
	m := make(map[string]Rule, len(rules))
	for _, r := range rules {
		m[r.Op] = r
	}
	return m
}
