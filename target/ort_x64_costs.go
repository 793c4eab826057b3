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

// ortX64Convs are fitted to 230 shapes, 1 ≤ C ≤ 256 channels on planes from 1×4 to 56×56 and signals from 2 to 400, by
// tools/ortcost/conv.py on the same machine. Relative error of the fit: 3–16 % rms, 61 % at most.
var ortX64Convs = map[ConvForm]ConvCost{
	{Form: FloatForm}:                                 {Border: 0.25, X: 0.000113, Call: 0.649, MAC: 1.73e-05, Y: 8.57e-05, Tap: 0.000146, Column: 1.9e-06, W: 1.67e-05},
	{Form: FloatForm, Depthwise: true}:                {Border: 0.372, X: 0.000114, Call: 0.424, MAC: 3.29e-05, W: 0.000165},
	{Form: FloatForm, Signal: true}:                   {X: 2.21e-06, Call: 0.697, MAC: 1.32e-05, Column: 0.000238, W: 0.000219},
	{Form: FloatForm, Signal: true, Depthwise: true}:  {Call: 0.685, MAC: 1.79e-06, Column: 0.000127, W: 0.038},
	{Form: StaticForm}:                                {Border: 0.903, X: 0.000206, Call: 0.805, MAC: 4.11e-06, Y: 2.35e-05, Tap: 0.00185, W: 1.55e-05},
	{Form: StaticForm, Depthwise: true}:               {Border: 0.765, X: 0.000182, Call: 0.788, MAC: 3.47e-05, Tap: 0.000998, W: 0.00017},
	{Form: StaticForm, Signal: true}:                  {Border: 0.954, X: 0.000166, Call: 0.662, MAC: 4.45e-06, Tap: 0.00272, W: 2.14e-05},
	{Form: StaticForm, Signal: true, Depthwise: true}: {Border: 0.794, X: 0.000179, Call: 0.733, MAC: 5.16e-05, Tap: 0.00115, W: 0.000461},
}

// ortX64LSTMs are fitted to 72 shapes, hidden sizes from 8 to 256, one and two directions, 1 to 32 steps, by
// tools/ortcost/lstm.py on the same machine. Relative error of the fit: 5–7 % rms, 21 % at most.
var ortX64LSTMs = map[Form]LSTMCost{
	FloatForm:   {Call: 0.451, Direction: 1.75, Step: 0.088, Gate: 0.000852, MAC: 2.63e-05, W: 2.58e-05},
	DynamicForm: {Call: 0.628, Direction: 2.42, Step: 0.166, Gate: 0.00176, MAC: 6.99e-06, W: 1.47e-05},
}
