package target

// sessionCall is what the measurement's "call" holds beside the kernels: the call of the session from Python, in microseconds.
const sessionCall = 4.5

// ortX64Costs are fitted to 165 shapes, 1 ≤ M ≤ 256, 64 ≤ K, N ≤ 1536, each form with its bias Add, by
// tools/ortcost/measure.py: ONNX Runtime 1.32, one thread, AMD EPYC with AVX512-VNNI, 2026-11. Relative error of the fit:
// 4–6 % rms, 24 % at most.
var ortX64Costs = map[Form]Cost{
	FloatForm:   {Call: 5.18 - sessionCall, X: 2.16e-05, MAC: 1.69e-05, Y: 0.000150, W: 3.55e-05},
	DynamicForm: {Call: 6.18 - sessionCall, X: 0.000143, MAC: 4.58e-06, Y: 0.000190, W: 1.77e-05},
	TokenForm:   {Call: 9.16 - sessionCall, X: 0.000589, MAC: 4.29e-06, Y: 0.000559, W: 1.82e-05},
	Token21Form: {Call: 9.35 - sessionCall, X: 0.000388, MAC: 4.25e-06, Y: 0.000577, W: 1.76e-05},
}
