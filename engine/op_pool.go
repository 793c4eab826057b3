package engine

var poolOps = []op{}
