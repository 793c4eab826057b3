package engine

var quantConvOps = []op{}
