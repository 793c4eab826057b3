package engine

var quantElementOps = []op{}
