// Package engine runs ONNX graphs: it compiles a graph to a program of kernels, plans its memory and runs it on a fixed
// set of workers. Any tensor can be tapped, given, or overridden at one edge; that is what calibration, the guard and
// verification stand on.
//
// Results do not depend on the number of threads or on the CPU.
package engine
