package engine

var quantMatMulOps = []op{}
