package engine

var resizeOps = []op{}
