package engine

// fusedDomain is of the operators that only lowering makes.
const fusedDomain = "zqonnx.fused"

var fusedOps = []op{
	{fusedDomain, "MatMulBias", 0, 0, makeMatMul}, // A·B + bias; the bias is a row
}
